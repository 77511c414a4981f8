r"""Dropout: entries are zeroed at random, the rest enlarged so that the mean stays.

Forward, with a rate p and for each entry an independent u_i, uniform on [0, 1)
    (1)  m_i = 1 if u_i >= p, else 0
    (2)  y_i = x_i m_i / (1 - p)            E[y_i] = x_i, since E[m_i] = 1 - p

Backward, given dy
    (2') m is a constant of the pass, drawn without looking at x:
         dx_i = dy_i m_i / (1 - p)

Without a generator the pass is an evaluation and y = x: the mean, which needs no rescaling.

Saved: m, one byte an entry. It cannot be drawn again, for the generator has moved on.
"""

from typing import Any, NamedTuple

import numpy as np

from ..core.arrays import (
    Array,
    BoolArray,
    check_floats,
    check_generator,
    check_gradient,
    check_rate,
)


class DropoutSaved(NamedTuple):
    """What `dropout_backward` needs."""

    shape: tuple[int, ...]  # of x
    dtype: np.dtype[Any]
    keep: BoolArray | None  # (...)  m; None if nothing was dropped
    scale: float  # 1 / (1 - p)


def dropout(x: Array, rate: float, rng: np.random.Generator | None) -> tuple[Array, DropoutSaved]:
    """Zero each entry with probability `rate` and enlarge the others to keep the mean.

    Parameters
    ----------
    x : ndarray
    rate : float
        Probability that an entry is zeroed, 0 <= rate < 1.
    rng : numpy.random.Generator or None
        Source of randomness, advanced by one number an entry. None: y is `x` itself.

    Returns
    -------
    y : ndarray of x's shape
    saved : DropoutSaved
        For `dropout_backward`.

    Raises
    ------
    ValueError
        If `rate` is not in [0, 1).
    TypeError
        If `x` is not float32, float64 or complex128, or `rng` is not a Generator.

    References
    ----------
    Srivastava et al. (2014), "Dropout", section 10: the scaling at training time.
    """
    check_floats("dropout", x=x)
    check_rate("dropout", "rate", rate)
    check_generator("dropout", rng)
    if rng is None or rate == 0.0:
        return x, DropoutSaved(x.shape, x.dtype, None, 1.0)
    keep = rng.random(x.shape, dtype=np.float32) >= rate  # (1)
    scale = 1.0 / (1.0 - float(rate))
    y = x * keep
    y *= scale  # (2)
    return y, DropoutSaved(x.shape, x.dtype, keep, scale)


def dropout_backward(dy: Array, saved: DropoutSaved) -> Array:
    """Gradient of `x`; equation (2') of the module.

    Parameters
    ----------
    dy : ndarray of y's shape
        Gradient of the loss with respect to `y`.
    saved : DropoutSaved
        As returned by `dropout`.

    Returns
    -------
    dx : ndarray of x's shape
        Zero where the entry was dropped.

    Raises
    ------
    ValueError, TypeError
        If `dy` does not have the shape and precision of `y`.
    """
    shape, dtype, keep, scale = saved
    check_gradient("dropout_backward", dy, shape, dtype)
    if keep is None:
        dx: Array = dy.copy()
    else:
        dx = dy * keep
        dx *= scale  # (2')
    return dx
