r"""Sigmoid, the logistic function: any number to one between 0 and 1.

Forward, entry by entry
    (1)  e = exp(-x)
    (2)  y = 1 / (1 + e)

Backward, given dy
    (2') dy/de = -1 / (1 + e)^2 = -y^2:  de = -dy y^2
    (1') de/dx = -e:  dx = dy e y^2.  From (2), e y = (1 + e) y - y = 1 - y, and so
         dx = dy y (1 - y)

For x far below 0, y is exp(x) with its relative accuracy, and so is dx. Far above 0, y rounds to
1: there y (1 - y) is off by a rounding of 1, not of itself.

Saved: y alone, the output itself: no bytes of our own where the caller keeps it too.
"""

from typing import NamedTuple

from ..core.arrays import Array, check_floats, check_gradient
from ._elementwise import in_pieces, logistic


class SigmoidSaved(NamedTuple):
    """What `sigmoid_backward` needs."""

    y: Array  # x's shape: the output


def sigmoid(x: Array) -> tuple[Array, SigmoidSaved]:
    """Map each entry to 1 / (1 + exp(-x)), between 0 and 1.

    Parameters
    ----------
    x : ndarray
        Infinite entries give the limits, 0 and 1.

    Returns
    -------
    y : ndarray of x's shape
    saved : SigmoidSaved
        For `sigmoid_backward`.

    Raises
    ------
    TypeError
        If `x` is not float32, float64 or complex128.
    """
    check_floats("sigmoid", x=x)
    (y,) = in_pieces(logistic, x, 1)  # (1), (2)
    return y, SigmoidSaved(y)


def sigmoid_backward(dy: Array, saved: SigmoidSaved) -> Array:
    """Gradient of `x`; equations (2') and (1') of the module.

    Parameters
    ----------
    dy : ndarray of y's shape
        Gradient of the loss with respect to `y`.
    saved : SigmoidSaved
        As returned by `sigmoid`.

    Returns
    -------
    dx : ndarray of x's shape

    Raises
    ------
    ValueError, TypeError
        If `dy` does not have the shape and precision of `y`.
    """
    (y,) = saved
    check_gradient("sigmoid_backward", dy, y.shape, y)
    dx = dy * y  # (2')
    dx *= 1.0 - y  # (1')
    return dx
