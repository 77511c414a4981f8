r"""Whether a difference is an error or rounding, where it is too small for its size to tell.

    d(x) = analytic - numeric derivative, at seven points on a line through x

An error is a smooth function of x, so it hardly changes over so short a way, while rounding is
drawn anew at every point. A gradient that does not move at all, where the numeric one does, has
lost its digits (1 - y^2 where y is nearly 1): that is rounding, too. Where neither moves,
forward is linear in x, and the cotangent moves instead.

The complex step has all its digits at every scale, so this finds a wrong entry that is a
billionth of its neighbours, or of a constant that was added to the output.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.arrays import Array
from .complex_step import ComplexStep
from .draws import signs_and_sizes
from .target import Slot, Target

_STEPS = np.array([-3.0, -1.93, -1.17, 0.0, 0.62, 1.71, 2.86])  # no common measure, as of stairs
_STRIDE = 2.0**-14  # from point to point, relative to each entry
_SMOOTH = 0.1  # distance of an error from a straight line, relative to the error


def persists(
    target: Target,
    slot: Slot,
    dy: Any,
    method: ComplexStep,
    directions: Sequence[Array],
    smooth: Array,
    rng: np.random.Generator,
) -> list[bool]:
    """Say of each direction whether analytic and numeric derivative differ by more than rounding.

    Parameters
    ----------
    target : Target
    slot : Slot
    dy : ndarray or float
        The cotangent.
    method : ComplexStep
    directions : list of ndarray
    smooth : ndarray
        0 at entries that lie at a kink, which stay where they are.
    rng : numpy.random.Generator
    """
    along_x = slot.point * signs_and_sizes(rng, slot.point.shape) * smooth * _STRIDE
    along_dy = dy * signs_and_sizes(rng, np.shape(dy)) * _STRIDE
    found: list[bool | None] = [None] * len(directions)
    for x_moves, dy_moves in ((1, 0), (0, 1)):
        gradients, methods, slots = [], [], []
        for step in _STEPS.tolist():
            point = (slot.point + x_moves * step * along_x).astype(slot.point.dtype)
            upstream = (dy + dy_moves * step * along_dy).astype(np.asarray(dy).dtype)
            upstream = float(upstream) if np.ndim(dy) == 0 else upstream
            place = slot.kind, slot.place
            gradients.append(target.gradients_at(upstream, {place: point})[place])
            methods.append(method.under(upstream))
            slots.append(Slot(slot.name, slot.kind, slot.place, point))
        for which, direction in enumerate(directions):
            if found[which] is None:
                analytic = np.array(
                    [float(np.sum(g * direction, dtype=np.float64)) for g in gradients]
                )
                numeric = np.array(
                    [m.along(s, direction).value for m, s in zip(methods, slots, strict=True)]
                )
                found[which] = _is_error(analytic, numeric)
        if None not in found:
            break
    return [bool(verdict) for verdict in found]


def _is_error(analytic: Array, numeric: Array) -> bool | None:
    """Judge one direction; None if neither of the derivatives moves."""
    size = float(np.max(np.abs(analytic)) + np.max(np.abs(numeric)))
    still = [float(np.ptp(x)) <= 1e-12 * size for x in (analytic, numeric)]
    if all(still):
        return None
    if np.unique(analytic).size < analytic.size - 1 and not still[1]:
        return False
    apart = analytic - numeric
    scale = float(np.max(np.abs(apart))) or 1.0  # tiny numbers would underflow in the fit
    line = np.polyval(np.polyfit(_STEPS, apart / scale, 1), _STEPS)
    off = np.abs(apart / scale - line)
    return bool(np.all(off <= _SMOOTH * float(np.min(np.abs(apart / scale)))))
