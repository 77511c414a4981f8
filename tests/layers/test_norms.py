"""LayerNorm and RMSNorm: what they start as, and what they refuse."""

import numpy as np
import pytest
from support.passes import assert_close, moved
from support.strategies import normal

from npformer.layers import LayerNorm, RMSNorm


def test_layer_norm_starts_as_mean_0_and_variance_1():
    y = LayerNorm(50, eps=1e-12, dtype=np.float64)(3 + 7 * normal(0, 4, 50))
    assert_close(y.mean(-1), np.zeros(4))
    assert_close(y.var(-1), np.ones(4))


def test_rms_norm_starts_as_mean_square_1():
    y = RMSNorm(50, eps=1e-12, dtype=np.float64)(3 + 7 * normal(0, 4, 50))
    assert_close((y**2).mean(-1), np.ones(4))


def test_the_formulas_with_weights_of_their_own():
    x = normal(0, 4, 5)
    layer = moved(LayerNorm(5, eps=0.1, dtype=np.float64))
    xhat = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 0.1)
    assert_close(layer(x), layer.weight.value * xhat + layer.bias.value)
    layer = moved(RMSNorm(5, eps=0.1, dtype=np.float64))
    assert_close(layer(x), layer.weight.value * x / np.sqrt((x**2).mean(-1, keepdims=True) + 0.1))


def test_without_a_bias_there_is_none():
    assert [name for name, _ in LayerNorm(3, bias=False).named_parameters()] == ["weight"]


@pytest.mark.parametrize("norm", [LayerNorm, RMSNorm])
@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"eps": 0}, ValueError, "Norm: eps is 0; expected a positive number"),
        ({"eps": -1e-5}, ValueError, "Norm: eps is -1e-05; expected a positive number"),
        ({"eps": None}, TypeError, "Norm: eps is None; expected a positive number"),
        ({"d_model": 0}, ValueError, "Norm: d_model is 0; expected a positive int"),
    ],
)
def test_what_cannot_be_built_is_refused(norm, options, error, said):
    with pytest.raises(error, match=said):
        norm(**{"d_model": 3, **options})


@pytest.mark.parametrize("norm", [LayerNorm, RMSNorm])
def test_a_wrong_width_is_refused(norm):
    with pytest.raises(ValueError, match=r"weight \(3,\) does not fit x \(2, 4\)"):
        norm(3, dtype=np.float64)(normal(0, 2, 4))
