"""Masks: by hand, against plain arrays in any combination, tile by tile, and what is refused."""

import itertools
import operator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.strategies import seeds

from npformer import masks
from npformer.masks import EMPTY, FULL, Span

B, H = 2, 4  # batch and heads of the scores that masks are held against
JOIN = {"&": operator.and_, "|": operator.or_}
sizes = st.tuples(st.integers(1, 7), st.integers(1, 7))


@st.composite
def leaves(draw, n_q, n_k):
    """A mask object or array, and what it is in full: bool (B, H, n_q, n_k)."""
    kind = draw(st.sampled_from(["causal", "right", "left", "array"]))
    i, j = np.arange(n_q)[:, None] + (n_k - n_q), np.arange(n_k)
    if kind == "causal":
        mask, full = masks.causal(), j <= i
    elif kind == "array":
        shape = [draw(st.sampled_from([1, n])) for n in (B, H, n_q, n_k)]
        shape = shape[draw(st.integers(0, 3)) :]
        share = draw(st.sampled_from([0.0, 0.5, 1.0]))
        mask = full = np.random.default_rng(draw(seeds)).random(shape) < share
    else:
        dtype = draw(st.sampled_from([np.int64, np.uint8, np.uint64]))
        lengths = np.array(draw(st.tuples(*[st.integers(0, n_k)] * B)), dtype)
        mask = masks.padding(lengths, kind)
        full = np.array([j < n if kind == "right" else j >= n_k - n for n in lengths.tolist()])
        full = full[:, None, None]
    return mask, np.broadcast_to(full, (B, H, n_q, n_k))


@st.composite
def combinations(draw, n_q, n_k):
    """Leaves joined by &, | and ~ in any order, with arrays on either side."""
    mask, full = draw(leaves(n_q, n_k))
    for _ in range(draw(st.integers(0, 3))):
        if draw(st.booleans()):
            mask, full = ~mask, ~full
        other, other_full = draw(leaves(n_q, n_k))
        join = JOIN[draw(st.sampled_from("&|"))]
        mask = join(other, mask) if draw(st.booleans()) else join(mask, other)
        full = join(full, other_full)
    return masks.as_mask(mask), full


@st.composite
def spans(draw, total):
    """A run of at least one."""
    start = draw(st.integers(0, total - 1))
    return Span(start, draw(st.integers(start + 1, total)), total)


def in_full(mask, n_q, n_k, shape=(B, H)):
    """The mask over all leading axes, as attention forms it."""
    return np.broadcast_to(mask.over((*shape, n_q, n_k)), (*shape, n_q, n_k))


def assert_tile(tile, full, rows, columns):
    """A tile is EMPTY or FULL exactly where it is, and else the part of the whole."""
    part = full[rows.start : rows.stop, columns.start : columns.stop]
    if part.all():
        assert tile is FULL
    elif not part.any():
        assert tile is EMPTY
    else:
        np.testing.assert_array_equal(tile, part)
        assert tile.dtype == np.bool_


# By hand


def test_causal_by_hand():
    np.testing.assert_array_equal(
        masks.causal().dense(3, 3), [[True, False, False], [True, True, False], [True, True, True]]
    )


@pytest.mark.parametrize(
    ("n_q", "n_k", "want"),
    [
        (2, 4, [[1, 1, 1, 0], [1, 1, 1, 1]]),  # the last query stands at the last key
        (1, 3, [[1, 1, 1]]),  # as in decoding with past keys
        (3, 1, [[0], [0], [1]]),  # queries before the first key see nothing
        (2, 0, [[], []]),
    ],
)
def test_causal_with_more_or_fewer_keys_than_queries(n_q, n_k, want):
    np.testing.assert_array_equal(masks.causal().dense(n_q, n_k), np.array(want, bool))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.uint64])
def test_padding_on_both_sides_by_hand(dtype):
    """Any integer dtype will do, also one that cannot count the keys."""
    lengths = np.array([0, 1, 3], dtype)
    right, left = (masks.padding(lengths, side).dense(2, 300) for side in ("right", "left"))
    assert right.shape == left.shape == (3, 2, 300)
    for b, n in enumerate([0, 1, 3]):
        np.testing.assert_array_equal(right[b], [[True] * n + [False] * (300 - n)] * 2)
        np.testing.assert_array_equal(left[b], [[False] * (300 - n) + [True] * n] * 2)


def test_padding_belongs_to_the_first_axis_whatever_stands_between():
    padding = masks.padding(np.array([1, 3]))
    for between in ((), (4,), (2, 3)):
        full = in_full(padding, 2, 3, (2, *between))
        np.testing.assert_array_equal(full[0], np.broadcast_to([True, False, False], full[0].shape))
        assert full[1].all()


def test_padding_keeps_a_copy_of_the_lengths():
    lengths = np.array([1, 2])
    mask = masks.padding(lengths)
    lengths[:] = 0
    np.testing.assert_array_equal(mask.dense(1, 2)[:, 0], [[True, False], [True, True]])


def test_arrays_align_from_the_right():
    array = np.random.default_rng(0).random((2, 1, 3, 4)) < 0.5
    np.testing.assert_array_equal(masks.as_mask(array).dense(3, 4), array)
    keys = np.array([True, False, True, True])
    np.testing.assert_array_equal(masks.as_mask(keys).dense(2, 4), [keys, keys])
    np.testing.assert_array_equal(
        masks.as_mask(array[0, 0, :, :1]).dense(3, 4), np.repeat(array[0, 0, :, :1], 4, axis=1)
    )


def test_dense_has_the_leading_axes_of_its_parts_and_is_a_copy():
    padding, heads = masks.padding(np.array([1, 2, 3])), np.ones((1, 4, 1, 1), bool)
    assert (masks.causal() & padding).dense(2, 5).shape == (3, 2, 5)
    assert (padding | heads).dense(2, 5).shape == (3, 4, 2, 5)
    assert (~masks.causal()).dense(2, 5).shape == (2, 5)
    array = np.ones((2, 3), bool)
    whole = masks.as_mask(array).dense(2, 3)
    whole[...] = False
    assert array.all()


# Against plain arrays


@given(sizes.flatmap(lambda n: combinations(*n)))
def test_any_combination_equals_that_of_plain_arrays(drawn):
    mask, full = drawn
    n_q, n_k = full.shape[-2:]
    np.testing.assert_array_equal(in_full(mask, n_q, n_k), full)
    every_axis = np.ones((B, H, 1, 1), bool)
    np.testing.assert_array_equal((mask & every_axis).dense(n_q, n_k), full)
    np.testing.assert_array_equal((~every_axis | mask).dense(n_q, n_k), full)


@given(sizes.flatmap(lambda n: st.tuples(*[combinations(*n)] * 3)))
def test_the_laws_of_boolean_algebra(drawn):
    (a, full), (b, _), (c, _) = drawn
    n_q, n_k = full.shape[-2:]
    for left, right in (
        (~(a & b), ~a | ~b),
        (~(a | b), ~a & ~b),
        (a & (b | c), (a & b) | (a & c)),
        (a | (b & c), (a | b) & (a | c)),
        (a & b & c, a & (b & c)),
        (a & b, b & a),
        (~~a, a),
        (a & a, a | a),
    ):
        np.testing.assert_array_equal(in_full(left, n_q, n_k), in_full(right, n_q, n_k))
    assert not in_full(a & ~a, n_q, n_k).any()
    assert in_full(a | ~a, n_q, n_k).all()


@settings(max_examples=100)
@given(st.data(), sizes)
def test_a_tile_is_that_part_of_the_whole_and_says_empty_and_full_exactly(data, n):
    n_q, n_k = n
    mask, full = data.draw(combinations(n_q, n_k))
    rows, columns = data.draw(spans(n_q)), data.draw(spans(n_k))
    for lead in np.ndindex(B, H):
        assert_tile(mask.tile(lead, rows, columns), full[lead], rows, columns)


def test_tiles_of_a_joined_mask_are_simplified():
    """Two halves that are neither empty nor full, and their & and | which are."""
    odd, whole = np.arange(6) % 2 == 1, (Span(0, 6, 6), Span(0, 6, 6))
    some, rest = masks.as_mask(odd), masks.as_mask(~odd)
    assert (some & rest).tile((), *whole) is EMPTY
    assert (some | rest).tile((), *whole) is FULL
    assert (~(some & rest)).tile((), *whole) is FULL
    assert (masks.causal() & ~masks.causal()).tile((), *whole) is EMPTY


def test_large_tiles_of_causal_are_decided_without_forming_them():
    n = 10**9
    below, above = Span(n // 2, n, n), Span(0, n // 2, n)
    causal = masks.causal()
    assert causal.tile((), below, above) is FULL
    assert causal.tile((), above, Span(n // 2, n, n)) is EMPTY
    assert (~causal).tile((), below, above) is EMPTY
    assert (causal & causal | ~causal).tile((), below, above) is FULL


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


@given(sizes.flatmap(lambda n: combinations(*n)), st.sampled_from([1, 2, 4]))
def test_grouped_splits_the_head_axis_and_nothing_else(drawn, groups):
    mask, full = drawn
    n_q, n_k = full.shape[-2:]
    split = in_full(mask.grouped(groups), n_q, n_k, (B, groups, H // groups))
    np.testing.assert_array_equal(split.reshape(full.shape), full)


def test_split_heads_of_a_bias_is_a_view():
    bias = np.arange(48.0).reshape(4, 3, 4)
    split = masks.split_heads(bias, 2)
    assert split.shape == (2, 2, 3, 4)
    assert np.shares_memory(split, bias)
    assert masks.split_heads(bias[:1], 2).shape == (1, 1, 3, 4)
    assert masks.split_heads(bias[0], 2).shape == (3, 4)


def test_repr_tells_what_a_mask_is_made_of():
    mask = np.ones((4, 5), bool) & masks.causal() | ~masks.padding(np.array([2, 3]), "left")
    assert repr(mask) == "((array(4, 5) & causal()) | ~padding([2, 3], side='left'))"
    assert repr(~(masks.as_mask(np.ones(3, bool)) | masks.causal())) == "~(array(3,) | causal())"


def test_as_mask_leaves_masks_alone():
    mask = masks.causal()
    assert masks.as_mask(mask) is mask


# Refusals


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (np.ones((2, 3)), r"mask is float64 \(2, 3\); expected a bool array \(True = may attend\)"),
        (np.ones((2, 3), np.float32), r"float32 .* pass scores to be added as bias="),
        (np.ones((2, 3), int), r"Convert ones and zeros with np.asarray\(mask, dtype=bool\)"),
        ([True], "mask is a list"),
        (1, "mask is a int"),
        (np.True_, r"mask is bool \(\); expected a bool array"),
    ],
)
def test_what_is_no_mask_is_refused_on_either_side(other, said):
    for join in (
        lambda: masks.causal() & other,
        lambda: other & masks.causal(),
        lambda: masks.causal() | other,
        lambda: other | masks.causal(),
        lambda: masks.as_mask(other),
    ):
        with pytest.raises(TypeError, match=said):
            join()


def test_a_single_bool_is_refused():
    with pytest.raises(
        ValueError, match=r"mask is a single bool; expected an array \(\.\.\., n_q, n_k"
    ):
        masks.as_mask(np.array(True))


@pytest.mark.parametrize(
    ("mask", "shape", "said"),
    [
        (
            np.ones((3, 4), bool),
            (3, 5),
            r"mask \(3, 4\) does not fit scores \(3, 5\); from the rig",
        ),
        (np.ones((2, 3, 5), bool), (3, 5), r"mask \(2, 3, 5\) does not fit scores \(3, 5\)"),
        (np.ones((2, 5), bool), (2, 4, 3, 5), r"with mask\[:, None, None, :\]"),
        (np.ones(4, bool), (3, 5), r"mask \(4,\) does not fit"),
        (np.ones((5, 3, 5), bool), (4, 3, 5), r"mask \(5, 3, 5\) does not fit scores \(4, 3, 5\)"),
        (
            masks.padding(np.array([1, 2])),
            (3, 4, 5),
            r"2 lengths do not fit scores \(3, 4, 5\); ex",
        ),
        (masks.padding(np.array([1, 2])), (2, 5), r"expected \(batch, \.\.\., n_q, n_k\) with one"),
        (
            masks.padding(np.array([1, 9])),
            (2, 4, 5),
            r"lengths\[1\] is 9 but there are only 5 keys",
        ),
    ],
)
def test_a_mask_that_does_not_fit_is_refused_however_deep(mask, shape, said):
    mask = masks.as_mask(mask)
    for whole in (mask, ~mask, mask & masks.causal(), masks.causal() | ~(masks.causal() & mask)):
        with pytest.raises(ValueError, match=said):
            whole.over(shape)


def test_dense_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match=r"mask \(3, 4\) does not fit scores \(3, 5\)"):
        masks.as_mask(np.ones((3, 4), bool)).dense(3, 5)
    with pytest.raises(ValueError, match=r"lengths\[0\] is 6 but there are only 5 keys"):
        (masks.causal() & masks.padding(np.array([6]))).dense(3, 5)
    mask = masks.padding(np.array([1, 2])) & np.ones((3, 1, 1), bool)
    with pytest.raises(
        ValueError, match=r"axes of \(padding.* array\(3, 1, 1\)\) do not broadcast"
    ):
        mask.dense(3, 5)


@pytest.mark.parametrize(
    ("lengths", "side", "error", "said"),
    [
        (
            np.array([1.0]),
            "right",
            TypeError,
            r"padding: lengths is float64 \(1,\); expected a Num",
        ),
        (np.array([True]), "right", TypeError, r"padding: lengths is bool \(1,\)"),
        ([1, 2], "right", TypeError, "padding: lengths is a list"),
        (
            np.array([2, -1]),
            "right",
            ValueError,
            r"lengths is int64 \(2,\) with minimum -1; expect",
        ),
        (np.array([[2]]), "right", ValueError, r"lengths is int64 \(1, 1\) .* expected \(batch,\)"),
        (np.array([2]), "both", ValueError, "padding: side is 'both'; expected one of right, left"),
    ],
)
def test_wrong_padding_is_refused(lengths, side, error, said):
    with pytest.raises(error, match=said):
        masks.padding(lengths, side)
