"""One check from end to end: choose the point, watch a pass, compare, judge."""

from typing import Any

import numpy as np

from ..core.arrays import Array, describe
from . import blind_spots
from .central_difference import CentralDifference
from .choice import Choice
from .comparison import (
    Comparison,
    compare_directions,
    compare_entries,
    find_wrong_entry,
    hear_second_opinion,
)
from .conduct import Pass, Watch
from .diagnosis import Known
from .draws import as_index, one_hot, signs_and_sizes
from .estimate import Method
from .judgement import blank_entry, entry_of
from .noise import Noise
from .probes import Probes
from .quantities import Quantities
from .report import Entry, Finding, Probe
from .settings import Settings
from .target import Slot, Target

_KINKS_LEFT_OUT = 8  # of a big tensor, before it counts as wrong
_SAMPLE = 63  # entries compared where a direction through a big tensor is wrong


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
            self._undecided(
                "not finite", f"the output is not finite at {list(at)}; nothing can be compared"
            )
            return [blank_entry(slot, "inconclusive", "not finite") for slot in slots]
        if any(finding.family == "not repeatable" for finding in self.findings):
            self.notes.append("nothing was compared, since forward does not repeat itself")
            return [blank_entry(slot, "inconclusive") for slot in slots]
        return self._compare(seen, slots)

    def _undecided(self, family: str, why: str) -> None:
        self.findings.append(Finding(family, "", why, failed=False, undecided=True))

    def _compare(self, seen: Pass, slots: list[Slot]) -> list[Entry]:
        noise = Noise(self.target, slots, seen.y, np.asarray(seen.dy), self.rng)
        central = CentralDifference(self.target, seen.y, seen.dy, noise)
        choice = Choice(self.target, seen.dy, central, self.settings.method, noise)
        results: list[Comparison | Entry] = []
        for slot in slots:
            gradient = seen.gradient(self.target, slot)
            result = self._misshapen(slot, gradient) or self._compare_slot(
                slot, np.asarray(gradient), choice, noise
            )
            results.append(result or blank_entry(slot, "inconclusive", "precision"))
        comparisons = [result for result in results if isinstance(result, Comparison)]
        known = self._known(seen, comparisons)
        effect = max((c.effect for c in comparisons if not c.is_zero), default=0.0)
        of_central = self.settings.tolerance_for(central.name, noise.single)
        entries = [
            r if isinstance(r, Entry) else entry_of(r, known, effect, of_central) for r in results
        ]
        if len(comparisons) == len(slots):
            self._probe(seen, comparisons, choice, noise)
        self._look_for_vacuity(entries, comparisons)
        self._say_what_directions_hide(comparisons)
        self.notes += blind_spots.of_shapes(self.target, seen.y.shape)
        return entries

    def _probe(
        self, seen: Pass, comparisons: list[Comparison], choice: Choice, noise: Noise
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

    def _known(self, seen: Pass, comparisons: list[Comparison]) -> Known:
        """Gather what wrong gradients are compared with."""
        slots = [comparison.slot for comparison in comparisons]
        arrays = {slot.name: np.asarray(slot.point, np.float64) for slot in slots}
        arrays["y"], arrays["dy"] = np.asarray(seen.y, np.float64), np.asarray(seen.dy)
        truths = {c.slot.name: c.truth for c in comparisons if c.truth is not None}
        return Known(Quantities(self.target, seen.y.shape), truths, arrays)

    def _misshapen(self, slot: Slot, gradient: Any) -> Entry | None:
        """Return the entry of a gradient that cannot be compared, or None if it can be."""
        if gradient is None:
            return blank_entry(slot, "fail", "missing", "backward gives no gradient for it")
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
            self.findings.append(Finding("dtype", slot.name, message, failed=True))
        return None

    def _compare_slot(
        self, slot: Slot, gradient: Array, choice: Choice, noise: Noise
    ) -> Comparison | None:
        count = self.settings.directions if self.mode == "fast" else 1
        directions = [signs_and_sizes(self.rng, slot.point.shape) for _ in range(count)]
        method, reason, reference = choice.for_slot(slot, directions[0])
        if reason:
            self.notes.append(f"{slot.name}: {reason}")
        if method is None:
            self._undecided(
                "precision", f"{slot.name}: the complex step was asked for and cannot be trusted"
            )
            return None
        found = self._compare_by(method, slot, gradient, directions, choice, noise)
        if method is choice.central:
            return found
        known = [] if reference is None else [(directions[0], reference)]
        if not hear_second_opinion(found, choice.central, known):
            self.notes.append(
                f"{slot.name}: complex step and central difference disagree where the error is "
                f"largest, so central differences are used"
            )
            found = self._compare_by(choice.central, slot, gradient, directions, choice, noise)
        return found

    def _compare_by(
        self,
        method: Method,
        slot: Slot,
        gradient: Array,
        directions: list[Array],
        choice: Choice,
        noise: Noise,
    ) -> Comparison:
        """Compare entries, or directions; where these fail, find entries that are no kinks."""
        tolerance = self.settings.tolerance_for(method.name, noise.single)
        if self.mode == "full":
            return compare_entries(slot, gradient, method, tolerance, noise)
        smooth, suspect = np.ones(slot.point.shape), 0
        for _ in range(_KINKS_LEFT_OUT):
            found = compare_directions(slot, gradient, method, tolerance, noise, directions, smooth)
            if not np.any(found.failing):
                return found
            if slot.point.size <= self.settings.max_entries:
                entries = compare_entries(slot, gradient, method, tolerance, noise)
                return entries if np.any(entries.failing) else found
            suspect = find_wrong_entry(slot, gradient, method, self.rng, smooth)
            if not choice.central.along(slot, one_hot(slot.point, suspect)).kink:
                break
            smooth.flat[suspect] = 0.0
            directions = [smooth * direction for direction in directions]
        some = self.rng.choice(slot.point.size, min(_SAMPLE, slot.point.size), replace=False)
        places = sorted({suspect, *map(int, some)})
        entries = compare_entries(slot, gradient, method, tolerance, noise, places)
        return entries if np.any(entries.failing) else found

    def _look_for_vacuity(self, entries: list[Entry], comparisons: list[Comparison]) -> None:
        if entries and all(entry.verdict == "zero" for entry in entries):
            if all(comparison.scale == 0.0 for comparison in comparisons):
                self._undecided("vacuous", "the output depends on no input and no parameter")
            else:
                self._undecided(
                    "vacuous",
                    "all gradients are zero but for rounding: the output is constant here (a sum "
                    "over normalised values?) or too large for its changes to be seen",
                )
            return
        zero = [entry.name for entry in entries if entry.verdict == "zero"]
        if zero:
            self.notes.append(f"zero but for rounding, as it should be: {', '.join(zero)}")

    def _say_what_directions_hide(self, comparisons: list[Comparison]) -> None:
        along = [c for c in comparisons if c.places is None and not c.is_zero]
        if along:
            worst = max(along, key=lambda c: c.detectable)
            self.notes.append(
                f"each direction weighs every entry by at least 1/2, so one wrong entry is not "
                f"missed if it is off by {worst.detectable:.0e} of its tensor's root mean square "
                f"or more (in {worst.slot.name}; in others by less)"
            )
