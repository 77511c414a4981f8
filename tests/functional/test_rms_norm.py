"""rms_norm: values, gradient, properties, extremes, refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.oracle import assert_gradients
from support.strategies import leads, normal, seeds, sides, vectors

import npformer.functional as F

TINY = 1e-30  # an eps that is not felt


def test_value_by_hand():
    """(1, 7) has mean square 25: it is divided by 5."""
    y, _ = F.rms_norm(np.array([1.0, 7.0]), np.array([2.0, -3.0]), TINY)
    np.testing.assert_allclose(y, [0.4, -4.2], rtol=1e-15)


def test_eps_stands_under_the_root():
    y, _ = F.rms_norm(np.array([3.0, 3.0]), np.ones(2), 16.0)
    np.testing.assert_allclose(y, [0.6, 0.6], rtol=1e-15)


@given(leads(), sides, seeds, st.sampled_from([1e-6, 0.3]))
def test_gradient(lead, n, seed, eps):
    x, weight = normal(seed, *lead, n), normal(seed + 1, n)
    assert_gradients(
        lambda x, weight: F.rms_norm(x, weight, eps),
        F.rms_norm_backward,
        [x, weight],
        normal(seed + 2, *lead, n),
        rtol=1e-9,
    )


@given(vectors(elements=st.floats(0.1, 30) | st.floats(-30, -0.1)))
def test_root_mean_square_becomes_one(x):
    y, _ = F.rms_norm(x, np.ones(x.shape[-1]), TINY)
    np.testing.assert_allclose(np.mean(y * y, axis=-1), 1, rtol=1e-14)


@given(leads(), sides, seeds, st.floats(1e-3, 1e3))
def test_length_of_x_does_not_matter(lead, n, seed, c):
    x, weight, dy = normal(seed, *lead, n), normal(seed + 1, n), normal(seed + 2, *lead, n)
    y, saved = F.rms_norm(x, weight, TINY)
    scaled, scaled_saved = F.rms_norm(c * x, weight, TINY)
    np.testing.assert_allclose(scaled, y, rtol=1e-13)
    (dx, dw), (scaled_dx, scaled_dw) = (F.rms_norm_backward(dy, s) for s in (saved, scaled_saved))
    scale = np.max(np.abs(dy * weight)) * np.max(saved.r)  # dx may be a small difference
    np.testing.assert_allclose(c * scaled_dx, dx, rtol=1e-12, atol=1e-13 * scale)
    np.testing.assert_allclose(scaled_dw, dw, rtol=1e-12, atol=1e-13)
    # and what does not matter has no gradient: dx is orthogonal to x
    np.testing.assert_allclose(np.sum(dx * x, axis=-1), 0, atol=1e-12 * (1 + scale))


@given(leads(), sides, seeds, st.floats(1e-3, 10))
def test_what_eps_leaves_of_dx_along_x(lead, n, seed, eps):
    """The module: x . dx = eps r^2 (dxhat . xhat), which is eps r^2 (dy . y)."""
    x, weight, dy = normal(seed, *lead, n), normal(seed + 1, n), normal(seed + 2, *lead, n)
    y, saved = F.rms_norm(x, weight, eps)
    dx, _ = F.rms_norm_backward(dy, saved)
    want = eps * saved.r[..., 0] ** 2 * np.sum(dy * y, axis=-1)
    np.testing.assert_allclose(np.sum(dx * x, axis=-1), want, rtol=1e-9, atol=1e-12)


@given(leads(), sides, seeds)
def test_weight_is_linear(lead, n, seed):
    """Euler's identity: w . dw = dy . y, summed over all vectors."""
    x, weight, dy = normal(seed, *lead, n), normal(seed + 1, n), normal(seed + 2, *lead, n)
    y, saved = F.rms_norm(x, weight)
    _, dw = F.rms_norm_backward(dy, saved)
    np.testing.assert_allclose(np.sum(weight * dw), np.sum(dy * y), rtol=1e-9, atol=1e-12)


def test_it_is_layer_norm_where_the_mean_is_zero():
    x, weight, dy = normal(0, 3, 4), normal(1, 4), normal(2, 3, 4)
    x -= np.mean(x, axis=-1, keepdims=True)
    (y, saved), (z, layer_saved) = F.rms_norm(x, weight, 1e-6), F.layer_norm(x, weight, eps=1e-6)
    np.testing.assert_allclose(y, z, rtol=1e-13)
    (dx, dw), (dz, layer_dw, _) = (
        F.rms_norm_backward(dy, saved),
        F.layer_norm_backward(dy, layer_saved),
    )
    np.testing.assert_allclose(dw, layer_dw, rtol=1e-12)
    # layer_norm's dx lacks the part along the ones
    np.testing.assert_allclose(dx - np.mean(dx, axis=-1, keepdims=True), dz, atol=1e-13)


def test_a_zero_vector_gives_zero_and_a_finite_gradient():
    x, weight, dy = np.zeros((1, 3)), np.array([1.0, 2.0, 3.0]), np.ones((1, 3))
    y, saved = F.rms_norm(x, weight, 1e-6)
    np.testing.assert_array_equal(y, 0)
    dx, dw = F.rms_norm_backward(dy, saved)
    np.testing.assert_allclose(dx, [[1e3, 2e3, 3e3]], rtol=1e-14)  # 1 / sqrt(eps)
    np.testing.assert_array_equal(dw, 0)


@pytest.mark.parametrize("size", [1e-4, 1e4])
def test_float32_stays_float32(size):
    x, weight, dy = (normal(seed, *shape) for seed, shape in enumerate([(5, 16), (16,), (5, 16)]))
    singles = [a.astype(np.float32) for a in (size * x, weight, dy)]
    y, saved = F.rms_norm(*singles[:2])
    dx, dw = F.rms_norm_backward(singles[2], saved)
    want, exact = F.rms_norm(*(a.astype(np.float64) for a in singles[:2]))
    want_dx, want_dw = F.rms_norm_backward(singles[2].astype(np.float64), exact)
    for got, expected in ((y, want), (dx, want_dx), (dw, want_dw)):
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())


def test_a_numpy_eps_does_not_lift_float32():
    y, saved = F.rms_norm(np.ones((2, 3), np.float32), np.ones(3, np.float32), np.float64(1))
    assert y.dtype == saved.r.dtype == np.float32


def test_complex_meets_float64_in_any_argument():
    x, weight, dy = normal(0, 2, 3), normal(1, 3), normal(2, 2, 3)
    want = F.rms_norm_backward(dy, F.rms_norm(x, weight)[1])
    for which in range(3):
        a = [x, weight, dy]
        a[which] = a[which] + 0j
        got = F.rms_norm_backward(a[2], F.rms_norm(a[0], a[1])[1])
        for g, w in zip(got, want, strict=True):
            np.testing.assert_allclose(g, w, rtol=1e-13)


@pytest.mark.parametrize(
    ("x", "weight", "eps", "said"),
    [
        (np.ones((2, 3)), np.ones(2), 1e-6, r"rms_norm: weight \(2,\) does not fit x \(2, 3\)"),
        (np.ones((2, 0)), np.ones(0), 1e-6, r"x is \(2, 0\); expected \(\.\.\., n\) with n at"),
        (np.ones(3), np.ones(3), 0.0, "eps is 0.0; expected a positive number"),
    ],
)
def test_shapes_and_eps_that_do_not_fit_are_refused(x, weight, eps, said):
    with pytest.raises(ValueError, match=said):
        F.rms_norm(x, weight, eps)


def test_mixed_precision_and_a_wrong_gradient_are_refused():
    with pytest.raises(TypeError, match="x is float64 but weight is float32"):
        F.rms_norm(np.ones((2, 3)), np.ones(3, np.float32))
    _, saved = F.rms_norm(np.ones((2, 3)), np.ones(3))
    with pytest.raises(ValueError, match=r"rms_norm_backward: dy is \(2,\) but the output was"):
        F.rms_norm_backward(np.ones(2), saved)
