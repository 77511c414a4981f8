"""RelativePositionBias: its array, its gradient alone and through attention, shared by layers."""

import re
import sys

import numpy as np
import pytest
from support.passes import assert_close, moved
from support.strategies import normal

import npformer.functional as F
from npformer import Layer, Run, gradcheck, masks
from npformer.biases import relative
from npformer.layers import MultiHeadAttention, RelativePositionBias

WHOLE = sys.modules["npformer.functional.attention"]


@pytest.fixture(params=["textbook", "tiled"])
def method(request, monkeypatch):
    monkeypatch.setattr(WHOLE, "_TEXTBOOK_UP_TO", np.inf if request.param == "textbook" else 0)
    monkeypatch.setattr(WHOLE, "TILE", (2, 3))


def table(heads=2, num_buckets=6, max_distance=7, seed=0, **options):
    new = {"rng": np.random.default_rng(seed), "dtype": np.float64}
    return moved(RelativePositionBias(heads, num_buckets, max_distance, **options, **new))


class Attention(Layer):
    """Attention and the table of its bias, which two layers share if so wanted."""

    def __init__(self, num_kv_heads=None, layers=1, dropout=0.0, bidirectional=True):
        new = {"rng": np.random.default_rng(0), "dtype": np.float64}
        self.relative = table(bidirectional=bidirectional)
        self.attention = [
            MultiHeadAttention(4, 2, num_kv_heads, dropout=dropout, **new) for _ in range(layers)
        ]

    def forward(self, x, positions=None, run=None):
        bias, saved = self.relative.bias(positions), []
        for layer in self.attention:
            x, s = layer.forward(x, mask=masks.causal(), bias=bias, run=run)
            saved.append(s)
        return x, saved

    def backward(self, dy, saved, run=None):
        for layer, s in zip(self.attention[::-1], saved[::-1], strict=True):
            dy, _ = layer.backward(dy, s)
        return dy


def test_the_table_by_hand():
    """Four buckets: at the same place, behind; further behind there is none; before; further."""
    layer = RelativePositionBias(1, 4, 2, dtype=np.float64)
    layer.weight.value[:, 0] = [
        10,
        11,
        12,
        13,
    ]  # r = 0; r < 0; never, as 0 is not before itself; r > 0
    np.testing.assert_array_equal(layer(3)[0], [[10, 13, 13], [11, 10, 13], [11, 11, 10]])
    np.testing.assert_array_equal(layer(2, 3)[0], [[11, 10, 13], [11, 11, 10]])
    assert layer(3).shape == (1, 3, 3)
    one_way = RelativePositionBias(1, 2, 2, False, dtype=np.float64)
    one_way.weight.value[:, 0] = [10, 11]
    np.testing.assert_array_equal(one_way(3)[0], [[10, 10, 10], [11, 10, 10], [11, 11, 10]])


def test_it_begins_small_and_by_its_generator():
    a, b, c = (RelativePositionBias(8, 32, rng=np.random.default_rng(s)) for s in (0, 0, 1))
    assert a.weight.shape == (32, 8)
    assert a.weight.value.dtype == a(3).dtype == np.float32
    np.testing.assert_array_equal(a.weight.value, b.weight.value)
    assert not np.array_equal(a.weight.value, c.weight.value)
    np.testing.assert_allclose(a.weight.value.std(), 0.02, rtol=0.2)
    assert [name for name, _ in a.named_parameters()] == ["weight"]
    assert (a.max_distance, a.bidirectional) == (128, True)


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("n_q", "n_k"), [(4, 4), (2, 9), (9, 2), (1, 1)])
def test_the_gradient_of_the_array(n_q, n_k, bidirectional):
    layer = table(3, bidirectional=bidirectional)
    gradcheck(layer, options={"n_q": n_q, "n_k": n_k}).assert_ok()
    want = relative(layer.weight.value, bidirectional=bidirectional, max_distance=7)
    np.testing.assert_array_equal(layer(n_q, n_k), want.over((3, n_q, n_k)))


def test_gradients_are_added():
    layer, dy = table(), normal(1, 2, 3, 4)
    for times in (1, 2):
        assert layer.backward(dy, layer.forward(3, 4)[1]) is None
        if times == 1:
            once = layer.weight.grad.copy()
    assert once.any()
    np.testing.assert_allclose(layer.weight.grad, 2 * once)


def tables(model):
    """What is to be checked here; the projections are by the tests of attention."""
    found = {name: p for name, p in model.named_parameters() if "relative.weight" in name}
    assert found
    return found


@pytest.mark.parametrize(
    ("layers", "num_kv_heads", "dropout"), [(1, 2, 0.3), (1, 1, 0.0), (2, 1, 0.0)]
)
def test_the_gradient_through_attention(method, layers, num_kv_heads, dropout):
    """A table of one layer, and one that two share, whose gradient is the sum."""
    model = Attention(num_kv_heads, layers, dropout)
    run = Run(np.random.default_rng(3)) if dropout else None
    report = gradcheck(model, normal(0, 1, 5, 4), run=run, parameters=tables(model))
    report.assert_ok()
    (entry,) = [e for e in report.entries if "relative.weight" in e.name]
    assert entry.verdict == "pass"


@pytest.mark.parametrize(
    "positions", [np.array([0, 3, 4, 9, 10]), np.arange(10).reshape(2, 5) ** 2]
)
def test_the_gradient_where_positions_are_given(method, positions):
    model = Attention(num_kv_heads=1, bidirectional=False)
    given = {"options": {"positions": positions}, "parameters": tables(model)}
    gradcheck(model, normal(0, 2, 5, 4), **given).assert_ok()


def test_attention_adds_what_the_layer_s_own_backward_would(method):
    """The gradient of an array is that of each place; the table's, by this layer."""
    layer = MultiHeadAttention(4, 2, rng=np.random.default_rng(0), dtype=np.float64)
    biased, x, dy = table(), normal(0, 5, 4), normal(1, 5, 4)
    y, saved = layer.forward(x, bias=biased.bias())
    layer.backward(dy, saved)
    through = biased.weight.grad.copy()
    array, array_saved = biased.forward(5)
    assert_close(layer(x, bias=array), y)
    given = []
    shown = relative(biased.weight.value, max_distance=7, learn=given.append)
    layer.backward(dy, layer.forward(x, bias=shown)[1])
    assert_close(given[0], through)
    eps = 1e-6  # one direction, by differences
    u = normal(2, *array.shape)
    biased.zero_grad()
    biased.backward(u, array_saved)
    moved_on = [layer(x, bias=array + s * eps * biased_step(biased)) for s in (1, -1)]
    slope = np.sum(dy * (moved_on[0] - moved_on[1])) / (2 * eps)
    np.testing.assert_allclose(slope, np.sum(through * biased.weight.grad), rtol=1e-6)


@pytest.mark.parametrize("lengths", [(3, 5), (5, 3)])
def test_the_gradient_where_queries_are_not_as_many_as_keys(method, lengths):
    """The last query stands at the last key, so that distances hang on both lengths."""
    n_q, n_k = lengths
    biased, dy = table(), normal(0, 2, n_q, 4)
    q, k, v = (normal(seed, 2, n, 4) for seed, n in enumerate((n_q, n_k, n_k), 1))
    array, array_saved = biased.forward(n_q, n_k)
    *_, darray = F.attention_backward(dy, F.attention(q, k, v, bias=array)[1])
    biased.backward(darray, array_saved)
    *_, dtable = F.attention_backward(dy, F.attention(q, k, v, bias=biased.bias())[1])
    assert_close(dtable, biased.weight.grad)


def biased_step(layer):
    """The array for a table that is the layer's gradient."""
    return relative(layer.weight.grad, max_distance=7).over((2, 5, 5))


def test_a_bias_that_says_not_where_keeps_its_gradient_to_itself(method):
    layer = MultiHeadAttention(4, 2, rng=np.random.default_rng(0), dtype=np.float64)
    x = normal(0, 5, 4)
    bias = relative(normal(1, 6, 2), max_distance=7)
    assert layer.backward(x, layer.forward(x, bias=bias)[1])[0].shape == x.shape


def test_a_replica_has_a_gradient_of_its_own(method):
    model = Attention()
    copy = model.replica()
    x = normal(0, 2, 5, 4)
    y, saved = copy.forward(x)
    copy.backward(y, saved)
    assert not model.relative.weight.grad.any()
    assert copy.relative.weight.grad.any()
    assert_close(y, model(x))


def test_a_frozen_table_has_no_gradient(method):
    model = Attention()
    model.relative.weight.trainable = False
    x = normal(0, 2, 5, 4)
    y, saved = model.forward(x)
    model.backward(y, saved)
    assert not model.relative.weight.grad.any()


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ((0,), ValueError, "num_heads is 0; expected a positive int"),
        ((2, 5), ValueError, "5 buckets; expected at least 4, and an even number"),
        ((2, 32, 8), ValueError, "max_distance is 8; expected more than 8"),
        ((2, 32, 16, False), ValueError, "max_distance is 16; expected more than 16"),
        ((2, 32, 128, "no"), TypeError, "bidirectional is 'no'; expected True or False"),
        ((2, 4.0), TypeError, "num_buckets is 4.0; expected a positive int"),
    ],
)
def test_what_cannot_be_built_is_refused(arguments, error, said):
    with pytest.raises(error, match=re.escape(f"RelativePositionBias: {said}")):
        RelativePositionBias(*arguments)


def test_what_does_not_fit_is_refused():
    layer = table()
    for lengths, error in (((0,), ValueError), ((2, 0), ValueError), ((2.0,), TypeError)):
        with pytest.raises(
            error, match=r"RelativePositionBias: n_. is .*; expected a positive int"
        ):
            layer(*lengths)
    _, saved = layer.forward(3, 4)
    with pytest.raises(ValueError, match=r"RelativePositionBias.backward: dy is \(2, 4, 3\)"):
        layer.backward(normal(0, 2, 4, 3), saved)
    with pytest.raises(TypeError, match=r"RelativePositionBias.backward: .*float32"):
        layer.backward(normal(0, 2, 3, 4).astype(np.float32), saved)
    attention = MultiHeadAttention(6, 3, dtype=np.float64)
    with pytest.raises(
        ValueError, match=r"bias is made for 2 heads and does not fit scores \(3, 5"
    ):
        attention(normal(0, 5, 6), bias=layer.bias())
    with pytest.raises(TypeError, match="q is float64 but bias is float32"):
        MultiHeadAttention(4, 2, dtype=np.float64)(
            normal(0, 5, 4), bias=RelativePositionBias(2).bias()
        )
