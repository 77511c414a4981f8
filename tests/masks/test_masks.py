"""Masks: by hand, against plain arrays in any combination, and what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from masks.drawn import B, H, combinations, in_full, sizes

from npformer import masks

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


@settings(max_examples=200)
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


@given(sizes.flatmap(lambda n: combinations(*n)), st.sampled_from([1, 2, 4]))
def test_grouped_splits_the_head_axis_and_nothing_else(drawn, groups):
    mask, full = drawn
    n_q, n_k = full.shape[-2:]
    for whole, want in ((mask, full), (~mask, ~full)):
        split = in_full(whole.grouped(groups), n_q, n_k, (B, groups, H // groups))
        np.testing.assert_array_equal(split.reshape(full.shape), want)


def test_split_heads_of_a_bias_is_a_view():
    bias = np.arange(48.0).reshape(4, 3, 4)
    split = masks.split_heads(bias, 2)
    assert split.shape == (2, 2, 3, 4)
    assert np.shares_memory(split, bias)
    assert masks.split_heads(bias[:1], 2).shape == (1, 1, 3, 4)
    rows = bias[0]
    assert masks.split_heads(rows, 2) is rows


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
        (1, r"mask is an? int"),
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
    ("n_q", "n_k", "error", "said"),
    [
        (-1, 3, ValueError, "n_q is -1; expected an int, 0 or more"),
        (3, -1, ValueError, "n_k is -1"),
        (2.5, 3, TypeError, "n_q is 2.5; expected an int, 0 or more"),
        ("a", 3, TypeError, "n_q is 'a'"),
        (3, True, TypeError, "n_k is True"),
    ],
)
def test_numbers_of_queries_and_keys_are_checked(n_q, n_k, error, said):
    for mask in (masks.causal(), masks.padding(np.array([1])), ~masks.as_mask(np.ones(3, bool))):
        with pytest.raises(error, match=f"dense: {said}"):
            mask.dense(n_q, n_k)
        with pytest.raises(error, match=f"picture: {said}"):
            mask.picture(n_q, n_k)


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
