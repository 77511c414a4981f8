"""What is tame: where a weight of 0 can be left to a plain product."""

import math

import numpy as np
import pytest
from support.strategies import normal

from npformer.functional._silence import is_tame, mix


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_tame_is_what_no_product_of_two_vectors_can_overflow_with(dtype):
    limit = math.sqrt(float(np.finfo(dtype).max) / 6)  # three products, and half as much again
    parts = [1.0, 1j] if dtype is np.complex128 else [1.0]
    for part in parts:
        for number, tame in (
            (0.9999 * limit, True),
            (limit, False),
            (100 * limit, False),
            (math.inf, False),
            (math.nan, False),
        ):
            for sign in (1, -1):
                x = np.ones((2, 3), dtype)
                x.view(x.real.dtype)[1, 2 * (dtype is np.complex128) + (part == 1j)] = sign * number
                assert is_tame(x) is tame
                assert is_tame(np.ones(3), x) is tame
    for sign in (1, -1):
        assert is_tame(np.full((2, 3), 0.9999 * sign * limit, dtype)) is True
        assert is_tame(np.full((4, 1), 0.9999 * sign * limit * math.sqrt(3), dtype)) is True
    assert is_tame(np.empty((0, 3), dtype)) is True


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_tame_is_also_what_no_factor_makes_overflow(dtype):
    limit = math.sqrt(float(np.finfo(dtype).max) / 6)
    for times in (1.5, 1e9):
        for number, tame in ((0.9999 * limit / times, True), (1.0001 * limit / times, False)):
            x = np.ones((2, 3), dtype)
            x[1, 1] = number
            assert is_tame(x, times=times) is tame
            assert is_tame(np.ones(3, dtype), x, times=times) is tame
    assert is_tame(np.zeros(3, dtype), times=1e200) is False  # whose square is infinite
    assert is_tame(np.empty((0, 3), dtype), times=1e200) is True


def test_a_weight_of_zero_meets_nothing():
    weights = np.array([[0.0, 2.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, -3.0]])
    x = np.array([[np.nan, 1.0], [3.0, 4.0], [np.inf, -np.inf]])
    want = [[6.0, 8.0], [np.nan, 2.0], [-np.inf, np.inf]]
    np.testing.assert_array_equal(mix(weights, x, False), want)
    np.testing.assert_array_equal(mix(weights, x[1:2].repeat(3, 0), True), weights @ x[[1, 1, 1]])


def test_sequences_are_mixed_one_by_one():
    """With a spoilt row in the first, another in the second, and the same in both."""
    weights, x = normal(0, 7, 3, 4, 5), normal(1, 7, 3, 5, 2)
    weights[..., 1:3, 1:4] = 0
    x[0, 1, 1, 0], x[6, :, 3, 1], x[:, :2, 2, 0], x[1, 0, 4, 1] = np.nan, np.inf, -np.inf, np.nan
    got = mix(weights, x, False)
    np.testing.assert_allclose(mix(weights[:, 1], x[:, 1], False), got[:, 1], rtol=1e-12)
    for at in np.ndindex(7, 3):
        for i, row in enumerate(weights[at]):
            want = sum(w * v for w, v in zip(row, x[at], strict=True) if w != 0)
            np.testing.assert_allclose(got[at][i], want, rtol=1e-12)


def test_nothing_is_tame():
    assert is_tame() is True
    assert is_tame(np.empty((3, 0))) is True
