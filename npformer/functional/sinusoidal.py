r"""Sinusoidal position encoding: waves of different lengths, added to the embeddings.

Forward, for a vector x of even length n at position t; c = 0, ..., n/2 - 1
    (1)  omega_c = 10000^(-2c/n)            wavelengths from 2 pi to 2 pi 10000       (n/2,)
    (2)  p_t,2c = sin(t omega_c),  p_t,2c+1 = cos(t omega_c)                          (..., n)
    (3)  y = x + p_t

Backward, given dy
    (3') dx = dy: p is a constant. It has no parameters and nothing else to learn; the steps
         before have nothing to undo.

Why waves: p_{t+k} is a linear function of p_t that does not depend on t. For each c,
    sin((t+k) w) = sin(t w) cos(k w) + cos(t w) sin(k w)
    cos((t+k) w) = cos(t w) cos(k w) - sin(t w) sin(k w)
a turn by k w. So an attention head can learn to look "k steps back" from anywhere.

Two layouts are in use: "interleaved", as in (2) and the paper, and "halves", all sines and
then all cosines, as in tensor2tensor, Marian and Whisper.

Saved: only x's shape and dtype.
"""

from typing import Any, NamedTuple

import numpy as np

from ..core.arrays import Array, check_choice, check_gradient
from ._positions import check_positions

LAYOUTS = ("interleaved", "halves")


class SinusoidalSaved(NamedTuple):
    """What `sinusoidal_backward` needs."""

    shape: tuple[int, ...]  # of x
    dtype: np.dtype[Any]


def sinusoidal(
    x: Array, positions: Array, layout: str = "interleaved"
) -> tuple[Array, SinusoidalSaved]:
    """Add to each vector the waves of its position.

    Parameters
    ----------
    x : (..., n) ndarray
        n is even.
    positions : integer ndarray
        Broadcasts to ``x.shape[:-1]``. There is no largest position.
    layout : "interleaved" or "halves"

    Returns
    -------
    y : (..., n) ndarray
    saved : SinusoidalSaved
        For `sinusoidal_backward`.

    Raises
    ------
    ValueError
        If n is odd, positions do not broadcast, or the layout is not known.
    TypeError
        If x is not a float array or positions are not integers.

    References
    ----------
    Vaswani et al. (2017), "Attention Is All You Need", section 3.5.
    """
    check_positions("sinusoidal", x, positions)
    check_choice("sinusoidal", "layout", layout, LAYOUTS)
    p = waves(positions, x.shape[-1], layout).astype(x.real.dtype)
    return x + p, SinusoidalSaved(x.shape, x.dtype)  # (3)


def sinusoidal_backward(dy: Array, saved: SinusoidalSaved) -> Array:
    """Gradient of `x`; equation (3') of the module.

    Parameters
    ----------
    dy : (..., n) ndarray
        Gradient of the loss with respect to `y`.
    saved : SinusoidalSaved
        As returned by `sinusoidal`.

    Returns
    -------
    dx : (..., n) ndarray
        A copy of `dy`.

    Raises
    ------
    ValueError, TypeError
        If `dy` does not have the shape and precision of `y`.
    """
    check_gradient("sinusoidal_backward", dy, saved.shape, saved.dtype)
    dx: Array = dy.copy()  # (3')
    return dx


def waves(positions: Array, n: int, layout: str = "interleaved", closed: bool = False) -> Array:
    """Equations (1) and (2): the encoding itself, (..., n) in float64.

    Of the n/2 wavelengths the paper's longest is a step short of 2 pi 10000; `closed`, as in
    tensor2tensor and Whisper, it is that: omega_c = 10000^(-c / (n/2 - 1)).
    """
    steps = max(n // 2 - 1, 1) if closed else n / 2
    omega = 10000.0 ** (-np.arange(n // 2) / steps)  # (1)
    angle = positions[..., None] * omega
    p = np.empty((*positions.shape, n))
    if layout == "interleaved":
        p[..., 0::2], p[..., 1::2] = np.sin(angle), np.cos(angle)  # (2)
    else:
        p[..., : n // 2], p[..., n // 2 :] = np.sin(angle), np.cos(angle)
    return p
