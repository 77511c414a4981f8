"""Simple relations between two arrays, found up to rounding."""

import itertools
from collections.abc import Iterator

import numpy as np

from ..core.arrays import Array


def close(a: Array, b: Array, precision: float) -> bool:
    """Say whether a and b differ by no more than `precision` of b's norm."""
    size = float(np.linalg.norm(b))
    difference = float(np.linalg.norm(np.asarray(a - b)))
    return bool(size > 0 and difference <= precision * size)


def factor_between(a: Array, n: Array) -> float | None:
    """Return c with a = c n, if there is one other than 0 and 1.

    What is left, a - c n, has to be far smaller than what c explains, (c - 1) n: so a single
    wrong entry is no factor, and a factor of 1.000001 is one.
    """
    square = float(np.sum(n * n))
    if square == 0.0 or not np.any(a):
        return None
    c = float(np.sum(a * n)) / square
    left = float(np.linalg.norm(np.asarray(a - c * n)))
    explained = abs(c - 1.0) * np.sqrt(square)
    return c if c != 0.0 and left <= 1e-3 * min(explained, abs(c) * np.sqrt(square)) else None


def permutations(n: Array) -> Iterator[tuple[str, str, Array]]:
    """Yield family, words and array for each rearrangement of `n` that keeps its shape."""
    for axes in itertools.permutations(range(n.ndim)) if 2 <= n.ndim <= 4 else ():
        moved = np.transpose(n, axes)
        if axes != tuple(range(n.ndim)) and moved.shape == n.shape:
            yield "transposed", f"transposed (axes {axes})", moved
    if n.ndim >= 2:
        for i, j in itertools.combinations(range(n.ndim), 2):
            if n.shape[i] != n.shape[j]:
                moved = np.swapaxes(n, i, j)
                yield (
                    "transposed",
                    f"with axes {i} and {j} exchanged, then reshaped",
                    moved.reshape(n.shape),
                )
                back = np.swapaxes(n.reshape(moved.shape), i, j)
                yield "transposed", f"reshaped, then with axes {i} and {j} exchanged", back
    for axis in range(n.ndim):
        if n.shape[axis] > 1:
            yield "permuted", f"reversed along axis {axis}", np.flip(n, axis)
            for shift in (1, -1):
                yield "permuted", f"shifted by {shift} along axis {axis}", np.roll(n, shift, axis)


def scaled_alike(axes: tuple[int, ...], a: Array, n: Array) -> Array | None:
    """Return the n * f nearest to a for an f that is the same along `axes`.

    None where too few entries share an f to tell.
    """
    if np.prod([n.shape[axis] for axis in axes], initial=1.0) < 2.0 + (len(axes) == 1):
        return None
    square = np.sum(n * n, axis=axes, keepdims=True)
    with np.errstate(all="ignore"):
        f = np.where(square > 0, np.sum(a * n, axis=axes, keepdims=True) / square, 0.0)
    return np.asarray(n * f)


def parallel_along(axis: int, rest: Array, profile: Array, precision: float) -> bool:
    """Say whether every vector of `rest` along `axis` is a multiple of that of `profile`."""
    if rest.shape[axis] < 2:
        return False
    square = np.sum(profile * profile, axis=axis, keepdims=True)
    with np.errstate(all="ignore"):
        f = np.where(square > 0, np.sum(rest * profile, axis=axis, keepdims=True) / square, 0.0)
    return close(f * profile, rest, precision)


def rows_of(array: Array, rest: Array, precision: float) -> bool:
    """Say whether every vector of `rest` along its last axis is a multiple of a row of `array`.

    Vectors of two entries are too short to tell, and so is a single one.
    """
    if rest.ndim < 2 or not 2 < rest.shape[-1] == array.shape[-1]:
        return False
    vectors = rest.reshape(-1, rest.shape[-1])
    sizes = np.linalg.norm(vectors, axis=1)
    counted = sizes > precision * np.max(sizes)
    with np.errstate(all="ignore"):
        units = array / np.linalg.norm(array, axis=1, keepdims=True)
    along = np.abs(vectors[counted] @ np.nan_to_num(units).T)
    nearest = np.max(along, axis=1, initial=0.0)
    return bool(np.sum(counted) > 1 and np.all(nearest >= (1.0 - precision) * sizes[counted]))
