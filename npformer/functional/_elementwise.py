"""What the activations share: pieces that stay in the cache, a bounded argument, the logistic.

An activation makes a dozen passes over its argument. Over a whole array each pass would go out
to memory and back; `in_pieces` runs them all over one piece while it is in the L2 cache.
"""

from collections.abc import Callable

import numpy as np

from ..core.arrays import Array

PIECE_BYTES = 1 << 16  # a handful of temporaries of this size fill an L2 cache of 512 KiB


def in_pieces(f: Callable[[Array], tuple[Array, ...]], x: Array, count: int) -> tuple[Array, ...]:
    """Apply an elementwise `f` to `x` piece by piece.

    Parameters
    ----------
    f : callable
        From a one-dimensional array to `count` arrays of its shape and dtype. It may not write
        to its argument.
    x : ndarray
        Any shape, also none.
    count : int
        How many arrays `f` returns.

    Returns
    -------
    tuple of `count` new ndarrays of x's shape and dtype

    Notes
    -----
    An exponential that leaves the range of its dtype is meant to: 0 and infinity are then what
    the formulas go on with. So neither is reported; nor is a NaN that a complex division meets,
    since a real one passes NaN on in silence.
    """
    results = tuple(np.empty(x.shape, x.dtype) for _ in range(count))
    flat_x = x.reshape(-1)
    flat_results = [result.reshape(-1) for result in results]
    step = PIECE_BYTES // x.dtype.itemsize
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for start in range(0, flat_x.size, step):
            piece = slice(start, start + step)
            for whole, part in zip(flat_results, f(flat_x[piece]), strict=True):
                whole[piece] = part
    return results


def bounded(x: Array, low: float, high: float) -> Array:
    """Return `x` with its real part held within [low, high], in a new array.

    Where a function has reached its limit anyway, this keeps inf * 0 out of its formula. NaN
    stays NaN; a complex entry outside of the bounds loses its imaginary part, as is right
    where the derivative is 0.
    """
    if x.dtype.kind == "c":
        return np.where(x.real < low, low, np.where(x.real > high, high, x))
    return np.clip(x, low, high)


def logistic(x: Array) -> Array:
    """Return 1 / (1 + exp(-x)) in a new array, with the relative accuracy of either tail.

    For x < 0 the sum is exp(-x) but for its last digits, and the quotient is exp(x), not a
    difference of two numbers near 1. Where exp(-x) overflows, the quotient is 0, and the true
    value was below the smallest normal number of the dtype. The overflow is the caller's to
    silence, as `in_pieces` does.

    A complex exponential that overflows gives NaN in its imaginary part. There the argument of
    exp keeps a real part that is not positive: with e = exp(-x) for x > 0 the value is
    1 / (1 + e), with e = exp(x) otherwise it is e / (1 + e), the same function.
    """
    if x.dtype.kind == "c":
        right = x.real > 0
        e = np.exp(np.where(right, -x, x))
        return np.where(right, 1.0, e) / (1.0 + e)
    s = np.negative(x)
    np.exp(s, out=s)
    s += 1.0
    return np.reciprocal(s, out=s)
