r"""Gaussian error linear unit: x times the probability that a standard normal is below x.

With Phi that probability, phi(x) = exp(-x^2 / 2) / sqrt(2 pi) its density and sigma the
logistic function, entry by entry

Forward, exact (approximate="none")
    (1)  t = |x|
    (2)  q = 1 - Phi(t) = erfc(t / sqrt(2)) / 2      the normal's upper tail
    (3)  y = x Phi(x) = max(x, 0) - t q

For x < 0, Phi(x) = q and x q = -t q. For x > 0, Phi(x) = 1 - q and x (1 - q) = x - t q. Neither
subtracts two numbers that are nearly equal (q <= 1/2), so that y has its relative accuracy on
both sides; 1 + erf(x / sqrt(2)) would lose all of it below x = -5 in float32.

Forward, with the tanh formula (approximate="tanh")
    (4)  z = 2 sqrt(2/pi) (x + 0.044715 x^3)
    (5)  s = sigma(z)                                (1 + tanh(z/2)) / 2, without its cancellation
    (6)  y = x s

Backward, given dy
    (6') y = x s:  directly dy s, and through s  ds = dy x
    (5') ds/dz = s (1 - s):  dz = dy x s (1 - s) = dy y (1 - s)
    (4') dz/dx = 2 sqrt(2/pi) (1 + 3 0.044715 x^2), so
         dx = dy (s + y (1 - s) dz/dx)
    (3') y = x Phi(x):  directly dy Phi(x), and through Phi  dPhi = dy x
    (2') dPhi/dx = phi(x), and both paths together  dx = dy (Phi(x) + x phi(x))
    (1') phi is even. With g = q - t phi(t) the bracket is
         for x < 0:  Phi(x) + x phi(x) = q - t phi(t) = g
         for x > 0:  Phi(x) + x phi(x) = 1 - q + t phi(t) = 1 - g
         and 1/2 from either side at x = 0.

Saved: the bracket that multiplies dy, one array of x's size. Backward is then one product, and
x, which nobody else needs in a feed-forward block, is free to go: the bytes are the same, 4 an
entry in float32, and no exponential is computed twice.
"""

import math
from typing import NamedTuple

import numpy as np

from ..core.arrays import Array, check_choice, check_floats, check_gradient
from ._elementwise import bounded, in_pieces, logistic
from ._normal import normal_tail, right_half
from .relu import positive_part

DENSITY = 1.0 / math.sqrt(2.0 * math.pi)  # phi(0)
STEEP = 2.0 * math.sqrt(2.0 / math.pi)
CUBE = 0.044715
SATURATED = 30.0  # |x| beyond which sigma(z) is 0 or 1 in every dtype: |z| > 1900


class GeluSaved(NamedTuple):
    """What `gelu_backward` needs."""

    slope: Array  # x's shape: the derivative dy/dx


def gelu(x: Array, approximate: str = "none") -> tuple[Array, GeluSaved]:
    """Multiply each entry by the probability that a standard normal variable is below it.

    Parameters
    ----------
    x : ndarray
        Infinite entries give the limits, 0 and infinity.
    approximate : {"none", "tanh"}, optional
        The exact function, or the formula with tanh that GPT-2 was trained with. They differ by
        at most 4.8e-4.

    Returns
    -------
    y : ndarray of x's shape
    saved : GeluSaved
        For `gelu_backward`.

    Raises
    ------
    ValueError
        If `approximate` is neither.
    TypeError
        If `x` is not float32, float64 or complex128.

    References
    ----------
    Hendrycks and Gimpel (2016), "Gaussian Error Linear Units (GELUs)", arXiv:1606.08415,
    section 2.
    """
    check_floats("gelu", x=x)
    check_choice("gelu", "approximate", approximate, ("none", "tanh"))
    y, slope = in_pieces(_exact if approximate == "none" else _by_tanh, x, 2)
    return y, GeluSaved(slope)


def gelu_backward(dy: Array, saved: GeluSaved) -> Array:
    """Gradient of `x`; equations (6') to (1') of the module, all but dy being in `saved`.

    Parameters
    ----------
    dy : ndarray of y's shape
        Gradient of the loss with respect to `y`.
    saved : GeluSaved
        As returned by `gelu`.

    Returns
    -------
    dx : ndarray of x's shape

    Raises
    ------
    ValueError, TypeError
        If `dy` does not have the shape and precision of `y`.
    """
    (slope,) = saved
    check_gradient("gelu_backward", dy, slope.shape, slope)
    return dy * slope


def _exact(x: Array, y: Array, slope: Array) -> None:
    """Value and slope by the normal distribution."""
    t = right_half(x)  # (1)
    q, phi = normal_tail(t)  # (2)
    phi *= DENSITY
    phi *= t
    t *= q
    np.subtract(positive_part(x), t, out=y)  # (3)
    q -= phi
    g = q  # (3'), (2')
    if x.dtype.kind == "c":
        slope[...] = np.where(x.real < 0, g, 1.0 - g)  # (1') cut at 0 where right_half cuts
        return
    right = (x >= 0).astype(x.dtype)  # 1 or 0, and with it 1 - g or g without a branch
    np.multiply(right, -2.0, out=slope)
    slope += 1.0
    slope *= g
    slope += right  # (1')


def _by_tanh(x: Array, y: Array, slope: Array) -> None:
    """Value and slope by the tanh formula."""
    b = bounded(x, -SATURATED, SATURATED)
    square = b * b
    z = square * (STEEP * CUBE)
    z += STEEP
    z *= b  # (4)
    s = logistic(z)  # (5)
    np.multiply(bounded(x, -SATURATED, math.inf), s, out=y)  # (6)
    square *= 3.0 * STEEP * CUBE
    square += STEEP  # (4') dz/dx
    square *= b
    square *= s
    np.multiply(square, 1.0 - s, out=slope)  # (5')
    slope += s  # (6')
