r"""Which entries lie at a kink: found before anything is compared, whatever the gradients say.

At a kink the slope to the right differs from that to the left, by J. With f+ = f(x + t v),
f- = f(x - t v) and A(t) = (f+ - 2 f(x) + f-) / t,

    q(t) = |2 A(t) - A(2t)|   is J for every t at a kink, and of third order in t for a smooth f,

taken of each output by itself, where a single kink among thousands of entries still stands out.
Close by, a kink is nearly all of A(t), which for a smooth f is far more than its third order.
A kink is crossed by a direction exactly if it is crossed by one of its entries. So one direction
through all entries clears a smooth tensor, and where it does not, halving finds the entries.
"""

from collections import deque

import numpy as np

from ..core.arrays import Array
from .draws import signs_and_sizes
from .noise import Noise
from .target import Slot, Target

_FAR, _NEAR = 2.0**-20, 2.0**-30  # distances, relative to the entry: a kink shows at both
_SINGLE = 2.0**-9  # in float32 nothing can be seen closer by, so what is near counts as well
_BUDGET = 600  # groups examined of one tensor; what is undecided then counts as a kink
_SMALL = 2.0**-16  # of the tensor's scale: smaller entries move by no less


class Kinks:
    """Finds the entries at which forward has no derivative.

    Parameters
    ----------
    target : Target
    y : ndarray
        The output at the point.
    noise : Noise
    rng : numpy.random.Generator
    """

    def __init__(self, target: Target, y: Array, noise: Noise, rng: np.random.Generator) -> None:
        self._target, self._noise, self._rng = target, noise, rng
        self._y = np.asarray(y, np.float64)

    def of(self, slot: Slot) -> Array:
        """Return 1 at every entry but those at a kink, in the slot's shape."""
        smooth = np.ones(slot.point.size)
        reach = self._reach(slot)
        by_value = np.argsort(slot.point, axis=None, kind="stable")  # equal entries stay together
        groups, left = deque([by_value] if slot.point.size else []), _BUDGET
        while groups:
            group = groups.popleft()
            direction = np.zeros(slot.point.size)
            direction[group] = reach[group]
            left -= 1
            if left >= 0 and not self._crosses(slot, direction.reshape(slot.point.shape), group):
                continue
            if group.size == 1 or left < 0:
                smooth[group] = 0.0
            else:
                groups += np.array_split(group, 2)
        return smooth.reshape(slot.point.shape)

    def _crosses(self, slot: Slot, direction: Array, group: Array) -> bool:
        """Say whether forward has a kink along a direction, or might have one."""
        direction = direction * signs_and_sizes(self._rng, slot.point.shape)
        if self._noise.single:
            jump, _, slope, noise = self._jump(slot, direction, _SINGLE)
            return bool(np.any(~(jump <= 0.02 * slope + noise)))
        far, far_bend, slope, noise = self._jump(slot, direction, _FAR)
        suspicious = ~(far <= 1e-7 * slope + noise)  # NaN is suspicious
        if not np.any(suspicious):
            return False
        near, bend, slope, noise = self._jump(slot, direction, _NEAR)
        seen = 1e-5 * slope + noise
        stays = (near > 0.25 * far) & (near > 0.1 * bend)
        faint = (far > 0.1 * far_bend) | (group.size > 1)  # too faint to be seen close by
        stays = np.where(seen < 0.25 * far, stays, faint)
        return bool(np.any(suspicious & (stays | np.isnan(near))))

    def _jump(self, slot: Slot, direction: Array, t: float) -> tuple[Array, Array, Array, Array]:
        """Return q, |A|, the slope, and the noise of all these, for each output."""
        with np.errstate(all="ignore"):
            try:
                above, below, above2, below2 = (
                    self._at(slot, direction, k * t) for k in (1, -1, 2, -2)
                )
            except (ValueError, ArithmeticError):  # the domain of forward ends here
                unknown = np.full_like(self._y, np.nan)
                return unknown, unknown, unknown, unknown
            bend = (above - self._y) + (below - self._y)
            bend2 = (above2 - self._y) + (below2 - self._y)
            jump = np.abs(2.0 * bend - 0.5 * bend2) / t
            slope = (np.abs(above - self._y) + np.abs(below - self._y)) / t
        return jump, np.abs(bend) / t, slope, 32.0 * self._noise.sigma / t

    def _at(self, slot: Slot, direction: Array, t: float) -> Array:
        point = (slot.point + t * direction).astype(slot.point.dtype)
        return np.array(self._target.evaluate({(slot.kind, slot.place): point})[0], np.float64)

    def _reach(self, slot: Slot) -> Array:
        """Return the unit by which each entry moves: its own size, or the scale of the tensor."""
        if self._noise.single:
            return np.full(slot.point.size, slot.length)
        size = np.abs(slot.point.astype(np.float64)).ravel()
        return np.where(size == 0.0, slot.length, np.maximum(size, _SMALL * slot.length))
