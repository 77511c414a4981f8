"""sinusoidal: values, gradient, shifts, layouts, far positions, refusals."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.oracle import assert_gradients
from support.strategies import leads, normal, seeds

import npformer.functional as F
from npformer.functional.sinusoidal import waves

widths = st.integers(1, 4).map(lambda half: 2 * half)
layouts = st.sampled_from(["interleaved", "halves"])
anywhere = st.integers(-(10**6), 10**6)


def wave(positions, n, layout="interleaved"):
    """What is added at `positions`."""
    positions = np.asarray(positions)
    return F.sinusoidal(np.zeros((*positions.shape, n)), positions, layout)[0]


@pytest.mark.parametrize("position", [0, 1, 7, 123_456, 10**6])
def test_values_by_the_formula_of_the_paper(position):
    y = wave(position, 6)
    for c in range(3):
        angle = position / 10000 ** (2 * c / 6)
        assert math.isclose(y[2 * c], math.sin(angle), abs_tol=1e-9)
        assert math.isclose(y[2 * c + 1], math.cos(angle), abs_tol=1e-9)


@pytest.mark.parametrize(("n", "lengths"), [(2, [1]), (4, [1, 10000]), (6, [1, 100, 10000])])
def test_closed_waves_reach_their_longest(n, lengths):
    """As Whisper has them; wavelengths are these times 2 pi."""
    t = np.arange(50)
    want = np.sin(t[:, None] / lengths)
    np.testing.assert_allclose(waves(t, n, "halves", closed=True)[:, : n // 2], want, atol=1e-12)


def test_position_zero_by_hand():
    np.testing.assert_array_equal(wave(0, 4), [0, 1, 0, 1])
    np.testing.assert_array_equal(wave(0, 4, "halves"), [0, 0, 1, 1])


@given(leads(), widths, layouts, seeds)
def test_gradient(lead, n, layout, seed):
    at = np.random.default_rng(seed).integers(0, 100, lead)
    assert_gradients(
        lambda x: F.sinusoidal(x, at, layout),
        F.sinusoidal_backward,
        [normal(seed, *lead, n)],
        normal(seed + 1, *lead, n),
    )


@given(leads(), widths, layouts, seeds)
def test_is_added_to_x_and_passes_dy_on(lead, n, layout, seed):
    x, at = normal(seed, *lead, n), np.random.default_rng(seed).integers(0, 100, lead)
    y, saved = F.sinusoidal(x, at, layout)
    np.testing.assert_array_equal(y, x + wave(at, n, layout))
    dy = normal(seed + 1, *lead, n)
    dx = F.sinusoidal_backward(dy, saved)
    np.testing.assert_array_equal(dx, dy)
    assert dx is not dy


@given(widths, anywhere, layouts)
def test_a_shift_is_the_same_linear_map_everywhere(n, k, layout):
    """The map is fitted to positions 0 to 4 n, and then holds at others."""
    here, there = np.arange(4 * n), np.array([1000, 54_321, -17])
    shift = np.linalg.lstsq(wave(here, n, layout), wave(here + k, n, layout), rcond=None)[0]
    moved = wave(there + k, n, layout)
    np.testing.assert_allclose(wave(there, n, layout) @ shift, moved, atol=1e-5)


@given(widths, anywhere, anywhere)
def test_the_shift_is_a_turn_of_each_pair(n, t, k):
    """So that <p_t, p_{t+k}> = sum_c cos(k omega_c), whatever t."""
    omega = 10000.0 ** (-2.0 * np.arange(n // 2) / n)
    p, q = wave(t, n), wave(t + k, n)
    cos, sin = np.cos(k * omega), np.sin(k * omega)
    np.testing.assert_allclose(q[0::2], p[0::2] * cos + p[1::2] * sin, atol=1e-8)
    np.testing.assert_allclose(q[1::2], p[1::2] * cos - p[0::2] * sin, atol=1e-8)
    np.testing.assert_allclose(p @ q, np.sum(cos), atol=1e-8)


@given(widths, anywhere)
def test_the_layouts_are_permutations_of_each_other(n, t):
    order = [*range(0, n, 2), *range(1, n, 2)]
    np.testing.assert_array_equal(wave(t, n)[order], wave(t, n, "halves"))


def test_positions_are_told_apart():
    p = wave(np.arange(500), 8)
    gaps = np.sum((p[:, None] - p) ** 2, axis=-1)[~np.eye(500, dtype=bool)]
    assert gaps.min() > 1e-3


def test_positions_broadcast_and_may_be_of_any_integer_dtype():
    x = normal(0, 2, 3, 4)
    whole, _ = F.sinusoidal(x, np.broadcast_to(np.arange(3), (2, 3)))
    for dtype in (np.uint8, np.int16, np.int64, np.uint64):
        np.testing.assert_array_equal(F.sinusoidal(x, np.arange(3, dtype=dtype))[0], whole)
    column = F.sinusoidal(x, np.array([[5], [6]]))[0]
    np.testing.assert_array_equal(column, x + wave([[5] * 3, [6] * 3], 4))


def test_float32_is_rounded_only_at_the_end():
    """The angle 10^6 itself has an error of 0.03 in float32, the sine must not."""
    at = np.array([10**6, 10**6 + 1, 123_457])
    y, saved = F.sinusoidal(np.zeros((3, 8), np.float32), at)
    np.testing.assert_array_equal(y, wave(at, 8).astype(np.float32))
    assert y.dtype == F.sinusoidal_backward(y, saved).dtype == np.float32


def test_complex_passes_through():
    x = normal(0, 3, 4)
    z, _ = F.sinusoidal(x + 2j * x, np.arange(3))
    np.testing.assert_array_equal(z, F.sinusoidal(x, np.arange(3))[0] + 2j * x)


@pytest.mark.parametrize(
    ("shape", "positions", "layout", "said"),
    [
        (
            (2, 3),
            np.arange(2),
            "halves",
            r"sinusoidal: x is \(2, 3\); expected \(\.\.\., n\) with n",
        ),
        ((2, 0), np.arange(2), "halves", r"x is \(2, 0\)"),
        ((), np.arange(1), "halves", r"x is \(\)"),
        ((2, 4), np.arange(3), "halves", r"positions \(3,\) do not broadcast to \(2,\), the shape"),
        ((2, 4), np.ones((1, 2), int), "halves", r"positions \(1, 2\) do not broadcast to \(2,\)"),
        ((2, 4), np.arange(2), "half", "layout is 'half'; expected one of interleaved, halves"),
    ],
)
def test_what_does_not_fit_is_refused(shape, positions, layout, said):
    with pytest.raises(ValueError, match=said):
        F.sinusoidal(np.ones(shape), positions, layout)


def test_wrong_dtypes_and_gradients_are_refused():
    with pytest.raises(TypeError, match=r"sinusoidal: positions is float64 \(2,\); expected a Num"):
        F.sinusoidal(np.ones((2, 4)), np.array([0.0, 1.0]))
    with pytest.raises(TypeError, match=r"sinusoidal: x is int64 \(2, 4\)"):
        F.sinusoidal(np.ones((2, 4), int), np.arange(2))
    _, saved = F.sinusoidal(np.ones((2, 4)), np.arange(2))
    with pytest.raises(ValueError, match=r"sinusoidal_backward: dy is \(4,\) but the output was"):
        F.sinusoidal_backward(np.ones(4), saved)
