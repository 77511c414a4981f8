r"""Analytic against numeric derivatives, entry by entry or along random directions.

An entry passes where  |a - n| <= tolerance (|a| + |n|) + noise,  which is the same as

    error = |a - n| / (|a| + |n| + floor) <= tolerance,     floor = noise / tolerance

so that an entry that is zero but for rounding raises no alarm, and yet no fixed absolute
tolerance lets through what is small. The noise is that of the tensor as a whole; an entry that
differs by more than the rounding of its own terms is in doubt (`persistence` decides). Where
the complex step was compared, a central difference is taken as well where the error is largest,
and along the small entries by themselves: the report has both.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..core.arrays import Array
from .central_difference import CentralDifference
from .complex_step import ComplexStep
from .draws import one_hot, signs_and_sizes
from .estimate import Estimate, Method
from .noise import Noise, norm
from .target import Slot

_AGREEMENT = 0.05  # relative difference below which two small derivatives are not noise
_EXAMINED = 32  # failing entries that are looked at for a kink before the others are believed
_DRAWS = 4  # of others that move along with a failing entry
_ROUNDINGS = 64.0  # of a derivative's own terms
_BAND = 2.0**-20  # entries that differ by more are compared in groups of their own
_BANDS = 4


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
    terms: Array  # (m,) how large the terms are that a derivative is made of
    noise: Array | float  # of rounding, in any of them
    eps: float
    smooth: Array  # 0 at entries at a kink and 1 at the others, in the slot's shape
    second: Estimate | None = None  # the central difference where the error is largest
    doubts: int = 0  # how many differ by more than their own rounding, and are no sure errors

    @property
    def allowed(self) -> Array:
        """What |a - n| may be without any relative error (m,)."""
        return np.asarray(self.noise + self.bound)

    @property
    def own(self) -> Array:
        """What |a - n| is at most if each is rounded as its own terms are (m,)."""
        return np.minimum(_ROUNDINGS * self.eps * self.terms, self.noise) + self.bound

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
    def doubtful(self) -> Array:
        """Which of them pass, but would not if only their own rounding were allowed (m,).

        A gradient of exactly 0 for one that is rounding beside its neighbours is no doubt.
        """
        error = relative_error(self.analytic, self.numeric, self.own / self.tolerance)
        largest = float(np.max(np.abs(self.gradient * self.smooth), initial=0.0))
        lost = (self.analytic == 0) & (np.abs(self.numeric) <= 4.0 * self.eps * largest)
        return np.asarray((error > self.tolerance) & ~self.failing & ~self.kink & ~lost)

    @property
    def left_out(self) -> int:
        """How many entries are not compared since they lie at a kink."""
        if self.places is None:
            return int(np.sum(self.smooth == 0))
        return int(np.sum(self.kink))

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
    def detectable(self) -> float:
        """An error of a single entry that cannot be missed, relative to the gradient's RMS."""
        seen = self.tolerance * (np.abs(self.analytic) + np.abs(self.numeric)) + self._certain
        best = np.full(self.slot.point.shape, np.inf)
        for which in np.flatnonzero(~self.kink):
            through = self.direction(int(which)) != 0
            best[through] = np.minimum(best[through], seen[which] / 0.5)
        typical = norm(self.gradient) / math.sqrt(max(self.gradient.size, 1))
        return float(np.max(best[self.smooth != 0], initial=0.0)) / typical if typical else np.inf

    @property
    def scale(self) -> float:
        """The largest sum of absolute terms."""
        return float(np.max(self.terms[np.isfinite(self.terms)], initial=0.0))

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
        return min(float(np.median(self._certain[use])) / largest, self.disagreement)

    @property
    def _certain(self) -> Array:
        """Differences that are seen for sure (m,)."""
        return self.own if self.method == ComplexStep.name else self.allowed


def relative_error(analytic: Array | float, numeric: Array | float, floor: Array | float) -> Array:
    """Return |a - n| / (|a| + |n| + floor); infinite where a derivative is not finite."""
    with np.errstate(invalid="ignore", over="ignore"):
        apart, size = np.abs(analytic - numeric), np.abs(analytic) + np.abs(numeric) + floor
        error = np.divide(apart, size, out=np.zeros(np.shape(apart)), where=apart != 0)
    return np.asarray(np.where(np.isfinite(analytic) & np.isfinite(numeric), error, np.inf))


def bands(gradient: Array, smooth: Array) -> Iterator[Array]:
    """Yield groups of entries (as 0 and 1) that are drowned by others in any sum over all.

    Parameters
    ----------
    gradient : ndarray
        By whose sizes the entries are grouped.
    smooth : ndarray
        0 at entries to leave out.
    """
    size = np.abs(gradient) * smooth
    top = float(np.max(size, initial=0.0))
    if top == 0.0 or not math.isfinite(top):
        return
    for band in range(1, _BANDS + 1):
        least = _BAND ** (band + 1) if band < _BANDS else 0.0
        inside = (size < top * _BAND**band) & (size >= top * least) & (size > 0)
        if np.any(inside):
            yield np.asarray(inside, np.float64)
    if np.any((size == 0) & (smooth != 0)):
        yield np.asarray((size == 0) & (smooth != 0), np.float64)


def compare_entries(
    slot: Slot,
    gradient: Array,
    method: Method,
    tolerance: float,
    noise: Noise,
    smooth: Array,
    places: Sequence[int] | None = None,
) -> Comparison:
    """Differentiate with respect to single entries: all of them, or those at `places`."""
    which = np.array(range(slot.point.size) if places is None else places, int)
    at_kink = smooth.flat[which] == 0
    unknown = Estimate(np.nan, 0.0, 0.0, kink=True)
    estimates = [
        unknown if kink else method.along(slot, one_hot(slot.point, int(i)))
        for i, kink in zip(which, at_kink, strict=True)
    ]
    found = _collect(slot, gradient, method, tolerance, noise, smooth, estimates)
    found.places = which
    found.analytic = np.asarray(gradient, np.float64).ravel()[which]
    return found


def compare_directions(
    slot: Slot,
    gradient: Array,
    method: Method,
    tolerance: float,
    noise: Noise,
    smooth: Array,
    directions: Sequence[Array],
) -> Comparison:
    """Differentiate along directions, which are 0 where `smooth` is."""
    estimates = [method.along(slot, direction) for direction in directions]
    found = _collect(slot, gradient, method, tolerance, noise, smooth, estimates)
    products = [np.asarray(gradient, np.float64) * direction for direction in directions]
    found.directions = directions
    found.analytic = np.array([np.sum(product) for product in products])
    # The signs of a direction are random: what is rounded in its terms adds up like their norm.
    spread = np.array([norm(product) for product in products])
    if np.all(np.isfinite(spread)):
        found.noise = noise.of_gradient(slot, float(np.max([found.scale, *spread])))
        found.terms = spread
    return found


def leave_out_what_does_not_add_up(
    comparison: Comparison, method: Method, rng: np.random.Generator
) -> None:
    """Leave out failing entries whose derivative is another one when others move as well.

    Where three values are tied, their median has a derivative along each of them and along
    all, but these do not add up: there is no gradient, and yet no single entry crosses a kink.
    """
    slot, failing = comparison.slot, np.flatnonzero(comparison.failing)
    if failing.size > _EXAMINED or not np.all(np.isfinite(comparison.numeric[failing])):
        return
    noise = float(np.max(comparison.own))
    for which in failing:
        for _ in range(_DRAWS):
            others = signs_and_sizes(rng, slot.point.shape) * comparison.smooth
            own = comparison.direction(int(which)) * others
            together, without = method.along(slot, others), method.along(slot, others - own)
            alone = float(comparison.numeric[which] * np.sum(own))
            gap = abs(together.value - without.value - alone)
            bounds = together.bound + without.bound + float(comparison.bound[which])
            if gap > 0.01 * abs(alone) + 10.0 * bounds + noise + 1e-9 * together.activity:
                comparison.kink[which] = True
                comparison.smooth = np.where(own != 0, 0.0, comparison.smooth)
                break


def hear_second_opinion(
    comparison: Comparison,
    central: CentralDifference,
    known: Sequence[tuple[Array, Estimate]],
    rng: np.random.Generator,
) -> bool:
    """Take a central difference where the error is largest; leave out failing entries at a kink.

    Parameters
    ----------
    comparison : Comparison
        Its `second` is set, and its `kink` where there is one.
    central : CentralDifference
    known : list of (ndarray, Estimate)
        Directions along which central differences were taken before.
    rng : numpy.random.Generator

    Returns
    -------
    bool
        False if a central difference contradicts the method, which is not to be trusted then.
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
            noise = float(np.max(comparison.noise))
            return not found.contradicts(numeric, abs(numeric), noise) and _small_ones_agree(
                comparison, central, rng
            )
        comparison.kink[worst] = True
        comparison.smooth = np.where(direction != 0, 0.0, comparison.smooth)
    return True


def _small_ones_agree(
    comparison: Comparison, central: CentralDifference, rng: np.random.Generator
) -> bool:
    """Compare with central differences along those entries that are drowned in all others."""
    truth, tried = comparison.truth, []
    if truth is not None:
        groups = list(bands(truth, comparison.smooth))
        directions = [band * signs_and_sizes(rng, band.shape) for band in groups]
        tried = [(direction, float(np.sum(truth * direction))) for direction in directions]
    elif comparison.places is None:
        pairs = zip(comparison.directions, comparison.numeric, strict=True)
        some = [(direction, float(value)) for direction, value in pairs]
        few = comparison.slot.point.size // 2
        tried = [(d, value) for d, value in some if np.count_nonzero(d) < few][: _BANDS + 1]
    noise = float(np.max(comparison.own, initial=0.0))
    for direction, value in tried:
        if central.along(comparison.slot, direction).contradicts(value, abs(value), noise):
            return False
    return True


def find_wrong_entry(slot: Slot, gradient: Array, method: Method, direction: Array) -> int:
    """Find an entry whose analytic derivative is wrong, in about log2(size) evaluations.

    A direction along which the derivative is wrong is cut in halves: the error is in one of
    them, and that one is cut again.
    """
    direction, flat = direction.ravel(), np.asarray(gradient, np.float64).ravel()
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
    smooth: Array,
    estimates: list[Estimate],
) -> Comparison:
    found = Comparison(
        slot=slot,
        gradient=gradient,
        method=method.name,
        tolerance=tolerance,
        places=None,
        directions=(),
        analytic=np.zeros(len(estimates)),
        numeric=np.array([e.value for e in estimates], np.float64),
        bound=np.array([e.bound for e in estimates], np.float64),
        kink=np.array([not np.isfinite(e.value) for e in estimates], bool),
        terms=np.array([e.activity for e in estimates], np.float64),
        noise=0.0,
        eps=noise.eps,
        smooth=smooth,
    )
    found.noise = noise.of_gradient(slot, found.scale)
    return found
