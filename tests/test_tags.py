"""Numbered equations: each in a module's docstring stands as a comment at the line that does it."""

import re

import pytest
from support.tags import FILES, NUMBERED, docstring, in_code, in_docstring

OPERATIONS = [name for name in FILES if re.fullmatch(r"functional/[a-z]\w*\.py", name)]


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
