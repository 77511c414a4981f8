r"""Sigmoid linear unit, also called swish: x times its own logistic gate.

Forward, entry by entry
    (1)  s = 1 / (1 + exp(-x))              the gate, between 0 and 1
    (2)  y = x s

Backward, given dy
    (2') y = x s:  directly dy s, and through the gate  ds = dy x
    (1') ds/dx = exp(-x) / (1 + exp(-x))^2 = s (1 - s), for 1 - s = exp(-x) / (1 + exp(-x)).
         Both together
         dx = dy (s + x s (1 - s)) = dy (s + y (1 - s))

Saved: the bracket of (1'), one array of x's size (4 bytes an entry in float32). x and s are free
to go, and backward is one product.
"""

import math
from typing import NamedTuple

import numpy as np

from ..core.arrays import Array, check_floats, check_gradient
from ._elementwise import bounded, in_pieces, logistic

SATURATED = 1000.0  # |x| beyond which the gate is 0 or 1 in every dtype


class SiluSaved(NamedTuple):
    """What `silu_backward` needs."""

    slope: Array  # x's shape: the derivative dy/dx


def silu(x: Array) -> tuple[Array, SiluSaved]:
    """Multiply each entry by the logistic function of itself.

    Parameters
    ----------
    x : ndarray
        Infinite entries give the limits, 0 and infinity.

    Returns
    -------
    y : ndarray of x's shape
    saved : SiluSaved
        For `silu_backward`.

    Raises
    ------
    TypeError
        If `x` is not float32, float64 or complex128.

    References
    ----------
    Hendrycks and Gimpel (2016), "Gaussian Error Linear Units (GELUs)", arXiv:1606.08415,
    section 2. Ramachandran, Zoph and Le (2017), "Searching for Activation Functions",
    arXiv:1710.05941, where it is called Swish-1.
    """
    check_floats("silu", x=x)
    y, slope = in_pieces(_value_and_slope, x, 2)
    return y, SiluSaved(slope)


def silu_backward(dy: Array, saved: SiluSaved) -> Array:
    """Gradient of `x`; equations (2') and (1') of the module, all but dy being in `saved`.

    Parameters
    ----------
    dy : ndarray of y's shape
        Gradient of the loss with respect to `y`.
    saved : SiluSaved
        As returned by `silu`.

    Returns
    -------
    dx : ndarray of x's shape

    Raises
    ------
    ValueError, TypeError
        If `dy` does not have the shape and precision of `y`.
    """
    (slope,) = saved
    check_gradient("silu_backward", dy, slope.shape, slope)
    return dy * slope


def _value_and_slope(x: Array, y: Array, slope: Array) -> None:
    """Equations (1) and (2), and the bracket of (1')."""
    s = logistic(x)  # (1)
    np.multiply(bounded(x, -SATURATED, math.inf), s, out=y)  # (2)
    np.multiply(bounded(x, -SATURATED, SATURATED), s, out=slope)
    slope *= 1.0 - s  # (1')
    slope += s  # (2')
