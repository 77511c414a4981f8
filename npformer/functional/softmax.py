r"""Softmax: scores to a distribution.

Forward, along one axis
    (1)  m   = max_j x_j                    shift, so that no exp overflows   (..., 1)
    (2)  e_j = exp(x_j - m)                 the largest is 1                  (..., n)
    (3)  y_j = e_j / sum_k e_k              positive, sums to 1               (..., n)

The shift changes nothing: exp(x_j - m) / sum_k exp(x_k - m) = exp(x_j) / sum_k exp(x_k), for
exp(-m) stands above and below. So no gradient flows through m, and (1) has no step backward.

Backward, given dy
    (3') with z = sum_k e_k:  y_j depends on e_j directly, dy_j/de_j = 1/z, and on every e_k
         through z, dy_j/dz = -e_j / z^2 = -y_j / z.  Both together
         de_k = dy_k / z - sum_j dy_j y_j / z = (dy_k - s) / z,   with s = sum_j dy_j y_j
    (2') de_k/dx_k = e_k, so
         dx_k = e_k (dy_k - s) / z = y_k (dy_k - s)

The entries of dx sum to s - s sum_k y_k = 0: adding a constant to all x changes no y.

Saved: y alone. It holds all that x told: neither x nor m is needed again.
"""

from typing import NamedTuple

import numpy as np

from ..core.arrays import Array, check_floats, check_gradient
from ..core.errors import DivergedError
from ._sums import row_dot


class SoftmaxSaved(NamedTuple):
    """What `softmax_backward` needs."""

    y: Array  # x's shape: the output
    axis: int


def softmax(x: Array, axis: int = -1) -> tuple[Array, SoftmaxSaved]:
    """Turn scores along `axis` into positive numbers that sum to 1.

    Parameters
    ----------
    x : ndarray
        Scores. Entries of -inf get exactly 0.
    axis : int, optional
        The axis that sums to 1.

    Returns
    -------
    y : ndarray of x's shape
    saved : SoftmaxSaved
        For `softmax_backward`.

    Raises
    ------
    ValueError
        If `axis` does not exist or is empty, if scores are +inf, or are -inf along all of
        the axis: none of these has a distribution.
    TypeError
        If `x` is not float32, float64 or complex128.

    References
    ----------
    Bridle (1990), "Probabilistic interpretation of feedforward classification network outputs".
    """
    e, _ = shifted_exp("softmax", x, axis)  # (1), (2)
    e /= np.sum(e, axis=axis, keepdims=True)  # (3)
    return e, SoftmaxSaved(e, axis)


def softmax_backward(dy: Array, saved: SoftmaxSaved) -> Array:
    """Gradient of `x`; equations (3') and (2') of the module.

    Parameters
    ----------
    dy : ndarray of y's shape
        Gradient of the loss with respect to `y`.
    saved : SoftmaxSaved
        As returned by `softmax`.

    Returns
    -------
    dx : ndarray of x's shape
        Sums to 0 along the axis.

    Raises
    ------
    ValueError, TypeError
        If `dy` does not have the shape and precision of `y`.
    """
    y, axis = saved
    check_gradient("softmax_backward", dy, y.shape, y)
    along = (np.moveaxis(array, axis, -1) for array in (dy, y))
    s = np.moveaxis(row_dot(*along), -1, axis)  # (3') s = sum_j dy_j y_j
    dx: Array = dy - s
    dx *= y  # (2')
    return dx


def shifted_exp(op: str, x: Array, axis: int) -> tuple[Array, Array]:
    """Equations (1) and (2): exp(x - m) and m, which is real, for softmax and log-softmax."""
    check_floats(op, x=x)
    if not -x.ndim <= axis < x.ndim or x.shape[axis] == 0:
        raise ValueError(f"{op}: x {x.shape} has no axis {axis} of length 1 or more")
    m = np.max(x.real, axis=axis, keepdims=True)  # (1)
    if np.any(np.isinf(m)):
        raise DivergedError(
            f"{op}: along axis {axis} of x {x.shape} an entry is +inf, or all are -inf; "
            f"there is no distribution over such scores (attention takes rows without keys)"
        )
    e: Array = x - m
    return np.exp(e, out=e), m  # (2)
