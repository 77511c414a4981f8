"""Dropout: only where the run has a generator, and right on average."""

import numpy as np
import pytest
from support.strategies import normal

from npformer import Run
from npformer.layers import Dropout


def test_evaluation_returns_x_itself():
    x = normal(0, 3)
    assert Dropout(0.5)(x) is x
    assert Dropout(0.5)(x, run=Run()) is x
    assert Dropout(0.0)(x, run=Run(np.random.default_rng(0))) is x


def test_entries_are_zeroed_at_the_rate_and_the_others_scaled_up():
    y = Dropout(0.3)(np.ones(100_000), run=Run(np.random.default_rng(0)))
    np.testing.assert_allclose(np.unique(y), [0, 1 / 0.7])
    assert abs(np.mean(y == 0) - 0.3) < 5 * np.sqrt(0.3 * 0.7 / 100_000)


def test_backward_drops_the_same_entries():
    layer, x = Dropout(0.5), np.ones(100)
    y, saved = layer.forward(x, run=Run(np.random.default_rng(0)))
    np.testing.assert_array_equal(layer.backward(np.ones(100), saved), y)


@pytest.mark.parametrize(
    ("rate", "error"), [(1.0, ValueError), (-0.1, ValueError), ("0.1", TypeError)]
)
def test_a_rate_outside_of_0_to_1_is_refused(rate, error):
    with pytest.raises(error, match=f"Dropout: rate is {rate!r}; expected"):
        Dropout(rate)
