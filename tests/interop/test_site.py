"""The site's build fails where it should: a small site with every fault, and one with none."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFIGURATION = Path(__file__).resolve().parents[2] / "docs"
PARTS = ["equations", "diagrams", "contents", "sources", "check"]
SOUND = {
    "README.md": "# Read me\n\n[Start](docs/index.md)\n",
    "code.py": "x = 1\n",
    "docs/api/index.rst": "Reference\n=========\n",
    "docs/index.md": "# Start\n\n## Here\n\n[Read me](../README.md), [page](page.md#two)\n",
    "docs/page.md": (
        "# One\n\n## Two\n\n[code](../code.py) and $x_i \\lt \\frac12$\n\n"
        "```math\ny = -\\sum_i x_i \\tag{1'}\n```\n\n```mermaid\nflowchart LR\n a --> b\n```\n\n"
        "<details><summary>Solution</summary>\n\n`$x$`\n\n```python\nx = 1\n```\n\n</details>\n"
    ),
}
FAULTS = {
    "[gone](gone.md)": "gone.md",
    "[gone](page.md#elsewhere)": "elsewhere",
    "[gone](../gone.py)": "gone.py",
    "$\\gone$": "Undefined control sequence",
    "raw \\\\frac12": "raw text '\\\\frac'",
    "a \\$x_1\\$ b": "raw text '$x_1$'",
    '<a href="gone.html">gone</a>': "the link gone.html leads nowhere",
    '<a href="#nowhere">gone</a>': "#nowhere has no such place",
    '<img src="https://example.org/x.png">': "from the network",
}


def build(folder, files):
    """Return how Sphinx ends and what it says of a site of these files."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    parts = ",".join(["myst_parser", *(f"website.{part}" for part in PARTS)])
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-c", CONFIGURATION]
    command += ["-D", f"extensions={parts}", folder, folder / "site"]
    ended = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"}, check=False
    )
    return ended.returncode, ended.stderr


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    status, said = build(folder, SOUND | {"docs/api/index.rst": "Reference\n=========\n"})
    assert (status, said) == (0, "")
    return folder / "site"


@pytest.fixture(scope="module")
def faults(tmp_path_factory):
    page = SOUND["docs/page.md"] + "\n\n" + "\n\n".join(FAULTS)
    status, said = build(
        tmp_path_factory.mktemp("faulty"),
        SOUND | {"docs/page.md": page, "docs/lost.md": "# Lost\n"},
    )
    assert status == 1
    return said


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_a_warning(faults, fault):
    assert FAULTS[fault] in faults


def test_a_page_in_no_contents_is_a_warning(faults):
    assert "lost.md: WARNING: document isn't included in any toctree" in faults


def test_equations_are_mathml_with_their_numbers(sound):
    page = (sound / "docs/page.html").read_text(encoding="utf-8")
    assert page.count("<math ") == 2
    assert '<span class="number">(1&#x27;)</span>' in page
    assert '<mo form="prefix">−</mo>' in page
    assert "\\frac" not in page
    assert "\\tag" not in page


def test_diagrams_are_drawn_and_solutions_are_folded(sound):
    page = (sound / "docs/page.html").read_text(encoding="utf-8")
    assert '<div class="diagram"' in page
    assert "</svg>" in page
    assert "<details><summary>Solution</summary>" in page
    assert "$x$" in page  # code is no formula


def test_code_has_a_page_that_leads_back(sound):
    assert 'href="../code.py.html"' in (sound / "docs/page.html").read_text(encoding="utf-8")
    page = (sound / "code.py.html").read_text(encoding="utf-8")
    assert 'id="line-1"' in page
    assert 'href="docs/page.html"' in page


def test_the_first_page_leads_on(sound):
    assert "url=docs/index.html" in (sound / "index.html").read_text(encoding="utf-8")
