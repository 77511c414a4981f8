"""log_softmax: values, gradient, properties, tails, refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.oracle import assert_gradients
from support.strategies import normal, seeds, vectors

import npformer.functional as F


def test_value_by_hand():
    y, _ = F.log_softmax(np.log(np.array([1.0, 2.0, 5.0])))
    np.testing.assert_allclose(y, np.log([0.125, 0.25, 0.625]), rtol=1e-15)


@given(vectors(), seeds)
def test_gradient(x, seed):
    assert_gradients(F.log_softmax, F.log_softmax_backward, [x], normal(seed, *x.shape))


@pytest.mark.parametrize("axis", [0, 1, -3])
def test_gradient_along_another_axis(axis):
    x, dy = normal(0, 2, 3, 4), normal(1, 2, 3, 4)
    assert_gradients(lambda x: F.log_softmax(x, axis), F.log_softmax_backward, [x], dy)


@given(vectors())
def test_exponentials_are_the_softmax_and_sum_to_one(x):
    y, _ = F.log_softmax(x)
    assert np.all(y <= 0)
    np.testing.assert_allclose(np.sum(np.exp(y), axis=-1), 1, rtol=1e-13)
    np.testing.assert_allclose(np.exp(y), F.softmax(x)[0], rtol=1e-13)


@given(vectors(), st.floats(-1e3, 1e3))
def test_a_common_shift_changes_nothing(x, shift):
    np.testing.assert_allclose(F.log_softmax(x + shift)[0], F.log_softmax(x)[0], atol=1e-12)


@given(vectors())
def test_a_second_time_changes_nothing(x):
    y, _ = F.log_softmax(x)
    np.testing.assert_allclose(F.log_softmax(y)[0], y, atol=1e-13)


@given(vectors(), seeds)
def test_dx_sums_to_zero_along_the_axis(x, seed):
    dx = F.log_softmax_backward(normal(seed, *x.shape), F.log_softmax(x)[1])
    np.testing.assert_allclose(np.sum(dx, axis=-1), 0, atol=1e-13)


@given(vectors())
def test_gradient_of_the_expected_value_under_softmax_is_zero(x):
    """Of sum_j p_j y_j with p held fixed at the softmax: y's gradient p, p - p sum_j p_j = 0."""
    y, saved = F.log_softmax(x)
    np.testing.assert_allclose(F.log_softmax_backward(np.exp(y), saved), 0, atol=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_scores_neither_overflow_nor_lose_the_logarithm(dtype):
    y, saved = F.log_softmax(np.array([1e4, -1e4, 1e4], dtype))
    np.testing.assert_allclose(y, [-np.log(2), -2e4 - np.log(2), -np.log(2)], rtol=1e-7)
    dx = F.log_softmax_backward(np.array([1, 2, 3], dtype), saved)
    np.testing.assert_allclose(dx, [-2, 2, 0], atol=1e-6)
    assert y.dtype == dx.dtype == dtype


def test_minus_infinity_stays():
    y, saved = F.log_softmax(np.array([0.0, -np.inf]))
    np.testing.assert_array_equal(y, [0, -np.inf])
    np.testing.assert_array_equal(F.log_softmax_backward(np.array([1.0, 0.0]), saved), [0, 0])


@pytest.mark.parametrize(
    ("x", "axis", "said"),
    [
        (np.full((2, 3), -np.inf), -1, "log_softmax: .* all are -inf"),
        (np.array([np.inf, 0.0]), -1, r"an entry is \+inf"),
        (np.ones((2, 0)), -1, r"log_softmax: x \(2, 0\) has no axis -1 of length 1 or more"),
    ],
)
def test_scores_without_a_distribution_are_refused(x, axis, said):
    with pytest.raises(ValueError, match=said):
        F.log_softmax(x, axis)


def test_a_wrong_gradient_is_refused():
    with pytest.raises(ValueError, match=r"log_softmax_backward: dy is \(3,\) but the output was"):
        F.log_softmax_backward(np.ones(3), F.log_softmax(np.ones(2))[1])
