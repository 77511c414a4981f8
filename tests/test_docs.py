"""The documentation holds: its Python blocks run, and print what the page says they print."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\s*^```text\n(.*?)^```$)?", re.DOTALL | re.MULTILINE)
PAGES = [
    path.relative_to(DOCS).as_posix()
    for path in sorted(DOCS.rglob("*.md"))
    if BLOCK.search(path.read_text(encoding="utf-8"))
]

TIME = re.compile(r"\b[\d,.]+ (?:evaluations|ms|s|min)\b")
LOST_IN_ROUNDING = re.compile(r"[-+]?\b\d(?:\.\d+)?e-(?:0[6-9]|[1-9]\d)\b|\b0\.0+e\+00\b")
PASSED = re.compile(r"\s(?:pass|zero)(?: \(\d+ of \d+\))?$")
NUMBER = re.compile(r"[-+]?\b\d+(?:\.\d+)?(?:e[-+]\d+)?\b|\[[\d, ]*\]")


def steady(line):
    """A line of output without what depends on time and on the last bits of rounding.

    Where a comparison agrees, the place of its largest error is such a thing.
    """
    if PASSED.search(line):
        line = NUMBER.sub("#", line)
    return " ".join(LOST_IN_ROUNDING.sub("#", TIME.sub("#", line)).split())


def test_there_are_pages_to_run():
    assert "checking-your-own.md" in PAGES


@pytest.mark.parametrize("page", PAGES)
def test_python_blocks_run_in_order_and_print_what_is_shown(page, capsys):
    text = (DOCS / page).read_text(encoding="utf-8")
    names = {"__name__": "page"}
    for number, (code, shown) in enumerate(BLOCK.findall(text), 1):
        exec(compile(code, f"{page}, block {number}", "exec"), names)
        printed = capsys.readouterr().out
        if shown:
            want = [steady(line) for line in shown.splitlines()]
            got = [steady(line) for line in printed.splitlines()]
            assert got == want, f"block {number} printed\n{printed}"


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda path: path.stem)
def test_links_lead_to_files(page):
    for target, anchor in re.findall(r"\]\(([^)#:]*)(#[^)]+)?\)", page.read_text(encoding="utf-8")):
        path = page.parent / target if target else page
        assert path.exists(), target
        assert not anchor or anchor[1:] in headings(path), target + anchor


def headings(page):
    """What a link calls the headings: lower case, hyphens for spaces, no punctuation."""
    found = re.findall(r"^#+ (.*)", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in found}
