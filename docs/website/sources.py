"""Files that pages link to, on the site: code as pages with numbered lines, pictures as they are.

The site's folders are the repository's, so a link to `npformer/functional/softmax.py` leads to
`npformer/functional/softmax.py.html`. Below the code stand the pages that speak of it.
"""

import html
import shutil
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path, PurePosixPath
from posixpath import normpath
from posixpath import relpath as relative
from typing import Any
from urllib.parse import quote

from docutils import nodes
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_for_filename
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform

PICTURES = (".png", ".svg")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register what turns links to files, and what makes pages of the files."""
    app.add_transform(LinksToFiles)
    app.connect("env-purge-doc", forget)
    app.connect("env-merge-info", merge)
    app.connect("html-collect-pages", pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def linked(env: BuildEnvironment) -> dict[str, set[str]]:
    """Return the files that each document links to."""
    if not hasattr(env, "linked_files"):
        env.linked_files = {}
    files: dict[str, set[str]] = env.linked_files
    return files


def forget(app: Sphinx, env: BuildEnvironment, document: str) -> None:
    """Drop what a document linked to before it is read again."""
    linked(env).pop(document, None)


def merge(app: Sphinx, env: BuildEnvironment, names: list[str], other: BuildEnvironment) -> None:
    """Take over what another process read."""
    linked(env).update(linked(other))


class LinksToFiles(SphinxTransform):
    """Links to files of the repository, which MyST takes for downloads, lead to their pages."""

    default_priority = 500

    def apply(self, **kwargs: Any) -> None:
        """Turn each of them."""
        document = self.env.docname
        for node in list(self.document.findall(addnodes.download_reference)):
            file = normpath(PurePosixPath("/", document).parent / node["reftarget"]).lstrip("/")
            linked(self.env).setdefault(document, set()).add(file)
            uri = relative(page_of(file), PurePosixPath(document).parent)
            node.replace_self(nodes.reference("", "", *node.children, refuri=quote(uri)))


def page_of(file: str) -> str:
    """Return where a file is on the site."""
    return file if file.endswith(PICTURES) else file + ".html"


def pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield a page for every file that is linked to."""
    told: dict[str, list[str]] = {}
    for document, files in sorted(linked(app.env).items()):
        for file in files:
            told.setdefault(file, []).append(document)

    @cache
    def navigation(folder: PurePosixPath, **options: Any) -> str:
        """Return the site's contents as seen from a folder: dear to make for each file."""
        return app.builder._get_local_toctree((folder / "file").as_posix(), **options)

    for file, documents in sorted(told.items()):
        path = Path(app.srcdir, file)
        if file.endswith(PICTURES):
            copy = Path(app.outdir, file)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
            continue
        folder = PurePosixPath(file).parent
        links = ", ".join(
            f'<a href="{relative(document, folder)}.html">'
            f"{html.escape(app.env.titles[document].astext())}</a>"
            for document in documents
        )
        body = f"<h1>{html.escape(file)}</h1>\n<p>Linked from {links}.</p>\n{code(path)}"
        context = {"title": file, "body": body, "toctree": partial(navigation, folder)}
        yield file, context, "page.html"


def code(path: Path) -> str:
    """Return a file's text, highlighted, each line with the anchor `line-N`."""
    form = HtmlFormatter(linenos="inline", lineanchors="line", anchorlinenos=True)
    text = path.read_text(encoding="utf-8")
    return highlight(text, get_lexer_for_filename(path.name, stripnl=False), form)
