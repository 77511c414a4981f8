r"""Tests of the whole gradient at once, along random directions u and v through everything.

    adjoint    <J v, dy> = <v, J^T dy>           one number from each side, equal to all digits
    Taylor     f(x + t v) - f(x) - t <g, v>      falls like t^2 if g is right, like t if it is not
    symmetry   <H u, v> = <H v, u>               of the analytic gradient's own differences

    elsewhere  the adjoint test once more, at another point: a pass that uses what an earlier one
               has kept, such as a cache that only the first fills, is right at the first alone

The first and the last decide. The other two are evidence of another kind: the Taylor test uses
nothing but values of f, and symmetry nothing but values of g, which has to be the gradient of
something. Both can be disturbed by kinks near the point, so they only comment.
"""

import math
from collections.abc import Sequence

import numpy as np

from ..core.arrays import Array
from .central_difference import CentralDifference
from .comparison import relative_error
from .draws import moved, signs_and_sizes
from .estimate import Method
from .noise import Noise
from .report import Probe
from .target import Slot, Target

Gradients = Sequence[tuple[Slot, Array]]

_POINTS = 3  # that are tried elsewhere
_GROSS = 1e-3  # the bound of a difference that cannot tell, relative to the terms that it sums
_SMALL = 1e-4  # an error there that is none; at the point itself, smaller ones were looked for


class Probes:
    """The tests.

    Parameters
    ----------
    target : Target
    gradients : list of (Slot, ndarray)
        Every slot with its analytic gradient.
    smooth : list of ndarray
        For each slot, 0 at entries that lie at a kink and 1 at the others: directions pass
        through the latter alone.
    y, dy : ndarray
        Output at the point, and cotangent.
    noise : Noise
    rng : numpy.random.Generator
    """

    def __init__(
        self,
        target: Target,
        gradients: Gradients,
        smooth: Sequence[Array],
        y: Array,
        dy: Array,
        noise: Noise,
        rng: np.random.Generator,
    ) -> None:
        self._target = target
        self._gradients = gradients
        self._smooth = smooth
        self._y, self._dy = np.asarray(y, np.float64), np.asarray(dy, np.float64)
        self._cotangent = float(dy) if np.ndim(dy) == 0 else dy
        self._noise = noise
        self._rng = rng

    def _direction(self) -> list[tuple[Slot, Array]]:
        """Draw a direction through all slots, each in proportion to its own scale."""
        return [
            (slot, slot.length * signs_and_sizes(self._rng, slot.point.shape) * smooth)
            for (slot, _), smooth in zip(self._gradients, self._smooth, strict=True)
        ]

    def adjoint(self, method: Method, tolerance: float) -> Probe:
        """Compare the derivative along a direction with the product of gradient and direction."""
        direction = self._direction()
        estimate = method.along_all(direction)
        analytic = _inner([gradient for _, gradient in self._gradients], direction)
        allowed = estimate.bound + self._noise.of_slope(estimate.activity)
        error = float(relative_error(analytic, estimate.value, allowed / tolerance))
        verdict = "agrees" if error <= tolerance else "disagrees"
        if estimate.kink or not any(np.any(smooth) for smooth in self._smooth):
            verdict = "not applicable"
        if not math.isfinite(analytic) or not math.isfinite(allowed):
            about = "the numbers are too large to be added up"
            return Probe("adjoint", "not applicable", math.nan, about)
        about = f"<J v, dy> and <v, J^T dy> differ by {error:.1e} ({method.name})"
        return Probe("adjoint", verdict, error, about)

    def values_contradict(self, central: Method) -> bool:
        """Say whether values of forward close to the point, and no kink, refute the gradient."""
        direction = self._direction()
        found = central.along_all(direction)
        analytic = _inner([gradient for _, gradient in self._gradients], direction)
        clear = not found.kink and found.bound <= 1e-3 * found.activity
        return clear and abs(analytic - found.value) > found.bound + 1e-6 * found.activity

    def elsewhere(self) -> Probe:
        """Run a pass at other points, until values of forward there can tell of its gradient."""
        for _ in range(_POINTS):
            slots = [
                Slot(slot.name, slot.kind, slot.place, self._away_from(slot))
                for slot, _ in self._gradients
            ]
            try:
                with np.errstate(all="ignore"):
                    found = self._at(slots)
            except Exception as error:  # the other point need not be a valid one
                about = f"another point is outside the domain ({type(error).__name__})"
                found = Probe("elsewhere", "not applicable", math.nan, about)
            if found.verdict != "not applicable":
                break
        return found

    def _away_from(self, slot: Slot) -> Array:
        """Move a parameter, and exchange an input's entries as well."""
        point = moved(self._rng, slot.point)
        if slot.kind == "input":
            point = self._rng.permutation(point.reshape(-1)).reshape(point.shape)
        return point

    def _at(self, slots: list[Slot]) -> Probe:
        there = {(slot.kind, slot.place): slot.point for slot in slots}
        gradients = self._target.gradients_at(self._cotangent, there)
        analytic, direction = 0.0, []
        for slot in slots:
            direction.append((slot, slot.length * signs_and_sizes(self._rng, slot.point.shape)))
            gradient = np.asarray(gradients[(slot.kind, slot.place)], np.float64)
            analytic += _inner([gradient], direction[-1:])
        y = np.asarray(self._target.evaluate(there)[0], np.float64)
        found = CentralDifference(self._target, y, self._dy, self._noise).along_all(direction)
        moves = found.activity > 0.0 and not found.kink
        clear = moves and found.bound <= _GROSS * found.activity
        if not clear or not math.isfinite(analytic):
            about = "at another point, values of forward stand still, bend, or are lost in noise"
            return Probe("elsewhere", "not applicable", math.nan, about)
        error = abs(analytic - found.value) / found.activity
        about = f"at another point, <J v, dy> and <v, J^T dy> differ by {error:.1e} of their terms"
        allowed = _SMALL + 10.0 * found.bound / found.activity
        verdict = "agrees" if error <= allowed else "disagrees"
        return Probe("elsewhere", verdict, error, about)

    def comments(self) -> list[Probe]:
        """Run the tests that comment, unless they leave the domain of the target."""
        found = []
        for name, test in (("Taylor", self.taylor), ("symmetry", self.symmetry)):
            try:
                with np.errstate(all="ignore"):
                    found.append(test())
            except (ValueError, ArithmeticError) as error:
                about = f"a step leaves the domain of the target ({type(error).__name__})"
                found.append(Probe(name, "not applicable", math.nan, about))
        return found

    def taylor(self) -> Probe:
        """Measure the order of the remainder of the first-order expansion."""
        direction = self._direction()
        slope = _inner([gradient for _, gradient in self._gradients], direction)
        terms = math.sqrt(sum(_square(g * d) for (_, g), (_, d) in self._pairs(direction)))
        first = 1 if self._noise.single else 4
        steps, rests = 2.0 ** -np.arange(first, first + 16, 2), []
        for step in steps.tolist():
            rest = abs(self._rise(direction, step) - step * slope)
            noise = self._noise.of_output + self._noise.eps * step * terms
            if not rest > 1000.0 * noise:
                break
            rests.append(math.log(rest))
        if len(rests) < len(steps):  # an error of the gradient would show at every step
            order = _order(steps[: len(rests)], rests)
            falls = f"falls like t^{order:.1f} until it" if math.isfinite(order) else ""
            about = f"the remainder of f(x + t v) {falls} is lost in rounding at t = {step:.0e}"
            return Probe("Taylor", "agrees", order, " ".join(about.split()))
        # A kink is left behind by small steps; an error of the gradient is all that they show.
        order = _order(steps[-3:], rests[-3:])
        verdict = "disagrees" if 0.5 < order < 1.5 else "agrees"
        about = f"the remainder of f(x + t v) is of order {order:.1f} in t; 2 or more is due"
        return Probe("Taylor", verdict, order, about)

    def symmetry(self) -> Probe:
        """Compare second derivatives taken from differences of the analytic gradient."""
        u, v = self._direction(), self._direction()
        if self._noise.single:
            about = "float32 has no digits left for second differences"
            return Probe("symmetry", "not applicable", math.nan, about)
        found = [self._symmetry_at(u, v, step) for step in (2.0**-14, 2.0**-17)]
        return min(found, key=lambda probe: probe.value)

    def _symmetry_at(self, u: Gradients, v: Gradients, step: float) -> Probe:
        uv, vu = self._second(u, v, step), self._second(v, u, step)
        if uv is None or vu is None:
            return Probe("symmetry", "not applicable", math.nan, "gradients of the wrong shape")
        floor = (
            1e4
            * (
                self._noise.of_slope(abs(self._total(u)))
                + self._noise.of_slope(abs(self._total(v)))
            )
            / step
        )
        size = abs(uv) + abs(vu) + floor
        error = abs(uv - vu) / size if size else 0.0
        verdict = "agrees" if error <= 1e-4 else "disagrees"
        return Probe("symmetry", verdict, error, f"<H u, v> and <H v, u> differ by {error:.1e}")

    def _pairs(self, direction: Gradients) -> "zip[tuple[tuple[Slot, Array], tuple[Slot, Array]]]":
        return zip(self._gradients, direction, strict=True)

    def _total(self, direction: Gradients) -> float:
        return math.sqrt(sum(_square(g * d) for (_, g), (_, d) in self._pairs(direction)))

    def _changed(self, direction: Gradients, step: float) -> dict[tuple[str, int], Array]:
        return {
            (slot.kind, slot.place): (slot.point + step * d).astype(slot.point.dtype)
            for slot, d in direction
        }

    def _rise(self, direction: Gradients, step: float) -> float:
        y = np.asarray(self._target.evaluate(self._changed(direction, step))[0], np.float64)
        return float(np.sum(self._dy * (y - self._y)))

    def _second(self, u: Gradients, v: Gradients, step: float) -> float | None:
        """Return <H u, v> by a central difference of the gradient; None if it cannot be had."""
        above, below = self._gradient_at(u, step), self._gradient_at(u, -step)
        if above is None or below is None:
            return None
        return (_inner(above, v) - _inner(below, v)) / (2.0 * step)

    def _gradient_at(self, direction: Gradients, step: float) -> list[Array] | None:
        found = self._target.gradients_at(self._cotangent, self._changed(direction, step))
        slots = [slot for slot, _ in self._gradients]
        gradients = [np.asarray(found[(slot.kind, slot.place)], np.float64) for slot in slots]
        if any(g.shape != slot.point.shape for g, slot in zip(gradients, slots, strict=True)):
            return None
        return gradients


def _inner(gradients: Sequence[Array], direction: Gradients) -> float:
    return float(
        sum(
            np.sum(gradient * d, dtype=np.float64)
            for gradient, (_, d) in zip(gradients, direction, strict=True)
        )
    )


def _order(steps: Array, rests: list[float]) -> float:
    """Return the p with rest = c t^p; infinite where there are too few points to tell."""
    return float(np.polyfit(np.log(steps), rests, 1)[0]) if len(rests) > 2 else math.inf


def _square(x: Array) -> float:
    return float(np.sum(np.asarray(x, np.float64) ** 2))
