"""What a check found: a verdict, an entry for each tensor, findings of conduct, and notes."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..core.errors import GradientError
from .table import text_of


@dataclass(frozen=True)
class Reading:
    """One method's derivative at the place where an entry's error is largest.

    Attributes
    ----------
    value : float
    bound : float
        The method's estimate of its own error; 0 for the complex step.
    error : float
        |a - value| / (|a| + |value| + floor), with the floor that this method has.
    """

    value: float
    bound: float
    error: float


@dataclass(frozen=True)
class Entry:
    """The comparison of one tensor: an argument of forward, or a parameter.

    Attributes
    ----------
    name : str
        The argument's name in the signature, or the parameter's dotted name.
    kind : {"input", "parameter"}
    shape : tuple of int
    verdict : {"pass", "zero", "fail", "inconclusive"}
        ``"zero"``: both gradients are zero but for rounding.
    method : str
        ``"complex step"`` or ``"central difference"``: which one the verdict rests on.
    worst_error : float
        Largest |a - n| / (|a| + |n| + floor); 0 if the verdict is ``"zero"``, for rounding is
        not compared with rounding.
    worst_index : tuple of int or None
        Where; None along a direction, or where nothing could be compared.
    analytic, numeric : float
        The two derivatives there.
    bound : float
        What the method and rounding allow the two to differ by there.
    tolerance : float
        Relative error that is accepted.
    checked, skipped : int
        Derivatives compared (of entries, or along directions), and entries left out since they
        lie at a kink.
    family : str
        The kind of error in one or two words, such as ``"sign"``; empty if there is none.
    diagnosis : str
        What is wrong, in words; empty if nothing is.
    complex_step, central_difference : Reading or None
        What each method found there; None where it was not taken, or cannot be trusted.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    verdict: str
    method: str = ""
    worst_error: float = 0.0
    worst_index: tuple[int, ...] | None = None
    analytic: float = math.nan
    numeric: float = math.nan
    bound: float = math.nan
    tolerance: float = math.nan
    checked: int = 0
    skipped: int = 0
    family: str = ""
    diagnosis: str = ""
    complex_step: Reading | None = None
    central_difference: Reading | None = None


@dataclass(frozen=True)
class Finding:
    """Something about the target's conduct, rather than about a value.

    Attributes
    ----------
    family : str
        The kind, such as ``"mutated"`` or ``"not accumulated"``.
    subject : str
        Which argument or parameter; empty if it is about the target as a whole.
    message : str
        What happened, and what to do about it.
    failed : bool
        Whether it makes the check fail.
    undecided : bool
        Whether it makes a check that does not fail inconclusive. Where neither holds, the
        finding is a remark.
    """

    family: str
    subject: str
    message: str
    failed: bool
    undecided: bool = False


@dataclass(frozen=True)
class Probe:
    """A test of the whole gradient at once, along random directions.

    Attributes
    ----------
    name : {"adjoint", "Taylor", "symmetry", "elsewhere"}
    verdict : {"agrees", "disagrees", "not applicable"}
    value : float
        What was measured.
    meaning : str
        The same in words.
    """

    name: str
    verdict: str
    value: float
    meaning: str


@dataclass(frozen=True)
class GradientReport:
    """The result of `npformer.gradcheck`.

    Attributes
    ----------
    target : str
        What was checked.
    verdict : {"pass", "fail", "inconclusive"}
        Inconclusive means that the check could not have found an error, or not enough of them.
    entries : tuple of Entry
        One for each tensor that is differentiated.
    findings : tuple of Finding
        Conduct: what was written to, not accumulated, kept.
    probes : tuple of Probe
        Tests of the whole gradient at once. Only the adjoint test takes part in the verdict.
    notes : tuple of str
        What else is worth knowing about how the check was done.
    mode : {"full", "fast"}
        Every entry, or random directions through each tensor.
    seed : int
        With which the same check can be made again.
    evaluations : int
        How often forward was run.
    seconds : float
        How long it took.
    """

    target: str
    verdict: str
    entries: tuple[Entry, ...]
    findings: tuple[Finding, ...]
    probes: tuple[Probe, ...]
    notes: tuple[str, ...]
    mode: str
    seed: int
    evaluations: int
    seconds: float

    @property
    def ok(self) -> bool:
        """True only for the verdict ``"pass"``."""
        return self.verdict == "pass"

    @property
    def families(self) -> frozenset[str]:
        """The kinds of everything that failed or stayed undecided, by one word or two each."""
        entries = [e.family for e in self.entries if e.verdict in ("fail", "inconclusive")]
        vacuous = self.verdict == "inconclusive"
        findings = [f.family for f in self.findings if f.failed or (vacuous and f.undecided)]
        return frozenset([*entries, *findings]) - {""}

    @property
    def worst_error(self) -> float:
        """The largest relative error of all entries (0 if there are none)."""
        return max((entry.worst_error for entry in self.entries), default=0.0)

    def assert_ok(self) -> None:
        """Raise unless the verdict is ``"pass"``.

        Raises
        ------
        GradientError
            With the whole report as its message.
        """
        if not self.ok:
            raise GradientError(str(self))

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain dicts, lists, numbers and strings."""
        plain = asdict(self)
        plain["ok"] = self.ok
        return plain

    def to_json(self, indent: int | None = 2) -> str:
        """Return everything as JSON. Infinite and NaN numbers become strings."""
        return json.dumps(_finite(self.to_dict()), indent=indent, allow_nan=False)

    def __str__(self) -> str:
        return text_of(self)


def _finite(value: Any) -> Any:
    """Replace what JSON has no number for."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
