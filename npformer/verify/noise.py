r"""How much of an output is rounding: measured, not guessed.

The inputs are changed by a few units in their last place, several times over, and the largest
change of each output is kept. No method can know the output better than that. Two bounds follow:

    of a difference of two evaluations    4 sqrt(sum_k (dy_k sigma_k)^2)
    of a gradient, by what its terms are  128 (that) / |x|  +  c eps (largest sum of |terms|)

The second is generous: what differs by less may be rounding (`persistence` looks closer).

A forward that rounds to a narrower dtype on its way is a staircase, on whose steps such small
changes leave no trace. It is found by second differences over larger distances: those of a smooth
function grow with the square of the distance, those at a kink in proportion, those of a staircase
hardly at all.
"""

import math

import numpy as np

from ..core.arrays import Array
from .draws import nudged, signs_and_sizes
from .target import Slot, Target

SAMPLES = 4
_DISTANCES = ((2.0**-24, 2.0**-21), (2.0**-12, 2.0**-9))  # for stairs of float32, of float16
_STAIRS = 256.0  # how far a staircase stands out of the noise
_LOWEST, _HIGHEST = 1e-10, 4e-3  # stairs, relative to the output


class Noise:
    """The rounding noise of a target at its point.

    Parameters
    ----------
    target : Target
    slots : list of Slot
    y : ndarray
        The output at the point.
    dy : ndarray
        The cotangent.
    rng : numpy.random.Generator

    Attributes
    ----------
    single : bool
        Whether anything is float32.
    eps : float
    sigma : ndarray
        What is uncertain about each output.
    stairs : float
        By how much of itself a staircase jumps; 0 if forward is none.
    """

    def __init__(
        self, target: Target, slots: list[Slot], y: Array, dy: Array, rng: np.random.Generator
    ) -> None:
        dtypes = [y.dtype, *(slot.point.dtype for slot in slots)]
        self.single = np.dtype(np.float32) in dtypes
        self.eps = float(np.finfo(np.float32 if self.single else np.float64).eps)
        self._target, self._slots, self._rng = target, slots, rng
        self._y = np.asarray(y, np.float64)
        self._dy = np.asarray(dy, np.float64)
        self._last_place = self.eps * np.abs(self._y)
        self.sigma = self._last_place
        for _ in range(SAMPLES):
            other = self._at([nudged(rng, slot.point) for slot in slots])
            with np.errstate(all="ignore"):
                self.sigma = np.fmax(self.sigma, np.abs(other - self._y))
        self.stairs = 0.0 if self.single else self._find_stairs()
        self.of_output = 4.0 * norm(self._dy * self.sigma)

    @property
    def lost_digits(self) -> int:
        """How many decimal digits of the output are lost to the rounding of what goes in."""
        size = max([norm(self._y), *(slot.length for slot in self._slots)])
        due, found = self.eps * size, norm(self.sigma)
        return int(math.log10(found / due)) if 0.0 < due < found < math.inf else 0

    def of_difference(self, changed: Array) -> float:
        """Bound the noise of sum(dy (y1 - y2)), given where y1 and y2 differ at all.

        Outputs that do not differ may still have changed by less than their last place.
        """
        return 4.0 * norm(self._dy * np.where(changed, self.sigma, self._last_place))

    def of_gradient(self, slot: Slot, scale: float) -> float:
        """Bound the noise of one entry of a gradient.

        Parameters
        ----------
        slot : Slot
        scale : float
            Largest sum of the absolute terms that make up an entry.
        """
        return self.of_slope(scale, slot.length)

    def of_slope(self, scale: float, length: float = 1.0) -> float:
        """Bound the noise of a derivative along a direction in which one step is `length`."""
        terms = (256.0 if self.single else 16384.0) * self.eps * scale
        return 128.0 * self.of_output / length + terms

    def _at(self, points: list[Array]) -> Array:
        pairs = zip(self._slots, points, strict=True)
        changed = {(slot.kind, slot.place): point for slot, point in pairs}
        return np.array(self._target.evaluate(changed)[0], np.float64)

    def _find_stairs(self) -> float:
        """Return how high the stairs are, relative to the output, and count them as noise."""
        size = norm(self._y)
        if not 0.0 < size < math.inf:
            return 0.0
        points = [slot.point for slot in self._slots]
        for distances in _DISTANCES:
            bends = np.zeros((2, *self._y.shape))
            for _ in range(3):
                units = [signs_and_sizes(self._rng, x.shape) for x in points]
                bends = np.maximum(bends, [self._bend(d, units) for d in distances])
            small, large = norm(bends[0]), norm(bends[1])
            stands_out = small > _STAIRS * norm(self.sigma)
            if stands_out and large < 6.0 * small and _LOWEST < small / size < _HIGHEST:
                typical = small / math.sqrt(self._y.size)
                self.sigma = np.maximum(np.maximum(self.sigma, typical), np.max(bends, axis=0))
                return small / size
        return 0.0

    def _bend(self, distance: float, units: list[Array]) -> Array:
        """Return the size of the second difference of each output; NaN outside of its domain."""
        steps = [distance * s.length * u for s, u in zip(self._slots, units, strict=True)]
        try:
            with np.errstate(all="ignore"):
                above, below = (
                    self._at([s.point + sign * d for s, d in zip(self._slots, steps, strict=True)])
                    for sign in (1, -1)
                )
                return np.asarray(np.abs((above - self._y) + (below - self._y)))
        except (ValueError, ArithmeticError):
            return np.full_like(self._y, np.nan)


def norm(x: Array) -> float:
    """Return the root of the sum of squares, without overflow on the way."""
    largest = float(np.max(np.abs(x), initial=0.0))
    if largest == 0.0 or not math.isfinite(largest):
        return largest
    return largest * math.sqrt(float(np.sum(np.square(x / largest))))
