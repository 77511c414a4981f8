r"""Central differences that know their own error.

With f+ = f(x + t v), f- = f(x - t v), and D(t) = (f+ - f-) / 2t

    R(t) = (4 D(t) - D(2t)) / 3            Richardson: the error in t^2 is gone, t^4 is left
    truncation   |R(t) - R(2t)|            fifteen times more than what is expected of R(t)
    rounding     noise / t
    kink         q(t) = |2 A(t) - A(2t)|   with A(t) = (f+ - 2 f(x) + f-) / t

A smooth f has A(t) = t f'' + O(t^3), so q is of third order; where the slope jumps by J at x,
A(t) = J for every t, and q = J. All three are added up to the bound. If it is large, other steps
are tried, larger ones where rounding is to blame, and the smallest bound stands that no smaller
step contradicts: where a step is far too large, the bound may be anything.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.arrays import Array
from .estimate import Estimate
from .noise import Noise
from .target import Slot, Target

# Step sizes, relative to the slot's scale: the first balances t^4 against eps / t; then those for
# a function that bends sharply or has a kink nearby, and those for one that is mostly rounding.
_DOUBLE = 2.0**-10, tuple(2.0**-k for k in range(14, 43, 4)), (2.0**-7, 2.0**-4)
_SINGLE = 2.0**-6, (2.0**-8, 2.0**-10), (2.0**-4,)
_FAIR = 1e-7  # the same after the first: what is left of smaller steps is rounding
_GOOD = 1e-9  # no smaller step is tried below this relative bound
FINER = 3  # smaller steps that still leave some digits of every single output
_NOTHING = Estimate(np.nan, np.inf, 0.0, kink=True)
_KINK = 1e-3  # jump of the slope, relative to the slope, that counts as one


class CentralDifference:
    """Directional derivatives of sum(dy y) by central differences.

    Parameters
    ----------
    target : Target
    y, dy : ndarray
        Output at the point, and cotangent.
    noise : Noise
        Of the target at the point.
    """

    name = "central difference"

    def __init__(self, target: Target, y: Array, dy: Any, noise: Noise) -> None:
        self._target = target
        self._y = np.asarray(y)
        self._dy = np.asarray(dy, np.float64)
        self._noise = noise
        self._steps = _SINGLE if noise.single or noise.stairs else _DOUBLE

    def along(self, slot: Slot, direction: Array) -> Estimate:
        """Differentiate along `direction` in one slot."""
        return self.along_all([(slot, direction)])

    def along_all(self, directions: Sequence[tuple[Slot, Array]]) -> Estimate:
        """Differentiate along a direction in several slots at once."""
        length = _common_length(directions)
        first, smaller, larger = self._steps
        found: list[tuple[float, Estimate]] = []
        steps = [first]
        while steps:
            step = steps.pop(0)
            try:
                with np.errstate(all="ignore"):
                    estimate, rounding = self._richardson(directions, step * length)
            except (ValueError, ArithmeticError):  # the step leaves the domain of forward
                estimate, rounding = _NOTHING, 0.0
            found.append((step, estimate))
            lost = estimate.bound <= 2.0 * rounding  # in rounding: smaller steps make it worse
            if estimate.bound <= _GOOD * estimate.activity:
                return estimate
            if step == first:
                steps = list(larger if lost else smaller)
            elif step < first and (lost or estimate.bound <= _FAIR * estimate.activity):
                break
        return _best([estimate for _, estimate in sorted(found, key=lambda pair: pair[0])])

    def pushed(self, slot: Slot, direction: Array, finer: int = 0) -> Array:
        """Return how each output changes along `direction`, to some digits.

        Parameters
        ----------
        slot : Slot
        direction : ndarray
        finer : int, optional
            How many smaller step sizes to pass over, up to `FINER`.

        Returns
        -------
        ndarray
            NaN where a step leaves the domain of forward.
        """
        first, smaller, _ = self._steps
        pair, t = [(slot, direction)], (first, *smaller)[min(finer, len(smaller))] * slot.length
        try:
            with np.errstate(all="ignore"):
                return np.asarray((self._at(pair, t) - self._at(pair, -t)) / (2.0 * t))
        except (ValueError, ArithmeticError):
            return np.full(self._y.shape, np.nan)

    def _richardson(
        self, directions: Sequence[tuple[Slot, Array]], t: float
    ) -> tuple[Estimate, float]:
        """Return the estimate, and the part of its bound that rounding has."""
        slopes, bends, rounding, activity = [], [], 0.0, 0.0
        for step in (t, 2.0 * t, 4.0 * t):
            above, below = self._at(directions, step), self._at(directions, -step)
            terms = self._dy * (above - below) / (2.0 * step)
            bend = np.sum(self._dy * ((above - self._y) + (below - self._y))) / step
            slopes.append(float(np.sum(terms)))
            bends.append(float(bend))
            if step == t:
                changed = (above != below) | (above != self._y)
                rounding = 2.0 * self._noise.of_difference(changed) / t
                activity = float(np.sum(np.abs(terms)))
        fine = (4.0 * slopes[0] - slopes[1]) / 3.0
        coarse = (4.0 * slopes[1] - slopes[2]) / 3.0
        jump = max(abs(2.0 * bends[0] - bends[1]), abs(2.0 * bends[1] - bends[2]))
        bound = abs(fine - coarse) + jump + rounding
        if not np.isfinite(bound):
            return Estimate(fine, np.inf, activity, kink=True), rounding
        kink = jump > 4.0 * rounding and jump > _KINK * max(abs(fine), activity)
        return Estimate(fine, bound, activity, kink), rounding

    def _at(self, directions: Sequence[tuple[Slot, Array]], t: float) -> Array:
        changed = {
            (slot.kind, slot.place): (slot.point + t * direction).astype(slot.point.dtype)
            for slot, direction in directions
        }
        return np.array(self._target.evaluate(changed)[0], np.float64)


def _best(estimates: list[Estimate]) -> Estimate:
    """Return the smallest bound that no smaller step contradicts; they come smallest first."""
    held: list[Estimate] = []
    for one in estimates:
        if all(abs(one.value - finer.value) <= one.bound + finer.bound for finer in held):
            held.append(one)
    return min(held, key=lambda estimate: estimate.bound, default=_NOTHING)


def _common_length(directions: Sequence[tuple[Slot, Array]]) -> float:
    """Return the step for which no slot moves by more than its own scale.

    A single entry that is larger than its array's scale may take a larger step.
    """
    lengths = []
    for slot, direction in directions:
        active = np.flatnonzero(direction)
        largest = float(np.max(np.abs(direction.flat[active]), initial=0.0)) or 1.0
        own = abs(float(slot.point.flat[active[0]])) if active.size == 1 else 0.0
        lengths.append(max(slot.length, own) / largest)
    return min(lengths)
