"""What is wrong with the built site: links that lead nowhere, TeX left raw, what needs a network.

Sphinx runs it after a build, where each problem is a warning, and so with ``-W`` an error.
"""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from sphinx.application import Sphinx
from sphinx.util import logging

LOG = logging.getLogger(__name__)
RAW = re.compile(r"\\[A-Za-z]{2,}|\$[^$\s][^$]*\$|```|\]\(")  # TeX or Markdown
SILENT = {"math", "code", "pre", "script", "style", "svg", "title"}  # where it may stand
LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}


def setup(app: Sphinx) -> dict[str, Any]:
    """Check after every build."""
    app.connect("build-finished", report)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def report(app: Sphinx, failure: Exception | None) -> None:
    """Warn of each problem."""
    if failure is None and app.builder.format == "html":
        for problem in problems(Path(app.outdir)):
            LOG.warning("%s", problem)


class Page(HTMLParser):
    """A page's anchors, its links, what it loads, and text that should not be there."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: set[str] = set()
        self.loaded: set[str] = set()
        self.raw: list[str] = []
        self._inside: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what an element names and where it leads."""
        values = dict(attrs)
        self.anchors |= {value for key in ("id", "name") if (value := values.get(key))}
        if tag == "a" and (link := values.get("href")):
            self.links.add(link)
        elif link := values.get(LOADED.get(tag, "")):
            (self.links if values.get("rel") in ("next", "prev") else self.loaded).add(link)
        if tag in SILENT:
            self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Leave an element."""
        if self._inside and self._inside[-1] == tag:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        """Look at text that a reader sees as prose."""
        if not self._inside:
            self.raw += RAW.findall(data)


def problems(site: Path) -> list[str]:
    """Return what is wrong with the pages of a folder."""
    pages = {
        path.resolve(): Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")
    }
    found = []
    for path, page in sorted(pages.items()):
        name = path.relative_to(site.resolve()).as_posix()
        found += [f"{name}: raw text {text!r}" for text in page.raw]
        for link in sorted(page.links | page.loaded):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                if link in page.loaded and parts.scheme != "data":
                    found.append(f"{name}: loads {link} from the network")
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file():
                found.append(f"{name}: the link {link} leads nowhere")
            elif (
                parts.fragment
                and target in pages
                and unquote(parts.fragment) not in pages[target].anchors
            ):
                found.append(f"{name}: {link} has no such place")
    return found
