"""sigmoid: values, gradient, identities, tails, extremes, refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.oracle import assert_gradients, complex_step
from support.strategies import floats, normal, seeds, vectors

import npformer.functional as F


def test_value_by_hand():
    """The logistic function of the log-odds is the probability."""
    p = np.array([0.1, 0.25, 0.5, 0.9])
    y, _ = F.sigmoid(np.log(p / (1 - p)))
    np.testing.assert_allclose(y, p, rtol=1e-15)


@given(vectors(), seeds)
def test_gradient(x, seed):
    assert_gradients(F.sigmoid, F.sigmoid_backward, [x], normal(seed, *x.shape))


@given(floats((6,), st.floats(-1e3, 1e3)))
def test_values_at_x_and_minus_x_sum_to_one(x):
    np.testing.assert_allclose(F.sigmoid(x)[0] + F.sigmoid(-x)[0], 1, rtol=1e-15)


@given(floats((6,), st.floats(-15, 15)))
def test_is_tanh_on_another_scale(x):
    y, saved = F.sigmoid(x)
    t, tanh_saved = F.tanh(x / 2)
    np.testing.assert_allclose(y, (1 + t) / 2, rtol=1e-8, atol=1e-15)
    one = np.ones(6)
    np.testing.assert_allclose(
        F.sigmoid_backward(one, saved), F.tanh_backward(one, tanh_saved) / 4, atol=1e-15
    )


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 4e-7), (np.float64, 1e-15)])
def test_tail_keeps_its_relative_accuracy(dtype, rtol):
    want = [1.928749847963917783e-22, 1.8048513878454151723e-35]
    y, saved = F.sigmoid(np.array([-50, -80], dtype))
    np.testing.assert_allclose(y, want, rtol=rtol)
    # y (1 - y) is y there: the slope has it too
    np.testing.assert_allclose(F.sigmoid_backward(np.ones(2, dtype), saved), want, rtol=rtol)


def test_tail_of_float64_and_of_its_complex_continuation():
    x, want = np.array([-300.0]), [5.1482002224120137812e-131]
    np.testing.assert_allclose(F.sigmoid(x)[0], want, rtol=1e-15)
    (slope,) = complex_step(lambda x: F.sigmoid(x)[0], [x], np.ones(1))
    np.testing.assert_allclose(slope, want, rtol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_extremes_and_dtype(dtype):
    x = np.array([np.inf, 1e30, 1e4, 0, -1e4, -1e30, -np.inf], dtype)
    y, saved = F.sigmoid(x)
    np.testing.assert_array_equal(y, [1, 1, 1, 0.5, 0, 0, 0])
    dx = F.sigmoid_backward(np.full(7, 4, dtype), saved)
    np.testing.assert_array_equal(dx, [0, 0, 0, 1, 0, 0, 0])
    assert y.dtype == dx.dtype == dtype
    assert np.isnan(F.sigmoid(np.array([np.nan], dtype))[0])


def test_analytic_off_the_real_line():
    z = np.array([0.3 + 0.4j, -0.3 + 0.4j, -2 - 1j])
    np.testing.assert_allclose(F.sigmoid(z)[0], 1 / (1 + np.exp(-z)), rtol=1e-15)


def test_integers_and_a_wrong_gradient_are_refused():
    with pytest.raises(TypeError, match=r"sigmoid: x is int64 \(2,\); expected float32"):
        F.sigmoid(np.array([1, 2]))
    with pytest.raises(ValueError, match=r"sigmoid_backward: dy is \(3,\) but the output was"):
        F.sigmoid_backward(np.ones(3), F.sigmoid(np.ones(2))[1])
