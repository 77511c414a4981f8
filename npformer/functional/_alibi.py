"""ALiBi: a constant bias that lowers a score in proportion to the distance.

b_hij = -m_h |i + o - j| with o = n_k - n_q. The slopes m_h are a geometric sequence that starts
at 2^(-8/H) with that same ratio when the number of heads H is a power of two; for other H the
sequence for the next lower power is filled up with every other slope of the next higher one.
It has no parameters, and so no gradient.
"""

import math

import numpy as np
from numpy.typing import DTypeLike

from ..core.arrays import Array


def alibi_slopes(num_heads: int) -> list[float]:
    """Return m_h for each head.

    References
    ----------
    Press, Smith and Lewis (2022), "Train Short, Test Long", arXiv:2108.12409, section 3.
    """
    lower = 2 ** math.floor(math.log2(num_heads))
    slopes = [2.0 ** (-8.0 * (h + 1) / lower) for h in range(lower)]
    higher = [2.0 ** (-8.0 * (h + 1) / (2 * lower)) for h in range(2 * lower)]
    return slopes + higher[0::2][: num_heads - lower]


def alibi_bias(
    num_heads: int, n_q: int, n_k: int, dtype: DTypeLike, positions: Array | None = None
) -> Array:
    """Return b, (..., num_heads, n_q, n_k).

    `positions` (..., n_k) are those of the keys, and the last n_q of them the queries'; 0, 1,
    2, ... if not given.
    """
    if positions is None:
        distance = np.abs(np.arange(n_q)[:, None] + (n_k - n_q) - np.arange(n_k))
    else:
        at = positions.astype(np.int64)
        distance = np.abs(at[..., n_k - n_q :, None] - at[..., None, :])
    slopes = np.array(alibi_slopes(num_heads))[:, None, None]
    bias: Array = (-slopes * distance[..., None, :, :]).astype(dtype)
    return bias
