"""The documentation holds: its Python blocks run, and print what the page says they print."""

import re
import shlex

import pytest
from support.pages import BLOCK, DOCS, PRINTED, run_blocks, steady

README = (DOCS.parent / "README.md").read_text(encoding="utf-8")
EVERY = sorted(DOCS.rglob("*.md"))
PAGES = [page for page in EVERY if BLOCK.search(page.read_text(encoding="utf-8"))]


def test_there_are_pages_to_run():
    assert DOCS / "checking-your-own.md" in PAGES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_python_blocks_run_in_order_and_print_what_is_shown(page):
    for block, printed in run_blocks(page):
        assert block["shown"] is None or steady(printed) == steady(block["shown"]), printed


def test_what_commands_print_names_commands_that_exist():
    commands = [
        shlex.split(found["command"])
        for page in EVERY
        for found in PRINTED.finditer(page.read_text(encoding="utf-8"))
    ]
    assert commands
    for program, what, *_ in ([word for word in words if "=" not in word] for words in commands):
        if program == "python":
            assert (DOCS.parent / what).is_file(), what
        else:
            assert program == "npformer"


@pytest.mark.parametrize("page", EVERY, ids=lambda page: page.stem)
def test_every_comment_of_a_command_has_its_end(page):
    text = page.read_text(encoding="utf-8")
    assert len(PRINTED.findall(text)) == text.count("<!-- end -->") == text.count("<!--") / 2


@pytest.mark.parametrize("page", EVERY, ids=lambda page: page.stem)
def test_links_lead_to_files(page):
    for target, anchor in re.findall(r"\]\(([^)#:]*)(#[^)]+)?\)", page.read_text(encoding="utf-8")):
        path = page.parent / target if target else page
        assert path.exists(), target
        assert not anchor or anchor[1:] in headings(path), target + anchor


def headings(page):
    """What a link calls the headings: lower case, hyphens for spaces, no punctuation."""
    found = re.findall(r"^#+ (.*)", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in found}


def test_every_picture_is_drawn_by_a_script_or_a_command():
    scripts = [path.read_text(encoding="utf-8") for path in (DOCS / "scripts").glob("*.py")]
    pages = [path.read_text(encoding="utf-8") for path in EVERY]
    commands = [found["command"] for page in pages for found in PRINTED.finditer(page)]
    for picture in (DOCS / "images").iterdir():
        assert any(picture.stem in text for text in scripts + commands), picture.name
        assert any(picture.name in text for text in [*pages, README]), picture.name
