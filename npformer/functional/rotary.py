r"""Rotary position embedding: each pair of coordinates is turned by its position's angle.

The product of a turned query and a turned key then depends on their distance alone.

Forward, for a vector x of even length n at position t; pair c of its n/2 pairs is (a_c, b_c)
    (1)  theta_c = base^(-2c/n)             speeds, from 1 radian a step down  (n/2,)
    (2)  phi_c = t theta_c                  the angle                                  (..., n/2)
    (3)  a'_c = a_c cos phi_c - b_c sin phi_c
         b'_c = a_c sin phi_c + b_c cos phi_c

Backward, given dy with the pairs (da'_c, db'_c)
    (3') a_c stands in both lines, with factors cos and sin; b_c with -sin and cos:
         da_c =  da'_c cos phi_c + db'_c sin phi_c
         db_c = -da'_c sin phi_c + db'_c cos phi_c
         which is the turn by -phi_c: a rotation's transpose is its inverse. t has no gradient.

Why it works: with R_t the turn at t, <R_s q, R_t k> = q^T R_s^T R_t k = q^T R_{t-s} k.

Two ways to pair the coordinates are in use. "Halves" pairs c with c + n/2, as Llama's
checkpoints in the Hugging Face layout do; "interleaved" pairs 2c with 2c + 1, as in the paper.

Saved: cos phi and sin phi; x is not needed, since the map is linear in it.
"""

import functools
from typing import Any, NamedTuple

import numpy as np

from ..core.arrays import Array, check_gradient
from ._positions import check_positions


class RotarySaved(NamedTuple):
    """What `rotary_backward` needs."""

    cos: Array  # (..., n/2)
    sin: Array  # (..., n/2)
    shape: tuple[int, ...]  # of x
    interleaved: bool


def rotary(
    x: Array, positions: Array, base: float = 10000.0, interleaved: bool = False
) -> tuple[Array, RotarySaved]:
    """Turn each pair of coordinates by its position's angle.

    Parameters
    ----------
    x : (..., n) ndarray
        Queries or keys; n is even.
    positions : integer ndarray
        Broadcasts to ``x.shape[:-1]``.
    base : float, optional
        The slowest pair turns by about 1/base radian a step.
    interleaved : bool, optional
        Pair 2c with 2c + 1, rather than c with c + n/2.

    Returns
    -------
    y : (..., n) ndarray
        Of the same length, vector by vector.
    saved : RotarySaved
        For `rotary_backward`.

    Raises
    ------
    ValueError
        If n is odd, positions do not broadcast, or base is not positive.
    TypeError
        If x is not a float array or positions are not integers.

    References
    ----------
    Su et al. (2021), "RoFormer", arXiv:2104.09864, equations 15 and 34.
    """
    check_positions("rotary", x, positions)
    if not base > 0:
        raise ValueError(f"rotary: base is {base}; expected a positive number, such as 10000.0")
    at = np.asarray(positions, np.int64)
    cos, sin = _angles(at.tobytes(), at.shape, x.shape[-1], float(base), x.real.dtype)
    return _turn(x, cos, sin, interleaved), RotarySaved(cos, sin, x.shape, interleaved)  # (3)


def rotary_backward(dy: Array, saved: RotarySaved) -> Array:
    """Gradient of `x`; equation (3') of the module: the turn back.

    Parameters
    ----------
    dy : (..., n) ndarray
        Gradient of the loss with respect to `y`.
    saved : RotarySaved
        As returned by `rotary`.

    Returns
    -------
    dx : (..., n) ndarray

    Raises
    ------
    ValueError, TypeError
        If `dy` does not have the shape and precision of `y`.
    """
    cos, sin, shape, interleaved = saved
    check_gradient("rotary_backward", dy, shape, cos)
    return _turn(dy, cos, -sin, interleaved)  # (3')


@functools.lru_cache(maxsize=4)
def _angles(
    positions: bytes, shape: tuple[int, ...], n: int, base: float, real: np.dtype[Any]
) -> tuple[Array, Array]:
    """Return cos phi and sin phi, equations (1) and (2), not to be written to.

    The layers of a model ask for the same again and again, for queries and for keys.
    """
    t = np.frombuffer(positions, np.int64).reshape(shape)
    theta = base ** (-2.0 * np.arange(n // 2) / n)  # (1) in float64: t * theta may be large
    phi = t[..., None] * theta  # (2)
    cos, sin = np.cos(phi).astype(real), np.sin(phi).astype(real)
    cos.flags.writeable = sin.flags.writeable = False
    return cos, sin


def _turn(x: Array, cos: Array, sin: Array, interleaved: bool) -> Array:
    """Equation (3), for either pairing."""
    y = np.empty_like(x, order="C")
    half = x.shape[-1] // 2
    first, second = (
        (np.s_[..., 0::2], np.s_[..., 1::2])
        if interleaved
        else (np.s_[..., :half], np.s_[..., half:])
    )
    a, b = x[first], x[second]
    y[first] = a * cos - b * sin
    y[second] = a * sin + b * cos
    return y
