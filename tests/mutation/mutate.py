"""All small mistakes that can be made in one function, one at a time.

A mutant is the function with one expression or statement replaced by what somebody may have
written by mistake. The rules know nothing of the mathematics; what dies of a NameError at once is
not made.
"""

import ast
import copy
import hashlib
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

SWAPPED = {
    ast.Add: [ast.Sub],
    ast.Sub: [ast.Add],
    ast.Mult: [ast.Div, ast.Add],
    ast.Div: [ast.Mult],
    ast.FloorDiv: [ast.Mult, ast.Mod],
    ast.Mod: [ast.FloorDiv],
    ast.MatMult: [ast.Mult],
    ast.Pow: [ast.Mult],
    ast.BitAnd: [ast.BitOr],
    ast.BitOr: [ast.BitAnd],
}
NEGATED = {
    ast.Eq: [ast.NotEq],
    ast.NotEq: [ast.Eq],
    ast.Lt: [ast.GtE, ast.LtE],
    ast.GtE: [ast.Lt, ast.Gt],
    ast.Gt: [ast.LtE, ast.GtE],
    ast.LtE: [ast.Gt, ast.Lt],
    ast.Is: [ast.IsNot],
    ast.IsNot: [ast.Is],
    ast.In: [ast.NotIn],
    ast.NotIn: [ast.In],
}
COMMUTES = (ast.Add, ast.Mult, ast.BitAnd, ast.BitOr)
RELATED = {
    "sum": "mean",
    "max": "min",
    "maximum": "minimum",
    "all": "any",
    "any": "all",
    "zeros": "ones",
    "zeros_like": "ones_like",
    "cos": "sin",
    "sin": "cos",
    "warn": "ignore",
    "ignore": "warn",
}
SYMMETRIC = (
    "add",
    "multiply",
    "max",
    "min",
    "swapaxes",
    "broadcast_shapes",
)  # calls whose arguments may change places
UNSCALED = ("zeros", "zeros_like", "empty", "empty_like")  # calls whose results no factor changes
WHOLE = ("self", "saved", "run")  # no one writes these in place of an array
IN_PLACE = (ast.Add, ast.Sub, ast.Mult, ast.Div)


@dataclass(frozen=True)
class Mutant:
    """One wrong version of a function.

    Attributes
    ----------
    kind : str
        The mistake.
    line : int
        Where it is, in the file.
    before, after : str
        What differs, as `ast.unparse` writes it; numbered from the second time on if the same
        mistake can be made several times in the function.
    source : str
        The whole function.
    """

    kind: str
    line: int
    before: str
    after: str
    source: str


def mutants(function: ast.FunctionDef) -> list[Mutant]:
    """Return every mutant of `function`, no two of them alike."""
    function = copy.deepcopy(function)
    if ast.get_docstring(function) is not None:
        del function.body[0]
    lines = ast.unparse(function).splitlines()
    places = _places(function, lines)
    made: dict[tuple[str, ...], Mutant] = {}
    times: Counter[tuple[str, str]] = Counter()
    for kind, line, old, new in _each(function):
        first, end = places[old]
        fragment = "\n".join(map(ast.unparse, new))
        changed = _put_in(fragment, lines[first])
        whole = (*lines[:first], *changed, *lines[end:])
        if changed != lines[first:end] and whole not in made and _compiles(fragment):
            before, after = _difference(lines, whole)
            times[before, after] += 1
            if times[before, after] > 1:
                after += f"  # {times[before, after]}"
            made[whole] = Mutant(kind, line, before, after, "\n".join(whole))
    return list(made.values())


def drawn(made: list[Mutant], number: int | None, seed: int) -> list[Mutant]:
    """Return `number` of these mutants in their order, or all if it is None or there are fewer.

    Which ones, follows from `seed` and from each mutant alone, so that most stay when the function
    is changed.
    """

    def lot(mutant: Mutant) -> bytes:
        return hashlib.sha256(f"{seed}\n{mutant.source}".encode()).digest()

    chosen = {m.source for m in sorted(made, key=lot)[:number]}
    return [mutant for mutant in made if mutant.source in chosen]


def bare(line: str) -> str:
    """Return a line without parentheses and spaces, of which Python 3.10 writes more."""
    return line.translate(str.maketrans("", "", "() "))


def _places(function: ast.FunctionDef, lines: list[str]) -> dict[ast.stmt, tuple[int, int]]:
    """Return where in its `lines` each statement of `function` begins, and where it ends."""
    places = {}
    twin = ast.parse("\n".join(lines)).body[0]
    for mine, other in zip(ast.walk(function), ast.walk(twin), strict=True):
        if isinstance(mine, ast.stmt):
            first = min(s.lineno for s in (other, *getattr(other, "decorator_list", ())))
            places[mine] = first - 1, other.end_lineno
    return places


def _put_in(fragment: str, first: str) -> list[str]:
    """Return the lines of `fragment` as they stand in place of a statement that begins `first`."""
    margin = first[: len(first) - len(first.lstrip())]
    if first.startswith(f"{margin}elif "):
        fragment = f"el{fragment}"
    return [f"{margin}{line}" if line else line for line in fragment.splitlines()]


def _compiles(fragment: str) -> bool:
    """Say whether Python takes these statements, and without a warning such as for ``0[i]``."""
    inside = ["def f():", " for _ in ():", *(f"  {line}" for line in fragment.splitlines())]
    with warnings.catch_warnings():
        warnings.simplefilter("error", SyntaxWarning)
        try:
            compile("\n".join(inside), "mutant", "exec")
        except SyntaxError:
            return False
    return True


def _difference(before: Sequence[str], after: Sequence[str]) -> tuple[str, str]:
    """Return what stands between the lines that both begin with and those that both end with."""
    most = min(len(before), len(after))
    first = next((i for i in range(most) if before[i] != after[i]), most)
    rest = range(most - first)
    last = next((i for i in rest if before[-1 - i] != after[-1 - i]), most - first)
    both = before[first : len(before) - last], after[first : len(after) - last]
    return tuple(" ".join(line.strip() for line in lines) for lines in both)


def _each(
    function: ast.FunctionDef,
) -> Iterator[tuple[str, int, ast.stmt, list[ast.stmt]]]:
    """Yield mistake, line, a statement, and what may stand in its place while this is looked at."""
    bound = {a.arg: -1 for a in (*function.args.args, *function.args.kwonlyargs)}
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound[node.id] = min(node.lineno, bound.get(node.id, node.lineno))
    bound.pop("_", None)
    yield from _statements(function, bound, _in_formulas(function))


def _in_formulas(function: ast.FunctionDef) -> set[str]:
    """Names of what is reckoned with, looked into or cut, as arrays are and options are not."""
    found = []
    for node in ast.walk(function):
        if isinstance(node, ast.BinOp):
            found += [node.left, node.right]
        elif isinstance(node, ast.AugAssign):
            found += [node.target, node.value]
        elif isinstance(node, ast.Attribute | ast.Subscript):
            found.append(node.value)
    return {node.id for node in found if isinstance(node, ast.Name)}


def _statements(
    parent: ast.AST, bound: dict[str, int], numbers: set[str]
) -> Iterator[tuple[str, int, ast.stmt, list[ast.stmt]]]:
    for block in ("body", "orelse", "finalbody"):
        statements = getattr(parent, block, None)
        for statement in statements if isinstance(statements, list) else ():
            names = {n: n in numbers for n, line in bound.items() if line < statement.lineno}
            for kind, new in _other_statements(statement, names):
                yield kind, statement.lineno, statement, new
            for node, field, index, old in _expressions(statement):
                for kind, other in _other_expressions(old, node, field, names):
                    _put(node, field, index, other)
                    yield kind, old.lineno, statement, [statement]
                _put(node, field, index, old)
            yield from _statements(statement, bound, numbers)


def _expressions(
    node: ast.AST,
) -> Iterator[tuple[ast.AST, str, int | None, ast.expr]]:
    """Yield every expression of one statement, and where it stands, but not its inner blocks'."""
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns"):
            continue
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(child, ast.expr):
                yield node, field, index, child
            inner = isinstance(child, ast.AST) and not isinstance(child, ast.stmt)
            if inner and not _is_negative(child):
                yield from _expressions(child)


def _is_negative(node: ast.AST) -> bool:
    """Say whether this is a number with its minus sign."""
    return (
        isinstance(node, ast.UnaryOp)
        and isinstance(node.op, ast.USub)
        and isinstance(node.operand, ast.Constant)
    )


def _put(node: ast.AST, field: str, index: int | None, new: ast.expr) -> None:
    if index is None:
        setattr(node, field, new)
    else:
        getattr(node, field)[index] = new


def _other_statements(
    old: ast.stmt, names: dict[str, bool]
) -> Iterator[tuple[str, list[ast.stmt]]]:
    if isinstance(old, ast.Expr | ast.AugAssign | ast.Raise):
        yield "statement dropped", [ast.Pass()]
    if isinstance(old, ast.Assign):
        stored = [n for t in old.targets for n in ast.walk(t) if isinstance(n, ast.Name)]
        if all(isinstance(n.ctx, ast.Load) or n.id in names for n in stored):
            yield "statement dropped", [ast.Pass()]
    if isinstance(old, ast.If):
        for value in (True, False):
            yield "condition fixed", [ast.If(ast.Constant(value), old.body, old.orelse)]
        yield "condition negated", [ast.If(ast.UnaryOp(ast.Not(), old.test), old.body, old.orelse)]
    if isinstance(old, ast.With):
        yield "context dropped", old.body
    if isinstance(old, ast.For):
        once = copy.copy(old)
        once.body = [*old.body, ast.Break()]
        yield "loop stopped", [once]
        yield "loop dropped", [ast.Pass()]
    if isinstance(old, ast.AugAssign):
        yield "not in place but set", [ast.Assign([old.target], old.value, lineno=old.lineno)]
        for op in IN_PLACE:
            if op is not type(old.op):
                yield "operator", [ast.AugAssign(old.target, op(), old.value)]
    if isinstance(old, ast.Assign | ast.AnnAssign) and isinstance(old.value, ast.BinOp):
        left, target = old.value.left, old.targets[0] if isinstance(old, ast.Assign) else old.target
        if isinstance(left, ast.Name) and isinstance(old.value.op, IN_PLACE):
            store = ast.Name(left.id, ast.Store())
            written = ast.AugAssign(store, old.value.op, old.value.right)
            yield "operand written to", [written, ast.Assign([target], left, lineno=old.lineno)]


def _other_expressions(
    old: ast.expr, parent: ast.AST, field: str, names: dict[str, bool]
) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(getattr(old, "ctx", None), ast.Store):
        yield from _other_targets(old)
        return
    if _is_result(old, parent, field):
        yield "minus added", ast.UnaryOp(ast.USub(), old)
        yield "off by 0.1 %", ast.BinOp(ast.Constant(1.001), ast.Mult(), old)
    if isinstance(old, ast.BinOp):
        for op in SWAPPED.get(type(old.op), []):
            yield "operator", ast.BinOp(old.left, op(), old.right)
        if not isinstance(old.op, COMMUTES):
            yield "operands swapped", ast.BinOp(old.right, old.op, old.left)
        yield "operand dropped", old.left
        yield "operand dropped", old.right
    elif _is_negative(old):
        for value in _other_constants(-old.operand.value):
            if value > -2 or _called(parent) != "reshape":  # to it all numbers below 0 are one
                yield "constant", ast.Constant(value)
    elif isinstance(old, ast.UnaryOp):
        yield "sign or not dropped", old.operand
    elif isinstance(old, ast.Compare):
        for at, op in enumerate(old.ops):
            for other in NEGATED[type(op)]:
                ops = [*old.ops[:at], other(), *old.ops[at + 1 :]]
                yield "comparison", ast.Compare(old.left, ops, old.comparators)
    elif isinstance(old, ast.BoolOp):
        other = ast.Or() if isinstance(old.op, ast.And) else ast.And()
        yield "and for or", ast.BoolOp(other, old.values)
        for at in range(len(old.values)):
            rest = [*old.values[:at], *old.values[at + 1 :]]
            yield "operand dropped", ast.BoolOp(old.op, rest) if len(rest) > 1 else rest[0]
    elif isinstance(old, ast.IfExp):
        yield "condition fixed", old.body
        yield "condition fixed", old.orelse
        yield "condition negated", ast.IfExp(old.test, old.orelse, old.body)
    elif isinstance(old, ast.Constant):
        yield from (("constant", ast.Constant(v)) for v in _other_constants(old.value))
    elif isinstance(old, ast.Attribute):
        if old.attr in ("T", "real"):
            yield "attribute dropped", old.value
        if old.attr in RELATED:
            yield "function", ast.Attribute(old.value, RELATED[old.attr], old.ctx)
    elif isinstance(old, ast.Subscript):
        yield "index dropped", old.value
    elif isinstance(old, ast.Slice):
        for part in ("lower", "upper", "step"):
            if getattr(old, part) is not None:
                slices = copy.copy(old)
                setattr(slices, part, None)
                yield "slice", slices
    elif isinstance(old, ast.Call):
        yield from _other_calls(old)
    elif isinstance(old, ast.Tuple | ast.List):
        yield from _exchanged(old)
    elif isinstance(old, ast.Name) and not (isinstance(parent, ast.Call) and field == "func"):
        for name in names if old.id in names else ():
            alike = names[name] == names[old.id] or {f"d{name}", f"d{old.id}"} & {name, old.id}
            if alike and name not in (old.id, *WHOLE):
                yield "name", ast.Name(name, old.ctx)


def _is_result(old: ast.expr, parent: ast.AST, field: str) -> bool:
    """Say whether `old` is a number that goes on: assigned, returned or added to a gradient."""
    if not isinstance(old, ast.BinOp | ast.Call | ast.Name) or _called(old) in UNSCALED:
        return False
    if isinstance(parent, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.Return):
        return field == "value"
    if isinstance(parent, ast.Tuple):
        return True
    return _called(parent) == "add_grad"


def _called(node: ast.AST) -> str:
    """The name of the function or method that is called."""
    function = node.func if isinstance(node, ast.Call) else None
    return getattr(function, "attr", getattr(function, "id", ""))


def _other_targets(old: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(old, ast.Tuple):
        yield from _exchanged(old)


def _exchanged(old: ast.Tuple | ast.List) -> Iterator[tuple[str, ast.expr]]:
    for a in range(len(old.elts)):
        for b in range(a):
            elements = [*old.elts]
            elements[a], elements[b] = elements[b], elements[a]
            yield "entries exchanged", type(old)(elements, old.ctx)


def _other_calls(old: ast.Call) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(old.func, ast.Attribute):
        yield "call dropped", old.func.value
    if old.args and not isinstance(old.args[0], ast.Starred):
        yield "call dropped", old.args[0]
    for at in range(1, len(old.args) if _called(old) not in SYMMETRIC else 0):
        args = [*old.args]
        args[at - 1], args[at] = args[at], args[at - 1]
        yield "arguments exchanged", ast.Call(old.func, args, old.keywords)
    for at in range(len(old.keywords)):
        rest = [*old.keywords[:at], *old.keywords[at + 1 :]]
        yield "keyword dropped", ast.Call(old.func, old.args, rest)


def _other_constants(value: object) -> list[object]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [v for v in dict.fromkeys((0, 1, 2, -1, value + 1, value - 1)) if v != value]
    if isinstance(value, float):
        others = dict.fromkeys((0.0, 1.0, 2.0, -1.0, 0.5 * value, 1.001 * value))
        return [v for v in others if v != value]
    if isinstance(value, str):
        return [RELATED.get(value, value + "?")]
    return []
