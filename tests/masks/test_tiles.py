"""Tiles and rows of blocks: the same part of the whole, and answered without forming it."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from masks.drawn import KINDS, assert_tile, codes, combinations, leaves, rectangles, sizes
from support.strategies import seeds

from npformer import masks
from npformer.masks import ALL, EMPTY, FULL, NONE, SOME, Mask, Span

N = 10**9  # an array over so many would not fit in any memory
EVERY_KIND = [
    masks.causal(),
    masks.sliding_window(N // 10),
    masks.strided(3 * N),
    masks.strided(1),
    masks.global_tokens([0, N // 3]),
    masks.same_block(N // 10),
    masks.block_ends(N // 4, N // 8),
    masks.padding(np.array([N // 2])),
    masks.padding(np.array([N // 2]), "left"),
    masks.blocks(np.tri(10, dtype=bool), N // 10),
]


class Odd(Mask):
    """A user's mask, of the three methods that it must have."""

    def holds(self, lead, rows, columns):
        positions = rows.numbers[:, None] + columns.total - rows.total
        return (positions * columns.numbers) % 2 == 1

    def check(self, shape):
        pass

    def leaves(self):
        yield self


@settings(max_examples=200)
@given(sizes.flatmap(lambda n: combinations(*n)), seeds)
def test_a_tile_is_that_part_of_the_whole_and_says_empty_and_full_exactly(drawn, seed):
    mask, full = drawn
    for lead, rows, columns, _ in rectangles(seed, *full.shape[2:]):
        assert_tile(mask.tile(lead, rows, columns), full[lead], rows, columns)


@settings(max_examples=300)
@given(sizes.flatmap(lambda n: combinations(*n)), seeds)
def test_coverage_never_lies(drawn, seed):
    mask, full = drawn
    for lead, rows, columns, width in rectangles(seed, *full.shape[2:]):
        found = mask.coverage(lead, rows, columns, width)
        true = codes(full[lead], rows, columns, width)
        assert found.shape == true.shape
        assert found.dtype == np.int8
        if rows.stop > rows.start:
            np.testing.assert_array_equal(np.where(found == SOME, true, found), true)


@pytest.mark.parametrize("kind", KINDS)
@given(st.data(), sizes, seeds)
def test_tiles_and_coverage_of_every_leaf_are_exact(kind, data, n, seed):
    mask, full = data.draw(leaves(*n, kind))
    mask = masks.as_mask(mask)
    for lead, rows, columns, width in rectangles(seed, *n):
        assert_tile(mask.tile(lead, rows, columns), full[lead], rows, columns)
        if rows.stop > rows.start:
            true = codes(full[lead], rows, columns, width)
            np.testing.assert_array_equal(mask.coverage(lead, rows, columns, width), true)
            np.testing.assert_array_equal((~mask).coverage(lead, rows, columns, width), 2 - true)


def test_coverage_by_hand():
    """Keys 0 1 | 2 3 | 4 5 | 6 to rows 2 and 3 of a causal mask of 7."""
    rows, columns = Span(2, 4, 7), Span(0, 7, 7)
    mask = masks.causal()
    assert mask.coverage((), rows, columns, 2).tolist() == [ALL, SOME, NONE, NONE]
    assert (~mask).coverage((), rows, columns, 2).tolist() == [NONE, SOME, ALL, ALL]
    near = masks.sliding_window(2)
    assert (mask & near).coverage((), rows, columns, 2).tolist() == [SOME, SOME, NONE, NONE]
    assert (mask | near).coverage((), rows, columns, 2).tolist() == [ALL, ALL, SOME, NONE]
    assert (NONE, SOME, ALL) == (0, 1, 2)


@given(sizes, seeds)
def test_a_mask_of_the_users_own_answers_all_questions(n, seed):
    n_q, n_k = n
    full = np.outer(np.arange(n_q) + n_k - n_q, np.arange(n_k)) % 2 == 1
    mask = Odd()
    np.testing.assert_array_equal(mask.dense(n_q, n_k), full)
    for _, rows, columns, width in rectangles(seed, n_q, n_k):
        assert_tile(mask.tile((), rows, columns), full, rows, columns)
        found = mask.coverage((), rows, columns, width)
        assert found.dtype == np.int8
        np.testing.assert_array_equal(found, codes(full, rows, columns, width))
    whole = np.logical_and(full, np.tri(n_q, n_k, n_k - n_q, dtype=bool))
    np.testing.assert_array_equal((mask & masks.causal()).dense(n_q, n_k), whole)
    assert mask.varies(3) == (True, True, True)


def test_tiles_of_a_joined_mask_are_simplified():
    """Two halves that are neither empty nor full, and their & and | which are."""
    odd, whole = np.arange(6) % 2 == 1, (Span(0, 6, 6), Span(0, 6, 6))
    some, rest = masks.as_mask(odd), masks.as_mask(~odd)
    assert (some & rest).tile((), *whole) is EMPTY
    assert (some | rest).tile((), *whole) is FULL
    assert (~(some & rest)).tile((), *whole) is FULL
    assert (masks.causal() & ~masks.causal()).tile((), *whole) is EMPTY


@pytest.mark.parametrize("mask", EVERY_KIND, ids=repr)
def test_a_billion_tokens_are_answered_for_without_forming_anything(mask):
    """Every tile of a hundred million by twenty million that is all or nothing is so at once."""
    rows, columns, width = Span(4 * N // 10, 5 * N // 10, N), Span(0, N, N), N // 50
    found = mask.coverage((0,), rows, columns, width)
    assert found.shape == (50,)
    for block in np.flatnonzero(found != SOME).tolist():
        tile = mask.tile((0,), rows, Span(block * width, (block + 1) * width, N))
        assert tile is (FULL if found[block] == ALL else EMPTY)
    joined = (mask | masks.causal()) & ~mask
    assert joined.coverage((0,), rows, columns, width).shape == (50,)


def test_what_a_billion_tokens_look_like():
    rows, columns = Span(4 * N // 10, 5 * N // 10, N), Span(0, N, N)
    drawn = {
        repr(mask): "".join(".+#"[code] for code in mask.coverage((0,), rows, columns, N // 10))
        for mask in EVERY_KIND
    }
    assert list(drawn.values()) == [
        "####+.....",
        "...+#+....",
        "....+.....",
        "##########",
        "+..+......",
        "....#.....",
        ".+++#.+++#",
        "#####.....",
        ".....#####",
        "#####.....",
    ]


@pytest.mark.parametrize("n_q", range(1, 5))
@pytest.mark.parametrize("n_k", range(1, 5))
def test_every_tile_of_causal(n_q, n_k):
    whole = masks.causal().dense(n_q, n_k)
    runs = [
        [Span(start, stop, n) for start in range(n) for stop in range(start + 1, n + 1)]
        for n in (n_q, n_k)
    ]
    for rows, columns in itertools.product(*runs):
        for mask, full in ((masks.causal(), whole), (~masks.causal(), ~whole)):
            assert_tile(mask.tile((), rows, columns), full, rows, columns)


@given(sizes.flatmap(lambda n: combinations(*n)))
def test_a_mask_is_the_same_along_axes_that_it_does_not_vary_along(drawn):
    mask, full = drawn
    varies = mask.varies(2)
    assert len(varies) == 2
    for axis in range(2):
        if not varies[axis]:
            assert (full == full.take([0], axis)).all()


def test_varies_by_hand():
    padding, heads = masks.padding(np.array([1, 2])), np.ones((4, 1, 1), bool)
    for mask in EVERY_KIND[:7]:
        assert mask.varies(0) == ()
        assert mask.varies(2) == (False, False)
    assert padding.varies(3) == (True, False, False)
    assert masks.as_mask(heads).varies(2) == (False, True)
    assert (masks.causal() & padding).varies(2) == (True, False)
    assert (~(masks.causal() & padding) | heads).varies(2) == (True, True)
    assert (masks.causal() & heads).grouped(2).varies(3) == (False, True, True)
    assert masks.as_mask(np.ones((1, 1, 3, 3), bool)).varies(2) == (False, False)


def test_codes_may_be_written_to():
    """A caller may mark in them what it has done."""
    for mask in [*EVERY_KIND, masks.as_mask(np.ones((1, 1), bool))]:
        mask.coverage((0,), Span(0, 1, N), Span(0, N, N), N // 4)[:] = NONE
