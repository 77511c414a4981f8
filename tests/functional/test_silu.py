"""silu: values, gradient, identities, tails, extremes, refusals."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.oracle import assert_gradients, complex_step
from support.strategies import floats, normal, seeds, vectors

import npformer.functional as F


def test_value_by_hand():
    """Where exp(-x) = 3 the gate is 1/4, and 3/4 on the other side."""
    x = math.log(3)
    y, _ = F.silu(np.array([-x, 0.0, x]))
    np.testing.assert_allclose(y, [-x / 4, 0, 3 * x / 4], rtol=1e-15)


@given(vectors(), seeds)
def test_gradient(x, seed):
    assert_gradients(F.silu, F.silu_backward, [x], normal(seed, *x.shape))


@given(floats((6,), st.floats(-1e3, 1e3)))
def test_odd_part_is_half_of_x(x):
    """The gates of x and -x sum to 1."""
    (y, saved), (y_minus, saved_minus) = F.silu(x), F.silu(-x)
    np.testing.assert_allclose(y - y_minus, x, rtol=1e-14)
    np.testing.assert_allclose(saved.slope + saved_minus.slope, 1, rtol=1e-13)


@given(floats((6,)))
def test_is_x_times_the_sigmoid(x):
    (s, sigmoid_saved), (y, saved) = F.sigmoid(x), F.silu(x)
    np.testing.assert_array_equal(y, x * s)
    slope = s + F.sigmoid_backward(x, sigmoid_saved)  # the product rule
    np.testing.assert_allclose(saved.slope, slope, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 5e-7), (np.float64, 2e-15)])
def test_negative_tail_keeps_its_relative_accuracy(dtype, rtol):
    y, saved = F.silu(np.array([-30, -80], dtype))
    np.testing.assert_allclose(
        y, [-2.8072868906517896862e-12, -1.4438811102763321378e-33], rtol=rtol
    )
    np.testing.assert_allclose(
        saved.slope, [-2.7137106609631340013e-12, -1.4258325963978779861e-33], rtol=rtol
    )


def test_negative_tail_of_float64_to_the_end_of_its_range():
    y, saved = F.silu(np.array([-600.0]))
    np.testing.assert_allclose(y, [-1.5902379318025864898e-258], rtol=2e-15)
    np.testing.assert_allclose(saved.slope, [-1.587587535249582179e-258], rtol=2e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extremes_and_dtype(dtype):
    x = np.array([np.inf, np.finfo(dtype).max, 1e4, 0, -1e4, np.finfo(dtype).min, -np.inf], dtype)
    y, saved = F.silu(x)
    np.testing.assert_array_equal(y, [*x[:3], 0, 0, 0, 0])
    dx = F.silu_backward(np.full(7, 2, dtype), saved)
    np.testing.assert_array_equal(dx, [2, 2, 2, 1, 0, 0, 0])
    assert y.dtype == dx.dtype == dtype
    assert np.isnan(F.silu(np.array([np.nan], dtype))[0])


def test_complex_step_at_large_arguments():
    x = np.array([-1e4, -800.0, 800.0, 1e4])
    (slope,) = complex_step(lambda x: F.silu(x)[0], [x], np.ones(4))
    np.testing.assert_array_equal(slope, [0, 0, 1, 1])


def test_integers_and_a_wrong_gradient_are_refused():
    with pytest.raises(TypeError, match=r"silu: x is int64 \(2,\); expected float32 or float64"):
        F.silu(np.array([1, 2]))
    with pytest.raises(ValueError, match=r"silu_backward: dy is \(3,\) but the output was \(2,\)"):
        F.silu_backward(np.ones(3), F.silu(np.ones(2))[1])
