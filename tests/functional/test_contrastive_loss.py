"""contrastive_loss: values, gradient, symmetries, extremes, refusals."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.oracle import assert_gradients
from support.strategies import normal, seeds, sides

import npformer.functional as F
from npformer.core.errors import DivergedError

scales = st.floats(-2, 3)


def drawn(seed, N, D, scale):
    """Unit vectors for images and texts, and the scale."""
    image, text = (F.l2_normalize(normal(seed + i, N, D))[0] for i in range(2))
    return image, text, np.array(scale)


def pass_of(*inputs, dy=1.0):
    """The loss and the gradients."""
    loss, saved = F.contrastive_loss(*inputs)
    return loss, F.contrastive_loss_backward(dy, saved)


def test_value_and_gradient_by_hand():
    """Logits log 3 [[1, 0], [0, 0]]: rows 3/4, 1/4 and 1/2, 1/2, and the columns the same."""
    image, text = np.array([[1.0, 0.0], [0.0, 0.0]]), np.array([[1.0, 5.0], [0.0, 7.0]])
    a = math.log(3)
    loss, (dimage, dtext, dscale) = pass_of(image, text, np.array(math.log(a)))
    assert math.isclose(loss, (math.log(4 / 3) + math.log(2)) / 2, rel_tol=1e-14)
    ds = np.array([[-2 / 4, 3 / 4], [3 / 4, -2 / 2]]) / 4
    np.testing.assert_allclose(dimage, a * ds @ text, rtol=1e-13)
    np.testing.assert_allclose(dtext, a * ds.T @ image, rtol=1e-13)
    assert math.isclose(dscale, -a / 8, rel_tol=1e-13)


@given(sides, sides, scales, seeds, st.floats(-2, 2))
def test_gradient(N, D, scale, seed, dy):
    inputs = list(drawn(seed, N, D, scale))
    assert_gradients(F.contrastive_loss, F.contrastive_loss_backward, inputs, dy, rtol=1e-9)
    inputs[:2] = normal(seed, N, D), normal(seed + 1, N, D)  # any vectors
    assert_gradients(F.contrastive_loss, F.contrastive_loss_backward, inputs, dy, rtol=1e-9)


@given(sides, sides, scales, seeds)
def test_is_the_mean_of_two_cross_entropies(N, D, scale, seed):
    image, text, log_scale = drawn(seed, N, D, scale)
    logits, right = np.exp(log_scale) * image @ text.T, np.arange(N)
    want = (F.cross_entropy(logits, right)[0] + F.cross_entropy(logits.T, right)[0]) / 2
    np.testing.assert_allclose(F.contrastive_loss(image, text, log_scale)[0], want, rtol=1e-12)


@given(sides, sides, scales, seeds)
def test_images_and_texts_may_be_exchanged(N, D, scale, seed):
    image, text, log_scale = drawn(seed, N, D, scale)
    loss, (dimage, dtext, dscale) = pass_of(image, text, log_scale)
    same, swapped = pass_of(text, image, log_scale)
    np.testing.assert_allclose(same, loss, rtol=1e-13, atol=1e-15)
    for got, want in zip(swapped, (dtext, dimage, dscale), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-14)


@given(sides, sides, scales, seeds)
def test_pairs_may_stand_in_any_order(N, D, scale, seed):
    image, text, log_scale = drawn(seed, N, D, scale)
    loss, (dimage, dtext, dscale) = pass_of(image, text, log_scale)
    order = np.random.default_rng(seed).permutation(N)
    same, moved = pass_of(image[order], text[order], log_scale)
    np.testing.assert_allclose(same, loss, rtol=1e-13, atol=1e-15)
    for got, want in zip(moved, (dimage[order], dtext[order], dscale), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-14)


@given(sides, st.integers(2, 4), scales, seeds)
def test_turning_all_vectors_changes_nothing(N, D, scale, seed):
    image, text, log_scale = drawn(seed, N, D, scale)
    turn, _ = np.linalg.qr(normal(seed + 2, D, D))
    loss, (dimage, dtext, dscale) = pass_of(image, text, log_scale)
    same, turned = pass_of(image @ turn, text @ turn, log_scale)
    np.testing.assert_allclose(same, loss, rtol=1e-11, atol=1e-14)
    for got, want in zip(turned, (dimage @ turn, dtext @ turn, dscale), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_when_all_are_alike_the_loss_is_log_N(dtype):
    image, text = np.tile(dtype([1, 0]), (6, 1)), np.tile(dtype([0.6, 0.8]), (6, 1))
    loss, (dimage, dtext, dscale) = pass_of(image, text, np.array(2.0, dtype))
    np.testing.assert_allclose(loss, math.log(6), rtol=1e-6)
    np.testing.assert_allclose(dimage, 0, atol=1e-6)
    np.testing.assert_allclose(dscale, 0, atol=1e-6)
    assert loss.dtype == dimage.dtype == dtext.dtype == dscale.dtype == dtype
    assert isinstance(dscale, np.ndarray)


def test_one_pair_costs_nothing():
    loss, gradients = pass_of(np.ones((1, 3)), np.ones((1, 3)), np.array(4.0))
    assert loss == 0
    assert not any(g.any() for g in gradients)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_factor_of_ten_thousand_is_no_trouble(dtype):
    """Right answers cost nothing, wrong ones their distance in logits."""
    image, log_scale = np.eye(3, dtype=dtype), np.array(math.log(1e4), dtype)
    loss, (dimage, _, _) = pass_of(image, image, log_scale)
    assert loss == 0
    assert not dimage.any()
    loss, (dimage, _, _) = pass_of(image, np.roll(image, 1, 0), log_scale)
    np.testing.assert_allclose(loss, 1e4, rtol=1e-5)
    assert np.all(np.isfinite(dimage))


@pytest.mark.parametrize("which", range(3))
def test_complex_meets_float64_in_any_argument(which):
    inputs = list(drawn(0, 4, 3, 1.0))
    loss, want = pass_of(*inputs)
    inputs[which] = inputs[which] + 0j
    same, gradients = pass_of(*inputs)
    np.testing.assert_allclose(same, loss, rtol=1e-13)
    for got, expected in zip(gradients, want, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-12)
    _, turned = pass_of(*inputs, dy=1 + 2j)
    for got, expected in zip(turned, want, strict=True):
        np.testing.assert_allclose(got, (1 + 2j) * expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("image", "text", "scale", "said"),
    [
        ((3, 2), (4, 2), (), r"image \(3, 2\) and text \(4, 2\) do not fit; expected \(N, D\)"),
        ((3, 2), (3, 1), (), r"contrastive_loss: image \(3, 2\) and text \(3, 1\)"),
        ((2,), (2,), (), r"image \(2,\)"),
        ((1, 3, 2), (1, 3, 2), (), r"image \(1, 3, 2\)"),
        ((0, 2), (0, 2), (), r"image \(0, 2\) .* N and D at least 1$"),
        ((3, 2), (3, 2), (1,), r"contrastive_loss: log_scale is \(1,\); expected a scalar, \(\)$"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(image, text, scale, said):
    with pytest.raises(ValueError, match=said):
        F.contrastive_loss(np.ones(image), np.ones(text), np.ones(scale))


def test_infinite_logits_are_refused():
    image = np.eye(2)
    image[0, 0] = np.inf
    with pytest.raises(DivergedError, match="contrastive_loss: along axis 1"):
        F.contrastive_loss(image, np.ones((2, 2)), np.array(0.0))


def test_wrong_dtypes_and_gradients_are_refused():
    image = np.eye(2)
    with pytest.raises(TypeError, match="contrastive_loss: log_scale is a float; expected a NumPy"):
        F.contrastive_loss(image, image, 1.0)
    with pytest.raises(TypeError, match="image is float64 but text is float32; NumPy would"):
        F.contrastive_loss(image, image.astype(np.float32), np.array(1.0))
    with pytest.raises(TypeError, match="image is float64 but log_scale is float32; NumPy would"):
        F.contrastive_loss(image, image, np.float32(1))
    _, saved = F.contrastive_loss(image, image, np.float64(1))
    with pytest.raises(ValueError, match=r"contrastive_loss_backward: dy is .* pass a number"):
        F.contrastive_loss_backward(np.ones(2), saved)
