"""ALiBi: slopes and bias by hand, what they depend on, attention with them."""

import numpy as np
import pytest

import npformer.functional as F
from npformer.functional._alibi import alibi_bias, alibi_slopes


@pytest.mark.parametrize(
    ("num_heads", "exponents"),
    [
        (1, [8]),
        (2, [4, 8]),
        (8, [1, 2, 3, 4, 5, 6, 7, 8]),
        (3, [4, 8, 2]),
        (12, [1, 2, 3, 4, 5, 6, 7, 8, 0.5, 1.5, 2.5, 3.5]),
    ],
)
def test_slopes_by_hand(num_heads, exponents):
    np.testing.assert_allclose(alibi_slopes(num_heads), [2.0**-e for e in exponents], rtol=1e-15)


@pytest.mark.parametrize("num_heads", range(1, 20))
def test_every_head_has_a_slope_of_its_own(num_heads):
    slopes = alibi_slopes(num_heads)
    assert len(set(slopes)) == num_heads
    assert 0 < min(slopes) <= max(slopes) < 1


def test_bias_by_hand():
    """Two queries at the end of three keys: their positions are 1 and 2."""
    bias = alibi_bias(2, 2, 3, np.float64)
    distance = np.array([[1, 0, 1], [2, 1, 0]])
    np.testing.assert_array_equal(bias, [-distance / 16, -distance / 256])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bias_depends_on_the_distance_alone(dtype):
    bias = alibi_bias(4, 6, 6, dtype)
    assert bias.dtype == dtype
    np.testing.assert_array_equal(bias[:, 1:, 1:], bias[:, :-1, :-1])
    np.testing.assert_array_equal(bias, bias.swapaxes(1, 2))
    np.testing.assert_array_equal(alibi_bias(4, 2, 6, dtype), bias[:, -2:])


def test_positions_move_the_bias():
    given = alibi_bias(3, 4, 5, np.float64, np.arange(5))
    np.testing.assert_array_equal(given, alibi_bias(3, 4, 5, np.float64))
    at = np.array([[0, 1, 2], [4, 6, 9]], np.uint8)  # one sequence each
    bias = alibi_bias(2, 2, 3, np.float64, at)
    assert bias.shape == (2, 2, 2, 3)
    np.testing.assert_array_equal(bias[0], alibi_bias(2, 2, 3, np.float64))
    np.testing.assert_array_equal(bias[1, 0], -np.array([[2, 0, 3], [5, 3, 0]]) / 16)


def test_equal_scores_fall_off_by_the_slope():
    """exp(-m) a step: each key's weight is that of the next nearer one times exp(-m)."""
    q = k = np.zeros((2, 5, 4))
    p = F.attention_weights(q, k, bias=alibi_bias(2, 5, 5, np.float64))
    ratio = p[:, -1, :-1] / p[:, -1, 1:]
    np.testing.assert_allclose(ratio, np.exp(-np.array([[1 / 16], [1 / 256]])) * np.ones(4))
