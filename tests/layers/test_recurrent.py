"""RNN and LSTM: what they start as, their states, refusals."""

import numpy as np
import pytest
from support.passes import assert_close, assert_equal, gradients, moved
from support.strategies import normal

import npformer.functional as F
from npformer.layers import LSTM, RNN

KINDS = [(RNN, F.rnn, F.rnn_backward, 1), (LSTM, F.lstm, F.lstm_backward, 2)]
NAMES = "weight_ih", "weight_hh", "bias_ih", "bias_hh"


def values(layer):
    return [getattr(layer, name).value for name in NAMES]


@pytest.mark.parametrize(("kind", "gates"), [(RNN, 1), (LSTM, 4)])
def test_initial_weights_keep_the_variance_and_biases_are_zero(kind, gates):
    layer = kind(400, 200, rng=np.random.default_rng(0))
    assert layer.weight_ih.shape == (gates * 200, 400)
    np.testing.assert_allclose(layer.weight_ih.value.std(), 1 / 20, rtol=0.02)
    np.testing.assert_allclose(layer.weight_hh.value.std(), 1 / np.sqrt(200), rtol=0.02)
    drawn = layer.weight_ih.value.flat[:100] * 20, layer.weight_hh.value.flat[:100] * np.sqrt(200)
    assert np.all(np.abs(drawn[0] - drawn[1]).max() > 1)  # not the same numbers again
    assert not layer.bias_hh.value.any()
    keeps = np.zeros(gates * 200, bool)
    keeps[200:400] = True
    assert_equal(layer.bias_ih.value, keeps[: gates * 200].astype(np.float32))


@pytest.mark.parametrize("kind", [RNN, LSTM])
def test_a_generator_decides_all_weights(kind):
    one, other = (kind(3, 4, rng=np.random.default_rng(5)) for _ in range(2))
    for a, b in zip(values(one), values(other), strict=True):
        assert_equal(a, b)
    assert (kind(3, 4).weight_ih.value != kind(3, 4).weight_ih.value).any()


@pytest.mark.parametrize("kind", [RNN, LSTM])
def test_without_biases_there_are_none(kind):
    names = [name for name, _ in kind(3, 2, bias=False).named_parameters()]
    assert names == ["weight_ih", "weight_hh"]


@pytest.mark.parametrize(("kind", "op", "op_backward", "count"), KINDS)
def test_the_operation_with_its_own_weights(kind, op, op_backward, count):
    layer, x = moved(kind(3, 2, dtype=np.float64)), normal(0, 2, 4, 3)
    states = [normal(5 + i, 2, 2) for i in range(count)]
    y, saved = op(x, *states, *values(layer))
    assert_equal(layer(x, *states), y)
    assert_equal(layer.forward(x, *states)[1][0].h_n, y[:, -1])
    dy = normal(1, *y.shape)
    dx, dp = gradients(layer, dy, x, *states)
    want = op_backward(dy, saved)
    for got, expected in zip([*dx, *(dp[name] for name in NAMES)], want, strict=True):
        assert_close(got, expected)


@pytest.mark.parametrize(("kind", "count"), [(RNN, 1), (LSTM, 2)])
def test_states_that_are_not_given_are_zero_and_have_no_gradient(kind, count):
    layer, x, dy = moved(kind(3, 2, dtype=np.float64)), normal(0, 2, 4, 3), normal(1, 2, 4, 2)
    zeros = [np.zeros((2, 2))] * count
    assert_equal(layer(x), layer(x, *zeros))
    (dx, *others), dp = gradients(layer, dy, x)
    assert others == [None] * count
    want, want_dp = gradients(layer, dy, x, *zeros)
    assert_close(dx, want[0])
    assert_close(dp, want_dp)


def test_one_of_the_lstm_s_states_may_be_given():
    layer, x, dy = moved(LSTM(3, 2, dtype=np.float64)), normal(0, 2, 4, 3), normal(1, 2, 4, 2)
    state, zero = normal(2, 2, 2), np.zeros((2, 2))
    assert_equal(layer(x, c0=state), layer(x, zero, state))
    (_, dh0, dc0), _ = gradients(layer, dy, x, c0=state)
    assert dh0 is None
    assert_close(dc0, gradients(layer, dy, x, zero, state)[0][2])
    (_, dh0, dc0), _ = gradients(layer, dy, x, state)
    assert dc0 is None
    assert_close(dh0, gradients(layer, dy, x, state, zero)[0][1])


@pytest.mark.parametrize("kind", [RNN, LSTM])
def test_what_does_not_fit_is_refused(kind):
    with pytest.raises(ValueError, match=f"{kind.__name__}: d_in is 0; expected a positive int"):
        kind(0, 2)
    with pytest.raises(TypeError, match=rf"{kind.__name__}: d_hidden is 2\.0; expected a positive"):
        kind(3, 2.0)
    layer = kind(3, 2, dtype=np.float64)
    with pytest.raises(ValueError, match=r"x is \(3,\); expected \(\.\.\., length, d_in\)"):
        layer(normal(0, 3))
    with pytest.raises(ValueError, match=r"h0 \(1, 2\) does not fit x \(2, 4, 3\)"):
        layer(normal(0, 2, 4, 3), normal(1, 1, 2))
    with pytest.raises(TypeError, match="x is a list; expected a NumPy array"):
        layer([[1.0, 2.0, 3.0]])
