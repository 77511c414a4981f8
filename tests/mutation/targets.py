"""Which functions are mutated: all that do backward work.

These are, in the files of `FOLDERS`,

- every function ``*_backward`` and every method ``backward``, and what a bias that learns does in
  its place: `add_gradient`, with `new_gradient` and `gradient_lead`;
- every other function in which an equation of the backward pass stands, a comment such as
  ``# (2')``: some forward passes compute the derivative beside the value, and save it;
- the private helpers of the same file that these call, also those that forward calls as well:
  functions, methods, and all methods of a private class;

and what all backward passes rest on, in `CORE`.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDERS = ("functional", "layers", "models", "biases")
ENDINGS = (".backward", "_backward", ".add_gradient", ".new_gradient", ".gradient_lead")
CORE = {
    "biases/_bias.py": ("_Dense.tile",),
    "biases/_by_distance.py": ("_ByDistance.lead_shape", "_ByDistance.tile", "buckets"),
    "functional/_silence.py": ("is_tame", "_within", "mix"),
    "core/arrays.py": ("check_gradient", "scalar_gradient", "unbroadcast"),
    "core/parameter.py": ("Parameter.add_grad",),
}
PRIMED = re.compile(r"#.*\(\d+'\)")


@dataclass(frozen=True)
class Target:
    """A function that is mutated.

    Attributes
    ----------
    file : str
        Relative to the package, such as ``"layers/linear.py"``.
    qualname : str
        Such as ``"Linear.backward"``.
    node : ast.FunctionDef
        With its line numbers in the file.
    """

    file: str
    qualname: str
    node: ast.FunctionDef

    @property
    def name(self) -> str:
        """File and function, such as ``"layers/linear.py Linear.backward"``."""
        return f"{self.file} {self.qualname}"

    def answers_to(self, name: str) -> bool:
        """Say whether a user who writes `name` may mean this one."""
        names = self.file, Path(self.file).stem, self.qualname, self.qualname.partition(".")[0]
        return name.lower() in {n.lower() for n in names} | {self.name.lower()}


def targets(package: Path) -> list[Target]:
    """Return all targets of the package in this folder, in the order of its files."""
    found = []
    for folder in FOLDERS:
        for path in sorted((package / folder).glob("*.py")):
            found += [*_in_file(path, f"{folder}/{path.name}")]
    for file, names in CORE.items():
        if (package / file).exists():
            defined = dict(_functions(ast.parse((package / file).read_text(encoding="utf-8"))))
            found += [Target(file, name, defined[name]) for name in names]
    return [*{target.name: target for target in found}.values()]


def _in_file(path: Path, file: str) -> Iterator[Target]:
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    defined = dict(_functions(ast.parse(text)))
    wanted = [
        name
        for name, node in defined.items()
        if name.endswith(ENDINGS)
        or any(PRIMED.search(line) for line in lines[node.lineno - 1 : node.end_lineno])
    ]
    for name in wanted:  # which grows while it is walked
        wanted += [h for h in _helpers(name, defined) if h not in wanted]
    yield from (Target(file, name, node) for name, node in defined.items() if name in wanted)


def _functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    """Yield functions of a module and methods of its classes, but abstract ones, by their names."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and not _is_abstract(method):
                    yield f"{node.name}.{method.name}", method


def _is_abstract(method: ast.FunctionDef) -> bool:
    return any(ast.unparse(d) == "abstractmethod" for d in method.decorator_list)


def _helpers(name: str, defined: dict[str, ast.FunctionDef]) -> list[str]:
    """Names of the private functions and methods that a function calls, in its own file.

    Of a private class that it makes objects of, these are all methods.
    """
    called = []
    for node in ast.walk(defined[name]):
        if isinstance(node, ast.Name) and node.id.startswith("_"):
            called += [d for d in defined if d == node.id or d.startswith(f"{node.id}.")]
        elif isinstance(node, ast.Attribute) and ast.unparse(node).startswith("self._"):
            called += [d for d in defined if d.endswith(f".{node.attr}")]  # of a base, perhaps
    return called
