"""Where a check looks: random cotangents and directions, and points away from the initial ones.

A cotangent of ones hides every error that sums to zero (softmax and LayerNorm have constant
sums); a weight of ones hides that it was forgotten. So nothing here is ever constant or zero:
magnitudes lie between 1/2 and 3/2. That also means that a random direction weighs every single
entry by at least 1/2: one wrong entry can never fall out of it by chance.
"""

import math
from typing import Any

import numpy as np

from ..core.arrays import Array

_OFFSET = 1e-4  # of an array's size: if its entries differ by less, they share an offset


def signs_and_sizes(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Draw entries of random sign, and of a size between 1/2 and 3/2."""
    size = rng.uniform(0.5, 1.5, shape)
    return np.asarray(np.where(rng.random(shape) < 0.5, -size, size))


def cotangent(rng: np.random.Generator, y: Array) -> Array:
    """Draw an upstream gradient for the output `y`, in its shape and dtype."""
    return signs_and_sizes(rng, y.shape).astype(y.dtype)


def length_scale(x: Array) -> float:
    """Return the length by which steps are measured: the root mean square of `x`.

    That is 1 if all are zeros. Entries that hardly differ beside a large offset are measured by
    their differences, for there the offset may well be subtracted.
    """
    if x.size == 0:
        return 1.0
    largest = float(np.max(np.abs(x)))
    if largest == 0.0 or not math.isfinite(largest):
        return 1.0
    scaled = np.asarray(x, np.float64) / largest  # squares of tiny entries would underflow
    size, spread = math.sqrt(float(np.mean(scaled * scaled))), float(np.std(scaled))
    return largest * (spread if 1e-12 < spread < _OFFSET * size else size)


def moved(rng: np.random.Generator, x: Array) -> Array:
    """Return a point near `x` at which no two entries are alike.

    Entries keep their sign, for a parameter may have to be positive: each is multiplied by a
    number between 1/2 and 3/2. Entries of 0 move by up to half of the array's scale. If all
    are one small number (0.1 or less), they move further: at 1e-5 all else would drown it.
    """
    factor = rng.uniform(0.5, 1.5, x.shape)
    shift = signs_and_sizes(rng, x.shape) * 0.5
    y = np.where(x == 0, shift * length_scale(x), x * factor)
    if is_constant(x) and x.size and 0 < abs(float(x.flat[0])) < 0.1:
        y = x + np.copysign(np.abs(shift), x)
    return y.astype(x.dtype)


def is_constant(x: Array) -> bool:
    """Say whether all entries of `x` are equal."""
    return bool(x.size == 0 or np.all(x == x.flat[0]))


def nudged(rng: np.random.Generator, x: Array) -> Array:
    """Return `x` with each entry changed by a few units in its last place."""
    eps = float(np.finfo(x.dtype).eps)
    return (x * (1.0 + 4.0 * eps * rng.uniform(-1.0, 1.0, x.shape))).astype(x.dtype)


def one_hot(x: Array, flat_index: int) -> Array:
    """Return the direction of a single entry."""
    direction: Array = np.zeros(x.shape)
    direction.flat[flat_index] = 1.0
    return direction


def as_index(flat_index: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the index of a flat position, as Python integers."""
    found: Any = np.unravel_index(flat_index, shape) if shape else ()
    return tuple(int(i) for i in found)
