"""What cannot be seen at the point of a check: initial weights, equal entries, ids, axes of one.

Some of it is avoided by moving the point; of the rest the caller is told.
"""

from collections.abc import Iterator

import numpy as np

from ..core.arrays import Array
from .arguments import Argument
from .draws import is_constant, moved
from .target import Target


def move(target: Target, rng: np.random.Generator) -> None:
    """Take derivatives away from the initial parameters and from inputs of equal entries."""
    weights = target.weights
    weights.move_to({weight.name: moved(rng, weight.point) for weight in weights.all})
    for argument in target.arguments:
        if argument.floating and _all_equal(argument.value):
            argument.value = moved(rng, argument.value)


def of_values(target: Target, moving: bool) -> Iterator[str]:
    """Yield what equal entries hide, in words; to be asked before `move`."""
    floating = [a.name for a in target.arguments if a.floating and _all_equal(a.value)]
    if moving:
        for name in floating:
            yield (
                f"all entries of {name} are equal, which hides errors; checked at a random "
                f"point near it (move=False checks where it is)"
            )
    else:
        floating += [w.name for w in target.weights.all if w.trainable and _all_equal(w.point)]
        if floating:
            yield (
                f"all entries are equal in {', '.join(floating)}: a factor or an order that is "
                f"wrong there cannot be seen; without move=False they are moved"
            )
    for argument in target.arguments:
        if not argument.floating and _all_equal(argument.value):
            yield (
                f"all entries of {argument.name} are equal: what would go wrong with different "
                f"ones (an order, a selection, a mask) cannot be seen"
            )
        yield from _of_repetition(argument)
    yield from _of_twins(target)


def _of_repetition(argument: Argument) -> Iterator[str]:
    """Yield what equal slices hide, and what different ids do."""
    x = argument.value
    if x is None or x.size < 2 or is_constant(x):
        return
    if argument.floating:
        for axis in range(x.ndim):
            if x.shape[axis] > 1 and np.all(x == np.take(x, [0], axis=axis)):
                yield (
                    f"{argument.name} is the same all along axis {axis}: a wrong order, sum or "
                    f"mean along it cannot be seen"
                )
    elif x.dtype.kind in "iu" and np.unique(x).size == x.size:
        yield (
            f"no number in {argument.name} occurs twice: if they are ids, a gradient that is not "
            f"added up where one is repeated (g[ids] += dy) cannot be seen"
        )


def _of_twins(target: Target) -> Iterator[str]:
    """Yield which arguments are equal to each other."""
    floating = [a for a in target.arguments if a.floating and a.value.size > 1]
    for i, one in enumerate(floating):
        for other in floating[i + 1 :]:
            if np.array_equal(one.value, other.value) and not is_constant(one.value):
                yield (
                    f"{one.name} and {other.name} are equal: gradients that are exchanged, or "
                    f"taken from the wrong one, cannot be seen"
                )


def of_shapes(target: Target, y_shape: tuple[int, ...]) -> Iterator[str]:
    """Yield which axes of length 1 hide errors, in words."""
    names: dict[int, list[str]] = {}
    for argument in target.arguments:
        for axis in _lonely_axes(argument, y_shape):
            names.setdefault(axis, []).append(argument.name)
    for axis, of in sorted(names.items()):
        yield (
            f"axis {axis} of {' and '.join(of)} has length 1: a wrong sum, mean, scale or order "
            f"along it cannot be seen"
        )


def _all_equal(array: Array | None) -> bool:
    return array is not None and array.size > 1 and is_constant(array)


def _lonely_axes(argument: Argument, y_shape: tuple[int, ...]) -> Iterator[int]:
    """Yield the axes of length 1 that are not broadcast to a longer one of the output.

    Floating-point arrays are broadcast from the right; ids and the like lead the output's axes.
    """
    shape = () if argument.value is None else argument.value.shape
    for axis, length in enumerate(shape):
        of_y = axis - len(shape) + len(y_shape) if argument.floating else axis
        if length == 1 and not (0 <= of_y < len(y_shape) and y_shape[of_y] > 1):
            yield axis
