"""rotary: values, gradient, what turning keeps, both pairings, far positions, refusals."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.oracle import assert_gradients
from support.strategies import leads, normal, seeds

import npformer.functional as F

widths = st.integers(1, 4).map(lambda half: 2 * half)
anywhere = st.integers(-(10**5), 10**5)
bases = st.sampled_from([10000.0, 50.0, 1e6])
pairings = st.booleans()


def turned(x, at, **options):
    return F.rotary(x, np.asarray(at), **options)[0]


def places(seed, shape):
    return np.random.default_rng(seed).integers(0, 1000, shape)


def test_value_by_hand():
    """Width 4 and base 16 have the speeds 1 and 1/4: at 2, turns by 2 and by 1/2."""
    x = np.array([1.0, 10.0, 0.0, 0.0])
    want = [math.cos(2), 10 * math.cos(0.5), math.sin(2), 10 * math.sin(0.5)]
    np.testing.assert_allclose(turned(x, 2, base=16.0), want, rtol=1e-15)
    x = np.array([1.0, 0.0, 0.0, 10.0])
    want = [math.cos(2), math.sin(2), -10 * math.sin(0.5), 10 * math.cos(0.5)]
    np.testing.assert_allclose(turned(x, 2, base=16.0, interleaved=True), want, rtol=1e-15)


@given(leads(), widths, bases, pairings, seeds)
def test_gradient(lead, n, base, interleaved, seed):
    at = places(seed, lead)
    assert_gradients(
        lambda x: F.rotary(x, at, base, interleaved),
        F.rotary_backward,
        [normal(seed, *lead, n)],
        normal(seed + 1, *lead, n),
    )


@given(leads(), widths, bases, pairings, seeds)
def test_lengths_are_kept(lead, n, base, interleaved, seed):
    x = normal(seed, *lead, n)
    y = turned(x, places(seed, lead), base=base, interleaved=interleaved)
    np.testing.assert_allclose(np.sum(y * y, axis=-1), np.sum(x * x, axis=-1), rtol=1e-13)


@given(leads(), widths, pairings, seeds)
def test_position_zero_turns_nothing(lead, n, interleaved, seed):
    x = normal(seed, *lead, n)
    np.testing.assert_array_equal(turned(x, 0, interleaved=interleaved), x)


@given(widths, bases, pairings, seeds, anywhere, anywhere, anywhere)
def test_products_depend_on_the_distance_alone(n, base, interleaved, seed, s, t, shift):
    q, k = normal(seed, n), normal(seed + 1, n)
    options = {"base": base, "interleaved": interleaved}
    here = turned(q, s, **options) @ turned(k, t, **options)
    there = turned(q, s + shift, **options) @ turned(k, t + shift, **options)
    np.testing.assert_allclose(there, here, atol=1e-8)
    np.testing.assert_allclose(q @ turned(k, t - s, **options), here, atol=1e-8)


@given(widths, bases, pairings, seeds, anywhere, anywhere)
def test_turns_add_up(n, base, interleaved, seed, s, t):
    x, options = normal(seed, n), {"base": base, "interleaved": interleaved}
    twice = turned(turned(x, s, **options), t, **options)
    np.testing.assert_allclose(twice, turned(x, s + t, **options), atol=1e-8)


@given(leads(), widths, bases, pairings, seeds)
def test_backward_is_the_turn_back(lead, n, base, interleaved, seed):
    x, at = normal(seed, *lead, n), places(seed, lead)
    y, saved = F.rotary(x, at, base, interleaved)
    np.testing.assert_allclose(F.rotary_backward(y, saved), x, atol=1e-14)
    dy = normal(seed + 1, *lead, n)
    back = turned(dy, -at, base=base, interleaved=interleaved)
    np.testing.assert_array_equal(F.rotary_backward(dy, saved), back)


@given(leads(), widths, bases, seeds)
def test_the_pairings_are_permutations_of_each_other(lead, n, base, seed):
    x, at = normal(seed, *lead, n), places(seed, lead)
    order = [*range(0, n, 2), *range(1, n, 2)]  # the firsts of all pairs, then the seconds
    y = turned(x, at, base=base, interleaved=True)
    np.testing.assert_array_equal(y[..., order], turned(x[..., order], at, base=base))


def test_positions_broadcast_and_may_be_of_any_integer_dtype():
    x = normal(0, 2, 3, 4, 6)
    want = np.stack([[turned(head, np.arange(4)) for head in entry] for entry in x])
    for dtype in (np.uint8, np.int16, np.int64, np.uint64):
        np.testing.assert_array_equal(turned(x, np.arange(4, dtype=dtype)), want)
    at = np.array([[0, 1, 2, 3], [9, 5, 7, 6]])
    y = turned(x, at[:, None, :])
    for entry, positions, got in zip(x, at, y, strict=True):
        np.testing.assert_array_equal(got, turned(entry, positions))


def test_float32_at_far_positions():
    """The angle is formed in float64, so no turn is off by more than float32's last digits."""
    x, at = normal(0, 3, 8), np.array([10**6, 10**6 + 1, 123_457])
    y, saved = F.rotary(x.astype(np.float32), at)
    np.testing.assert_allclose(y, turned(x, at), atol=1e-6)
    dx = F.rotary_backward(y, saved)
    np.testing.assert_allclose(dx, x, atol=1e-6)
    assert y.dtype == dx.dtype == np.float32


def test_complex_meets_float64():
    x, at, dy = normal(0, 3, 4), np.arange(3), normal(1, 3, 4)
    y, saved = F.rotary(x, at)
    z, complex_saved = F.rotary(x - 3j * x, at)
    np.testing.assert_allclose(z, y - 3j * y, rtol=1e-14)
    dx = F.rotary_backward(dy, saved)
    np.testing.assert_array_equal(F.rotary_backward(dy, complex_saved), dx)
    np.testing.assert_array_equal(F.rotary_backward(dy + 0j, saved), dx)


@pytest.mark.parametrize(
    ("shape", "positions", "base", "said"),
    [
        ((2, 3), np.arange(2), 10.0, r"rotary: x is \(2, 3\); expected \(\.\.\., n\) with n even"),
        ((), np.arange(1), 10.0, r"x is \(\)"),
        (
            (2, 4),
            np.arange(3),
            10.0,
            r"positions \(3,\) do not broadcast to \(2,\), the shape of x",
        ),
        ((2, 4), np.arange(2), 0.0, "base is 0.0; expected a positive number, such as 10000.0"),
        ((2, 4), np.arange(2), float("nan"), "base is nan"),
    ],
)
def test_what_does_not_fit_is_refused(shape, positions, base, said):
    with pytest.raises(ValueError, match=said):
        F.rotary(np.ones(shape), positions, base)


def test_wrong_dtypes_and_gradients_are_refused():
    with pytest.raises(
        TypeError, match=r"rotary: positions is float32 \(2,\); expected a NumPy arr"
    ):
        F.rotary(np.ones((2, 4)), np.zeros(2, np.float32))
    with pytest.raises(TypeError, match=r"rotary: x is float16 \(2, 4\)"):
        F.rotary(np.ones((2, 4), np.float16), np.arange(2))
    _, saved = F.rotary(np.ones((2, 4)), np.arange(2))
    with pytest.raises(ValueError, match=r"rotary_backward: dy is \(4,\) but the output was"):
        F.rotary_backward(np.ones(4), saved)
    with pytest.raises(TypeError, match="saved is float64 but dy is float32"):
        F.rotary_backward(np.ones((2, 4), np.float32), saved)
