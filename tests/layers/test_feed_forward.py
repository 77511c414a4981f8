"""FeedForward: the formula, place by place."""

import math

import numpy as np
import pytest
from support.passes import assert_close, moved
from support.strategies import normal

from npformer import Run
from npformer.layers import FeedForward

FORMULAS = {
    "relu": lambda h: np.where(h > 0, h, 0),
    "gelu": lambda h: h * np.vectorize(lambda t: math.erfc(-t / math.sqrt(2)) / 2)(h),
    "gelu_tanh": lambda h: h / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3))),
    "quick_gelu": lambda h: h / (1 + np.exp(-1.702 * h)),
    "silu": lambda h: h / (1 + np.exp(-h)),
}


def affine(linear, x):
    return x @ linear.weight.value.T + linear.bias.value


@pytest.mark.parametrize("activation", [*FORMULAS, "swiglu"])
def test_the_formula(activation):
    layer = moved(FeedForward(4, 7, activation, dtype=np.float64), size=1.0)
    x = normal(0, 2, 3, 4)
    if activation == "swiglu":
        g = FORMULAS["silu"](affine(layer.gate, x)) * affine(layer.up, x)
    else:
        g = FORMULAS[activation](affine(layer.up, x))
    assert_close(layer(x), affine(layer.down, g))


def test_only_the_gated_form_has_a_gate():
    assert FeedForward(4, 6).gate is None
    gated = FeedForward(4, 6, "swiglu", bias=False)
    shapes = {name: p.shape for name, p in gated.named_parameters()}
    assert shapes == {"up.weight": (6, 4), "gate.weight": (6, 4), "down.weight": (4, 6)}


def test_dropout_acts_between_the_maps():
    layer = FeedForward(4, 500, dropout=0.5, bias=False, dtype=np.float64)
    layer.up.weight.value[...] = np.eye(4)[0]
    layer.down.weight.value[...] = np.eye(4)[0][:, None]
    y = layer(np.array([[1.0, 0, 0, 0]]), run=Run(np.random.default_rng(0)))
    np.testing.assert_array_equal(y[0, 1:], 0)  # nothing is dropped after the second map
    assert y[0, 0] % 2 == 0  # 500 ones, about half of them doubled
    assert 400 < y[0, 0] < 600


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"activation": "swish"}, ValueError, "activation is 'swish'; expected one of relu, gelu,"),
        ({"d_ff": 0}, ValueError, "FeedForward: d_ff is 0; expected a positive int"),
        ({"dropout": 1.0}, ValueError, "rate is 1.0; expected 0 <= rate < 1"),
    ],
)
def test_what_cannot_be_built_is_refused(options, error, said):
    with pytest.raises(error, match=said):
        FeedForward(**{"d_model": 4, "d_ff": 6, **options})
