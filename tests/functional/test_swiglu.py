"""swiglu: values, gradient, what the gate does, extremes, refusals."""

import math

import numpy as np
import pytest
from hypothesis import given
from support.oracle import assert_gradients
from support.strategies import floats, leads, normal, seeds

import npformer.functional as F


def test_value_by_hand():
    """Where exp(-a) = 3 the gate is a / 4; at 0 it is shut."""
    a = np.array([-math.log(3), 0.0, math.log(3)])
    y, _ = F.swiglu(a, np.array([4.0, 7.0, -2.0]))
    np.testing.assert_allclose(y, [-math.log(3), 0, -1.5 * math.log(3)], rtol=1e-15)


@given(leads(3), seeds)
def test_gradient(shape, seed):
    a, b, dy = normal(seed, *shape), normal(seed + 1, *shape), normal(seed + 2, *shape)
    assert_gradients(F.swiglu, F.swiglu_backward, [a, b], dy, rtol=1e-9)


@given(floats((2, 3)), seeds)
def test_is_silu_times_b_and_linear_in_b(a, seed):
    b, other, dy = normal(seed, 2, 3), normal(seed + 1, 2, 3), normal(seed + 2, 2, 3)
    gate, _ = F.silu(a)
    y, saved = F.swiglu(a, b)
    np.testing.assert_array_equal(y, gate * b)
    np.testing.assert_allclose(
        F.swiglu(a, 2 * b - other)[0], 2 * y - F.swiglu(a, other)[0], atol=1e-12
    )
    np.testing.assert_array_equal(F.swiglu_backward(dy, saved)[1], dy * gate)


@given(floats((2, 3)), seeds)
def test_backward_is_linear_in_dy(a, seed):
    dy, other = normal(seed, 2, 3), normal(seed + 1, 2, 3)
    _, saved = F.swiglu(a, normal(seed + 2, 2, 3))
    both = F.swiglu_backward(2 * dy - 3 * other, saved)
    one, two = F.swiglu_backward(dy, saved), F.swiglu_backward(other, saved)
    for got, x, z in zip(both, one, two, strict=True):
        np.testing.assert_allclose(got, 2 * x - 3 * z, atol=1e-11)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extremes_and_dtype(dtype):
    """An open gate lets b through times a, a shut one nothing."""
    a, b = np.array([1e4, -1e4, 0.0], dtype), np.array([2.0, 2.0, 2.0], dtype)
    y, saved = F.swiglu(a, b)
    np.testing.assert_array_equal(y, [2e4, 0, 0])
    da, db = F.swiglu_backward(np.ones(3, dtype), saved)
    np.testing.assert_array_equal(da, [2, 0, 1])
    np.testing.assert_array_equal(db, [1e4, 0, 0])
    assert y.dtype == da.dtype == db.dtype == dtype


@pytest.mark.parametrize("which", range(3))
def test_complex_meets_float64_in_any_argument(which):
    arrays = [normal(seed, 2, 3) for seed in range(3)]
    want = F.swiglu_backward(arrays[2], F.swiglu(*arrays[:2])[1])
    arrays[which] = arrays[which] + 0j
    got = F.swiglu_backward(arrays[2], F.swiglu(*arrays[:2])[1])
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-13)


def test_what_does_not_fit_is_refused():
    with pytest.raises(
        ValueError, match=r"swiglu: a \(2, 3\) and b \(3,\) differ; expected one sh"
    ):
        F.swiglu(np.ones((2, 3)), np.ones(3))
    with pytest.raises(TypeError, match="swiglu: a is float32 but b is float64"):
        F.swiglu(np.ones(3, np.float32), np.ones(3))
    with pytest.raises(TypeError, match=r"swiglu: b is int64 \(3,\)"):
        F.swiglu(np.ones(3), np.ones(3, int))
    _, saved = F.swiglu(np.ones((2, 3)), np.ones((2, 3)))
    with pytest.raises(
        ValueError, match=r"swiglu_backward: dy is \(3,\) but the output was \(2, 3"
    ):
        F.swiglu_backward(np.ones(3), saved)
