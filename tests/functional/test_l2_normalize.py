"""l2_normalize: values, gradient, length 1, orthogonality, the zero vector, refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.oracle import assert_gradients
from support.strategies import leads, normal, seeds, sides

import npformer.functional as F


def test_value_and_gradient_by_hand():
    """(3, 4) has length 5; dy = (1, 0) less its part along y is (16, -12) / 25, over 5."""
    y, saved = F.l2_normalize(np.array([3.0, 4.0]))
    np.testing.assert_allclose(y, [0.6, 0.8], rtol=1e-15)
    dx = F.l2_normalize_backward(np.array([1.0, 0.0]), saved)
    np.testing.assert_allclose(dx, [16 / 125, -12 / 125], rtol=1e-14)


@given(leads(), sides, seeds)
def test_gradient(lead, n, seed):
    x, dy = normal(seed, *lead, n), normal(seed + 1, *lead, n)
    assert_gradients(F.l2_normalize, F.l2_normalize_backward, [x], dy, rtol=1e-9)


@given(leads(), sides, seeds, st.floats(1e-6, 1e6))
def test_length_is_one_and_the_gradient_orthogonal(lead, n, seed, size):
    x, dy = size * normal(seed, *lead, n), normal(seed + 1, *lead, n)
    y, saved = F.l2_normalize(x)
    np.testing.assert_allclose(np.sum(y * y, axis=-1), 1, rtol=1e-14)
    dx = F.l2_normalize_backward(dy, saved)
    np.testing.assert_allclose(np.sum(dx * x, axis=-1), 0, atol=1e-13)


@given(leads(), sides, seeds, st.floats(1e-6, 1e6))
def test_stretching_changes_the_gradient_alone(lead, n, seed, factor):
    x, dy = normal(seed, *lead, n), normal(seed + 1, *lead, n)
    (y, saved), (same, stretched) = F.l2_normalize(x), F.l2_normalize(factor * x)
    np.testing.assert_allclose(same, y, rtol=1e-13)
    want = F.l2_normalize_backward(dy, saved)
    got = factor * F.l2_normalize_backward(dy, stretched)
    np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12 * saved.r.max())


@given(leads(), sides, seeds)
def test_normalising_again_changes_nothing(lead, n, seed):
    y, _ = F.l2_normalize(normal(seed, *lead, n))
    np.testing.assert_allclose(F.l2_normalize(y)[0], y, rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_a_vector_that_counts_as_zero_gives_zero_and_a_gradient_of_zero(dtype):
    x = np.array([[0, 0], [3, 4], [3e-3, -4e-3]], dtype)
    y, saved = F.l2_normalize(x, eps=6e-3)
    np.testing.assert_allclose(y, [[0, 0], [0.6, 0.8], [0, 0]], rtol=1e-6)
    dx = F.l2_normalize_backward(np.ones_like(x), saved)
    np.testing.assert_array_equal(dx.any(axis=1), [False, True, False])
    assert y.dtype == dx.dtype == dtype
    shorter, _ = F.l2_normalize(x, eps=4e-3)
    np.testing.assert_allclose(shorter[2], [0.6, -0.8], rtol=1e-6)


def test_the_default_bound_is_beyond_what_occurs():
    x = np.array([3e-12, 4e-12])
    np.testing.assert_allclose(F.l2_normalize(x)[0], [0.6, 0.8], rtol=1e-14)
    assert not F.l2_normalize(x / 10)[0].any()


@pytest.mark.parametrize("shape", [(), (3, 0)])
def test_shapes_without_vectors_are_refused(shape):
    with pytest.raises(ValueError, match=r"l2_normalize: x is \(.*\); expected \(\.\.\., n\) with"):
        F.l2_normalize(np.ones(shape))


@pytest.mark.parametrize("eps", [0, -1e-12, float("nan"), float("inf")])
def test_a_bound_that_is_not_positive_is_refused(eps):
    with pytest.raises(ValueError, match=r"l2_normalize: eps is .*; expected a positive number"):
        F.l2_normalize(np.ones(3), eps=eps)


def test_wrong_dtypes_and_gradients_are_refused():
    with pytest.raises(TypeError, match=r"l2_normalize: x is int64 \(2,\); expected float32"):
        F.l2_normalize(np.array([1, 2]))
    with pytest.raises(TypeError, match="l2_normalize: eps is None; expected a positive number"):
        F.l2_normalize(np.ones(3), eps=None)
    _, saved = F.l2_normalize(np.ones(3))
    with pytest.raises(ValueError, match=r"l2_normalize_backward: dy is \(1, 3\) but the output"):
        F.l2_normalize_backward(np.ones((1, 3)), saved)


@pytest.mark.parametrize("size", [1e20, 3e38, 1e-25, 1e-37])
def test_no_square_overflows_or_is_lost(size):
    x = np.full((1, 4), size, np.float32)
    y, saved = F.l2_normalize(x, eps=1e-50)
    np.testing.assert_allclose(y, 0.5, rtol=1e-6)
    if size < 1e38:  # beyond, r itself loses digits
        np.testing.assert_allclose(saved.r, 0.5 / size, rtol=1e-6)
