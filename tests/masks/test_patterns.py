"""Each pattern drawn by hand, and what its constructor refuses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import seeds

import npformer.functional as F
from npformer import masks


def drawn(mask, n_q, n_k):
    """Rows of # and . to hold against a drawing."""
    return ["".join(".#"[int(held)] for held in row) for row in mask.dense(n_q, n_k)]


def test_a_sliding_window_by_hand():
    assert drawn(masks.sliding_window(2), 5, 5) == [
        "##...",
        "###..",
        ".###.",
        "..###",
        "...##",
    ]
    assert drawn(masks.sliding_window(2), 2, 5) == ["..###", "...##"]
    assert drawn(masks.sliding_window(1), 4, 2) == ["..", "..", "#.", ".#"]


def test_a_stride_by_hand():
    assert drawn(masks.strided(3), 5, 7) == [
        "..#..#.",
        "#..#..#",
        ".#..#..",
        "..#..#.",
        "#..#..#",
    ]
    assert drawn(masks.strided(1), 2, 2) == ["##", "##"]


def test_global_tokens_by_hand():
    assert drawn(masks.global_tokens([0, 3]), 5, 5) == [
        "#####",
        "#..#.",
        "#..#.",
        "#####",
        "#..#.",
    ]
    assert drawn(masks.global_tokens(3), 2, 5) == ["#####", "...#."]


def test_blocks_by_hand_and_by_position_in_decoding():
    pattern = np.array([[1, 0, 0], [0, 1, 1], [1, 0, 1]], bool)
    whole = ["##...", "##...", "..###", "..###", "##..#"]
    assert drawn(masks.blocks(pattern, 2), 5, 5) == whole
    for n_q in range(1, 5):
        assert drawn(masks.blocks(pattern, 2), n_q, 5) == whole[-n_q:]


def test_same_block_and_block_ends_by_hand():
    assert drawn(masks.same_block(2), 4, 5) == ["##...", "..##.", "..##.", "....#"]
    assert drawn(masks.block_ends(3, 1), 1, 8) == ["..#..#.."]
    assert drawn(masks.block_ends(3, 2), 1, 8) == [".##.##.#"]


@pytest.mark.parametrize(
    "mask",
    [
        masks.causal(),
        masks.sliding_window(3),
        masks.strided(2),
        masks.global_tokens([1]),
        masks.same_block(2),
        masks.block_ends(3, 2),
        masks.blocks(np.tri(4, dtype=bool), 2),
    ],
    ids=repr,
)
def test_the_last_queries_alone_get_the_last_rows(mask):
    """So cached decoding sees what the whole pass saw."""
    whole = mask.dense(7, 7)
    for n_q in range(8):
        np.testing.assert_array_equal(mask.dense(n_q, 7), whole[7 - n_q :])


@pytest.mark.parametrize(
    "given_as",
    [
        [3, 1],
        (1, 3),
        range(1, 4, 2),
        np.array([3, 1, 1]),
        np.array([1, 3], np.uint8),
        [np.int32(1), 3],
    ],
    ids=repr,
)
def test_positions_may_be_given_in_many_ways(given_as):
    np.testing.assert_array_equal(
        masks.global_tokens(given_as).dense(4, 4), masks.global_tokens([1, 3]).dense(4, 4)
    )


def test_positions_of_any_dtype_reach_beyond_what_it_can_count():
    full = masks.global_tokens([1, 3]).dense(4, 600)
    small = masks.global_tokens(np.array([1, 3], np.uint8))
    np.testing.assert_array_equal(small.dense(4, 600), full)


HUGE = 2**70


@pytest.mark.parametrize(
    ("far", "near"),
    [
        (lambda: masks.sliding_window(HUGE), lambda: masks.sliding_window(99)),
        (lambda: masks.strided(HUGE), lambda: masks.strided(99)),
        (lambda: masks.same_block(HUGE), lambda: masks.same_block(99)),
        (lambda: masks.block_ends(HUGE, 1), lambda: masks.block_ends(99, 1)),
        (lambda: masks.block_ends(HUGE, HUGE), lambda: masks.block_ends(99, 99)),
        (lambda: masks.blocks(np.eye(2, dtype=bool), HUGE), lambda: masks.same_block(99)),
        (lambda: masks.global_tokens([HUGE, 1]), lambda: masks.global_tokens([1])),
        (lambda: masks.global_tokens([2**63, 1]), lambda: masks.global_tokens([1])),
        (lambda: masks.global_tokens(HUGE), lambda: masks.global_tokens([])),
        (
            lambda: masks.global_tokens(np.array([2**63 + 5, 1], np.uint64)),
            lambda: masks.global_tokens([1]),
        ),
        (lambda: masks.sparse_transformer(HUGE), lambda: masks.sparse_transformer(99)),
        (
            lambda: masks.sparse_transformer(HUGE, "fixed"),
            lambda: masks.sparse_transformer(99, "fixed"),
        ),
    ],
)
def test_sizes_beyond_all_sequences_are_as_good_as_large_ones(far, near):
    q = np.random.default_rng(0).standard_normal((7, 4))
    far, near = far(), near()
    np.testing.assert_array_equal(far.dense(5, 7), near.dense(5, 7))
    assert far.picture(70, 70).splitlines()[1:] == near.picture(70, 70).splitlines()[1:]
    np.testing.assert_array_equal(
        F.attention(q, q, q, mask=far)[0], F.attention(q, q, q, mask=near)[0]
    )


@pytest.mark.parametrize("nothing", [(), [], np.array([])], ids=repr)
def test_no_global_tokens_is_an_empty_mask(nothing):
    assert not masks.global_tokens(nothing).dense(3, 3).any()


def test_what_is_given_is_copied():
    pattern, positions = np.ones((1, 1), bool), np.array([0])
    block, token = masks.blocks(pattern, 4), masks.global_tokens(positions)
    pattern[:], positions[:] = False, 3
    assert block.dense(2, 2).all()
    assert token.dense(2, 2)[0].all()


def test_reprs():
    assert repr(masks.sliding_window(np.int64(3)) | masks.strided(2)) == (
        "(sliding_window(3) | strided(2))"
    )
    assert repr(masks.global_tokens((4, 2))) == "global_tokens([2, 4])"
    assert repr(masks.blocks(np.ones((2, 3), bool), 4)) == "blocks(pattern (2, 3), 4)"
    assert repr(~masks.same_block(4) & masks.block_ends(4, 1)) == (
        "(~same_block(4) & block_ends(4, 1))"
    )


@given(st.integers(1, 9), st.integers(0, 9), seeds)
def test_random_blocks_are_so_many_a_row_and_the_same_for_the_same_seed(n, per_row, seed):
    per_row = min(n, per_row)
    pattern = masks.random_blocks(n, per_row, seed)
    assert pattern.shape == (n, n)
    assert pattern.dtype == np.bool_
    assert (pattern.sum(axis=1) == per_row).all()
    np.testing.assert_array_equal(pattern, masks.random_blocks(n, per_row, seed))
    exclude = np.random.default_rng(seed).random((n, n)) < 0.5
    rest = masks.random_blocks(n, per_row, seed, exclude=exclude)
    assert not (rest & exclude).any()
    np.testing.assert_array_equal(rest.sum(axis=1), np.minimum(per_row, (~exclude).sum(axis=1)))


def test_random_blocks_differ_by_seed_and_by_row_and_reach_every_block():
    a, b = masks.random_blocks(64, 8, 0), masks.random_blocks(64, 8, 1)
    assert (a != b).any()
    assert len(np.unique(a, axis=0)) == 64
    drawn = sum(masks.random_blocks(8, 2, seed).astype(int) for seed in range(400))
    assert abs(drawn - 100).max() < 45  # 100 expected of 400, with a deviation of 8.7


# Refusals


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: masks.sliding_window(0), ValueError, "sliding_window: w is 0; .* own position"),
        (
            lambda: masks.sliding_window(2.0),
            TypeError,
            r"sliding_window: w is 2\.0; expected a pos",
        ),
        (lambda: masks.sliding_window(True), TypeError, "sliding_window: w is True"),
        (lambda: masks.strided(-1), ValueError, "strided: s is -1; expected a positive int; 1 is"),
        (lambda: masks.strided("2"), TypeError, "strided: s is '2'"),
        (lambda: masks.same_block(0), ValueError, "same_block: s is 0"),
        (lambda: masks.block_ends(4, 0), ValueError, "block_ends: c is 0"),
        (lambda: masks.block_ends(4, 5), ValueError, "c is 5 but a block has s = 4 keys; .*1 to 4"),
        (lambda: masks.block_ends(0, 1), ValueError, "block_ends: s is 0"),
        (lambda: masks.global_tokens([1, -2]), ValueError, r"holds -2; .*pass n \+ position"),
        (lambda: masks.global_tokens(-1), ValueError, "global_tokens: positions holds -1"),
        (lambda: masks.global_tokens(1.5), TypeError, r"global_tokens: positions is 1\.5"),
        (lambda: masks.global_tokens([True, False]), TypeError, r"np\.flatnonzero\(positions\)"),
        (lambda: masks.global_tokens([[1]]), TypeError, "a vector of integers"),
        (
            lambda: masks.global_tokens({1}),
            TypeError,
            r"positions is \{1\}; expected an int, a seq",
        ),
        (lambda: masks.blocks([[True]], 2), TypeError, "blocks: pattern is a list; .*dtype=bool"),
        (lambda: masks.blocks(np.eye(2), 2), TypeError, r"blocks: pattern is float64 \(2, 2\)"),
        (lambda: masks.blocks(np.ones(2, bool), 2), ValueError, r"bool \(2,\); expected \(n_q_blo"),
        (lambda: masks.blocks(np.ones((0, 2), bool), 2), ValueError, "at least one block"),
        (lambda: masks.blocks(np.ones((2, 2), bool), 0), ValueError, "blocks: block_size is 0"),
        (lambda: masks.random_blocks(0, 0, 0), ValueError, "random_blocks: num_blocks is 0"),
        (
            lambda: masks.random_blocks(4, 5, 0),
            ValueError,
            "per_row is 5 but a row has .* 4 blocks",
        ),
        (lambda: masks.random_blocks(4, -1, 0), ValueError, "per_row is -1; expected an int, 0 or"),
        (lambda: masks.random_blocks(4, 1, None), TypeError, "seed is None; expected an int"),
        (
            lambda: masks.random_blocks(4, 1, 0, exclude=np.eye(4)),
            TypeError,
            r"exclude is float64 \(4, 4\); expected a bool array",
        ),
        (
            lambda: masks.random_blocks(4, 1, 0, exclude=np.eye(3, dtype=bool)),
            ValueError,
            r"exclude is bool \(3, 3\); expected \(4, 4\)",
        ),
    ],
)
def test_wrong_arguments_are_refused_at_once(make, error, said):
    with pytest.raises(error, match=said):
        make()


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((5, 5), r"\(2, 3\) with block_size 2 covers queries at positions 0 to 3 and keys 0 to 5"),
        ((1, 5), r"but scores \(1, 5\) have queries at positions 4 to 4 and 5 keys"),
        ((2, 3, 7), r"scores \(2, 3, 7\) have queries at positions 4 to 6 and 7 keys"),
        ((4, 3), r"queries at positions -1 to 2 and 3 keys. .* or mask with an array"),
    ],
)
def test_scores_that_a_pattern_does_not_cover_are_refused(shape, said):
    mask = masks.blocks(np.ones((2, 3), bool), 2)
    for whole in (mask, ~mask & masks.causal()):
        with pytest.raises(ValueError, match=said):
            whole.over(shape)


def test_a_pattern_may_cover_more_than_there_is():
    mask = masks.blocks(np.eye(3, dtype=bool), 2)
    for shape in ((4, 4), (1, 3), (0, 9), (6, 6), (0, 0)):
        mask.check(shape)
    for shape in ((1, 7), (7, 7)):
        with pytest.raises(ValueError, match="covers queries at positions 0 to 5"):
            mask.check(shape)
