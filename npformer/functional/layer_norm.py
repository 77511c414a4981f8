r"""Layer normalisation: every vector to mean 0 and variance 1, then a learned scale and shift.

Forward, for each vector x of length n (the last axis)
    (1)  mu    = sum_i x_i / n              mean                              (..., 1)
    (2)  c_i   = x_i - mu                   centred                           (..., n)
    (3)  var   = sum_i c_i^2 / n            variance (divided by n, not n-1)  (..., 1)
    (4)  r     = 1 / sqrt(var + eps)        reciprocal deviation              (..., 1)
    (5)  xhat_i = c_i r                     normalised                        (..., n)
    (6)  y_i   = w_i xhat_i + b_i           learned scale and shift           (..., n)

Backward, given dy
    (6') w and b act on every vector p alike:  dw_i = sum_p dy_pi xhat_pi,  db_i = sum_p dy_pi;
         dxhat_i = dy_i w_i
    (5') xhat_i = c_i r:  dc_i = dxhat_i r (the direct part),  dr = sum_i dxhat_i c_i
    (4') r = (var + eps)^(-1/2):  dr/dvar = -1/2 (var + eps)^(-3/2) = -r^3 / 2, so
         dvar = -r^3/2 sum_i dxhat_i c_i = -r^2/2 sum_i dxhat_i xhat_i      (c_i r = xhat_i)
    (3') dvar/dc_i = 2 c_i / n, which adds to dc_i
         dvar 2 c_i / n = -(r^2 c_i / n) sum_k dxhat_k xhat_k = -(r xhat_i / n) sum_k dxhat_k xhat_k
         so that  dc_i = r (dxhat_i - xhat_i mean_k(dxhat_k xhat_k))
    (2') c_i = x_i - mu:  dx_i = dc_i (the direct part),  dmu = -sum_i dc_i
    (1') dmu/dx_i = 1/n:  dx_i = dc_i - mean_k(dc_k).  In the mean of dc the second term
         vanishes, for sum_k xhat_k = r sum_k c_k = 0, which leaves r mean_k(dxhat_k):
         dx_i = r (dxhat_i - mean_k(dxhat_k) - xhat_i mean_k(dxhat_k xhat_k))

dx is orthogonal to the vector of ones (shifting x changes nothing) and, but for eps, to xhat
(stretching x changes nothing): the two subtracted means are the projections onto them.

Saved: xhat and r. x itself is not needed, nor mu, nor var.
"""

from typing import NamedTuple

import numpy as np

from ..core.arrays import Array, check_floats, check_gradient
from ._sums import column_sum, row_dot, row_sum


class LayerNormSaved(NamedTuple):
    """What `layer_norm_backward` needs."""

    xhat: Array  # (..., n)  normalised vectors
    r: Array  # (..., 1)  1 / sqrt(var + eps)
    weight: Array  # (n,)      the caller's own array
    has_bias: bool


def layer_norm(
    x: Array, weight: Array, bias: Array | None = None, eps: float = 1e-5
) -> tuple[Array, LayerNormSaved]:
    """Normalise the last axis, then scale and shift it.

    Parameters
    ----------
    x : (..., n) ndarray
    weight : (n,) ndarray
        Scale, often called gamma.
    bias : (n,) ndarray, optional
        Shift, often called beta.
    eps : float, optional
        Added to the variance. Checkpoints differ: 1e-5 in GPT-2, 1e-12 in BERT.

    Returns
    -------
    y : (..., n) ndarray
    saved : LayerNormSaved
        For `layer_norm_backward`.

    Raises
    ------
    ValueError
        If the shapes do not fit or `eps` is not positive.
    TypeError
        If the dtypes are not float32, float64 or complex128, or do not mix.

    References
    ----------
    Ba, Kiros and Hinton (2016), "Layer Normalization", arXiv:1607.06450, equations 3 and 4.
    """
    check_floats("layer_norm", x=x, weight=weight, bias=bias)
    check_norm_shapes("layer_norm", x, eps, weight=weight, bias=bias)
    n = x.shape[-1]
    mu = row_sum(x) / n  # (1)
    c = x - mu  # (2)
    var = row_dot(c, c) / n  # (3) c*c, not |c|^2: it stays analytic
    r = 1.0 / np.sqrt(var + float(eps))  # (4)
    c *= r
    xhat = c  # (5)
    y = xhat * weight  # (6)
    if bias is not None:
        y = y + bias
    return y, LayerNormSaved(xhat, r, weight, bias is not None)


def layer_norm_backward(dy: Array, saved: LayerNormSaved) -> tuple[Array, Array, Array | None]:
    """Gradients of `x`, `weight` and `bias`; equations (6') to (1') of the module.

    Parameters
    ----------
    dy : (..., n) ndarray
        Gradient of the loss with respect to `y`.
    saved : LayerNormSaved
        As returned by `layer_norm`.

    Returns
    -------
    dx : (..., n) ndarray
    dweight : (n,) ndarray
    dbias : (n,) ndarray or None
        None if there was no bias.

    Raises
    ------
    ValueError, TypeError
        If `dy` does not have the shape and precision of `y`.
    """
    xhat, r, weight, has_bias = saved
    check_gradient("layer_norm_backward", dy, xhat.shape, xhat)
    n = xhat.shape[-1]
    dy_xhat = dy * xhat
    dweight = column_sum(dy_xhat)  # (6')
    dbias = column_sum(dy) if has_bias else None  # (6')
    along_xhat = (dy_xhat @ weight)[..., None] / n  # (5'), (4'), (3') mean of dxhat xhat
    along_ones = (dy @ weight)[..., None] / n  # (2') mean of dxhat
    dx = xhat * -along_xhat
    dx += dy * weight  # (6') dxhat
    dx -= along_ones
    dx *= r  # (1')
    return dx, dweight, dbias


def check_norm_shapes(op: str, x: Array, eps: float, **vectors: Array | None) -> None:
    """Refuse shapes that no norm over the last axis can have, and an eps that is not positive."""
    if x.ndim < 1 or x.shape[-1] == 0:
        raise ValueError(f"{op}: x is {x.shape}; expected (..., n) with n at least 1")
    for name, vector in vectors.items():
        if vector is not None and vector.shape != x.shape[-1:]:
            raise ValueError(
                f"{op}: {name} {vector.shape} does not fit x {x.shape}; it wants ({x.shape[-1]},)"
            )
    if not eps > 0:
        raise ValueError(
            f"{op}: eps is {eps}; expected a positive number, such as 1e-5, since a vector whose "
            f"variance is 0 would otherwise be divided by 0"
        )
