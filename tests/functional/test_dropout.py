"""dropout: values, gradient, statistics, repeatability, evaluation, refusals."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.oracle import assert_gradients
from support.strategies import leads, normal, seeds

import npformer.functional as F

rates = st.sampled_from([0.1, 0.5, 0.9])


def seeded(x, rate, seed=0):
    return F.dropout(x, rate, np.random.default_rng(seed))


@given(leads(3), rates, seeds)
def test_each_entry_is_zero_or_enlarged(shape, rate, seed):
    x = normal(seed, *shape)
    y, saved = seeded(x, rate, seed)
    kept = y != 0
    np.testing.assert_allclose(y, np.where(kept, x / (1 - rate), 0), rtol=1e-15)
    dy = normal(seed + 1, *shape)
    dx = F.dropout_backward(dy, saved)
    np.testing.assert_allclose(dx, np.where(kept, dy / (1 - rate), 0), rtol=1e-15)


@given(leads(3), rates, seeds)
def test_gradient(shape, rate, seed):
    assert_gradients(
        lambda x: seeded(x, rate, seed),
        F.dropout_backward,
        [normal(seed, *shape)],
        normal(seed + 1, *shape),
    )


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rate_and_mean_within_five_sigma(rate, dtype):
    n = 100_000
    y, _ = seeded(np.ones(n, dtype), rate)
    assert abs(np.mean(y == 0) - rate) < 5 * math.sqrt(rate * (1 - rate) / n)
    deviation = math.sqrt(rate / (1 - rate))  # of one entry of y, whose mean is 1
    assert abs(np.mean(y, dtype=np.float64) - 1) < 5 * deviation / math.sqrt(n)


def test_entries_are_independent_of_their_neighbours():
    y, _ = seeded(np.ones((300, 300)), 0.3)
    kept = (y != 0) - np.mean(y != 0)
    for other in (np.roll(kept, 1, 0), np.roll(kept, 1, 1)):
        assert abs(np.mean(kept * other)) < 5 * 0.3 * 0.7 / 300


def test_the_same_generator_gives_the_same_bits_and_then_others():
    x = normal(0, 4, 5)
    rng, twin = np.random.default_rng(3), np.random.default_rng(3)
    first, second = F.dropout(x, 0.5, rng)[0], F.dropout(x, 0.5, rng)[0]
    np.testing.assert_array_equal(F.dropout(x, 0.5, twin)[0], first)
    np.testing.assert_array_equal(F.dropout(x, 0.5, twin)[0], second)
    assert not np.array_equal(first, second)


def test_bits_do_not_depend_on_x_or_its_dtype():
    bits = [
        seeded(x, 0.5)[0] != 0
        for x in (np.ones(40), np.full(40, -9, np.float32), np.ones(40) + 1j, normal(0, 40))
    ]
    assert all(np.array_equal(b, bits[0]) for b in bits)


@pytest.mark.parametrize(("rate", "rng"), [(0.4, None), (0.0, np.random.default_rng(0))])
def test_without_generator_or_rate_it_is_the_identity(rate, rng):
    x, dy = normal(0, 2, 3), normal(1, 2, 3)
    y, saved = F.dropout(x, rate, rng)
    assert y is x
    dx = F.dropout_backward(dy, saved)
    np.testing.assert_array_equal(dx, dy)
    assert not np.shares_memory(dx, dy)
    if rng is not None:  # and it was not asked for anything
        assert rng.random() == np.random.default_rng(0).random()


@given(seeds)
def test_backward_is_linear_in_dy(seed):
    dy, other = normal(seed, 4, 5), normal(seed + 1, 4, 5)
    _, saved = seeded(np.ones((4, 5)), 0.4, seed)
    want = 2 * F.dropout_backward(dy, saved) - 3 * F.dropout_backward(other, saved)
    np.testing.assert_allclose(F.dropout_backward(2 * dy - 3 * other, saved), want, atol=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_dtype_is_kept_by_a_numpy_rate_too(dtype):
    y, saved = seeded(np.ones((3, 4), dtype), np.float64(0.4))
    assert y.dtype == F.dropout_backward(y, saved).dtype == dtype


def test_no_entries_and_no_axes():
    y, saved = seeded(np.ones((0, 3)), 0.5)
    assert y.shape == F.dropout_backward(y, saved).shape == (0, 3)
    y, saved = seeded(np.array(1.0), 0.5)
    assert F.dropout_backward(np.array(1.0), saved) == y in (0.0, 2.0)


@pytest.mark.parametrize(
    ("rate", "error", "said"),
    [
        (1.0, ValueError, r"dropout: rate is 1.0; expected 0 <= rate < 1, the share of entries"),
        (-0.1, ValueError, "rate is -0.1"),
        (float("nan"), ValueError, "rate is nan"),
        ("0.5", TypeError, r"rate is '0.5'; expected a float in \[0, 1\)"),
        (True, TypeError, "rate is True"),
    ],
)
def test_a_rate_that_is_none_is_refused(rate, error, said):
    with pytest.raises(error, match=said):
        F.dropout(np.ones(3), rate, None)


def test_other_wrong_arguments_are_refused():
    with pytest.raises(
        TypeError, match=r"dropout: rng is 0; expected a numpy.random.Generator, suc"
    ):
        F.dropout(np.ones(3), 0.5, 0)
    with pytest.raises(TypeError, match=r"dropout: x is int64 \(2,\)"):
        F.dropout(np.array([1, 2]), 0.5, None)
    _, saved = seeded(np.ones((2, 3)), 0.5)
    with pytest.raises(ValueError, match=r"dropout_backward: dy is \(3,\) but the output was"):
        F.dropout_backward(np.ones(3), saved)
