"""The reference: pages written from what the packages export, and filled from the docstrings.

A name is told once, under the deepest package that exports it. What one file defines stands on one
page, below the file's docstring (an operation's equations), with links to the code and to the
derivation.
"""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cache
from itertools import groupby
from pathlib import Path
from types import ModuleType
from typing import Any, get_origin

from numpy.typing import DTypeLike
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.typing import stringify_annotation

import npformer
from npformer.core import Array, BoolArray

ROOT = Path(npformer.__file__).resolve().parents[1]
ABOUT = re.compile(r"\]\(\.\./\.\./(npformer/[\w/]+\.py)\)")
CODE = re.compile(r"(`+[^`]+`+)")
ALIASES = {
    stringify_annotation(alias, "smart"): f"~npformer.core.{name}"
    for name, alias in {"Array": Array, "BoolArray": BoolArray}.items()
} | {stringify_annotation(DTypeLike, "smart"): "~numpy.typing.DTypeLike"}
MARKUP = re.compile(r"[\\*|]|(?<!\])_(?!\w)")


def setup(app: Sphinx) -> dict[str, Any]:
    """Write the pages before Sphinx looks for them."""
    app.config.linkcode_resolve = place_in_code
    app.connect("config-inited", lambda app, config: write_pages(Path(app.srcdir, "docs/api")))
    app.connect("autodoc-process-signature", shorten)
    app.connect("autodoc-process-docstring", escape_bars, priority=1)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


@dataclass(frozen=True)
class Group:
    """What one file defines of what a package exports."""

    package: ModuleType
    file: ModuleType  # the package itself, for its constants
    names: list[str]

    @property
    def has_page(self) -> bool:
        """Whether it has a page; what private files define stands on the package's."""
        return self.file is not self.package and "._" not in self.file.__name__

    @property
    def title(self) -> str:
        """The names without their backward siblings if they are few, or else the file's."""
        main = [name for name in self.names if not name.endswith("_backward")]
        return ", ".join(main) if len(main) < 3 else self.file.__name__.rpartition(".")[2]

    def found(self, name: str) -> tuple[ModuleType, Any]:
        """Return from where a name is imported, and what it is."""
        home = self.package if hasattr(self.package, name) else self.file
        return home, getattr(home, name)


def write_pages(folder: Path) -> None:
    """Write the pages that changed, and remove those of what is gone."""
    wanted = {"index": index_page()}
    for package in packages():
        groups = list(groups_of(package))
        wanted[package.__name__] = package_page(package, groups)
        wanted |= {group.file.__name__: group_page(group) for group in groups if group.has_page}
    folder.mkdir(exist_ok=True)
    for path in folder.glob("*.rst"):
        if path.stem not in wanted:
            path.unlink()
    for name, text in wanted.items():
        path = folder / f"{name}.rst"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


@cache
def packages() -> list[ModuleType]:
    """Return npformer and its packages that export something."""
    found = [npformer]
    for entry in pkgutil.iter_modules(npformer.__path__):
        if entry.ispkg and not entry.name.startswith("_"):
            module = importlib.import_module(f"npformer.{entry.name}")
            if getattr(module, "__all__", None):
                found.append(module)
    return found


def groups_of(package: ModuleType) -> Iterator[Group]:
    """Yield what a package exports, in its order, by the files that define it."""
    deeper = [other for other in packages() if package is npformer and other is not npformer]
    told = {id(getattr(other, name)) for other in deeper for name in other.__all__}
    files: dict[str, list[str]] = {}
    for name in package.__all__:
        thing = getattr(package, name)
        if not inspect.ismodule(thing) and id(thing) not in told:
            made = getattr(thing, "__module__", "")
            home = made if made.startswith(package.__name__) else package.__name__
            files.setdefault(home, []).append(name)
        elif inspect.ismodule(thing) and package is not npformer:
            files[thing.__name__] = defined(thing, inspect.isfunction)
    for file, names in files.items():
        yield Group(package, importlib.import_module(file), names)


def defined(file: ModuleType, kind: Callable[[Any], bool]) -> list[str]:
    """Return the public names of a kind that a file defines, in its order."""
    return [
        name
        for name, thing in vars(file).items()
        if not name.startswith("_") and kind(thing) and thing.__module__ == file.__name__
    ]


def is_record(thing: Any) -> bool:
    """Tell whether it is a NamedTuple, such as what forward keeps for backward."""
    return inspect.isclass(thing) and issubclass(thing, tuple)


def index_page() -> str:
    """Return the first page: every package and the first line of its docstring."""
    rows = [(f":doc:`{one.__name__}`", summary(one)) for one in packages()]
    return heading("Reference") + table(rows) + toctree(one.__name__ for one in packages())


def package_page(package: ModuleType, groups: list[Group]) -> str:
    """Return the page of a package: its docstring, a table of its pages, and what has none."""
    pages = [group for group in groups if group.has_page]
    rows = [
        (f":py:obj:`~{home.__name__}.{name}`", summary(thing))
        for group in pages
        for name in group.names
        for home, thing in [group.found(name)]
    ]
    text = heading(package.__name__) + prose(package) + table(rows)
    text += toctree(group.file.__name__ for group in pages)
    return text + "".join(members(group) for group in groups if not group.has_page)


def group_page(group: Group) -> str:
    """Return the page of a file."""
    return heading(group.title) + prose(group.file) + members(group)


def members(group: Group) -> str:
    """Return links to a file and its derivation, and the names that it defines."""
    file = path_of(group.file)
    links = [f":download:`{file} </{file}>`"]
    links += [f":doc:`/docs/derivations/{page}`" for page in derivations().get(file, ())]
    text = f"In {', derived in '.join(links)}.\n\n"
    for name in group.names:
        home, thing = group.found(name)
        text += directive(group.file, home, name, thing)
    records = [name for name in defined(group.file, is_record) if name not in group.names]
    for name in records:
        text += directive(group.file, group.file, name, getattr(group.file, name))
    return text


def directive(file: ModuleType, home: ModuleType, name: str, thing: Any) -> str:
    """Return what fills in a name's docstring."""
    if inspect.isroutine(thing):
        return f".. autofunction:: {home.__name__}::{name}\n\n"
    if inspect.isclass(thing) and get_origin(thing) is None:  # no alias of a type
        inside = "" if is_record(thing) else "   :members:\n   :show-inheritance:\n"
        return f".. autoclass:: {home.__name__}::{name}\n{inside}\n"
    value = f"   :value: {thing!r}\n" if isinstance(thing, (int, float, str, Enum)) else ""
    said = ModuleAnalyzer.for_module(file.__name__).find_attr_docs().get(("", name), [])
    text = "\n".join(f"   {line}" for line in said)
    return f".. py:data:: {name}\n   :module: {home.__name__}\n{value}\n{text}\n\n"


@cache
def derivations() -> dict[str, list[str]]:
    """Return the derivations of each file: those whose first link to code leads there."""
    found: dict[str, list[str]] = {}
    for page in sorted((ROOT / "docs/derivations").glob("*.md")):
        about = ABOUT.search(page.read_text(encoding="utf-8"))
        if about:
            found.setdefault(about[1], []).append(page.stem)
    return found


def prose(file: ModuleType) -> str:
    """Return a file's docstring as reStructuredText: what is indented there stays as it is."""
    lines = inspect.cleandoc(file.__doc__ or "").splitlines()
    kinds = [line.startswith("    ") for line in lines]
    for n in range(1, len(lines) - 1):  # an empty line within what is indented belongs to it
        kinds[n] = kinds[n] or (not lines[n] and kinds[n - 1] and lines[n + 1].startswith("    "))
    text = ""
    for indented, run in groupby(zip(kinds, lines, strict=True), key=lambda pair: pair[0]):
        block = "\n".join(line for _, line in run)
        if indented:
            text += f"\n.. code-block:: text\n\n{block}\n\n"
        else:
            text += escaped(block).replace("::", ":") + "\n"
    return text + "\n"


def escaped(text: str) -> str:
    """Return text in which only what stands between backticks means anything."""
    parts = CODE.split(text)
    return "".join(part if n % 2 else MARKUP.sub(r"\\\g<0>", part) for n, part in enumerate(parts))


def summary(thing: Any) -> str:
    """Return the first sentence of a docstring, in one line."""
    first = (inspect.getdoc(thing) or "").split("\n\n")[0] if callable(thing) else ""
    first = first or (thing.__doc__ or "").split("\n\n")[0] if inspect.ismodule(thing) else first
    return escaped(" ".join(first.split()))


def heading(title: str) -> str:
    """Return the page's heading."""
    return f"{escaped(title)}\n{'=' * (2 * len(title))}\n\n"


def table(rows: list[tuple[str, str]]) -> str:
    """Return a table of two columns."""
    if not rows:
        return ""
    lines = "".join(f"   * - {left}\n     - {right}\n" for left, right in rows)
    return f".. list-table::\n   :class: names\n\n{lines}\n"


def toctree(pages: Iterator[str]) -> str:
    """Return the contents of a page, for the navigation alone."""
    listed = "".join(f"   {page}\n" for page in pages)
    return f".. toctree::\n   :hidden:\n\n{listed}\n" if listed else ""


def path_of(file: ModuleType) -> str:
    """Return a file's path in the repository."""
    assert file.__file__ is not None
    return Path(file.__file__).resolve().relative_to(ROOT).as_posix()


def place_in_code(domain: str, info: dict[str, str]) -> str | None:
    """Return where a name is in the code, seen from the reference's pages."""
    thing: Any = importlib.import_module(info["module"])
    for part in info["fullname"].split("."):
        thing = getattr(thing, part, None)
    thing = thing.fget if isinstance(thing, property) else thing
    if not (inspect.isclass(thing) or inspect.isroutine(thing)):
        return None
    file = inspect.getsourcefile(inspect.unwrap(thing))
    if file is None or not Path(file).is_relative_to(ROOT / "npformer"):
        return None
    line = inspect.getsourcelines(thing)[1]
    return f"../../{Path(file).relative_to(ROOT).as_posix()}.html#line-{line}"


def shorten(
    app: Sphinx, what: str, name: str, thing: Any, options: Any, *signature: str | None
) -> tuple[str | None, ...]:
    """Call arrays by their short names in arguments and in what is returned."""
    parts = list(signature)
    for long, short in ALIASES.items():
        parts = [part and part.replace(long, short) for part in parts]
    return tuple(parts)


def escape_bars(
    app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]
) -> None:
    """Keep |x| from being taken for a substitution."""
    lines[:] = [
        "".join(
            part if n % 2 else part.replace("|", r"\|") for n, part in enumerate(CODE.split(line))
        )
        for line in lines
    ]
