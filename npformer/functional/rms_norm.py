r"""RMS normalisation: every vector to root mean square 1, then a learned scale.

Forward, for each vector x of length n (the last axis)
    (1)  ms    = sum_i x_i^2 / n            mean square                       (..., 1)
    (2)  r     = 1 / sqrt(ms + eps)         reciprocal root mean square       (..., 1)
    (3)  xhat_i = x_i r                     normalised                        (..., n)
    (4)  y_i   = w_i xhat_i                 learned scale                     (..., n)

It is layer normalisation without the mean and without the shift.

Backward, given dy
    (4') w acts on every vector p alike:  dw_i = sum_p dy_pi xhat_pi;   dxhat_i = dy_i w_i
    (3') xhat_i = x_i r:  dx_i = dxhat_i r (the direct part),  dr = sum_i dxhat_i x_i
    (2') r = (ms + eps)^(-1/2):  dr/dms = -1/2 (ms + eps)^(-3/2) = -r^3 / 2, so
         dms = -r^3/2 sum_i dxhat_i x_i = -r^2/2 sum_i dxhat_i xhat_i         (x_i r = xhat_i)
    (1') dms/dx_i = 2 x_i / n, which adds to dx_i
         dms 2 x_i / n = -(r^2 x_i / n) sum_k dxhat_k xhat_k = -r xhat_i mean_k(dxhat_k xhat_k)
         so that  dx_i = r (dxhat_i - xhat_i mean_k(dxhat_k xhat_k))

But for eps, dx is orthogonal to x: stretching x changes nothing. With x_i r = xhat_i and
xhat . xhat = n ms / (ms + eps) from (1) to (3), x . dx is
dxhat . xhat - (xhat . xhat / n) dxhat . xhat = dxhat . xhat (1 - ms / (ms + eps)), and as
1 - ms / (ms + eps) = eps / (ms + eps), this is eps r^2 dxhat . xhat.

Saved: x, the caller's own array, and r, one number a vector. xhat is their product, one pass
over x again instead of an array of its size (4 bytes an entry in float32).
"""

from typing import NamedTuple

import numpy as np

from ..core.arrays import Array, check_floats, check_gradient
from ._sums import column_sum, row_dot
from .layer_norm import check_norm_shapes


class RMSNormSaved(NamedTuple):
    """What `rms_norm_backward` needs."""

    x: Array  # (..., n)  the caller's own array
    r: Array  # (..., 1)  1 / sqrt(ms + eps)
    weight: Array  # (n,)      the caller's own array


def rms_norm(x: Array, weight: Array, eps: float = 1e-6) -> tuple[Array, RMSNormSaved]:
    """Divide the last axis by its root mean square, then scale it.

    Parameters
    ----------
    x : (..., n) ndarray
    weight : (n,) ndarray
        Scale, often called gain.
    eps : float, optional
        Added to the mean square. Checkpoints differ: 1e-6 in Llama, 1e-5 in Llama 2.

    Returns
    -------
    y : (..., n) ndarray
    saved : RMSNormSaved
        For `rms_norm_backward`.

    Raises
    ------
    ValueError
        If the shapes do not fit or `eps` is not positive.
    TypeError
        If the dtypes are not float32, float64 or complex128, or do not mix.

    References
    ----------
    Zhang and Sennrich (2019), "Root Mean Square Layer Normalization", arXiv:1910.07467,
    equation 4.
    """
    check_floats("rms_norm", x=x, weight=weight)
    check_norm_shapes("rms_norm", x, eps, weight=weight)
    ms = row_dot(x, x) / x.shape[-1]  # (1) x*x: it stays analytic
    r = 1.0 / np.sqrt(ms + float(eps))  # (2)
    y = weight * r
    y *= x  # (3), (4)
    return y, RMSNormSaved(x, r, weight)


def rms_norm_backward(dy: Array, saved: RMSNormSaved) -> tuple[Array, Array]:
    """Gradients of `x` and `weight`; equations (4') to (1') of the module.

    Parameters
    ----------
    dy : (..., n) ndarray
        Gradient of the loss with respect to `y`.
    saved : RMSNormSaved
        As returned by `rms_norm`.

    Returns
    -------
    dx : (..., n) ndarray
    dweight : (n,) ndarray

    Raises
    ------
    ValueError, TypeError
        If `dy` does not have the shape and precision of `y`.
    """
    x, r, weight = saved
    check_gradient("rms_norm_backward", dy, x.shape, x)
    n = x.shape[-1]
    dy_xhat = dy * x
    dy_xhat *= r
    dweight = column_sum(dy_xhat)  # (4')
    along_xhat = (dy_xhat @ weight)[..., None] / n  # (3'), (2') mean of dxhat xhat
    dx = x * (r * -along_xhat)  # (1')
    dx += dy * weight  # (4')
    dx *= r  # (3')
    return dx, dweight
