r"""Hyperbolic tangent: any number to one between -1 and 1.

Forward, entry by entry
    (1)  y = tanh(x) = (exp(x) - exp(-x)) / (exp(x) + exp(-x))

Backward, given dy
    (1') with the numerator a and the denominator b, da/dx = b and db/dx = a:
         dy/dx = (b b - a a) / b^2 = 1 - y^2
         dx = dy (1 - y^2)

Saved: y alone, the output itself: no bytes of our own where the caller keeps it too.
"""

from typing import NamedTuple

import numpy as np

from ..core.arrays import Array, check_floats, check_gradient


class TanhSaved(NamedTuple):
    """What `tanh_backward` needs."""

    y: Array  # x's shape: the output


def tanh(x: Array) -> tuple[Array, TanhSaved]:
    """Map each entry to its hyperbolic tangent, between -1 and 1.

    Parameters
    ----------
    x : ndarray
        Infinite entries give the limits, -1 and 1.

    Returns
    -------
    y : ndarray of x's shape
    saved : TanhSaved
        For `tanh_backward`.

    Raises
    ------
    TypeError
        If `x` is not float32, float64 or complex128.
    """
    check_floats("tanh", x=x)
    y = np.tanh(x)  # (1)
    return y, TanhSaved(y)


def tanh_backward(dy: Array, saved: TanhSaved) -> Array:
    """Gradient of `x`; equation (1') of the module.

    Parameters
    ----------
    dy : ndarray of y's shape
        Gradient of the loss with respect to `y`.
    saved : TanhSaved
        As returned by `tanh`.

    Returns
    -------
    dx : ndarray of x's shape

    Raises
    ------
    ValueError, TypeError
        If `dy` does not have the shape and precision of `y`.
    """
    (y,) = saved
    check_gradient("tanh_backward", dy, y.shape, y)
    # (1') as (1 - y) (1 + y): 1 - y is exact for y >= 1/2, where 1 - y^2 rounds y^2 first.
    dx = dy * (1.0 - y)
    dx *= 1.0 + y
    return dx
