"""relu: values, gradient, the kink, extremes, refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.oracle import assert_gradients
from support.strategies import floats, normal, seeds, vectors

import npformer.functional as F

off_the_kink = st.floats(0.01, 30) | st.floats(-30, -0.01)


def test_value_by_hand():
    y, _ = F.relu(np.array([-2.0, -0.5, 0.0, 0.5, 3.0]))
    np.testing.assert_array_equal(y, [0, 0, 0, 0.5, 3])


@given(vectors(elements=off_the_kink), seeds)
def test_gradient(x, seed):
    assert_gradients(F.relu, F.relu_backward, [x], normal(seed, *x.shape))


def test_gradient_at_the_kink_is_zero():
    _, saved = F.relu(np.array([0.0, -0.0]))
    np.testing.assert_array_equal(F.relu_backward(np.array([3.0, -3.0]), saved), [0, 0])


@given(floats((6,)))
def test_positive_and_negative_part(x):
    np.testing.assert_array_equal(F.relu(x)[0] - F.relu(-x)[0], x)
    np.testing.assert_array_equal(F.relu(x)[0] + F.relu(-x)[0], np.abs(x))
    np.testing.assert_array_equal(F.relu(F.relu(x)[0])[0], F.relu(x)[0])


@given(floats((6,), off_the_kink), st.floats(0.01, 100))
def test_a_positive_factor_passes_through(x, c):
    """Euler's identity of a function with f(cx) = c f(x): x f'(x) = f(x)."""
    y, saved = F.relu(x)
    np.testing.assert_array_equal(F.relu(c * x)[0], c * y)
    np.testing.assert_array_equal(F.relu_backward(x, saved), y)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_extremes_and_dtype(dtype):
    x = np.array([np.inf, 1e4, -1e4, -np.inf, np.nan], dtype)
    y, saved = F.relu(x)
    np.testing.assert_array_equal(y, np.array([np.inf, 1e4, 0, 0, np.nan], dtype))
    dx = F.relu_backward(np.ones(5, dtype), saved)
    np.testing.assert_array_equal(dx[:4], [1, 1, 0, 0])
    assert y.dtype == dx.dtype == dtype


def test_integers_and_a_wrong_gradient_are_refused():
    with pytest.raises(TypeError, match=r"relu: x is int64 \(2,\); expected float32 or float64"):
        F.relu(np.array([1, 2]))
    _, saved = F.relu(np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"dy is \(3,\) but the output was \(2, 3\)"):
        F.relu_backward(np.ones(3), saved)
    with pytest.raises(TypeError, match=r"saved is float64 but dy is float32"):
        F.relu_backward(np.ones((2, 3), np.float32), saved)
