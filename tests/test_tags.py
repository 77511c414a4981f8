"""Numbered equations: each in a module's docstring stands as a comment at the line that does it."""

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

import npformer

ROOT = Path(npformer.__file__).parent
TAG = r"\((\d+'?)\)"
FILES = {
    str(path.relative_to(ROOT)): path
    for folder in ("functional", "layers", "models")
    for path in sorted((ROOT / folder).glob("*.py"))
}


def docstring(path):
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")), clean=False) or ""


def in_docstring(text):
    """The tags that open an equation, in their order: indented, perhaps behind "pre"."""
    return re.findall(rf"^ {{4,}}(?:pre +)?{TAG} ", text, re.MULTILINE)


def named(text):
    """The tags in a comment: single ones, and all of "(1) - (3)" or "(3') to (1')"."""
    tags = set()
    for first, last in re.findall(rf"(?<!\w){TAG}(?:\s*(?:-|to)\s*{TAG})?", text):
        prime = "'" if first.endswith("'") else ""
        low, high = sorted(int(tag.rstrip("'")) for tag in (first, last or first))
        tags |= {f"{n}{prime}" for n in range(low, high + 1)}
    return tags


def in_code(source):
    """The tags in comments, and in the first docstring line of a helper: "Equations (1) to ..."."""
    tags = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            tags |= named(token.string)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            first_line = (ast.get_docstring(node) or "").partition("\n")[0]
            if first_line.startswith("Equation"):
                tags |= named(first_line)
    return tags


NUMBERED = [name for name, path in FILES.items() if in_docstring(docstring(path))]
OPERATIONS = [
    name for name in FILES if re.fullmatch(r"functional/[a-z]\w*\.py", Path(name).as_posix())
]


def test_every_operation_has_numbered_equations():
    assert set(OPERATIONS) <= set(NUMBERED)
    assert {"layers/_residual.py", "layers/multi_head_attention.py", "models/gpt.py"} <= set(
        NUMBERED
    )


@pytest.mark.parametrize("name", NUMBERED)
def test_equations_and_comments_agree(name):
    source = FILES[name].read_text(encoding="utf-8")
    assert set(in_docstring(docstring(FILES[name]))) == in_code(source)


@pytest.mark.parametrize("name", NUMBERED)
def test_equations_are_numbered_from_one_and_undone_in_reverse(name):
    tags = in_docstring(docstring(FILES[name]))
    forward = [int(tag) for tag in tags if not tag.endswith("'")]
    backward = [int(tag[:-1]) for tag in tags if tag.endswith("'")]
    assert forward == [*range(1, len(forward) + 1)]
    assert backward == sorted(set(backward), reverse=True)
    assert set(backward) <= set(forward)
    assert backward


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_says_what_it_does_forward_and_backward_and_what_it_saves(name):
    text = docstring(FILES[name])
    heads = [
        re.search(rf"^{head}", text, re.MULTILINE) for head in ("Forward", "Backward", "Saved:")
    ]
    assert all(heads)
    starts = [head.start() for head in heads]
    assert starts == sorted(starts)


def test_the_readers_of_tags_see_what_is_there():
    text = "r\n    (1)  y = f(2)\n    in the middle (3)\n    pre   (2') dx\n(4) at the edge\n"
    assert in_docstring(text) == ["1", "2'"]
    source = "x = f(9)  # (1), (2) as g(8)\ny = 0  # (4) - (6) on it\nz = 0  # (3') to (1')\n"
    source += 'def _f():\n    """Equation (7)."""\ndef g():\n    """See (8)."""\n'
    assert in_code(source) == {"1", "2", "4", "5", "6", "3'", "2'", "1'", "7"}
