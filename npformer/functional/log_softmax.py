r"""Log-softmax: the logarithms of the probabilities that softmax gives.

Forward, along one axis
    (1)  m   = max_j x_j                    shift, so that no exp overflows   (..., 1)
    (2)  e_j = exp(x_j - m)                                                   (..., n)
    (3)  l   = log sum_k e_k                between 0 and log n               (..., 1)
    (4)  y_j = (x_j - m) - l                                                  (..., n)

The logarithm is never taken of a probability, which may have rounded to 0. The shift cancels:
y_j = x_j - log sum_k exp(x_k) for any m, so that no gradient flows through it, and (1) has no
step backward.

Backward, given dy
    (4') each y_j holds its own x_j and the l that all share:  dx_j = dy_j,  dl = -sum_j dy_j
    (3') dl/de_k = 1 / sum_j e_j:  de_k = dl / sum_j e_j
    (2') de_k/dx_k = e_k adds  dl e_k / sum_j e_j = dl p_k,  with p_k = exp(y_k) the softmax:
         dx_k = dy_k - p_k sum_j dy_j

The entries of dx sum to sum_k dy_k - sum_j dy_j = 0: adding a constant to all x changes no y.

Saved: y alone, the output itself. p is its exponential: one exp more in backward against an
array of x's size kept (4 bytes an entry in float32).
"""

from typing import NamedTuple

import numpy as np

from ..core.arrays import Array, check_gradient
from .softmax import shifted_exp


class LogSoftmaxSaved(NamedTuple):
    """What `log_softmax_backward` needs."""

    y: Array  # x's shape: the output
    axis: int


def log_softmax(x: Array, axis: int = -1) -> tuple[Array, LogSoftmaxSaved]:
    """Turn scores along `axis` into log-probabilities.

    Parameters
    ----------
    x : ndarray
        Scores. Entries of -inf stay -inf.
    axis : int, optional
        The axis along which the exponentials of the result sum to 1.

    Returns
    -------
    y : ndarray of x's shape
    saved : LogSoftmaxSaved
        For `log_softmax_backward`.

    Raises
    ------
    ValueError
        If `axis` does not exist or is empty, if scores are +inf, or are -inf along all of
        the axis: none of these has a distribution.
    TypeError
        If `x` is not float32, float64 or complex128.
    """
    e, m = shifted_exp("log_softmax", x, axis)  # (1), (2)
    log_sum = np.log(np.sum(e, axis=axis, keepdims=True))  # (3)
    y = np.subtract(x, m, out=e)  # e is done with, and its memory holds x - m
    y -= log_sum  # (4)
    return y, LogSoftmaxSaved(y, axis)


def log_softmax_backward(dy: Array, saved: LogSoftmaxSaved) -> Array:
    """Gradient of `x`; equations (4') to (2') of the module.

    Parameters
    ----------
    dy : ndarray of y's shape
        Gradient of the loss with respect to `y`.
    saved : LogSoftmaxSaved
        As returned by `log_softmax`.

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
    check_gradient("log_softmax_backward", dy, y.shape, y)
    dl: Array = -np.sum(dy, axis=axis, keepdims=True)  # (4') through the sum
    dx = np.exp(y) * dl  # (3'), (2')
    dx += dy  # (4') directly
    return dx
