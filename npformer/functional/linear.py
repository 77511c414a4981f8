r"""Linear map: every vector of x times one matrix, plus a bias.

Forward, for each vector x of length d_in (leading axes are any number of such vectors)
    (1)  z_o = sum_i W_oi x_i               z = W x                   (d_out,)
    (2)  y_o = z_o + b_o                                              (d_out,)

Backward, given dy
    (2') b_o is added to the y_o of every vector n:  db_o = sum_n dy_no;   dz = dy
    (1') z_no = sum_i W_oi x_ni.  W_oi meets x_ni in output o of every vector n,
         dW_oi = sum_n dz_no x_ni           dW = dz^T x               (d_out, d_in)
         and x_ni meets W_oi in every output o of its own vector,
         dx_ni = sum_o dz_no W_oi           dx = dz W                 (n, d_in)

The transposes are not a rule to be learnt by heart: dW has to have W's shape, and the index
that is summed is the one that the result does not have.

Saved: x and W, the caller's own arrays. Both are needed, each for the other's gradient.
"""

from typing import NamedTuple

import numpy as np

from ..core.arrays import Array, check_floats, check_gradient
from ._sums import column_sum

# Up to so many rows OpenBLAS is faster with the larger matrix first, as when several sequences are
# decoded at once: 4 rows by (3072, 768) take 0.38 ms, the other way round 1.03.
_FEW = 32


class LinearSaved(NamedTuple):
    """What `linear_backward` needs."""

    x: Array  # (..., d_in)    the caller's own array
    weight: Array  # (d_out, d_in)  the caller's own array
    has_bias: bool


def linear(x: Array, weight: Array, bias: Array | None = None) -> tuple[Array, LinearSaved]:
    """Map the last axis of `x` by a matrix.

    Parameters
    ----------
    x : (..., d_in) ndarray
        Any number of leading axes, also none.
    weight : (d_out, d_in) ndarray
    bias : (d_out,) ndarray, optional

    Returns
    -------
    y : (..., d_out) ndarray
        ``x @ weight.T + bias``.
    saved : LinearSaved
        For `linear_backward`.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    TypeError
        If the dtypes are not float32, float64 or complex128, or do not mix.
    """
    check_floats("linear", x=x, weight=weight, bias=bias)
    if weight.ndim != 2 or x.ndim < 1 or x.shape[-1] != weight.shape[1] or weight.size == 0:
        raise ValueError(
            f"linear: x {x.shape} does not fit weight {weight.shape}; it wants x (..., d_in) "
            f"and weight (d_out, d_in), with d_out and d_in at least 1"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(
            f"linear: bias {bias.shape} does not fit weight {weight.shape}; it wants (d_out,), "
            f"here {weight.shape[:1]}"
        )
    # One product of two matrices, whatever the leading axes: (N, d_in) @ (d_in, d_out).
    rows = x.reshape(-1, x.shape[-1])
    few = 1 < len(rows) <= _FEW
    y = np.ascontiguousarray((weight @ rows.T).T) if few else rows @ weight.T  # (1)
    if bias is not None:
        if bias.dtype == y.dtype:
            y += bias  # (2)
        else:  # a complex bias on a real product
            y = y + bias
    return y.reshape(*x.shape[:-1], weight.shape[0]), LinearSaved(x, weight, bias is not None)


def linear_backward(dy: Array, saved: LinearSaved) -> tuple[Array, Array, Array | None]:
    """Gradients of `x`, `weight` and `bias`; equations (2') and (1') of the module.

    Parameters
    ----------
    dy : (..., d_out) ndarray
        Gradient of the loss with respect to `y`.
    saved : LinearSaved
        As returned by `linear`.

    Returns
    -------
    dx : (..., d_in) ndarray
    dweight : (d_out, d_in) ndarray
    dbias : (d_out,) ndarray or None
        None if there was no bias.

    Raises
    ------
    ValueError, TypeError
        If `dy` does not have the shape and precision of `y`.
    """
    x, weight, has_bias = saved
    check_gradient("linear_backward", dy, (*x.shape[:-1], weight.shape[0]), x)
    rows_dy = dy.reshape(-1, weight.shape[0])  # (N, d_out)
    rows_x = x.reshape(-1, weight.shape[1])  # (N, d_in)
    dbias = column_sum(rows_dy) if has_bias else None  # (2')
    dweight = rows_dy.T @ rows_x  # (1')
    dx = rows_dy @ weight  # (1')
    return dx.reshape(x.shape), dweight, dbias
