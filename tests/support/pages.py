"""A page of the documentation: its Python blocks, what they print, and what of that is steady."""

import contextlib
import io
import re
from collections.abc import Iterator
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"
BLOCK = re.compile(
    r"^```python\n(?P<code>.*?)^```\n(?:\s*^```text\n(?P<shown>.*?)^```$)?",
    re.DOTALL | re.MULTILINE,
)
# What a command prints stands between two comments, which no reader sees.
PRINTED = re.compile(
    r"^<!-- (?P<command>[^\n]+) -->\n(?P<shown>.*?)^<!-- end -->$", re.DOTALL | re.M
)

TIME = re.compile(r"\b[\d,.]+ (?:evaluations|ms|s|min)\b")
LOST_IN_ROUNDING = re.compile(r"[-+]?\b\d(?:\.\d+)?e-(?:0[6-9]|[1-9]\d)\b|\b0\.0+e\+00\b")
PASSED = re.compile(r"\s(?:pass|zero)(?: \(\d+ of \d+\))?$")
NUMBER = re.compile(r"[-+]?\b\d+(?:\.\d+)?(?:e[-+]\d+)?\b|\[[\d, ]*\]")


def steady(output: str) -> list[str]:
    """The lines of an output without what depends on time and on the last bits of rounding.

    Where a comparison agrees, the place of its largest error is such a thing.
    """
    lines = []
    for line in output.splitlines():
        line = NUMBER.sub("#", line) if PASSED.search(line) else line
        lines.append(" ".join(LOST_IN_ROUNDING.sub("#", TIME.sub("#", line)).split()))
    return lines


def run_blocks(page: Path) -> Iterator[tuple[re.Match[str], str]]:
    """Run a page's blocks, in order and with the same names: each with what it printed."""
    names = {"__name__": "page"}
    for number, block in enumerate(BLOCK.finditer(page.read_text(encoding="utf-8")), 1):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(block["code"], f"{page.name}, block {number}", "exec"), names)
        yield block, printed.getvalue()
