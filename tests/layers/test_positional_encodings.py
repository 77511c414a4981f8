"""Learned and sinusoidal positions: where they come from, and where they end."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.passes import assert_close, gradients
from support.strategies import normal

from npformer.layers import LearnedPositionalEncoding, SinusoidalPositionalEncoding


def learned(d_model=4, max_len=6):
    return LearnedPositionalEncoding(d_model, max_len, dtype=np.float64)


def test_learned_positions_are_0_1_2_unless_given():
    layer, x = learned(), normal(0, 2, 3, 4)
    table = layer.weight.value
    assert_close(layer(x), x + table[:3])
    at = np.array([[5, 0, 5], [1, 1, 2]])
    assert_close(layer(x, at), x + table[at])
    assert_close(layer(x, at[:1]), x + table[at[0]])


def test_a_position_s_gradient_is_the_sum_over_all_that_stand_there():
    layer, x, dy = learned(), normal(0, 2, 3, 4), normal(1, 2, 3, 4)
    (dx,), dp = gradients(layer, dy, x)
    np.testing.assert_array_equal(dx, dy)
    assert_close(dp["weight"], np.concatenate([dy.sum(0), np.zeros((3, 4))]))
    at = np.array([[5, 0, 5], [1, 1, 2]])
    want = np.zeros((6, 4))
    np.add.at(want, at, dy)
    assert_close(gradients(layer, dy, x, at)[1]["weight"], want)
    _, alone = gradients(layer, dy[0], x[0])
    assert_close(alone["weight"][:3], dy[0])
    saved = layer.forward(x)[1]
    said = r"^LearnedPositionalEncoding.backward: dy is \(3, 4\) but the output was \(2, 3, 4\)"
    with pytest.raises(ValueError, match=said):
        layer.backward(dy[0], saved)
    said = "^LearnedPositionalEncoding.backward: saved is float64 but dy is float32"
    with pytest.raises(TypeError, match=said):
        layer.backward(dy.astype(np.float32), saved)


@pytest.mark.parametrize(
    ("length", "at", "error", "said"),
    [
        (7, None, ValueError, "positions run from 0 to 6 but only 0 to 5 were made (max_len=6); "
                              "shorten the sequence, or build the model with a larger max_len"),
        (2, np.array([0, 6]), ValueError, "positions run from 0 to 6 but only 0 to 5"),
        (2, np.array([-1, 0]), ValueError, "positions run from -1 to 0 but only 0 to 5"),
        (2, np.array([0, 1, 2]), ValueError, "positions (3,) do not broadcast to (2, 2)"),
        (2, np.zeros((3, 1, 2), int), ValueError, "positions (3, 1, 2) do not broadcast to (2, 2)"),
        (2, np.array([0.0, 1.0]), TypeError, "positions is float64 (2,); expected a NumPy array"),
        (2, [0, 1], TypeError, "positions is a list; expected a NumPy array of integers"),
    ],
)  # fmt: skip
def test_positions_that_were_not_made_are_refused(length, at, error, said):
    with pytest.raises(error, match=re.escape(said)):
        learned()(normal(0, 2, length, 4), at)


@pytest.mark.parametrize("layer", [learned(), SinusoidalPositionalEncoding(4)])
@pytest.mark.parametrize("shape", [(4,), (3, 5)])
def test_vectors_of_another_width_are_refused(layer, shape):
    with pytest.raises(ValueError, match=r"x is \(.*\); expected \(..., length, 4\)"):
        layer(normal(0, *shape))


@pytest.mark.parametrize("layout", ["interleaved", "halves"])
def test_sinusoids_are_sines_and_cosines_of_growing_wavelength(layout):
    p = SinusoidalPositionalEncoding(6, layout)(np.zeros((3, 6)))
    sines, cosines = (p[:, 0::2], p[:, 1::2]) if layout == "interleaved" else np.split(p, 2, -1)
    angle = np.arange(3)[:, None] / 10000.0 ** (np.array([0, 2, 4]) / 6)
    assert_close(sines, np.sin(angle))
    assert_close(cosines, np.cos(angle))


def test_sinusoids_have_no_longest_sequence_and_no_parameters():
    layer = SinusoidalPositionalEncoding(4)
    x = np.zeros((5000, 4), np.float32)
    y = layer(x)
    assert y.dtype == np.float32
    far = layer(x[:3], np.array([10**6, 4999, 0]))
    assert np.isfinite(far).all()
    np.testing.assert_array_equal(far[1], y[4999])
    assert layer.parameters() == []


@given(st.integers(0, 500), st.integers(0, 500), st.integers(0, 100))
def test_a_shift_of_sinusoids_is_one_linear_map_wherever_it_starts(s, t, k):
    """p(t + k) = R(k) p(t), with R fitted at no position but built from k alone."""
    layer = SinusoidalPositionalEncoding(4)
    w = 10000.0 ** (-np.array([0, 2]) / 4)
    turn = np.zeros((4, 4))
    for c, (sin, cos) in enumerate(zip(np.sin(k * w), np.cos(k * w), strict=True)):
        turn[2 * c : 2 * c + 2, 2 * c : 2 * c + 2] = [[cos, sin], [-sin, cos]]
    p = layer(np.zeros((4, 4)), np.array([s, s + k, t, t + k]))
    np.testing.assert_allclose(p[1], turn @ p[0], atol=1e-12)
    np.testing.assert_allclose(p[3], turn @ p[2], atol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [((5,), "d_model is 5; expected an even number"), ((4, "both"), "layout is 'both'; expected")],
)
def test_sinusoids_that_cannot_be_built_are_refused(arguments, said):
    with pytest.raises(ValueError, match=f"SinusoidalPositionalEncoding: {said}"):
        SinusoidalPositionalEncoding(*arguments)
