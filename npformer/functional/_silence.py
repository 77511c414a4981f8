"""How a weight of exactly 0 silences what it meets: 0 x NaN and 0 x inf are NaN, and must be 0.

What keys and values hold that a query may not attend to must reach nothing. The plain product
does that unless an entry is not finite, or so large that a product overflows. So attention looks
once a call whether its arrays are tame, and only if they are not takes the slower product.
"""

import math
from typing import Literal

import numpy as np

from ..core.arrays import Array

_LARGEST = {np.dtype(t): float(np.finfo(t).max) for t in (np.float32, np.float64)}


def is_tame(*arrays: Array, times: float = 1.0) -> bool:
    """Say whether no entry is NaN, infinite, or so large that a product would overflow.

    A product of two vectors, that is, as long as the last axis of the longest array; and not
    either if one of the two were `times` as large.
    """
    width = max((x.shape[-1] for x in arrays), default=1)
    with np.errstate(over="ignore", invalid="ignore"):
        for x in arrays:
            for part in (x.real, x.imag) if x.dtype.kind == "c" else (x,):
                if not _within(part, _LARGEST[part.dtype] / (2 * max(1, width) * times * times)):
                    return False
    return True


def _within(x: Array, square: float) -> bool:
    """Say whether x^2 < square everywhere; NaN is not."""
    flat = x.ravel(order="K")
    if np.vdot(flat, flat) < square:  # no square is larger than the sum of all
        return True
    limit = math.sqrt(square)
    return bool(np.max(x, initial=-math.inf) < limit and np.min(x, initial=math.inf) > -limit)


def reporting(tame: bool) -> np.errstate:
    """Report what goes wrong in tame numbers; elsewhere it may be under the mask."""
    report: Literal["warn", "ignore"] = "warn" if tame else "ignore"
    return np.errstate(invalid=report, over=report)


def mix(weights: Array, x: Array, tame: bool) -> Array:
    """Return weights @ x, in which a weight of exactly 0 meets nothing, not even a NaN."""
    if tame:
        return weights @ x
    spoilt = ~np.all(np.isfinite(x), axis=-1, keepdims=True)  # (..., n_k, 1)
    y = weights @ np.where(spoilt, 0, x)
    columns = np.unique(np.nonzero(spoilt)[-2])
    with np.errstate(invalid="ignore"):
        for j in columns:  # each spoilt row of x, for those that look at it
            w = weights[..., :, j, None]
            y = y + np.where((w != 0) & spoilt[..., j, None, :], w * x[..., j, None, :], 0)
    return y
