r"""Analytic against numeric derivatives, entry by entry or along random directions.

An entry passes where  |a - n| <= tolerance (|a| + |n|) + noise,  which is the same as

    error = |a - n| / (|a| + |n| + floor) <= tolerance,     floor = noise / tolerance

so that an entry that is zero but for rounding raises no alarm, and yet no fixed absolute
tolerance lets through what is small. Where the complex step was compared, a central difference
is taken as well where the error is largest: the report has both.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core.arrays import Array
from .central_difference import CentralDifference
from .draws import one_hot, signs_and_sizes
from .estimate import Estimate, Method
from .noise import Noise
from .target import Slot

_AGREEMENT = 0.05  # relative difference below which two small derivatives are not noise
_EXAMINED = 32  # failing entries that are looked at for a kink before the others are believed


@dataclass
class Comparison:
    """Derivatives of one slot by both ways: of single entries, or along directions."""

    slot: Slot
    gradient: Array  # the analytic gradient, in the slot's shape
    method: str
    tolerance: float
    places: Array | None  # flat indices; None for directions
    directions: Sequence[Array]  # where there are no places
    analytic: Array  # (m,)
    numeric: Array  # (m,)
    bound: Array  # (m,) the numeric method's own error
    kink: Array  # (m,) boolean: not compared
    scale: float  # largest sum of absolute terms
    noise: float  # of rounding, in any entry
    excluded: Array | float = 1.0  # 0 at entries that directions leave out
    second: Estimate | None = None  # the central difference where the error is largest

    @property
    def allowed(self) -> Array:
        """What |a - n| may be without any relative error (m,)."""
        return np.asarray(self.noise + self.bound)

    @property
    def errors(self) -> Array:
        """Relative errors (m,); 0 at kinks, infinite where a derivative is not finite."""
        error = relative_error(self.analytic, self.numeric, self.allowed / self.tolerance)
        return np.asarray(np.where(self.kink, 0.0, error))

    @property
    def worst(self) -> int:
        """Which of them has the largest error; of equal ones, the largest value."""
        with np.errstate(invalid="ignore"):
            apart = np.where(self.kink, -1.0, np.abs(self.analytic - self.numeric))
        return int(np.lexsort((np.abs(self.numeric), apart, self.errors))[-1])

    def direction(self, which: int) -> Array:
        """Return the direction of one of the derivatives."""
        if self.places is None:
            return self.directions[which]
        return one_hot(self.slot.point, int(self.places[which]))

    @property
    def failing(self) -> Array:
        """Which of them fail (m,)."""
        return np.asarray(self.errors > self.tolerance)

    @property
    def truth(self) -> Array | None:
        """The numeric gradient in the slot's shape, if all of its entries were taken."""
        if self.places is None or self.places.size != self.slot.point.size:
            return None
        return np.where(self.kink, 0.0, self.numeric).reshape(self.slot.point.shape)

    @property
    def is_zero(self) -> bool:
        """Whether both derivatives are zero, as far as can be seen, everywhere.

        Rounding does not agree with rounding: if the two do agree, they are small, not zero.
        """
        zero = (np.abs(self.analytic) <= self.noise) & (np.abs(self.numeric) <= self.allowed)
        return bool(np.all(zero | self.kink)) and self.disagreement > _AGREEMENT

    @property
    def smooth(self) -> Array:
        """1 at every entry but those at a kink, in the slot's shape."""
        smooth = np.ones(self.slot.point.size)
        if self.places is not None:
            smooth[self.places[self.kink]] = 0.0
        return smooth.reshape(self.slot.point.shape) * self.excluded

    @property
    def detectable(self) -> float:
        """An error of a single entry that cannot be missed, relative to the gradient's RMS."""
        use = ~self.kink
        if not np.any(use):
            return np.inf
        size = np.abs(self.analytic[use]) + np.abs(self.numeric[use])
        seen = self.tolerance * size + self.allowed[use]
        if self.places is None:  # the best of the directions; each weighs an entry by 1/2 or more
            seen = np.min(seen, keepdims=True) / 0.5
        typical = float(np.sqrt(np.mean(np.square(self.gradient, dtype=np.float64))))
        return float(np.max(seen)) / typical if typical else np.inf

    @property
    def effect(self) -> float:
        """By how much the output changes where the slot changes by its own scale."""
        return self.scale * self.slot.length

    @property
    def blur(self) -> float:
        """The `effect` of the smallest derivative that would have been seen."""
        return float(np.max(self.allowed[~self.kink], initial=0.0)) * self.slot.length

    @property
    def disagreement(self) -> float:
        """The largest |a - n|, relative to the largest derivative; infinite if all are zero."""
        use = ~self.kink
        largest = float(np.max(np.abs(self.numeric[use]), initial=0.0))
        apart = float(np.max(np.abs(self.analytic[use] - self.numeric[use]), initial=0.0))
        return apart / largest if largest else np.inf

    @property
    def resolution(self) -> float:
        """The smallest error that would have been seen, relative to the largest derivative.

        Where both agree better than they have to, an error of more than that is ruled out.
        """
        use = ~self.kink
        largest = float(np.max(np.abs(self.numeric[use]), initial=0.0))
        if not largest:
            return np.inf
        return min(float(np.median(self.allowed[use])) / largest, self.disagreement)


def relative_error(analytic: Array | float, numeric: Array | float, floor: Array | float) -> Array:
    """Return |a - n| / (|a| + |n| + floor); infinite where a derivative is not finite."""
    with np.errstate(invalid="ignore", over="ignore"):
        apart, size = np.abs(analytic - numeric), np.abs(analytic) + np.abs(numeric) + floor
        error = np.divide(apart, size, out=np.zeros(np.shape(apart)), where=apart != 0)
    return np.asarray(np.where(np.isfinite(analytic) & np.isfinite(numeric), error, np.inf))


def compare_entries(
    slot: Slot,
    gradient: Array,
    method: Method,
    tolerance: float,
    noise: Noise,
    places: Sequence[int] | None = None,
) -> Comparison:
    """Differentiate with respect to single entries: all of them, or those at `places`."""
    which = range(slot.point.size) if places is None else places
    estimates = [method.along(slot, one_hot(slot.point, i)) for i in which]
    found = _collect(slot, gradient, method, tolerance, noise, estimates)
    found.places = np.array(which, int)
    found.analytic = np.asarray(gradient, np.float64).ravel()[found.places]
    return found


def compare_directions(
    slot: Slot,
    gradient: Array,
    method: Method,
    tolerance: float,
    noise: Noise,
    directions: Sequence[Array],
    smooth: Array,
) -> Comparison:
    """Differentiate along directions; where `smooth` is 0, these are 0 as well."""
    estimates = [method.along(slot, direction) for direction in directions]
    found = _collect(slot, gradient, method, tolerance, noise, estimates)
    products = [gradient * direction for direction in directions]
    found.directions, found.excluded = directions, smooth
    found.analytic = np.array([np.sum(product, dtype=np.float64) for product in products])
    spread = max((float(np.sqrt(np.sum(p * p, dtype=np.float64))) for p in products), default=0.0)
    if np.isfinite(spread):
        found.noise = noise.of_gradient(slot, max(found.scale, spread))
    return found


def hear_second_opinion(
    comparison: Comparison, central: CentralDifference, known: Sequence[tuple[Array, Estimate]]
) -> bool:
    """Take a central difference where the error is largest; leave out failing entries at a kink.

    Parameters
    ----------
    comparison : Comparison
        Its `second` is set, and its `kink` where there is one.
    central : CentralDifference
    known : list of (ndarray, Estimate)
        Directions along which central differences were taken before.

    Returns
    -------
    bool
        False if the central difference contradicts the method, which is not to be trusted then.
    """
    for _ in range(max(_EXAMINED, comparison.kink.size // 2 + 1)):
        worst = comparison.worst
        if comparison.kink[worst]:
            break
        direction = comparison.direction(worst)
        before = [estimate for tried, estimate in known if tried is direction]
        found = before[0] if before else central.along(comparison.slot, direction)
        comparison.second = found
        if not (found.kink and comparison.places is not None and comparison.failing[worst]):
            numeric = float(comparison.numeric[worst])
            return not found.contradicts(numeric, abs(numeric), comparison.noise)
        comparison.kink[worst] = True
    return True


def find_wrong_entry(
    slot: Slot, gradient: Array, method: Method, rng: np.random.Generator, smooth: Array
) -> int:
    """Find an entry whose analytic derivative is wrong, in about log2(size) evaluations.

    A direction along which the derivative is wrong is cut in halves: the error is in one of
    them, and that one is cut again.
    """
    direction = (smooth * signs_and_sizes(rng, slot.point.shape)).ravel()
    flat = np.asarray(gradient, np.float64).ravel()
    low, high = 0, slot.point.size
    error = _error_between(slot, flat, direction, method, low, high)
    while high - low > 1:
        middle = (low + high) // 2
        left = _error_between(slot, flat, direction, method, low, middle)
        if abs(left) >= abs(error - left):
            high, error = middle, left
        else:
            low, error = middle, error - left
    return low


def _error_between(
    slot: Slot, flat: Array, direction: Array, method: Method, low: int, high: int
) -> float:
    part: Array = np.zeros(slot.point.size)
    part[low:high] = direction[low:high]
    numeric = method.along(slot, part.reshape(slot.point.shape)).value
    return float(np.sum(flat * part)) - numeric


def _collect(
    slot: Slot,
    gradient: Array,
    method: Method,
    tolerance: float,
    noise: Noise,
    estimates: list[Estimate],
) -> Comparison:
    scale = max((e.activity for e in estimates if np.isfinite(e.activity)), default=0.0)
    return Comparison(
        slot=slot,
        gradient=gradient,
        method=method.name,
        tolerance=tolerance,
        places=None,
        directions=(),
        analytic=np.zeros(len(estimates)),
        numeric=np.array([e.value for e in estimates], np.float64),
        bound=np.array([e.bound for e in estimates], np.float64),
        kink=np.array([e.kink or not np.isfinite(e.value) for e in estimates], bool),
        scale=scale,
        noise=noise.of_gradient(slot, scale),
    )
