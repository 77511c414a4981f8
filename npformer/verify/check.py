"""One check from end to end: choose the point, watch a pass, compare, judge."""

from typing import Any

import numpy as np

from ..core.arrays import Array, describe
from . import blind_spots
from .central_difference import CentralDifference
from .choice import Choice
from .comparison import (
    Comparison,
    bands,
    compare_directions,
    compare_entries,
    find_wrong_entry,
    hear_second_opinion,
    leave_out_what_does_not_add_up,
)
from .complex_step import ComplexStep
from .conduct import Pass, Watch
from .diagnosis import Known
from .draws import as_index, one_hot, signs_and_sizes
from .estimate import Method
from .jacobian import Jacobians
from .judgement import blank_entry, entry_of, rounded_up
from .kinks import Kinks
from .noise import Noise
from .persistence import persists
from .probes import Probes
from .quantities import Quantities
from .report import Entry, Finding, Probe
from .settings import Settings
from .target import Slot, Target

_KINKS_LEFT_OUT = 8  # of a big tensor, before it counts as wrong
_SAMPLE = 63  # entries compared where a direction through a big tensor is wrong
_DOUBTS = 8  # derivatives that are looked at to tell an error from rounding
_TRUST = 1e-4  # what a complex step may be off without being found out
_BLOCK, _BLOCKS = 500, 64  # entries of a float32 tensor that share a direction; at most so many


class Check:
    """One check of one target.

    Parameters
    ----------
    target : Target
    settings : Settings

    Attributes
    ----------
    findings : list of Finding
    notes : list of str
    probes : list of Probe
    mode : {"full", "fast"}
    """

    def __init__(self, target: Target, settings: Settings) -> None:
        self.target = target
        self.settings = settings
        self.rng = np.random.default_rng(settings.seed)
        self.notes: list[str] = []
        self.findings: list[Finding] = []
        self.probes: list[Probe] = []
        self.mode = settings.mode_for(sum(slot.point.size for slot in target.slots()))

    def run(self) -> list[Entry]:
        """Check everything."""
        self.notes += blind_spots.of_values(self.target, self.settings.move)
        if self.settings.move:
            blind_spots.move(self.target, self.rng)
        seen = Watch(self.target, self.rng).watch()
        self.findings = seen.findings
        slots = self.target.slots()
        if not np.all(np.isfinite(seen.y)):
            at = as_index(int(np.argmax(~np.isfinite(seen.y))), seen.y.shape)
            given = self.target.not_finite()
            self.undecided(
                "not finite",
                f"the output is not finite at {list(at)}; nothing can be compared"
                + (f". Neither is {' nor '.join(given)}: give finite numbers" if given else ""),
            )
            return [blank_entry(slot, "inconclusive", "not finite") for slot in slots]
        if not seen.y.size or not any(slot.point.size for slot in slots):
            shapes = [f"{slot.name} is {slot.point.shape}" for slot in slots]
            self.undecided(
                "vacuous",
                f"there are no entries to compare: {', '.join(shapes)}, the output "
                f"{seen.y.shape}; give arrays without an axis of length 0",
            )
            return [blank_entry(slot, "inconclusive", "vacuous") for slot in slots]
        if any(finding.family == "not repeatable" for finding in self.findings):
            self.notes.append("nothing was compared, since the target does not repeat itself")
            return [blank_entry(slot, "inconclusive") for slot in slots]
        with np.errstate(all="ignore"):  # away from the point, numbers may overflow
            return self._compare(seen, slots)

    def undecided(self, family: str, why: str) -> None:
        """Report something that makes a check inconclusive."""
        self.findings.append(Finding(family, "", why, failed=False, undecided=True))

    def _compare(self, seen: Pass, slots: list[Slot]) -> list[Entry]:
        noise = Noise(self.target, slots, seen.y, np.asarray(seen.dy), self.rng)
        self._say_if_imprecise(noise)
        if noise.lost_digits > 11:
            self.undecided("precision", "the output is nothing but rounding")
            return [blank_entry(slot, "inconclusive", "precision") for slot in slots]
        central = CentralDifference(self.target, seen.y, seen.dy, noise)
        kinks = Kinks(self.target, seen.y, noise, self.rng)
        choice = Choice(self.target, seen.dy, central, self.settings.method, noise, kinks, self.rng)
        results: list[Comparison | Entry] = []
        for slot in slots:
            gradient = seen.gradient(self.target, slot)
            result: Comparison | Entry | None = self._misshapen(slot, gradient)
            if result is None:
                comparing = _OneSlot(self, seen, slot, np.asarray(gradient), choice, kinks, noise)
                result = comparing.compare()
            results.append(result or blank_entry(slot, "inconclusive", "precision"))
        comparisons = [result for result in results if isinstance(result, Comparison)]
        known = self._known(seen, comparisons, central)
        effect = max((c.effect for c in comparisons if not c.is_zero), default=0.0)
        of_central = self.settings.tolerance_for(central.name, noise.single)
        entries = [
            r if isinstance(r, Entry) else entry_of(r, known, effect, of_central) for r in results
        ]
        if len(comparisons) == len(slots):
            self._probe(seen, comparisons, choice, noise, {entry.verdict for entry in entries})
        self._look_for_vacuity(entries, comparisons)
        self._say_what_is_hidden(comparisons, entries)
        self.notes += blind_spots.of_shapes(self.target, seen.y.shape)
        return entries

    def _say_if_imprecise(self, noise: Noise) -> None:
        lost = noise.lost_digits
        if lost > 4:
            self.notes.append(
                f"the output hangs on the last place of the numbers that go in: {lost} digits are "
                f"lost, as where a large offset is subtracted"
            )
        if noise.stairs:
            self.undecided(
                "precision",
                f"forward rounds its numbers on the way, as in float32: its output jumps by "
                f"{noise.stairs:.0e} of itself, which hides errors; compute in float64",
            )

    def _probe(
        self,
        seen: Pass,
        comparisons: list[Comparison],
        choice: Choice,
        noise: Noise,
        verdicts: set[str],
    ) -> None:
        """Test the gradient as a whole, by the most precise method that all slots share."""
        gradients = [(c.slot, np.asarray(c.gradient, np.float64)) for c in comparisons]
        probes = Probes(
            self.target,
            gradients,
            [c.smooth for c in comparisons],
            seen.y,
            np.asarray(seen.dy),
            noise,
            self.rng,
        )
        method = choice.shared({c.method for c in comparisons})
        tolerance = self.settings.tolerance_for(method.name, noise.single)
        self.probes = [probes.adjoint(method, tolerance), *probes.comments()]
        right = verdicts <= {"pass", "zero"} and not any(f.failed for f in self.findings)
        if right and self.settings.move:
            self._look_elsewhere(probes)
        disagree = {probe.name for probe in self.probes if probe.verdict == "disagrees"}
        if "adjoint" in disagree and "fail" not in verdicts:
            self._say_what_adjoint_means()
        elif (
            {"Taylor", "symmetry"} <= disagree
            and verdicts <= {"pass", "zero"}
            and probes.values_contradict(choice.central)
        ):
            self.undecided(
                "not smooth",
                "derivatives agree, but Taylor remainder and symmetry do not: there is a kink or "
                "a jump near the point, or the gradient is wrong where it was not compared",
            )

    def _look_elsewhere(self, probes: Probes) -> None:
        found = probes.elsewhere()
        self.probes.append(found)
        if found.verdict == "disagrees":
            message = (
                "the gradient is right here, but not at another point that forward and backward "
                "are run at afterwards: they use what an earlier pass has kept (a cache that is "
                "filled once, the values of the call before), or backward is wrong for values "
                "like those; check a new object at such a point to tell which"
            )
            self.findings.append(Finding("state", "", message, failed=True))

    def _say_what_adjoint_means(self) -> None:
        if self.mode == "full":
            self.undecided(
                "kinks",
                "all entries agree one by one, but not along a direction through all of them "
                "(adjoint test): forward has no gradient here, as where three values are tied",
            )
        else:
            message = (
                "every tensor agrees by itself, but the gradient as a whole is wrong along a "
                "random direction (adjoint test); mode='full' would find where"
            )
            self.findings.append(Finding("adjoint", "", message, failed=True))

    def _known(
        self, seen: Pass, comparisons: list[Comparison], central: CentralDifference
    ) -> Known:
        """Gather what wrong gradients are compared with."""
        slots = [comparison.slot for comparison in comparisons]
        arrays = {slot.name: np.asarray(slot.point, np.float64) for slot in slots}
        arrays["y"], arrays["dy"] = np.asarray(seen.y, np.float64), np.asarray(seen.dy)
        arrays["1 - y"], arrays["1 - y^2"] = 1.0 - arrays["y"], 1.0 - arrays["y"] ** 2
        truths = {c.slot.name: c.truth for c in comparisons if c.truth is not None}
        quantities = Quantities(self.target, seen.y.shape)
        jacobians = Jacobians(self.target, seen.y, central)
        return Known(quantities, truths, arrays, central.pushed, jacobians)

    def _misshapen(self, slot: Slot, gradient: Any) -> Entry | None:
        """Return the entry of a gradient that cannot be compared, or None if it can be."""
        if gradient is None:
            return blank_entry(slot, "fail", "missing", self.target.why_missing(slot))
        if not isinstance(gradient, np.ndarray | np.generic | float):
            why = f"its gradient is {describe(gradient)}; expected an array"
            return blank_entry(slot, "fail", "missing", why)
        shape = np.shape(gradient)
        if shape != slot.point.shape:
            why = f"its gradient is {shape}; expected its own shape {slot.point.shape}"
            transposed = shape == slot.point.shape[::-1]
            return blank_entry(
                slot, "fail", "shape", why + (" (is it the transpose?)" if transposed else "")
            )
        dtype = getattr(gradient, "dtype", slot.point.dtype)
        if dtype != slot.point.dtype:
            message = f"its gradient is {dtype}; expected its own dtype {slot.point.dtype}"
            if dtype.kind == "c":
                return blank_entry(slot, "fail", "dtype", message)
            self.findings.append(Finding("dtype", slot.name, message, failed=True))
        return None

    def _look_for_vacuity(self, entries: list[Entry], comparisons: list[Comparison]) -> None:
        if entries and all(entry.verdict == "zero" for entry in entries):
            if any(comparison.left_out for comparison in comparisons):
                self.undecided("kinks", "only entries at a kink have a gradient that is not zero")
            elif all(comparison.scale == 0.0 for comparison in comparisons):
                self.undecided("vacuous", "the output depends on no input and no parameter")
            else:
                self.undecided(
                    "vacuous",
                    "all gradients are zero but for rounding: the output is constant here (a sum "
                    "over normalised values?) or too large for its changes to be seen",
                )
            return
        zero = [entry.name for entry in entries if entry.verdict == "zero"]
        if zero:
            self.notes.append(f"zero but for rounding, as it should be: {', '.join(zero)}")

    def _say_what_is_hidden(self, comparisons: list[Comparison], entries: list[Entry]) -> None:
        verdicts = {entry.name: entry.verdict for entry in entries}
        shown = [c for c in comparisons if verdicts[c.slot.name] == "pass"]
        for c in shown:
            if c.places is None and c.left_out:
                self.notes.append(
                    f"{c.slot.name}: {c.left_out} of {c.slot.point.size} entries lie at a kink; "
                    f"directions leave them out"
                )
            if c.doubts:
                self.notes.append(
                    f"{c.slot.name}: {c.doubts} of {c.kink.size} derivatives differ by more than "
                    f"the tolerance, but are so small beside others that it may be rounding"
                )
            if c.resolution > (1e-3 if c.eps > 1e-8 else 1e-6):
                self.notes.append(
                    f"{c.slot.name}: an error below {c.resolution:.0e} of the gradient would not "
                    f"be seen"
                )
        along = [c for c in shown if c.places is None]
        if along:
            worst = max(along, key=lambda c: c.detectable)
            self.notes.append(
                f"each direction weighs every entry by at least 1/2, so one wrong entry is not "
                f"missed if it is off by {rounded_up(worst.detectable)} of its tensor's root mean "
                f"square or more (in {worst.slot.name}; in others by less)"
            )


class _OneSlot:
    """The comparison of one slot, by whatever method and mode suit it."""

    def __init__(
        self,
        check: Check,
        seen: Pass,
        slot: Slot,
        gradient: Array,
        choice: Choice,
        kinks: Kinks,
        noise: Noise,
    ) -> None:
        self._check = check
        self._settings, self._rng = check.settings, check.rng
        self._dy = seen.dy
        self._slot, self._gradient = slot, gradient
        self._choice, self._kinks, self._noise = choice, kinks, noise

    def compare(self) -> Comparison | None:
        """Compare; None if the complex step was asked for and cannot be trusted."""
        slot, check = self._slot, self._check
        smooth = self._kinks.of(slot)
        method, reason, trials, trust = self._choice.for_slot(slot, smooth)
        if reason:
            check.notes.append(f"{slot.name}: {reason}")
        if method is None:
            check.undecided(
                "precision", f"{slot.name}: the complex step was asked for and cannot be trusted"
            )
            return None
        if trust > _TRUST and not self._noise.single and self._choice.suffices(trust):
            check.notes.append(
                f"{slot.name}: the complex step could be compared with values of forward only to "
                f"{trust:.0e}, since these are so much larger than their changes"
            )
        found = self._by(method, smooth, [direction for direction, _ in trials])
        central = self._choice.central
        if not self._choice.suffices(trust) and not found.is_zero:
            check.undecided(
                "precision",
                f"{slot.name}: its effect is lost in the rounding of the output, so the complex "
                f"step cannot be tried by values of forward",
            )
            return self._by(central, smooth, [])
        if method is central or (
            hear_second_opinion(found, central, trials, self._rng)
            and (trust <= _TRUST or self._entries_bear_out(found))
        ):
            return found
        check.notes.append(
            f"{slot.name}: complex step and central difference disagree where the error is "
            f"largest or the gradient is small, so central differences are used"
        )
        return self._by(central, smooth, [])

    def _entries_bear_out(self, found: Comparison) -> bool:
        """Compare with central differences one by one, where a sum of many hides too much."""
        some = self._rng.permutation(found.kink.size)[: _SAMPLE + 1]
        for which in map(int, some[~found.kink[some]]):
            one = self._choice.central.along(self._slot, found.direction(which))
            value = float(found.numeric[which])
            if one.contradicts(value, float(found.terms[which]), 0.0):
                return False
        return True

    def _by(self, method: Method, smooth: Array, tried: list[Array]) -> Comparison:
        """Compare entries, or directions; where these fail, find entries that are no kinks."""
        if self._check.mode == "full":
            return self._entries(method, smooth)
        slot, suspect = self._slot, 0
        directions = self._directions(smooth, tried)
        for _ in range(_KINKS_LEFT_OUT):
            found = compare_directions(*self._what(method, smooth), directions)
            self._settle(found, method)
            if not np.any(found.failing):
                return found
            if slot.point.size <= self._settings.max_entries:
                entries = self._entries(method, smooth)
                return entries if np.any(entries.failing) else found
            suspect = find_wrong_entry(slot, self._gradient, method, directions[found.worst])
            if not self._choice.central.along(slot, one_hot(slot.point, suspect)).kink:
                break
            smooth.flat[suspect] = 0.0
            directions = [smooth * direction for direction in directions]
        some = self._rng.choice(slot.point.size, min(_SAMPLE, slot.point.size), replace=False)
        entries = self._entries(method, smooth, sorted({suspect, *map(int, some)}))
        return entries if np.any(entries.failing) else found

    def _entries(
        self, method: Method, smooth: Array, places: list[int] | None = None
    ) -> Comparison:
        found = compare_entries(*self._what(method, smooth), places)
        self._settle(found, method)
        if np.any(found.failing):
            leave_out_what_does_not_add_up(found, method, self._rng)
        return found

    def _what(
        self, method: Method, smooth: Array
    ) -> tuple[Slot, Array, Method, float, Noise, Array]:
        tolerance = self._settings.tolerance_for(method.name, self._noise.single)
        return self._slot, self._gradient, method, tolerance, self._noise, smooth

    def _directions(self, smooth: Array, tried: list[Array]) -> list[Array]:
        """Draw directions through all entries, through the small ones, and through blocks."""
        shape, count = self._slot.point.shape, self._settings.directions
        groups = [smooth] * max(count - len(tried), 0)
        groups += bands(self._gradient, smooth)
        blocks = min(-(-smooth.size // _BLOCK), _BLOCKS) if self._noise.single else 1
        if blocks > 1:
            for places in np.array_split(np.arange(smooth.size), blocks):
                block = np.zeros(smooth.size)
                block[places] = smooth.ravel()[places]
                groups.append(block.reshape(shape))
        return tried[:count] + [group * signs_and_sizes(self._rng, shape) for group in groups]

    def _settle(self, found: Comparison, method: Method) -> None:
        """Decide on differences that are too small for their size to tell error from rounding."""
        doubtful = np.flatnonzero(found.doubtful)
        found.doubts = doubtful.size
        if not doubtful.size or not isinstance(method, ComplexStep):
            return
        apart = np.abs(found.analytic - found.numeric)[doubtful]
        some = doubtful[np.argsort(-apart)[:_DOUBTS]]
        directions = [found.direction(int(which)) for which in some]
        if found.places is None:  # of many entries some may stand still while others move
            places = [
                find_wrong_entry(self._slot, self._gradient, method, direction)
                for direction in directions
            ]
            single = compare_entries(*self._what(method, found.smooth), sorted(set(places)))
            wrong = np.flatnonzero(single.doubtful | single.failing)
            directions = [single.direction(int(which)) for which in wrong]
        target, slot, smooth = self._check.target, self._slot, found.smooth
        for _ in range(2):  # seven points of rounding may lie on a line by chance, once
            if directions:
                stays = persists(target, slot, self._dy, method, directions, smooth, self._rng)
                directions = [d for d, error in zip(directions, stays, strict=True) if error]
        if directions:
            found.noise, found.doubts = found.own, 0
