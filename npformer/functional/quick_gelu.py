r"""Quick GELU: the logistic function in place of the normal distribution of `gelu`.

Forward, entry by entry, with a = 1.702
    (1)  z = a x
    (2)  s = 1 / (1 + exp(-z))              the gate, between 0 and 1
    (3)  y = x s

Backward, given dy
    (3') y = x s:  directly dy s, and through the gate  ds = dy x
    (2') ds/dz = s (1 - s), as for the sigmoid:  dz = dy x s (1 - s)
    (1') dz/dx = a.  Both paths together
         dx = dy (s + a x s (1 - s)) = dy (s + z s (1 - s))

1.702 makes the logistic function a close fit to the normal distribution: they differ by less
than 0.01 everywhere. CLIP was trained with it, so its weights want it.

Saved: the bracket of (1'), one array of x's size (4 bytes an entry in float32). x and s are free
to go, and backward is one product.
"""

import math
from typing import NamedTuple

import numpy as np

from ..core.arrays import Array, check_floats, check_gradient
from ._elementwise import bounded, in_pieces, logistic

SHARPNESS = 1.702
SATURATED = 1000.0  # |x| beyond which the gate is 0 or 1 in every dtype


class QuickGeluSaved(NamedTuple):
    """What `quick_gelu_backward` needs."""

    slope: Array  # x's shape: the derivative dy/dx


def quick_gelu(x: Array) -> tuple[Array, QuickGeluSaved]:
    """Multiply each entry by the logistic function of 1.702 times itself.

    Parameters
    ----------
    x : ndarray
        Infinite entries give the limits, 0 and infinity.

    Returns
    -------
    y : ndarray of x's shape
    saved : QuickGeluSaved
        For `quick_gelu_backward`.

    Raises
    ------
    TypeError
        If `x` is not float32, float64 or complex128.

    References
    ----------
    Hendrycks and Gimpel (2016), "Gaussian Error Linear Units (GELUs)", arXiv:1606.08415,
    section 2.
    """
    check_floats("quick_gelu", x=x)
    y, slope = in_pieces(_value_and_slope, x, 2)
    return y, QuickGeluSaved(slope)


def quick_gelu_backward(dy: Array, saved: QuickGeluSaved) -> Array:
    """Gradient of `x`; equations (3') to (1') of the module, all but dy being in `saved`.

    Parameters
    ----------
    dy : ndarray of y's shape
        Gradient of the loss with respect to `y`.
    saved : QuickGeluSaved
        As returned by `quick_gelu`.

    Returns
    -------
    dx : ndarray of x's shape

    Raises
    ------
    ValueError, TypeError
        If `dy` does not have the shape and precision of `y`.
    """
    (slope,) = saved
    check_gradient("quick_gelu_backward", dy, slope.shape, slope)
    return dy * slope


def _value_and_slope(x: Array, y: Array, slope: Array) -> None:
    """Equations (1) to (3), and the bracket of (1')."""
    z = bounded(x, -SATURATED, SATURATED)
    z *= SHARPNESS  # (1)
    s = logistic(z)  # (2)
    np.multiply(bounded(x, -SATURATED, math.inf), s, out=y)  # (3)
    z *= s  # (1')
    np.multiply(z, 1.0 - s, out=slope)  # (2')
    slope += s  # (3')
