"""Pictures, whole, as a reader sees them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from masks.drawn import codes, combinations

from npformer import masks
from npformer.masks import Span


def test_a_small_picture_has_a_character_for_each_pair():
    picture = (masks.sliding_window(2) | masks.global_tokens(0)).picture(7, 7)
    assert (
        picture
        == """\
(sliding_window(2) | global_tokens([0])), 7 queries x 7 keys
    0         5
  0 # # # # # # #
  1 # # # . . . .
  2 # # # # . . .
  3 # . # # # . .
  4 # . . # # # .
  5 # . . . # # #
  6 # . . . . # #
# may attend   . may not"""
    )


def test_a_large_picture_has_a_character_for_each_square():
    lines = masks.causal().picture(100, 100).splitlines()
    assert lines[0] == "causal(), 100 queries x 100 keys"
    assert lines[1] == "    0    10   20   30   40   50   60   70   80   90"
    assert lines[2] == "  0 +" + "." * 49
    assert lines[27] == " 50 " + "#" * 25 + "+" + "." * 24
    assert lines[51] == " 98 " + "#" * 49 + "+"
    assert lines[52] == "2 x 2 pairs each: # all may attend   + some may   . none may"
    assert len(lines) == 53


def test_numbers_have_room():
    lines = masks.causal().picture(10**6, 10**6).splitlines()
    assert lines[1].split() == [str(n) for n in range(0, 10**6, 156250)]
    for number in lines[1].split():
        assert (lines[1].index(f" {number}") - len("984375")) * 15625 == int(number)
    assert lines[-2].startswith("984375 ###")


def test_squares_are_exact_where_coverage_is_not():
    never = masks.causal() & ~masks.causal()
    assert set("".join(line[4:] for line in never.picture(100, 100).splitlines()[2:-1])) == {"."}


@pytest.mark.parametrize(("n_q", "n_k"), [(70, 130), (130, 70)])
def test_every_square_of_a_joined_mask_is_exact(n_q, n_k):
    mask = (masks.causal() | masks.block_ends(9, 4)) & ~masks.sliding_window(5)
    full = mask.dense(n_q, n_k)
    lines = mask.picture(n_q, n_k).splitlines()[2:-1]
    assert len(lines) == -(-n_q // 3)
    for at, line in enumerate(lines):
        rows = Span(3 * at, min(3 * at + 3, n_q), n_q)
        want = codes(full, rows, Span(0, n_k, n_k), 3)
        assert line[:4] == f"{3 * at:>3} "
        assert line[4:].replace(" ", "") == "".join(".+#"[code] for code in want)


def test_leading_axes_give_a_picture_each_up_to_four():
    mask = masks.padding(np.arange(6)) & np.array([True, False])[None, :, None, None]
    picture = mask.picture(1, 5)
    assert picture.count("1 queries x 5 keys, entry") == 4
    assert picture.endswith("\n\nand 8 more; choose one with lead_index=")
    assert "entry (1, 0)\n    0\n  0 # . . . .\n" in picture
    assert "entry (1, 1)\n    0\n  0 . . . . .\n" in picture
    one = mask.picture(1, 5, (3, 0))
    assert "entry (3, 0)\n    0\n  0 # # # . .\n" in one
    assert "more" not in one


@pytest.mark.parametrize("n", [(0, 3), (3, 0), (0, 0)])
def test_nothing_to_draw(n):
    assert masks.causal().picture(*n).startswith(f"causal(), {n[0]} queries x {n[1]} keys")
    none = masks.padding(np.zeros(0, int)).picture(*n)
    assert none == f"padding([], side='right'), {n[0]} queries x {n[1]} keys, no entries"


@given(st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(lambda n: combinations(*n)))
def test_a_picture_is_the_dense_mask(drawn):
    mask, full = drawn
    n_q, n_k = full.shape[-2:]
    whole = mask.dense(n_q, n_k)
    for index in np.ndindex(whole.shape[:-2]):
        lines = mask.picture(n_q, n_k, index).splitlines()[2:-1]
        want = [" ".join(".#"[int(held)] for held in row) for row in whole[index]]
        assert [line[4:] for line in lines] == want


@pytest.mark.parametrize("index", [(), (2,), (-1,), (0, 0)])
def test_a_wrong_lead_index_is_refused(index):
    with pytest.raises(ValueError, match=r"picture: lead_index is \(.* leading axes of padding"):
        masks.padding(np.array([1, 2])).picture(2, 2, index)


@pytest.mark.parametrize("index", [1, (0.5,), (True,), "0", np.array([0])], ids=repr)
def test_a_lead_index_is_a_tuple_of_ints(index):
    said = r"picture: lead_index is .*; expected a tuple of ints, .* axes \(2,\), such as \(0,\)"
    with pytest.raises(TypeError, match=said):
        masks.padding(np.array([1, 2])).picture(2, 2, lead_index=index)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="but there are only 2 keys"):
        masks.padding(np.array([3])).picture(2, 2)
    with pytest.raises(ValueError, match=r"picture: the leading axes of .* do not broadcast"):
        (masks.padding(np.array([1, 2])) & np.ones((3, 1, 1), bool)).picture(2, 2)
