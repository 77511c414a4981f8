"""Which attention weights are dropped: a function of (seed, lead index, i, j) and nothing else.

A generator hands out numbers in an order, and so ties the result to the order of the work. A
hash does not: any tile of the mask can be formed alone, by any thread, and again in backward,
which spares keeping it. Row keys are made with the finaliser of splitmix64 (Steele, Lea and
Flood 2014); entries with a 32-bit multiply-and-shift finaliser of the murmur family, into
whose middle the upper half of the row's key is added, so that no two rows of the mask are
shifted copies of each other.
"""

import numpy as np
from numpy.typing import NDArray

from ..core.arrays import BoolArray
from ..masks import Span

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def kept(
    seed: int, lead_indices: NDArray[np.uint64], rows: Span, columns: Span, rate: float
) -> BoolArray:
    """Say for a rectangle of attention weights which are kept.

    Parameters
    ----------
    seed : int
        0 <= seed < 2**64.
    lead_indices : (...) uint64 ndarray
        Flat index of each leading entry (batch and head).
    rows, columns : Span
        Queries and keys.
    rate : float
        Probability that a weight is dropped.

    Returns
    -------
    (..., len(rows), len(columns)) bool ndarray
    """
    # A vector even of one: NumPy warns where a lone uint64 wraps around, and it is meant to.
    lead = lead_indices.reshape(-1) + np.uint64(1)
    lead_key = _splitmix(np.uint64(seed) + lead * _GOLDEN)
    row = rows.numbers.astype(np.uint64) + np.uint64(1)
    row_key = _splitmix(lead_key[..., None] + row * _GOLDEN)[..., None]  # (..., rows, 1)
    low = row_key.astype(np.uint32)
    high = (row_key >> np.uint64(32)).astype(np.uint32)
    x = low + columns.numbers.astype(np.uint32) * np.uint32(0x9E3779B1)  # modulo 2**32
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x7FEB352D)
    x += high
    x ^= x >> np.uint32(15)
    x *= np.uint32(0x846CA68B)
    x ^= x >> np.uint32(16)
    keep: BoolArray = x >= np.uint32(min(round(rate * 2.0**32), 2**32 - 1))
    return keep.reshape(*lead_indices.shape, *keep.shape[1:])


def _splitmix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Mix 64 bits so that each bit of the result depends on all of them."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[np.uint64] = x ^ (x >> np.uint64(31))
    return mixed
