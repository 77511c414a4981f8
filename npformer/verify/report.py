"""What a check found: a verdict, an entry for each tensor, findings of conduct, and notes."""

import json
import textwrap
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..core.errors import GradientError


@dataclass(frozen=True)
class Entry:
    """The comparison of one tensor: an argument of forward, or a parameter.

    Attributes
    ----------
    name : str
        The argument's name in the signature, or the parameter's dotted name.
    kind : {"input", "parameter"}
    shape : tuple of int
    method : str
        ``"complex step"`` or ``"central difference"``.
    verdict : {"pass", "zero", "fail", "inconclusive"}
        ``"zero"``: both gradients are zero but for rounding.
    worst_error : float
        Largest |a - n| / (|a| + |n| + floor).
    worst_index : tuple of int or None
        Where; None along a direction, or where nothing could be compared.
    analytic, numeric : float
        The two derivatives there.
    bound : float
        What the method and rounding allow the two to differ by there.
    tolerance : float
        Relative error that is accepted.
    checked, skipped : int
        Derivatives compared, and left out for a kink.
    family : str
        The kind of error in one or two words, such as ``"sign"``; empty if there is none.
    diagnosis : str
        What is wrong, in words; empty if nothing is.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    method: str
    verdict: str
    worst_error: float
    worst_index: tuple[int, ...] | None
    analytic: float
    numeric: float
    bound: float
    tolerance: float
    checked: int
    skipped: int
    family: str = ""
    diagnosis: str = ""


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
    name : {"adjoint", "Taylor", "symmetry"}
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
        lines = [self._headline(), ""]
        lines += [f"  {line}".rstrip() for line in _table(self.entries)]
        wrong = [e for e in self.entries if e.diagnosis]
        lines += ["", *(f"  {e.verdict}: {e.name}: {e.diagnosis}" for e in wrong)] if wrong else []
        if self.findings:
            lines += ["", *(f"  {_mark(f)}: {_about(f)}{f.message}" for f in self.findings)]
        if self.probes:
            lines += [
                "",
                *(f"  {p.name} {p.verdict}: {p.meaning}" for p in self.probes),
            ]
        if self.notes:
            lines += ["", *(f"  note: {note}" for note in self.notes)]
        return "\n".join(wrapped for line in lines for wrapped in _wrap(line))

    def _headline(self) -> str:
        how = "every entry" if self.mode == "full" else "random directions"
        return (
            f"gradcheck {self.target}: {self.verdict.upper()}  ({how}, {self.evaluations} "
            f"evaluations, {self.seconds:.2f} s, seed {self.seed})"
        )


_WIDTH = 100
_SENTENCES = ("  fail: ", "  inconclusive: ", "  note: ")
_HEADER = (
    "tensor",
    "shape",
    "method",
    "checked",
    "worst error",
    "at",
    "analytic",
    "numeric",
    "verdict",
)
_RIGHT = frozenset({"checked", "worst error", "analytic", "numeric"})


def _table(entries: tuple[Entry, ...]) -> list[str]:
    rows = [_HEADER, *(_row(entry) for entry in entries)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADER))]
    right = [title in _RIGHT for title in _HEADER]
    return [
        "  ".join(
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(row, widths, right, strict=True)
        )
        for row in rows
    ]


def _row(entry: Entry) -> tuple[str, ...]:
    at = "" if entry.worst_index is None else str(list(entry.worst_index))
    compared = entry.checked > 0
    return (
        entry.name,
        str(entry.shape),
        entry.method.partition(" ")[0] if compared or entry.skipped else "",
        f"{entry.checked} of {entry.checked + entry.skipped}"
        if entry.skipped
        else str(entry.checked),
        f"{entry.worst_error:.1e}" if compared else "",
        at,
        f"{entry.analytic:+.6e}" if compared else "",
        f"{entry.numeric:+.6e}" if compared else "",
        entry.verdict,
    )


def _wrap(line: str) -> list[str]:
    """Break sentences at the width of the page; rows of the table keep their one line."""
    if len(line) <= _WIDTH or not line.startswith(_SENTENCES):
        return [line]
    return textwrap.wrap(line, _WIDTH, subsequent_indent="      ", break_long_words=False)


def _mark(finding: Finding) -> str:
    if finding.undecided:
        return "inconclusive"
    return "fail" if finding.failed else "note"


def _about(finding: Finding) -> str:
    return f"{finding.subject}: " if finding.subject else ""


def _finite(value: Any) -> Any:
    """Replace what JSON has no number for."""
    if isinstance(value, float) and not -float("inf") < value < float("inf"):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
