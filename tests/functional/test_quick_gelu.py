"""quick_gelu: values, gradient, identities, tails, extremes, refusals."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.oracle import assert_gradients, complex_step
from support.strategies import floats, normal, seeds, vectors

import npformer.functional as F


def test_value_by_hand():
    """Where exp(-1.702 x) = 3 the gate is 1/4, and 3/4 on the other side."""
    x = math.log(3) / 1.702
    y, _ = F.quick_gelu(np.array([-x, 0.0, x]))
    np.testing.assert_allclose(y, [-x / 4, 0, 3 * x / 4], rtol=1e-15)


@given(vectors(), seeds)
def test_gradient(x, seed):
    assert_gradients(F.quick_gelu, F.quick_gelu_backward, [x], normal(seed, *x.shape))


@given(floats((6,), st.floats(-1e3, 1e3)))
def test_odd_part_is_half_of_x(x):
    """The gates of x and -x sum to 1."""
    (y, saved), (y_minus, saved_minus) = F.quick_gelu(x), F.quick_gelu(-x)
    np.testing.assert_allclose(y - y_minus, x, rtol=1e-14)
    np.testing.assert_allclose(saved.slope + saved_minus.slope, 1, rtol=1e-13)


@given(floats((6,)))
def test_is_silu_on_another_scale(x):
    """quick_gelu(x) = silu(1.702 x) / 1.702, and so the slopes are the same."""
    (y, saved), (z, silu_saved) = F.quick_gelu(x), F.silu(1.702 * x)
    np.testing.assert_allclose(y, z / 1.702, rtol=1e-13)
    np.testing.assert_allclose(saved.slope, silu_saved.slope, rtol=1e-13)


def test_gate_is_close_to_the_normal_distribution():
    x = np.linspace(-8, 8, 4000)  # an even number: 0 is not among them
    gap = np.abs(F.quick_gelu(x)[0] - F.gelu(x)[0]) / np.abs(x)
    assert 0.009 < np.max(gap) < 0.01


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 1e-5), (np.float64, 3e-14)])
def test_negative_tail_keeps_its_relative_accuracy(dtype, rtol):
    y, saved = F.quick_gelu(np.array([-30, -50], dtype))
    np.testing.assert_allclose(
        y, [-2.0046797745009426688e-21, -5.5018607500563321232e-36], rtol=rtol
    )
    np.testing.assert_allclose(
        saved.slope, [-3.345142317050573e-21, -9.2541297815947506312e-36], rtol=rtol
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extremes_and_dtype(dtype):
    x = np.array([np.inf, np.finfo(dtype).max, 1e4, 0, -1e4, np.finfo(dtype).min, -np.inf], dtype)
    y, saved = F.quick_gelu(x)
    np.testing.assert_array_equal(y, [*x[:3], 0, 0, 0, 0])
    dx = F.quick_gelu_backward(np.full(7, 2, dtype), saved)
    np.testing.assert_array_equal(dx, [2, 2, 2, 1, 0, 0, 0])
    assert y.dtype == dx.dtype == dtype
    assert np.isnan(F.quick_gelu(np.array([np.nan], dtype))[0])


def test_complex_step_at_large_arguments():
    x = np.array([-1e4, -800.0, 800.0, 1e4])
    (slope,) = complex_step(lambda x: F.quick_gelu(x)[0], [x], np.ones(4))
    np.testing.assert_array_equal(slope, [0, 0, 1, 1])


def test_integers_and_a_wrong_gradient_are_refused():
    with pytest.raises(TypeError, match=r"quick_gelu: x is int64 \(2,\); expected float32"):
        F.quick_gelu(np.array([1, 2]))
    with pytest.raises(ValueError, match=r"quick_gelu_backward: dy is \(3,\) but the output was"):
        F.quick_gelu_backward(np.ones(3), F.quick_gelu(np.ones(2))[1])
