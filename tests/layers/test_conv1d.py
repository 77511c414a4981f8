"""Conv1d: initial scale, causality, options, refusals."""

import numpy as np
import pytest
from support.passes import assert_close, assert_equal, gradients, moved
from support.strategies import normal

import npformer.functional as F
from npformer.layers import Conv1d


def test_the_initial_weight_keeps_the_variance_and_the_bias_is_zero():
    layer = Conv1d(100, 300, 3, rng=np.random.default_rng(0))
    y = layer(np.random.default_rng(1).standard_normal((4, 50, 100), dtype=np.float32))
    np.testing.assert_allclose(y.std(), 1, rtol=0.02)
    assert not layer.bias.value.any()


def test_without_a_bias_there_is_none():
    assert [name for name, _ in Conv1d(3, 2, 3, bias=False).named_parameters()] == ["weight"]


@pytest.mark.parametrize("padding", [0, 1, (2, 1)])
@pytest.mark.parametrize("stride", [1, 2])
def test_the_operation_with_its_own_weights(stride, padding):
    layer, x = moved(Conv1d(3, 4, 2, stride, padding, dtype=np.float64)), normal(0, 2, 6, 3)
    weight, bias = layer.weight.value, layer.bias.value
    y, saved = F.conv1d(x, weight, bias, stride, padding)
    assert_equal(layer(x), y)
    dy = normal(1, *y.shape)
    (dx,), dp = gradients(layer, dy, x)
    want = F.conv1d_backward(dy, saved)
    for got, expected in zip((dx, dp["weight"], dp["bias"]), want, strict=True):
        assert_close(got, expected)


@pytest.mark.parametrize("kernel", [1, 2, 4])
def test_causal_keeps_the_length_and_looks_at_nothing_later(kernel):
    layer, x = moved(Conv1d(3, 4, kernel, padding="causal", dtype=np.float64)), normal(0, 2, 5, 3)
    y = layer(x)
    assert y.shape == (2, 5, 4)
    for t in range(5):
        other = x.copy()
        other[:, t + 1 :] += 1
        assert_equal(layer(other)[:, : t + 1], y[:, : t + 1])


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"channels_in": 0}, ValueError, "Conv1d: channels_in is 0; expected a positive int"),
        ({"channels_out": 2.0}, TypeError, r"Conv1d: channels_out is 2\.0; expected a positive i"),
        ({"kernel": 0}, ValueError, "Conv1d: kernel is 0; expected a positive int"),
        ({"stride": 0}, ValueError, "Conv1d: stride is 0; expected a positive int"),
        ({"padding": -1}, ValueError, "Conv1d: padding is -1; expected an int, 0 or more"),
        ({"padding": (1,)}, ValueError, r"Conv1d: padding is \(1,\); expected an int or \(left"),
        ({"padding": "same"}, ValueError, "Conv1d: padding is 'same'; expected one of causal"),
        ({"dtype": np.float16}, TypeError, "dtype is float16; expected float32 or float64"),
    ],
)
def test_what_cannot_be_built_is_refused(options, error, said):
    with pytest.raises(error, match=said):
        Conv1d(**{"channels_in": 3, "channels_out": 2, "kernel": 3, **options})


def test_a_wrong_width_is_refused():
    with pytest.raises(ValueError, match=r"x \(2, 5, 4\) does not fit weight \(2, 3, 3\)"):
        Conv1d(3, 2, 3, dtype=np.float64)(normal(0, 2, 5, 4))
