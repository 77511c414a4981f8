"""Linear: initial scale, sharing a weight."""

import numpy as np
import pytest
from support.passes import assert_close, gradients
from support.strategies import normal

from npformer import Parameter
from npformer.layers import Linear


def test_the_initial_weight_keeps_the_variance_and_the_bias_is_zero():
    layer = Linear(400, 300, rng=np.random.default_rng(0))
    y = layer(np.random.default_rng(1).standard_normal((200, 400), dtype=np.float32))
    np.testing.assert_allclose(y.std(), 1, rtol=0.02)
    assert not layer.bias.value.any()


def test_without_a_bias_there_is_none():
    assert [name for name, _ in Linear(3, 2, bias=False).named_parameters()] == ["weight"]


def test_a_shared_weight_is_the_same_parameter_and_gathers_both_gradients():
    one = Linear(3, 3, dtype=np.float64)
    other = Linear(3, 3, weight=one.weight, dtype=np.float64)
    x, dy = normal(0, 2, 3), normal(1, 2, 3)
    alone = gradients(one, dy, x)[1]["weight"]
    one.zero_grad()
    for layer in (one, other):
        layer.backward(dy, layer.forward(x)[1])
    assert_close(one.weight.grad, 2 * alone)
    assert_close(other.bias.grad, dy.sum(0))


def test_a_frozen_weight_keeps_a_zero_gradient_but_passes_it_on():
    layer = Linear(3, 2, dtype=np.float64)
    layer.weight.trainable = False
    dy = normal(1, 4, 2)
    (dx,), dp = gradients(layer, dy, normal(0, 4, 3))
    assert not dp["weight"].any()
    assert_close(dp["bias"], dy.sum(0))
    assert_close(dx, dy @ layer.weight.value)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"weight": Parameter(np.ones((3, 2)))}, ValueError, r"is \(3, 2\); expected \(2, 3\)"),
        ({"weight": np.ones((2, 3))}, TypeError, r"is float64 \(2, 3\); expected a Parameter"),
        ({"d_in": 0}, ValueError, "Linear: d_in is 0; expected a positive int"),
        ({"d_out": 2.0}, TypeError, "Linear: d_out is 2.0; expected a positive int"),
        ({"dtype": np.float16}, TypeError, "dtype is float16; expected float32 or float64"),
    ],
)
def test_what_cannot_be_built_is_refused(options, error, said):
    with pytest.raises(error, match=said):
        Linear(**{"d_in": 3, "d_out": 2, **options})


def test_a_wrong_width_is_refused():
    with pytest.raises(ValueError, match=r"x \(2, 4\) does not fit weight \(2, 3\)"):
        Linear(3, 2, dtype=np.float64)(normal(0, 2, 4))
