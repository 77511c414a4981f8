"""An operation's own lines as they run, and what each of them made.

Nothing is simulated. Forward and backward run as they are, under Python's tracer, which stops
before each line of the operation's module. What a local variable holds now and did not hold at the
last stop, the statement between has made; arrays are compared by their content, so that a line
which writes into an array counts as well. Which equation a line is, its comment says.
"""

import ast
import inspect
import io
import re
import sys
import tokenize
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from .. import functional as F
from ..catalogue import Example
from ..core.arrays import Array
from ..core.layer import Layer
from ..verify import GradientReport, gradcheck

_TAG = r"\((\d+'?)\)"
_OPENS = re.compile(rf"^ {{4,}}(?:pre +)?{_TAG} +(\S.*)$")
_NAMED = re.compile(rf"(?<!\w){_TAG}(?:\s*(?:-|to)\s*{_TAG})?")


@dataclass(frozen=True)
class Step:
    """One statement that made something.

    Attributes
    ----------
    backward : bool
        Whether it ran in the backward pass.
    function : str
        In which it stands.
    line : int
        Its first line in the module.
    source : str
        The statement, in one line.
    tags : tuple of str
        Of the equations that its comment names, such as ``"3'"``.
    made : dict of str to value
        What its variables hold after it: arrays as copies.
    """

    backward: bool
    function: str
    line: int
    source: str
    tags: tuple[str, ...]
    made: dict[str, Any]


@dataclass(frozen=True)
class Explanation:
    """Everything about one pass through one operation.

    Attributes
    ----------
    example : Example
    module : Path
        The file that defines the operation.
    equations : dict of str to str
        The module's equations, by their tags, in its order.
    inputs : dict of str to ndarray
        By their names.
    y, dy : ndarray or float
        The output, and the random cotangent that backward was given.
    steps : list of Step
        Forward, then backward.
    report : GradientReport
        Of every entry of every gradient against exact derivatives, with the same example.
    """

    example: Example
    module: Path
    equations: dict[str, str]
    inputs: dict[str, Any]
    y: Any
    dy: Any
    steps: list[Step] = field(repr=False)
    report: GradientReport


def explain(example: Example, seed: int = 0) -> Explanation:
    """Run an operation forward and backward, and record what each of its lines makes.

    Parameters
    ----------
    example : Example
        Of an operation: its target is a pair of functions.
    seed : int, optional
        Of the cotangent.

    Returns
    -------
    Explanation

    Raises
    ------
    ValueError
        If the target is a layer or a model.
    """
    if isinstance(example.target, Layer):
        raise ValueError(
            f"explain: {example.name} is a layer, which is made of operations; expected an "
            f"operation, such as attention or layer_norm. Its equations are in the module "
            f"{type(example.target).__module__}"
        )
    forward, backward = example.target
    module = Path(inspect.getsourcefile(inspect.unwrap(backward)) or "")
    text = module.read_text(encoding="utf-8")
    tree = ast.parse(text)
    recorder = _Recorder(str(module), _statements(tree), _comments(text))
    y, saved = recorder.run(False, lambda: forward(*example.inputs, **example.options))
    dy = np.random.default_rng(seed).standard_normal(np.shape(y)).astype(np.asarray(y).dtype)
    cotangent: Any = dy if dy.ndim else float(dy)
    recorder.run(True, lambda: backward(cotangent, saved))
    report = gradcheck(example.target, *example.inputs, options=example.options, seed=seed)
    equations = _equations(ast.get_docstring(tree, clean=False) or "")
    steps = recorder.steps
    return Explanation(example, module, equations, _named(example), y, cotangent, steps, report)


class _Recorder:
    """Watches the frames of one file."""

    def __init__(
        self, file: str, statements: dict[int, ast.stmt], comments: dict[int, tuple[str, ...]]
    ) -> None:
        self.steps: list[Step] = []
        self._file, self._statements, self._comments = file, statements, comments
        self._last: dict[FrameType, tuple[int, dict[str, Any]]] = {}
        self._backward = False

    def run(self, backward: bool, call: Callable[[], Any]) -> Any:
        """Return what `call` returns, and keep the steps that it took."""
        self._backward = backward
        before = sys.gettrace()
        sys.settrace(self._enter)
        try:
            return call()
        finally:
            sys.settrace(before)

    def _enter(self, frame: FrameType, event: str, argument: Any) -> Any:
        code = frame.f_code
        if code.co_filename != self._file or code.co_name.startswith("<"):
            return None
        self._last[frame] = frame.f_lineno, _copies(frame.f_locals)
        return self._watch

    def _watch(self, frame: FrameType, event: str, argument: Any) -> Any:
        line, before = self._last[frame]
        now = _copies(frame.f_locals)
        made = {name: value for name, value in now.items() if not _same(before, name, value)}
        if event == "return" and isinstance(argument, np.ndarray | float | tuple):
            said = _returned(self._statements.get(line), argument)
            made |= {name: value for name, value in said.items() if not _among(made, value)}
        if made:
            self._keep(frame, line, made)
        self._last[frame] = frame.f_lineno, now
        if event == "return":
            del self._last[frame]
        return self._watch

    def _keep(self, frame: FrameType, line: int, made: dict[str, Any]) -> None:
        statement = self._statements.get(line)
        if statement is None:
            return
        last = statement.end_lineno or statement.lineno
        tags = [tag for n in range(statement.lineno, last + 1) for tag in self._comments.get(n, ())]
        source = " ".join(ast.unparse(statement).split())
        step = Step(
            self._backward,
            frame.f_code.co_name,
            statement.lineno,
            source,
            tuple(dict.fromkeys(tags)),
            made,
        )
        earlier = self.steps[-1] if self.steps else None
        if earlier and (earlier.line, earlier.function) == (step.line, step.function):
            self.steps.pop()  # one statement of several lines
            step.made.update(earlier.made | made)
        self.steps.append(step)


def _named(example: Example) -> dict[str, Any]:
    """Return the inputs by the names that forward, or else the operation, gives them."""
    names = list(inspect.signature(example.target[0]).parameters.values())  # type: ignore[index]
    if names[0].kind is inspect.Parameter.VAR_POSITIONAL:  # options are filled in
        names = list(inspect.signature(getattr(F, example.subject)).parameters.values())
    return {p.name: value for p, value in zip(names, example.inputs, strict=False)}


def _equations(text: str) -> dict[str, str]:
    """Return a docstring's numbered entries, each with the indented lines that go on from it."""
    found: dict[str, list[str]] = {}
    entry: list[str] | None = None
    for line in text.splitlines():
        opens = _OPENS.match(line)
        if opens:
            entry = found[opens[1]] = [opens[2].rstrip()]
        elif entry is not None and line.startswith("     "):
            entry.append(line.strip())
        else:
            entry = None
    return {tag: "\n".join(lines) for tag, lines in found.items()}


def _returned(statement: ast.stmt | None, value: Any) -> dict[str, Any]:
    """Return the arrays that a return statement makes on the spot, by their expressions."""
    if not isinstance(statement, ast.Return) or statement.value is None:
        return {}
    several = isinstance(value, tuple) and isinstance(statement.value, ast.Tuple)
    parts = statement.value.elts if isinstance(statement.value, ast.Tuple) else [statement.value]
    values = value if several else (value,)
    return {
        ast.unparse(part): _copy(one)
        for part, one in zip(parts, values, strict=False)
        if not isinstance(part, ast.Name) and isinstance(one, np.ndarray | float)
    }


def _copies(variables: dict[str, Any]) -> dict[str, Any]:
    """Return what is worth showing: arrays and numbers."""
    return {
        name: _copy(value)
        for name, value in variables.items()
        if isinstance(value, np.ndarray | np.generic | int | float)
        and not isinstance(value, bool)
        and not name.startswith("_")
    }


def _copy(value: Any) -> Any:
    return value.copy() if isinstance(value, np.ndarray) else value


def _same(before: dict[str, Any], name: str, value: Any) -> bool:
    """Say whether a variable held this already."""
    if name not in before or type(before[name]) is not type(value):
        return False
    a, b = np.asarray(before[name]), np.asarray(value)
    equal_nan = a.dtype.kind in "fc"
    return a.shape == b.shape and bool(np.array_equal(a, b, equal_nan=equal_nan))


def _among(made: dict[str, Any], value: Any) -> bool:
    """Say whether a variable that was just made holds this value."""
    return any(_same(made, name, value) for name in made)


def _statements(tree: ast.Module) -> dict[int, ast.stmt]:
    """Map each line to the smallest statement that it is a part of."""
    found: dict[int, ast.stmt] = {}
    simple = ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Return, ast.Expr
    for node in ast.walk(tree):
        if isinstance(node, simple):
            for line in range(node.lineno, (node.end_lineno or node.lineno) + 1):
                found[line] = node
    return found


def _comments(text: str) -> dict[int, tuple[str, ...]]:
    """Return the tags that each line's comment names, "(1) - (3)" as all three.

    A comment on lines of its own is about the line of code below it.
    """
    found: dict[int, tuple[str, ...]] = {}
    above: tuple[str, ...] = ()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.NAME, tokenize.OP) and above:
            found[token.start[0]], above = above, ()
        if token.type != tokenize.COMMENT:
            continue
        tags: list[str] = []
        for first, last in _NAMED.findall(token.string):
            prime = "'" if first.endswith("'") else ""
            low, high = int(first.rstrip("'")), int((last or first).rstrip("'"))
            step = 1 if high >= low else -1
            tags += [f"{n}{prime}" for n in range(low, high + step, step)]
        if token.line.lstrip().startswith("#"):
            above += tuple(tags)
        else:
            found[token.start[0]] = found.get(token.start[0], ()) + tuple(tags)
    return found


def gradient_of(name: str, steps: list[Step]) -> Array | None:
    """Return what a variable held in the forward pass, for whose gradient `name` stands."""
    for step in reversed(steps):
        value = step.made.get(name.removeprefix("d"))
        if not step.backward and isinstance(value, np.ndarray):
            return value
    return None
