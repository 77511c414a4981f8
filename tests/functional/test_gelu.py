"""gelu, both formulas: values, gradient, identities, tails, extremes, refusals."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.oracle import assert_gradients, complex_step
from support.strategies import floats, normal, seeds, vectors

import npformer.functional as F

both = pytest.mark.parametrize("approximate", ["none", "tanh"])


def test_value_by_hand():
    """At 1, Phi is 0.8413447: the 68 per cent within one deviation and half of the rest."""
    y, _ = F.gelu(np.array([-1.0, 0.0, 1.0]))
    np.testing.assert_allclose(y, [-0.15865525393145705141, 0, 0.84134474606854294859], rtol=1e-15)
    y, _ = F.gelu(np.array([-1.0, 0.0, 1.0]), "tanh")
    half = 0.5 * math.tanh(math.sqrt(2 / math.pi) * 1.044715)
    np.testing.assert_allclose(y, [-0.5 + half, 0, 0.5 + half], rtol=1e-14)


@both
@given(x=vectors(), seed=seeds)
def test_gradient(approximate, x, seed):
    assert_gradients(lambda x: F.gelu(x, approximate), F.gelu_backward, [x], normal(seed, *x.shape))


@both
@given(x=floats((6,), st.floats(-1e3, 1e3)))
def test_odd_part_is_half_of_x(approximate, x):
    """Phi(x) + Phi(-x) = 1, times x."""
    (y, saved), (y_minus, saved_minus) = F.gelu(x, approximate), F.gelu(-x, approximate)
    np.testing.assert_allclose(y - y_minus, x, rtol=1e-14)
    # and the same of its derivative
    np.testing.assert_allclose(saved.slope + saved_minus.slope, 1, rtol=1e-13)


@given(floats((6,), st.floats(-8, 8)))
def test_slope_satisfies_its_differential_equation(x):
    """With y = x Phi, y' = Phi + x phi: x y' - y = x^2 phi(x)."""
    y, saved = F.gelu(x)
    phi = np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    np.testing.assert_allclose(x * saved.slope - y, x * x * phi, atol=1e-14)


def test_the_two_formulas_are_close_but_not_the_same():
    x = np.linspace(-8, 8, 4001)
    gap = np.max(np.abs(F.gelu(x)[0] - F.gelu(x, "tanh")[0]))
    assert 4e-4 < gap < 4.8e-4


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 5e-6), (np.float64, 3e-15)])
def test_negative_tail_keeps_its_relative_accuracy(dtype, rtol):
    x = np.array([-5, -10], dtype)
    y, saved = F.gelu(x)
    np.testing.assert_allclose(y, [-1.4332578593959695584e-6, -7.619853024160526066e-23], rtol=rtol)
    np.testing.assert_allclose(
        saved.slope, [-7.1469460017922946279e-6, -7.6184000964648140857e-22], rtol=rtol
    )


def test_negative_tail_of_float64_to_the_end_of_its_range():
    y, saved = F.gelu(np.array([-20.0, -37.0]))
    np.testing.assert_allclose(y, [-5.5072482372124673902e-88, -2.1184613523340934244e-298], 3e-15)
    np.testing.assert_allclose(
        saved.slope, [-1.1014360483133464042e-86, -7.8382986694185162425e-297], rtol=3e-15
    )


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 1e-5), (np.float64, 1e-13)])
def test_tanh_formula_does_not_cancel_in_the_tail(dtype, rtol):
    y, _ = F.gelu(np.array([-5, -8], dtype), "tanh")
    np.testing.assert_allclose(y, [-2.2917961966295060456e-7, -3.107782937501111218e-21], rtol=rtol)


@both
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extremes_and_dtype(approximate, dtype):
    x = np.array([np.inf, np.finfo(dtype).max, 1e4, 0, -1e4, np.finfo(dtype).min, -np.inf], dtype)
    y, saved = F.gelu(x, approximate)
    np.testing.assert_array_equal(y, [*x[:3], 0, 0, 0, 0])
    dx = F.gelu_backward(np.full(7, 2, dtype), saved)
    np.testing.assert_array_equal(dx, [2, 2, 2, 1, 0, 0, 0])
    assert y.dtype == dx.dtype == dtype
    assert np.isnan(F.gelu(np.array([np.nan], dtype), approximate)[0])


@both
def test_complex_step_at_large_arguments(approximate):
    f = lambda x: F.gelu(x, approximate)[0]  # noqa: E731
    (slope,) = complex_step(f, [np.array([-1e4, -30.0, 30.0, 1e4])], np.ones(4))
    np.testing.assert_allclose(slope, [0, 0, 1, 1], atol=1e-15)


@pytest.mark.parametrize("h", [1e-30, -1e-30])
def test_complex_slope_carries_the_second_derivative(h):
    """y'' = (2 - x^2) phi(x): the density once from each factor, and x phi' = -x^2 phi.

    Also at 0, on either side of the real line: the halves are told by the real part alone."""
    x = np.linspace(-6, 6, 25)
    slope = F.gelu(x + 1j * h)[1].slope
    np.testing.assert_allclose(slope.real, F.gelu(x)[1].slope, rtol=1e-12)
    phi = np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    np.testing.assert_allclose(slope.imag / h, (2 - x * x) * phi, rtol=1e-12)


@both
def test_complex_slope_is_the_real_one_on_the_real_line(approximate):
    x = np.linspace(-6, 6, 25)
    slope = F.gelu(x + 0j, approximate)[1].slope
    np.testing.assert_allclose(slope, F.gelu(x, approximate)[1].slope, rtol=1e-12)


@both
def test_backward_leaves_its_arguments_and_may_be_called_again(approximate):
    x, dy = normal(0, 3, 4), normal(1, 3, 4)
    _, saved = F.gelu(x, approximate)
    for a in (x, dy, saved.slope):
        a.flags.writeable = False
    first, again = F.gelu_backward(dy, saved), F.gelu_backward(dy, saved)
    np.testing.assert_array_equal(first, again)
    assert not np.shares_memory(first, dy)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match=r"gelu: approximate is 'erf'; expected one of none, tanh"):
        F.gelu(np.ones(2), "erf")
    with pytest.raises(TypeError, match=r"gelu: x is float16 \(2,\); expected float32 or float64"):
        F.gelu(np.ones(2, np.float16))
    with pytest.raises(ValueError, match=r"gelu_backward: dy is \(3,\) but the output was \(2,\)"):
        F.gelu_backward(np.ones(3), F.gelu(np.ones(2))[1])
