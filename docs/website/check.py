"""What is wrong with the built site: links that lead nowhere, TeX left raw, what needs a network.

Sphinx runs it after a build, where each problem is a warning, and so with ``-W`` an error.
"""

import re
from html import unescape
from pathlib import Path
from posixpath import dirname, join, normpath
from typing import Any
from urllib.parse import unquote, urlsplit

from sphinx.application import Sphinx
from sphinx.util import logging

LOG = logging.getLogger(__name__)
ANCHOR = re.compile(r'\s(?:id|name)="([^"]*)"')
CODE = re.compile(r"<(pre|script|style)\b.*?</\1>", re.DOTALL)
LINK = re.compile(r'<a\s[^>]*\bhref="([^"]*)"')
LOADED = re.compile(r'<(?:(?:script|img|iframe)\s[^>]*\bsrc|link\s[^>]*\bhref)="([^"]*)"')
SILENT = re.compile(r"<(math|code|svg|title)\b.*?</\1>", re.DOTALL)  # where TeX may stand
TAG = re.compile(r"<[^>]*>")
RAW = re.compile(r"\\[A-Za-z]{2,}|\$[^$\s][^$]*\$|```|\]\(")  # TeX or Markdown


def setup(app: Sphinx) -> dict[str, Any]:
    """Check after every build."""
    app.connect("build-finished", report)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def report(app: Sphinx, failure: Exception | None) -> None:
    """Warn of each problem."""
    if failure is None and app.builder.format == "html":
        for problem in problems(Path(app.outdir)):
            LOG.warning("%s", problem)


class Page:
    """A page's anchors, its links, what it loads, and text that should not be there."""

    def __init__(self, text: str) -> None:
        self.anchors = {unescape(name) for name in ANCHOR.findall(text)}
        text = CODE.sub("", text)
        self.links = {unescape(link) for link in LINK.findall(text)}
        self.loaded = {unescape(link) for link in LOADED.findall(text)}
        self.raw = RAW.findall(unescape(TAG.sub(" ", SILENT.sub("", text))))


def problems(site: Path) -> list[str]:
    """Return what is wrong with the pages of a folder."""
    files = {path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file()}
    pages = {
        name: Page((site / name).read_text(encoding="utf-8"))
        for name in sorted(files)
        if name.endswith(".html")
    }
    found = []
    for name, page in pages.items():
        found += [f"{name}: raw text {text!r}" for text in page.raw]
        for link in sorted(page.links | page.loaded):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                if link in page.loaded and parts.scheme != "data":
                    found.append(f"{name}: loads {link} from the network")
                continue
            target = normpath(join(dirname(name), unquote(parts.path))) if parts.path else name
            if target not in files:
                found.append(f"{name}: the link {link} leads nowhere")
            elif parts.fragment and unquote(parts.fragment) not in pages[target].anchors:
                found.append(f"{name}: {link} has no such place")
    return found
