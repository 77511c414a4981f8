"""Embedding: a row for each id."""

import numpy as np
import pytest
from support.passes import assert_close, gradients
from support.strategies import normal

from npformer.layers import Embedding


def test_rows_are_looked_up_and_a_row_s_gradient_is_the_sum_over_its_ids():
    layer = Embedding(5, 3, dtype=np.float64)
    ids, dy = np.array([[4, 0, 4], [4, 1, 0]]), normal(0, 2, 3, 3)
    np.testing.assert_array_equal(layer(ids), layer.weight.value[ids])
    (dx,), dp = gradients(layer, dy, ids)
    want = np.zeros((5, 3))
    for place in np.ndindex(ids.shape):
        want[ids[place]] += dy[place]
    assert dx is None
    assert_close(dp["weight"], want)


@pytest.mark.parametrize(
    ("ids", "error", "said"),
    [
        (np.array([0, 5]), ValueError, r"ids\[1\] is 5; expected 0 to 4 \(a table of 5\)"),
        (np.array([-1]), ValueError, r"ids\[0\] is -1; expected 0 to 4"),
        (np.array([1.0]), TypeError, r"ids is float64 \(1,\); expected a NumPy array of integers"),
    ],
)
def test_ids_that_are_none_are_refused(ids, error, said):
    with pytest.raises(error, match=said):
        Embedding(5, 3)(ids)
