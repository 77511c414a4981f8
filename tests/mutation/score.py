"""The record of what was tried: README.md's table, a row for each function.

A row belongs to a function as it was: where the function has changed since, what was counted is
gone from the table, and the function waits to be tried again. Tests change as well, and of this
a row knows nothing.
"""

import ast
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from targets import Target

HEAD = """\
| function | code | mutants | tried | killed | equivalent | left |
|---|---|--:|--:|--:|--:|--:|
"""
START = HEAD.splitlines()[0]


@dataclass(frozen=True)
class Row:
    """How the mutants of one function, or some of them, ended.

    Attributes
    ----------
    code : str
        The function's `fingerprint`.
    mutants : int
        That it has.
    killed, equivalent, left : int
        Of those that were tried: by a test, listed, and neither.
    """

    code: str
    mutants: int
    killed: int = 0
    equivalent: int = 0
    left: int = 0

    @property
    def tried(self) -> int:
        """All that ended in some way."""
        return self.killed + self.equivalent + self.left

    def line(self, name: str) -> str:
        """The row as Markdown, for the function of this name."""
        numbers = self.mutants, self.tried, self.killed, self.equivalent, self.left
        return f"| {name} | {self.code} | " + " | ".join(map(str, numbers)) + " |\n"


def fingerprint(target: "Target") -> str:
    """Eight letters that change with the function's code, not with its docstring or comments."""
    body = target.node.body
    code = body[1:] if ast.get_docstring(target.node) is not None else body
    text = ast.unparse(target.node.args) + "\n".join(map(ast.unparse, code))
    plain = text.translate(str.maketrans("", "", "() \"'"))  # in which Pythons differ
    return hashlib.sha256(plain.encode()).hexdigest()[:8]


def read(path: Path) -> dict[str, Row]:
    """Return the rows of a table, by their function."""
    rows = {}
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    for line in text.partition(HEAD)[2].splitlines():
        name, code, *numbers = line.strip("| ").split(" | ")
        mutants, _, *ended = map(int, numbers)
        rows[name] = Row(code, mutants, *ended)
    return rows


def write(
    path: Path,
    known: "Iterable[Target]",
    new: dict[str, Row],
    count: "Callable[[Target], int]",
) -> None:
    """Put `new` rows in the table; of the same code, a row of more mutants tried stays.

    Parameters
    ----------
    path : Path
        Of a file that has the table at its end, if it has one.
    known : iterable of Target
        Every function there is.
    new : dict of str to Row
        What was tried, by the function's name.
    count : callable
        How many mutants a function has; asked only where no row says so.
    """
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    old, lines, total = read(path), [], [0, 0, 0, 0]
    for target in known:
        both = [rows[target.name] for rows in (old, new) if target.name in rows]
        valid = [row for row in both if row.code == fingerprint(target)]
        if not valid:
            valid = [Row(fingerprint(target), count(target))]
        row = max(reversed(valid), key=lambda row: row.tried)  # the new one, if they are alike
        lines.append(row.line(target.name))
        ended = row.mutants, row.killed, row.equivalent, row.left
        total = [a + b for a, b in zip(total, ended, strict=True)]
    lines.append(Row("", *total).line("all"))
    path.write_text(text.partition(START)[0] + HEAD + "".join(lines), encoding="utf-8")
