r"""Rectified linear unit: what is negative becomes 0.

Forward, entry by entry
    (1)  y = max(x, 0)

Backward, given dy
    (1') for x > 0, y = x and dy/dx = 1; for x < 0, y = 0 and dy/dx = 0:
         dx = dy [x > 0] = dy [y > 0]

At x = 0 there is no derivative: from the left it is 0, from the right 1, and every number in
between is a subgradient. The convention is 0, as in PyTorch, and it has a reason: y > 0 then
says all that is needed, an entry whose output is 0 passes nothing on, and zeros that padding or
an earlier relu has left do not start to learn.

Saved: y, the output itself, which the next linear map keeps as well: no bytes of our own. A
boolean mask would add one byte an entry, x four in float32.
"""

import math
from typing import NamedTuple

import numpy as np

from ..core.arrays import Array, check_floats, check_gradient


class ReluSaved(NamedTuple):
    """What `relu_backward` needs."""

    y: Array  # x's shape: the output


def relu(x: Array) -> tuple[Array, ReluSaved]:
    """Set the negative entries of `x` to 0.

    Parameters
    ----------
    x : ndarray
        Complex entries are judged by their real part.

    Returns
    -------
    y : ndarray of x's shape
    saved : ReluSaved
        For `relu_backward`.

    Raises
    ------
    TypeError
        If `x` is not float32, float64 or complex128.

    References
    ----------
    Nair and Hinton (2010), "Rectified linear units improve restricted Boltzmann machines".
    """
    check_floats("relu", x=x)
    y = positive_part(x)  # (1)
    return y, ReluSaved(y)


def relu_backward(dy: Array, saved: ReluSaved) -> Array:
    """Gradient of `x`; equation (1') of the module.

    Parameters
    ----------
    dy : ndarray of y's shape
        Gradient of the loss with respect to `y`.
    saved : ReluSaved
        As returned by `relu`.

    Returns
    -------
    dx : ndarray of x's shape

    Raises
    ------
    ValueError, TypeError
        If `dy` does not have the shape and precision of `y`.
    """
    (y,) = saved
    check_gradient("relu_backward", dy, y.shape, y)
    # A product, not np.where: on signs that follow no pattern its branches are mispredicted.
    return dy * (y.real > 0)  # (1')


def positive_part(x: Array) -> Array:
    """Return max(x, 0), the maximum taken by the real part."""
    if x.dtype.kind == "c":
        return np.where(x.real < 0, 0.0, x)  # NaN stays NaN, as in clip
    return x.clip(0.0, math.inf)  # by NumPy 2.4 and AVX2 twice as fast as np.maximum
