"""From a comparison to an entry of the report: passed, failed, zero, or not to be decided."""

import math

import numpy as np

from .comparison import Comparison
from .diagnosis import Known, diagnose
from .draws import as_index
from .report import Entry
from .target import Slot

_TOO_COARSE = 0.05  # a relative error below which nothing would be seen: too little precision


def entry_of(found: Comparison, known: Known, effect: float) -> Entry:
    """Judge a comparison.

    Parameters
    ----------
    found : Comparison
    known : Known
        For the diagnosis, should it fail.
    effect : float
        The largest effect on the output that any slot has; 0 if none has one.
    """
    verdict, family, why = _judge(found, known, effect)
    compared = int(np.sum(~found.kink))
    worst = int(np.argmax(found.errors)) if compared else 0
    index = None
    if compared and found.places is not None:
        index = as_index(int(found.places[worst]), found.slot.point.shape)
    return Entry(
        name=found.slot.name,
        kind=found.slot.kind,
        shape=found.slot.point.shape,
        method=found.method,
        verdict=verdict,
        worst_error=float(found.errors[worst]) if compared else 0.0,
        worst_index=index,
        analytic=float(found.analytic[worst]) if compared else math.nan,
        numeric=float(found.numeric[worst]) if compared else math.nan,
        bound=float(found.allowed[worst]) if compared else math.nan,
        tolerance=found.tolerance,
        checked=compared,
        skipped=int(np.sum(found.kink)),
        family=family,
        diagnosis=why,
    )


def blank_entry(slot: Slot, verdict: str, family: str = "", diagnosis: str = "") -> Entry:
    """Return the entry of a slot for which nothing could be compared."""
    return Entry(
        name=slot.name,
        kind=slot.kind,
        shape=slot.point.shape,
        method="",
        verdict=verdict,
        worst_error=math.inf if verdict == "fail" else 0.0,
        worst_index=None,
        analytic=math.nan,
        numeric=math.nan,
        bound=math.nan,
        tolerance=math.nan,
        checked=0,
        skipped=0,
        family=family,
        diagnosis=diagnosis,
    )


def _judge(found: Comparison, known: Known, effect: float) -> tuple[str, str, str]:
    """Return verdict, family and diagnosis."""
    if np.any(found.failing):
        return ("fail", *diagnose(found, known))
    skipped = int(np.sum(found.kink))
    if 2 * skipped > found.kink.size:
        what = "directions cross" if found.places is None else "entries lie at"
        why = f"{skipped} of {found.kink.size} {what} a kink and have no derivative"
        return "inconclusive", "kinks", why
    if found.is_zero:
        if not effect or found.blur <= _TOO_COARSE * effect:
            return "zero", "", ""
        return "inconclusive", "precision", "it may be zero, or too small to be seen"
    if found.resolution > _TOO_COARSE:
        why = f"an error below {found.resolution:.0%} of the gradient would not be seen"
        return "inconclusive", "precision", why
    return "pass", "", ""
