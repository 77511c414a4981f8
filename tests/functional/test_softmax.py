"""softmax: values, gradient, properties, refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.oracle import assert_gradients
from support.strategies import normal, seeds, vectors

import npformer.functional as F


def test_value_by_hand():
    y, _ = F.softmax(np.log(np.array([1.0, 2.0, 5.0])))
    np.testing.assert_allclose(y, [0.125, 0.25, 0.625], rtol=1e-15)


@given(vectors(), seeds)
def test_gradient(x, seed):
    assert_gradients(F.softmax, F.softmax_backward, [x], normal(seed, *x.shape))


@pytest.mark.parametrize("axis", [0, 1, -3])
def test_gradient_along_another_axis(axis):
    x, dy = normal(0, 2, 3, 4), normal(1, 2, 3, 4)
    assert_gradients(lambda x: F.softmax(x, axis), F.softmax_backward, [x], dy)


@given(vectors())
def test_rows_are_distributions(x):
    y, _ = F.softmax(x)
    assert np.all(y >= 0)
    np.testing.assert_allclose(np.sum(y, axis=-1), 1, rtol=1e-14)


@given(vectors(), st.floats(-1e3, 1e3))
def test_a_common_shift_changes_nothing(x, shift):
    np.testing.assert_allclose(F.softmax(x + shift)[0], F.softmax(x)[0], rtol=1e-11, atol=1e-13)


@given(vectors(), seeds)
def test_dx_sums_to_zero_along_the_axis(x, seed):
    dx = F.softmax_backward(normal(seed, *x.shape), F.softmax(x)[1])
    np.testing.assert_allclose(np.sum(dx, axis=-1), 0, atol=1e-14)


def test_large_scores_do_not_overflow():
    y, _ = F.softmax(np.array([1e4, -1e4, 1e4], np.float32))
    np.testing.assert_array_equal(y, np.array([0.5, 0, 0.5], np.float32))


def test_minus_infinity_gets_exactly_zero():
    x = np.array([0.0, -np.inf])
    y, saved = F.softmax(x)
    np.testing.assert_array_equal(y, [1, 0])
    np.testing.assert_array_equal(F.softmax_backward(np.ones(2), saved), [0, 0])


@pytest.mark.parametrize(
    ("x", "axis", "said"),
    [
        (np.full((2, 3), -np.inf), -1, "all are -inf"),
        (np.array([np.inf, 0.0]), -1, r"an entry is \+inf"),
        (np.ones((2, 0)), -1, r"x \(2, 0\) has no axis -1 of length 1 or more"),
        (np.ones(2), 1, r"x \(2,\) has no axis 1"),
    ],
)
def test_scores_without_a_distribution_are_refused(x, axis, said):
    with pytest.raises(ValueError, match=said):
        F.softmax(x, axis)
