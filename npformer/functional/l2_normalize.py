r"""L2 normalisation: every vector to length 1.

Forward, for each vector x of length n (the last axis)
    (1)  q   = sum_i x_i^2                                                        (..., 1)
    (2)  r   = 1 / sqrt(q) where sqrt(q) > eps, and 0 otherwise                   (..., 1)
    (3)  y_i = x_i r                                                              (..., n)

The square of a float32 overflows from 1.8e19 on and is 0 below 1e-23, so (1) to (3) are computed
of x / c, where c is the largest power of two that is not above the largest |x_i|. To divide by it
is exact. y is the same, and r is that of x / c, over c.

Backward, given dy
    (3') y_i = x_i r:  dx_i = dy_i r (the direct part),  dr = sum_i dy_i x_i
    (2') r = q^(-1/2):  dr/dq = -1/2 q^(-3/2) = -r^3 / 2, also where r is the constant 0;
         dq = -r^3/2 sum_i dy_i x_i = -r^2/2 sum_i dy_i y_i                       (x_i r = y_i)
    (1') dq/dx_i = 2 x_i, which adds to dx_i  dq 2 x_i = -r y_i sum_k dy_k y_k, so that
         dx_i = r (dy_i - y_i sum_k dy_k y_k)

dx is orthogonal to x, since sum_i y_i dx_i = r (s - s sum_i y_i^2) = 0 with s = sum_k dy_k y_k
and sum_i y_i^2 = 1: stretching x changes nothing.

The vector 0 has no direction, and y no limit there. A vector that is not longer than eps gives
y = 0 and dx = 0, the value and the derivative of a constant. (PyTorch divides by max(|x|, eps):
at x = 0 it has y = 0, but dx = dy / eps, with its eps a million million times dy, and a single
empty row takes over the step.)

Saved: y and r. x itself is not needed.
"""

from typing import NamedTuple

import numpy as np

from ..core.arrays import Array, check_floats, check_gradient, check_positive


class L2NormalizeSaved(NamedTuple):
    """What `l2_normalize_backward` needs."""

    y: Array  # (..., n)  the output
    r: Array  # (..., 1)  1 / length, or 0


def l2_normalize(x: Array, eps: float = 1e-12) -> tuple[Array, L2NormalizeSaved]:
    """Divide every vector of the last axis by its length.

    Parameters
    ----------
    x : (..., n) ndarray
    eps : float, optional
        A vector that is not longer than this counts as zero, and gives zero, with a gradient
        of zero.

    Returns
    -------
    y : (..., n) ndarray
        Vectors of length 1, or 0.
    saved : L2NormalizeSaved
        For `l2_normalize_backward`.

    Raises
    ------
    ValueError
        If `x` has no axis, or an empty one at its end, or `eps` is not positive.
    TypeError
        If `x` is not float32, float64 or complex128, or `eps` not a number.

    References
    ----------
    Radford et al. (2021), "Learning Transferable Visual Models From Natural Language
    Supervision", arXiv:2103.00020, figure 3: the joint embedding.
    """
    check_floats("l2_normalize", x=x)
    if x.ndim < 1 or x.shape[-1] == 0:
        raise ValueError(f"l2_normalize: x is {x.shape}; expected (..., n) with n at least 1")
    check_positive("l2_normalize", eps=eps)
    c = _power_of_two(x)
    y = x / c
    q = np.sum(y * y, axis=-1, keepdims=True)  # (1) y*y, not |y|^2: it stays analytic
    length = np.sqrt(q)
    with np.errstate(over="ignore"):  # infinite is longer than eps, too
        some = c * length.real > float(eps)
    r = np.divide(1.0, length, out=np.zeros_like(length), where=some)  # (2)
    y *= r  # (3)
    return y, L2NormalizeSaved(y, r / c)


def _power_of_two(x: Array) -> Array:
    """Return c (..., 1), with the largest |x_i| from c to 2 c; 1/2 of a vector of zeros."""
    largest = np.max(np.abs(x.real), axis=-1, keepdims=True)
    c: Array = np.ldexp(np.ones_like(largest), np.frexp(largest)[1] - 1)
    return c


def l2_normalize_backward(dy: Array, saved: L2NormalizeSaved) -> Array:
    """Gradient of `x`; equations (3') to (1') of the module.

    Parameters
    ----------
    dy : (..., n) ndarray
        Gradient of the loss with respect to `y`.
    saved : L2NormalizeSaved
        As returned by `l2_normalize`.

    Returns
    -------
    dx : (..., n) ndarray
        Orthogonal to x; 0 where x counts as zero.

    Raises
    ------
    ValueError, TypeError
        If `dy` does not have the shape and precision of `y`.
    """
    y, r = saved
    check_gradient("l2_normalize_backward", dy, y.shape, y)
    along_y = np.sum(dy * y, axis=-1, keepdims=True)  # (3'), (2')
    dx: Array = y * -along_y
    dx += dy
    dx *= r  # (1')
    return dx
