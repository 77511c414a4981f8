"""layer_norm: values, gradient, what does not matter, extremes, refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.oracle import assert_gradients
from support.strategies import leads, normal, seeds, sides

import npformer.functional as F

TINY = 1e-30  # an eps that is not felt
lengths = st.integers(2, 6)  # a vector of length 1 has no deviation


def drawn(lead, n, seed):
    """x, weight, bias and dy."""
    return [normal(seed + i, *s) for i, s in enumerate([(*lead, n), (n,), (n,), (*lead, n)])]


def test_value_by_hand():
    """(1, 5, 9, 1) has mean 4 and deviations (-3, 1, 5, -3), of mean square 11."""
    x, weight, bias = np.array([1.0, 5, 9, 1]), np.array([1.0, 2, 3, -1]), np.array([0.0, 1, 0, 2])
    y, _ = F.layer_norm(x, weight, eps=TINY)
    np.testing.assert_allclose(y, np.array([-3, 2, 15, 3]) / np.sqrt(11), rtol=1e-15)
    np.testing.assert_allclose(F.layer_norm(x, weight, bias, TINY)[0], y + bias, rtol=1e-15)


def test_eps_stands_under_the_root():
    y, _ = F.layer_norm(np.array([-3.0, 3.0]), np.ones(2), eps=16.0)
    np.testing.assert_allclose(y, [-0.6, 0.6], rtol=1e-15)


@given(leads(), sides, seeds, st.sampled_from([1e-5, 0.3]))
def test_gradient(lead, n, seed, eps):
    x, weight, bias, dy = drawn(lead, n, seed)
    assert_gradients(
        lambda *a: F.layer_norm(*a, eps=eps),
        F.layer_norm_backward,
        [x, weight, bias],
        dy,
        rtol=1e-8,
    )
    assert_gradients(
        lambda x, w: F.layer_norm(x, w, eps=eps), F.layer_norm_backward, [x, weight], dy, rtol=1e-8
    )


@given(leads(), lengths, seeds)
def test_normalised_vectors_have_mean_zero_and_variance_one(lead, n, seed):
    y, _ = F.layer_norm(normal(seed, *lead, n), np.ones(n), eps=TINY)
    np.testing.assert_allclose(np.mean(y, axis=-1), 0, atol=1e-12)
    np.testing.assert_allclose(np.mean(y * y, axis=-1), 1, rtol=1e-13)


@given(leads(), lengths, seeds, st.floats(1e-2, 1e2), st.floats(-10, 10))
def test_shift_and_length_of_x_do_not_matter(lead, n, seed, c, shift):
    x, weight, bias, _ = drawn(lead, n, seed)
    y, saved = F.layer_norm(x, weight, bias, TINY)
    moved, _ = F.layer_norm(c * x + shift, weight, bias, TINY)
    error = 1e-13 * (1 + (abs(shift) / c) * np.max(saved.r))  # x + shift is rounded
    np.testing.assert_allclose(moved, y, atol=1e-12 + 10 * error)


@given(leads(), lengths, seeds)
def test_dx_is_orthogonal_to_ones_and_to_xhat(lead, n, seed):
    """What does not matter has no gradient. dx is taken after the weight, so any weight will do."""
    x, weight, bias, dy = drawn(lead, n, seed)
    _, saved = F.layer_norm(x, weight, bias, TINY)
    dx, _, _ = F.layer_norm_backward(dy, saved)
    atol = 1e-13 * n * np.max(saved.r) * np.max(np.abs(dy * weight))
    np.testing.assert_allclose(np.sum(dx, axis=-1), 0, atol=atol)
    np.testing.assert_allclose(np.sum(dx * saved.xhat, axis=-1), 0, atol=2 * n * atol)


@given(leads(), lengths, seeds, st.floats(1e-3, 10))
def test_what_eps_leaves_of_dx_along_xhat(lead, n, seed, eps):
    """sum xhat^2 = n var r^2 = n (1 - eps r^2), so dx . xhat = eps r^3 (dxhat . xhat)."""
    x, weight, bias, dy = drawn(lead, n, seed)
    _, saved = F.layer_norm(x, weight, bias, eps)
    dx, _, _ = F.layer_norm_backward(dy, saved)
    along = np.sum(dy * weight * saved.xhat, axis=-1)
    np.testing.assert_allclose(
        np.sum(dx * saved.xhat, axis=-1), eps * saved.r[..., 0] ** 3 * along, rtol=1e-8, atol=1e-10
    )


@given(leads(), lengths, seeds)
def test_a_gradient_of_ones_proves_nothing(lead, n, seed):
    """At weight 1 the sum of the outputs is constant: its dx is 0, as a backward that is
    0 throughout would have it. So every other test here draws dy and weight at random."""
    x, _, bias, dy = drawn(lead, n, seed)
    y, saved = F.layer_norm(x, np.ones(n), bias)
    np.testing.assert_allclose(np.sum(y - bias, axis=-1), 0, atol=1e-11)
    dx, dweight, _ = F.layer_norm_backward(np.ones_like(x), saved)
    np.testing.assert_allclose(dx, 0, atol=1e-13 * n * np.max(saved.r))
    assert dweight.any()
    if n > 2:
        assert np.abs(F.layer_norm_backward(dy, saved)[0]).max() > 1e-6


def test_softmax_too_has_a_constant_sum():
    y, saved = F.softmax(normal(0, 3, 5))
    np.testing.assert_allclose(F.softmax_backward(np.ones_like(y), saved), 0, atol=1e-15)
    assert np.abs(F.softmax_backward(normal(1, 3, 5), saved)).max() > 0.01


def test_sum_over_a_batch_is_the_batch_of_sums():
    x, weight, bias, dy = drawn((4, 3), 5, 0)
    _, saved = F.layer_norm(x, weight, bias)
    whole = F.layer_norm_backward(dy, saved)
    parts = [F.layer_norm(row, weight, bias)[1] for row in x]
    grads = [F.layer_norm_backward(d, s) for d, s in zip(dy, parts, strict=True)]
    np.testing.assert_array_equal(whole[0], [g[0] for g in grads])
    for i in (1, 2):
        np.testing.assert_allclose(whole[i], sum(g[i] for g in grads), rtol=1e-12)


@given(seeds)
def test_backward_is_linear_in_dy(seed):
    x, weight, bias, dy = drawn((2, 3), 4, seed)
    other = normal(seed + 9, 2, 3, 4)
    _, saved = F.layer_norm(x, weight, bias)
    both = F.layer_norm_backward(2 * dy - 3 * other, saved)
    one, two = F.layer_norm_backward(dy, saved), F.layer_norm_backward(other, saved)
    for got, a, b in zip(both, one, two, strict=True):
        np.testing.assert_allclose(got, 2 * a - 3 * b, atol=1e-11 * np.max(saved.r))


def test_a_constant_vector_gives_the_bias_and_a_finite_gradient():
    x, weight, bias = np.full((1, 3), 7.0), np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0])
    y, saved = F.layer_norm(x, weight, bias, 1e-6)
    np.testing.assert_array_equal(y, [bias])
    dx, dweight, dbias = F.layer_norm_backward(np.ones((1, 3)), saved)
    np.testing.assert_allclose(dx, [[-1e3, 0, 1e3]], rtol=1e-12, atol=1e-9)  # 1 / sqrt(eps)
    np.testing.assert_array_equal(dweight, 0)
    np.testing.assert_array_equal(dbias, 1)


def test_a_vector_of_length_one_has_nothing_but_its_bias():
    y, saved = F.layer_norm(np.array([[5.0], [-2.0]]), np.array([3.0]), np.array([0.5]))
    np.testing.assert_array_equal(y, [[0.5], [0.5]])
    np.testing.assert_array_equal(F.layer_norm_backward(np.ones((2, 1)), saved)[0], 0)


@pytest.mark.parametrize(("size", "shift"), [(1e-4, 0.0), (1e4, 0.0), (1.0, 1e3)])
def test_float32_stays_float32_and_close(size, shift):
    """A shift that is large beside the deviation is taken off before squares are formed."""
    x, weight, bias, dy = (a.astype(np.float32) for a in drawn((5,), 16, 0))
    x = np.float32(size) * x + np.float32(shift)
    y, saved = F.layer_norm(x, weight, bias)
    exact, exact_saved = F.layer_norm(*(a.astype(np.float64) for a in (x, weight, bias)))
    got = [y, *F.layer_norm_backward(dy, saved)]
    want = [exact, *F.layer_norm_backward(dy.astype(np.float64), exact_saved)]
    tolerance = 1e-5 if shift == 0 else 1e-3
    for a, b in zip(got, want, strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * np.abs(b).max())


def test_a_numpy_eps_does_not_lift_float32():
    _, saved = F.layer_norm(
        np.ones((2, 3), np.float32), np.ones(3, np.float32), None, np.float64(1)
    )
    assert saved.r.dtype == saved.xhat.dtype == np.float32


@pytest.mark.parametrize("which", range(4))
def test_complex_meets_float64_in_any_argument(which):
    arrays = drawn((2,), 3, 0)
    want = F.layer_norm_backward(arrays[3], F.layer_norm(*arrays[:3])[1])
    arrays[which] = arrays[which] + 0j
    got = F.layer_norm_backward(arrays[3], F.layer_norm(*arrays[:3])[1])
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-12)


@pytest.mark.parametrize(
    ("x", "weight", "bias", "eps", "said"),
    [
        ((2, 3), (2,), None, 1e-5, r"weight \(2,\) does not fit x \(2, 3\); it wants \(3,\)"),
        ((2, 3), (3,), (2, 3), 1e-5, r"layer_norm: bias \(2, 3\) does not fit x \(2, 3\)"),
        ((2, 0), (0,), None, 1e-5, r"x is \(2, 0\); expected \(\.\.\., n\) with n at least 1"),
        ((), (1,), None, 1e-5, r"x is \(\)"),
        ((3,), (3,), None, 0.0, r"eps is 0.0; expected a positive number, such as 1e-5"),
        ((3,), (3,), None, float("nan"), "eps is nan"),
    ],
)
def test_shapes_and_eps_that_do_not_fit_are_refused(x, weight, bias, eps, said):
    with pytest.raises(ValueError, match=said):
        F.layer_norm(np.ones(x), np.ones(weight), None if bias is None else np.ones(bias), eps)


def test_dtypes_and_gradients_that_do_not_fit_are_refused():
    with pytest.raises(TypeError, match="layer_norm: x is float64 but bias is float32"):
        F.layer_norm(np.ones((2, 3)), np.ones(3), np.ones(3, np.float32))
    _, saved = F.layer_norm(np.ones((2, 3)), np.ones(3))
    with pytest.raises(ValueError, match=r"layer_norm_backward: dy is \(3,\) but the output was"):
        F.layer_norm_backward(np.ones(3), saved)
