"""A report as text: a headline, one row for each tensor with both methods, then sentences."""

import math
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .report import Entry, Finding, GradientReport, Probe, Reading

_WIDTH = 100
_LONG = 16  # a name of more letters stands on a line of its own
_SENTENCES = ("  fail: ", "  inconclusive: ", "  note: ")
_HEADER = (
    "tensor",
    "shape",
    "at",
    "analytic",
    "complex step",
    "error",
    "central difference",
    "error",
    "verdict",
)


def text_of(report: "GradientReport") -> str:
    """Return the text, for ``str(report)``."""
    wrong = [e for e in report.entries if e.diagnosis]
    paragraphs = [
        _table(report.entries),
        [f"{e.verdict}: {e.name}: {e.diagnosis}" for e in wrong],
        [f"{_mark(f)}: {_about(f)}{f.message}" for f in report.findings],
        [_probed(p, report.verdict) for p in report.probes],
        [f"note: {note}" for note in report.notes],
    ]
    lines = [_headline(report)]
    for paragraph in filter(None, paragraphs):
        lines += ["", *(f"  {line}".rstrip() for line in paragraph)]
    return "\n".join(wrapped for line in lines for wrapped in _wrap(line))


def _probed(probe: "Probe", verdict: str) -> str:
    comment = probe.name != "adjoint" and probe.verdict == "disagrees" and verdict == "pass"
    return f"{probe.name} {probe.verdict}{' (a comment only)' if comment else ''}: {probe.meaning}"


def _headline(report: "GradientReport") -> str:
    how = "every entry" if report.mode == "full" else "random directions"
    return (
        f"gradcheck {report.target}: {report.verdict.upper()}  ({how}, {report.evaluations} "
        f"evaluations, {report.seconds:.2f} s, seed {report.seed})"
    )


def _table(entries: "tuple[Entry, ...]") -> list[str]:
    rows = [_HEADER, *(_row(entry) for entry in entries)]
    widths = [max(len(row[i]) for row in rows if i or len(row[i]) <= _LONG) for i in range(9)]
    lines = []
    for name, *cells in rows:
        if len(name) > _LONG:
            lines.append(name)
            name = ""
        padded = [cell.ljust(width) for cell, width in zip([name, *cells], widths, strict=True)]
        lines.append("  ".join(padded))
    return lines


def _row(entry: "Entry") -> tuple[str, ...]:
    at = "" if entry.worst_index is None else str(list(entry.worst_index))
    compared = math.prod(entry.shape) - entry.skipped
    some = f" ({compared} of {math.prod(entry.shape)})" if entry.skipped else ""
    return (
        entry.name,
        str(entry.shape),
        at,
        f"{entry.analytic:+.4e}" if entry.checked else "",
        *_reading(entry.complex_step),
        *_reading(entry.central_difference),
        entry.verdict + some,
    )


def _reading(reading: "Reading | None") -> tuple[str, str]:
    if reading is None:
        return "", ""
    within = f" ± {reading.bound:.0e}" if reading.bound else ""
    return f"{reading.value:+.4e}{within}", f"{reading.error:.0e}" if reading.error else "0"


def _wrap(line: str) -> list[str]:
    """Break sentences at the width of the page; rows of the table keep their one line."""
    if len(line) <= _WIDTH or not line.startswith(_SENTENCES):
        return [line]
    return textwrap.wrap(line, _WIDTH, subsequent_indent="      ", break_long_words=False)


def _mark(finding: "Finding") -> str:
    if finding.undecided:
        return "inconclusive"
    return "fail" if finding.failed else "note"


def _about(finding: "Finding") -> str:
    return f"{finding.subject}: " if finding.subject else ""
