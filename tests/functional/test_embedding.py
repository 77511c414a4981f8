"""embedding: values, gradient, repeated and absent ids, every integer dtype, refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.oracle import assert_gradients
from support.strategies import leads, normal, seeds, sides

import npformer.functional as F

INTEGERS = [np.uint8, np.int8, np.uint16, np.int32, np.uint32, np.int64, np.uint64]


def drawn_ids(seed, vocab, shape):
    return np.random.default_rng(seed).integers(0, vocab, shape)


def test_value_by_hand():
    weight = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    y, _ = F.embedding(np.array([[2, 0], [2, 2]]), weight)
    np.testing.assert_array_equal(y, [[[5, 6], [1, 2]], [[5, 6], [5, 6]]])


def test_repeated_ids_add_up_and_absent_ones_get_zero():
    _, saved = F.embedding(np.array([[2, 0], [2, 2]]), np.zeros((4, 2)))
    dweight = F.embedding_backward(np.array([[[1.0, 2], [3, 4]], [[10, 20], [100, 200]]]), saved)
    np.testing.assert_array_equal(dweight, [[3, 4], [0, 0], [111, 222], [0, 0]])


@given(leads(), sides, sides, seeds)
def test_gradient(lead, vocab, d_model, seed):
    ids = drawn_ids(seed, vocab, lead)
    assert_gradients(
        lambda weight: F.embedding(ids, weight),
        F.embedding_backward,
        [normal(seed, vocab, d_model)],
        normal(seed + 1, *lead, d_model),
    )


@given(leads(), sides, sides, seeds)
def test_is_the_linear_map_of_one_hot_vectors(lead, vocab, d_model, seed):
    ids, weight = drawn_ids(seed, vocab, lead), normal(seed, vocab, d_model)
    dy = normal(seed + 1, *lead, d_model)
    y, saved = F.embedding(ids, weight)
    z, linear_saved = F.linear(np.eye(vocab)[ids], weight.T)
    np.testing.assert_array_equal(y, z)
    want = F.linear_backward(dy, linear_saved)[1].T
    np.testing.assert_allclose(F.embedding_backward(dy, saved), want, atol=1e-13)


@pytest.mark.parametrize("vocab", [1, 7, 50_000])
def test_long_id_lists_equal_an_addition_one_by_one(vocab):
    ids, dy = drawn_ids(0, vocab, (20, 500)), normal(1, 20, 500, 3)
    want = np.zeros((vocab, 3))
    np.add.at(want, ids, dy)
    _, saved = F.embedding(ids, np.ones((vocab, 3)))
    np.testing.assert_allclose(F.embedding_backward(dy, saved), want, rtol=1e-11, atol=1e-12)


@given(st.permutations(range(6)), seeds)
def test_the_order_of_positions_does_not_matter(order, seed):
    ids, dy = drawn_ids(seed, 3, (6,)), normal(seed, 6, 2)
    grads = [
        F.embedding_backward(dy[o], F.embedding(ids[o], np.zeros((3, 2)))[1])
        for o in (np.arange(6), np.array(order))
    ]
    np.testing.assert_allclose(grads[0], grads[1], atol=1e-14)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_every_integer_dtype(dtype):
    """Also where the table has more rows than the dtype can count."""
    weight, dy = normal(0, 300, 2), normal(1, 3, 2)
    y, saved = F.embedding(np.array([5, 0, 127], dtype), weight)
    np.testing.assert_array_equal(y, weight[[5, 0, 127]])
    np.testing.assert_array_equal(F.embedding_backward(dy, saved)[[5, 0, 127]], dy)


def test_no_ids_and_a_single_id():
    weight = normal(0, 4, 2)
    y, saved = F.embedding(np.zeros((3, 0), np.int64), weight)
    assert y.shape == (3, 0, 2)
    np.testing.assert_array_equal(F.embedding_backward(y, saved), np.zeros((4, 2)))
    for one in (np.array(2), np.int64(2)):
        y, saved = F.embedding(one, weight)
        np.testing.assert_array_equal(y, weight[2])
        assert not np.shares_memory(y, weight)  # the table may be trained on, y stays
        dweight = F.embedding_backward(np.array([1.0, 2.0]), saved)
        np.testing.assert_array_equal(dweight, [[0, 0], [0, 0], [1, 2], [0, 0]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_dtype_is_kept_and_extremes_stay_in_their_rows(dtype):
    weight = np.array([[1e38, 1], [np.nan, np.inf]], dtype)
    y, saved = F.embedding(np.array([0, 0]), weight)
    np.testing.assert_array_equal(y, weight[[0, 0]])
    dweight = F.embedding_backward(np.array([[1e38, 1], [1e38, 1]], dtype), saved)
    np.testing.assert_array_equal(dweight, np.array([[2e38, 2], [0, 0]], dtype))
    assert y.dtype == dweight.dtype == dtype


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        ([[0, 1], [4, 7]], r"ids\[1, 0\] is 4; expected 0 to 3 \(a table of 4\), so check the tok"),
        ([0, -1], r"embedding: ids\[1\] is -1; expected 0 to 3"),
        (9, "ids is 9"),
    ],
)
def test_ids_out_of_range_are_refused(ids, said):
    with pytest.raises(ValueError, match=said):
        F.embedding(np.array(ids), np.ones((4, 2)))


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        (np.array([1.0]), r"ids is float64 \(1,\); expected a NumPy array of integers, so convert"),
        (np.array([True]), r"ids is bool \(1,\)"),
        ([1, 2], r"ids is a list; .* np.asarray\(ids, dtype=np.int64\)"),
    ],
)
def test_ids_that_are_not_integers_are_refused(ids, said):
    with pytest.raises(TypeError, match=said):
        F.embedding(ids, np.ones((4, 2)))


def test_a_wrong_table_and_a_wrong_gradient_are_refused():
    with pytest.raises(ValueError, match=r"weight is \(4,\); expected \(vocab, d_model\)"):
        F.embedding(np.array([0]), np.ones(4))
    with pytest.raises(TypeError, match=r"embedding: weight is float16"):
        F.embedding(np.array([0]), np.ones((4, 2), np.float16))
    _, saved = F.embedding(np.array([0, 1]), np.ones((4, 2)))
    with pytest.raises(ValueError, match=r"embedding_backward: dy is \(2,\) but the output was"):
        F.embedding_backward(np.ones(2), saved)
