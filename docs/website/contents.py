"""The site's contents: a page has for its chapters those pages that its text links to.

So there is no list to keep. `docs/index.md` and each `README.md` below it are such pages; any other
page belongs to the nearest one, in its own folder or above. A page that its contents page does not
link to is in no contents, which Sphinx warns of.
"""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from posixpath import normpath
from typing import Any

from sphinx.application import Sphinx

HEADING = re.compile(r"^## (.*)", re.MULTILINE)
LINK = re.compile(r"\]\(([^)#:]+)\.md(?:#[^)]*)?\)")
REFERENCE = ("The code", ["docs/api/index"])


def setup(app: Sphinx) -> dict[str, Any]:
    """Add the contents to the pages as they are read."""
    app.connect("source-read", add_contents)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def add_contents(app: Sphinx, page: str, source: list[str]) -> None:
    """Append a hidden `toctree` for each section of a contents page."""
    if PurePosixPath(page).name not in ("index", "README") or not page.startswith("docs/"):
        return
    if page.startswith("docs/api/"):
        return
    parts = list(chapters(Path(app.srcdir), page, source[0]))
    if page == app.config.root_doc:
        parts.append(REFERENCE)
    for caption, pages in parts:
        listed = "\n".join(f"/{name}" for name in pages)
        source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{listed}\n```\n"


def chapters(root: Path, page: str, text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the headings of a contents page, and its chapters that are first linked there."""
    seen = set()
    _, *sections = HEADING.split("## Contents\n" + text)
    for heading, body in zip(sections[::2], sections[1::2], strict=True):
        here = []
        for link in LINK.findall(body):
            target = normpath(PurePosixPath(page).parent / link)
            if target not in seen and contents_page(root, target) == page:
                seen.add(target)
                here.append(target)
        if here:
            yield heading, here


def contents_page(root: Path, page: str) -> str:
    """Return the page in whose contents `page` stands."""
    for folder in PurePosixPath(page).parents:
        for name in ("index", "README"):
            candidate = (folder / name).as_posix()
            if candidate not in (page, "README") and (root / f"{candidate}.md").exists():
                return candidate
    return "docs/index"
