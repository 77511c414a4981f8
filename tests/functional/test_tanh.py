"""tanh: values, gradient, identities, extremes, refusals."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.oracle import assert_gradients
from support.strategies import floats, normal, seeds, vectors

import npformer.functional as F


def test_value_by_hand():
    """exp(2x) = 3 gives (3 - 1) / (3 + 1)."""
    x = math.log(3) / 2
    y, _ = F.tanh(np.array([-x, 0.0, x]))
    np.testing.assert_allclose(y, [-0.5, 0, 0.5], rtol=1e-15)


@given(vectors(), seeds)
def test_gradient(x, seed):
    assert_gradients(F.tanh, F.tanh_backward, [x], normal(seed, *x.shape))


@given(floats((6,), st.floats(-1e3, 1e3)))
def test_value_is_odd_and_slope_is_even(x):
    (y, saved), (y_minus, saved_minus) = F.tanh(x), F.tanh(-x)
    np.testing.assert_array_equal(y_minus, -y)
    one = np.ones(6)
    np.testing.assert_array_equal(F.tanh_backward(one, saved), F.tanh_backward(one, saved_minus))


@given(floats((6,), st.floats(-3, 3)))
def test_slope_is_one_over_cosh_squared(x):
    dx = F.tanh_backward(np.ones(6), F.tanh(x)[1])
    np.testing.assert_allclose(dx, 1 / np.cosh(x) ** 2, rtol=1e-13)


@given(floats((6,), st.floats(-10, 10)))
def test_doubling_formula(x):
    y = F.tanh(x)[0]
    np.testing.assert_allclose(F.tanh(2 * x)[0], 2 * y / (1 + y * y), rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_extremes_and_dtype(dtype):
    x = np.array([np.inf, 1e4, 0, -1e4, -np.inf], dtype)
    y, saved = F.tanh(x)
    np.testing.assert_array_equal(y, [1, 1, 0, -1, -1])
    dx = F.tanh_backward(np.full(5, 3, dtype), saved)
    np.testing.assert_array_equal(dx, [0, 0, 3, 0, 0])
    assert y.dtype == dx.dtype == dtype


def test_integers_and_a_wrong_gradient_are_refused():
    with pytest.raises(TypeError, match=r"tanh: x is int64 \(2,\); expected float32 or float64"):
        F.tanh(np.array([1, 2]))
    with pytest.raises(ValueError, match=r"tanh_backward: dy is \(3,\) but the output was \(2,\)"):
        F.tanh_backward(np.ones(3), F.tanh(np.ones(2))[1])
