"""From a comparison to an entry of the report: passed, failed, zero, or not to be decided."""

import math
from dataclasses import replace

import numpy as np

from .comparison import Comparison, relative_error
from .complex_step import ComplexStep
from .diagnosis import Known, diagnose
from .draws import as_index
from .report import Entry, Reading
from .target import Slot

_TOO_COARSE = 0.05  # a relative error below which nothing would be seen: too little precision
_TOO_COARSE_DOUBLE = 1e-3  # the same where float64 promises more
_TOO_COARSE_ENTRY = 0.1  # the same of a single entry, where directions go through many


def entry_of(found: Comparison, known: Known, effect: float, second_tolerance: float) -> Entry:
    """Judge a comparison.

    Parameters
    ----------
    found : Comparison
    known : Known
        For the diagnosis, should it fail.
    effect : float
        The largest effect on the output that any slot has; 0 if none has one.
    second_tolerance : float
        By which the errors of central differences are measured.
    """
    verdict, family, why = _judge(found, known, effect)
    slot, compared = found.slot, int(np.sum(~found.kink))
    judged = Entry(
        name=slot.name,
        kind=slot.kind,
        shape=slot.point.shape,
        verdict=verdict,
        method=found.method,
        tolerance=found.tolerance,
        checked=compared,
        skipped=found.left_out,
        family=family,
        diagnosis=why,
    )
    if not compared:
        return judged
    worst = found.worst
    analytic, numeric = float(found.analytic[worst]), float(found.numeric[worst])
    error = 0.0 if verdict == "zero" else float(found.errors[worst])
    first, second = Reading(numeric, float(found.bound[worst]), error), None
    if found.second is not None:
        value, bound = found.second.value, found.second.bound
        floor = (float(found.allowed[worst] - found.bound[worst]) + bound) / second_tolerance
        error = 0.0 if verdict == "zero" else float(relative_error(analytic, value, floor))
        second = Reading(value, bound, error)
    exact = found.method == ComplexStep.name
    at = None if found.places is None else as_index(int(found.places[worst]), slot.point.shape)
    return replace(
        judged,
        worst_error=first.error,
        worst_index=at,
        analytic=analytic,
        numeric=numeric,
        bound=float(found.allowed[worst]),
        complex_step=first if exact else None,
        central_difference=second if exact else first,
    )


def blank_entry(slot: Slot, verdict: str, family: str = "", diagnosis: str = "") -> Entry:
    """Return the entry of a slot for which nothing could be compared."""
    return Entry(
        name=slot.name,
        kind=slot.kind,
        shape=slot.point.shape,
        verdict=verdict,
        worst_error=math.inf if verdict == "fail" else 0.0,
        family=family,
        diagnosis=diagnosis,
    )


def _judge(found: Comparison, known: Known, effect: float) -> tuple[str, str, str]:
    """Return verdict, family and diagnosis."""
    if np.any(found.failing):
        return ("fail", *diagnose(found, known))
    size = found.slot.point.size if found.places is None else found.kink.size
    if 2 * found.left_out > size:
        why = f"{found.left_out} of {size} entries lie at a kink and have no derivative"
        return "inconclusive", "kinks", why
    if 2 * int(np.sum(found.kink)) > found.kink.size:
        why = f"{int(np.sum(found.kink))} of {found.kink.size} directions cross a kink"
        return "inconclusive", "kinks", why
    if found.is_zero:
        if not effect or found.blur <= _TOO_COARSE * effect:
            return "zero", "", ""
        return "inconclusive", "precision", "it may be zero, or too small to be seen"
    if found.resolution > (_TOO_COARSE if found.eps > 1e-8 else _TOO_COARSE_DOUBLE):
        why = f"an error below {found.resolution:.0e} of the gradient would not be seen"
        return "inconclusive", "precision", why
    if 2 * found.doubts > found.kink.size:
        why = (
            f"{found.doubts} of {found.kink.size} derivatives differ, and are so small beside "
            f"others that it may be rounding"
        )
        return "inconclusive", "precision", why
    if found.places is None and found.detectable > _TOO_COARSE_ENTRY:
        why = (
            f"a single wrong entry would be missed unless it is off by "
            f"{rounded_up(found.detectable)} of the root mean square; check fewer entries, or in "
            f"float64"
        )
        return "inconclusive", "precision", why
    return "pass", "", ""


def rounded_up(number: float) -> str:
    """Write what is promised with one digit, not less than it is."""
    if not 0.0 < number < math.inf:
        return f"{number:.0e}"
    ten = 10.0 ** math.floor(math.log10(number))
    return f"{math.ceil(number / ten * (1 - 1e-12)) * ten:.0e}"
