"""State dicts of PyTorch's: its names and shapes, and what does not fit is refused."""

import numpy as np
import pytest

from npformer.interop import load_torch, torch_gradients, torch_state
from npformer.layers import (
    LSTM,
    RNN,
    Conv1d,
    Decoder,
    DecoderLayer,
    Dropout,
    Embedding,
    Encoder,
    EncoderLayer,
    LayerNorm,
    Linear,
    MultiHeadAttention,
    RMSNorm,
)


def shapes(layer):
    return {name: array.shape for name, array in torch_state(layer).items()}


class Tensor:
    """What stands in for a tensor of PyTorch's that needs a gradient."""

    def __init__(self, array, steps=("detach", "cpu")):
        self.array, self.steps = array, steps

    def detach(self):
        assert self.steps[0] == "detach"
        return Tensor(self.array, self.steps[1:])

    def cpu(self):
        assert self.steps[0] == "cpu"
        return Tensor(self.array, ())

    def numpy(self):
        assert not self.steps
        if self.array is None:
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self.array


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (Linear(3, 2), {"weight": (2, 3), "bias": (2,)}),
        (Linear(3, 2, bias=False), {"weight": (2, 3)}),
        (LayerNorm(3), {"weight": (3,), "bias": (3,)}),
        (RMSNorm(3), {"weight": (3,)}),
        (Embedding(5, 3), {"weight": (5, 3)}),
        (Conv1d(3, 2, 5), {"weight": (2, 3, 5), "bias": (2,)}),
        (
            MultiHeadAttention(4, 2),
            {
                "in_proj_weight": (12, 4),
                "in_proj_bias": (12,),
                "out_proj.weight": (4, 4),
                "out_proj.bias": (4,),
            },
        ),
        (
            MultiHeadAttention(4, 2, bias=False),
            {"in_proj_weight": (12, 4), "out_proj.weight": (4, 4)},
        ),
        (
            [RNN(3, 2, bias=False), RNN(2, 2, bias=False)],
            {
                "weight_ih_l0": (2, 3),
                "weight_hh_l0": (2, 2),
                "weight_ih_l1": (2, 2),
                "weight_hh_l1": (2, 2),
            },
        ),
        (
            {"read": LSTM(3, 2), "heads": [Linear(2, 1, bias=False), Linear(2, 4, bias=False)]},
            {
                "read.weight_ih_l0": (8, 3),
                "read.weight_hh_l0": (8, 2),
                "read.bias_ih_l0": (8,),
                "read.bias_hh_l0": (8,),
                "heads.0.weight": (1, 2),
                "heads.1.weight": (4, 2),
            },
        ),
    ],
)
def test_names_and_shapes(layer, expected):
    assert shapes(layer) == expected


def test_names_of_the_stacks():
    stacks = {
        "encoder": Encoder(1, 4, 2, 6, norm_position="post", final_norm=True),
        "decoder": Decoder(1, 4, 2, 6, bias=False),
    }
    attention = ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")
    encoder = {f"self_attn.{name}" for name in attention}
    for part in ("linear1", "linear2", "norm1", "norm2"):
        encoder |= {f"{part}.weight", f"{part}.bias"}
    decoder = {f"{part}.weight" for part in ("linear1", "linear2", "norm1", "norm2", "norm3")}
    for part in ("self_attn", "multihead_attn"):
        decoder |= {f"{part}.in_proj_weight", f"{part}.out_proj.weight"}
    want = {f"encoder.layers.0.{name}" for name in encoder} | {"encoder.norm.weight"}
    want |= {f"decoder.layers.0.{name}" for name in decoder} | {"decoder.norm.weight"}
    assert set(torch_state(stacks)) == want | {"encoder.norm.bias"}
    assert set(torch_state(EncoderLayer(4, 2, 6))) == encoder
    assert set(torch_state(DecoderLayer(4, 2, 6, bias=False))) == decoder


def test_queries_keys_and_values_stand_one_below_the_other():
    layer = MultiHeadAttention(4, 2)
    layer.k_proj.bias.value[...] = 7
    state = torch_state(layer)
    maps = (layer.q_proj, layer.k_proj, layer.v_proj)
    np.testing.assert_array_equal(
        state["in_proj_weight"], np.vstack([m.weight.value for m in maps])
    )
    np.testing.assert_array_equal(state["in_proj_bias"], [0] * 4 + [7] * 4 + [0] * 4)


@pytest.mark.parametrize("wrap", [np.array, Tensor])
def test_there_and_back(wrap):
    def build(seed):
        rng = np.random.default_rng(seed)
        return {"core": [Encoder(2, 4, 2, 6, rng=rng), Decoder(1, 4, 2, 6, rng=rng)]}

    state = torch_state(build(0))
    for array in state.values():
        array += np.random.default_rng(1).standard_normal(array.shape).astype(np.float32)
    other = build(1)
    values = [p.value for stack in other["core"] for p in stack.parameters()]
    load_torch(other, {name: wrap(array) for name, array in state.items()})
    again = torch_state(other)
    assert again.keys() == state.keys()
    for name, array in state.items():
        np.testing.assert_array_equal(again[name], array)
    now = [p.value for stack in other["core"] for p in stack.parameters()]
    assert all(one is two for one, two in zip(values, now, strict=True))  # in place
    again["core.0.norm.weight"][...] = 9  # copies, both ways
    state["core.0.norm.weight"][...] = 9
    assert (other["core"][0].norm.weight.value != 9).all()


def test_gradients_have_the_same_names():
    layer = {"a": Linear(3, 2), "b": MultiHeadAttention(4, 2)}
    layer["b"].v_proj.weight.grad += 2
    grads = torch_gradients(layer)
    assert grads.keys() == torch_state(layer).keys()
    assert not grads["b.in_proj_weight"][:8].any()
    assert (grads["b.in_proj_weight"][8:] == 2).all()
    grads["a.weight"] += 1
    assert not layer["a"].weight.grad.any()  # copies


def test_a_tied_weight_has_both_names_and_has_to_agree():
    embedding = Embedding(5, 3)
    parts = {"embed": embedding, "out": Linear(3, 5, weight=embedding.weight)}
    state = torch_state(parts)
    assert set(state) == {"embed.weight", "out.weight", "out.bias"}
    state["embed.weight"] = state["out.weight"] = state["out.weight"] + 1
    load_torch(parts, state)
    np.testing.assert_array_equal(embedding.weight.value, state["out.weight"])
    state["embed.weight"] = state["out.weight"] + 1
    with pytest.raises(ValueError, match=r"embed\.weight and out\.weight are one parameter here"):
        load_torch(parts, state)
    np.testing.assert_array_equal(embedding.weight.value, state["out.weight"])


def test_float32_becomes_float64_and_nothing_loses_precision():
    wide, narrow = Linear(3, 2, dtype=np.float64), Linear(3, 2)
    load_torch(wide, torch_state(narrow))
    assert wide.weight.value.dtype == np.float64
    np.testing.assert_array_equal(wide.weight.value, narrow.weight.value)
    with pytest.raises(TypeError, match="weight is float64 and the layer float32, which would"):
        load_torch(narrow, torch_state(wide))


@pytest.mark.parametrize(
    ("layer", "change", "said"),
    [
        (Linear(3, 2), {"bias": None}, r"1 are missing.*missing: bias \(2,\), for bias"),
        (Linear(3, 2, False), {"bias": (2,)}, r"1 not known\n  not known: bias \(2,\)"),
        (Linear(3, 2), {"weight": (3, 2)}, r"weight is \(3, 2\), expected \(2, 3\)"),
        (
            MultiHeadAttention(4, 2, bias=False),
            {"in_proj_bias": (12,), "out_proj.bias": (4,)},
            r"2 not known.*\(in_proj_bias says bias: build the layer here as the module is",
        ),
        (
            MultiHeadAttention(4, 2),
            {"in_proj_bias": None},
            r"\(12,\), for q_proj.bias, k_proj.bias, v_proj.bias.*\(in_proj_bias says bias",
        ),
        (MultiHeadAttention(4, 2), {"bias_k": (1, 1, 4)}, r"\(bias_k says add_bias_kv"),
        (
            MultiHeadAttention(4, 2),
            {"in_proj_weight": None, "q_proj_weight": (4, 4), "k_proj_weight": (4, 3)},
            r"\(q_proj_weight says kdim or vdim",
        ),
        (LSTM(3, 2), {"weight_ih_l0_reverse": (8, 3)}, r"reverse says bidirectional: load each"),
        (LSTM(3, 2), {"weight_hr_l0": (1, 2)}, "weight_hr_l0 says proj_size"),
        (LSTM(3, 2), {"weight_ih_l1": (8, 2)}, "says several layers: give as many"),
        (
            Encoder(1, 4, 2, 6, norm_position="post"),
            {"norm.weight": (4,), "norm.bias": (4,)},
            r"\(norm.weight says a norm after the last layer: build the stack with final_norm\)",
        ),
        (Encoder(1, 4, 2, 6), {"norm.weight": None}, r"\(norm.weight says a norm after the last"),
    ],
)
def test_what_does_not_fit_is_named_with_its_reason_and_changes_nothing(layer, change, said):
    before = torch_state(layer)
    state = {name: array + 1 for name, array in before.items()}
    for name, shape in change.items():
        if shape is None:
            del state[name]
        else:
            state[name] = np.ones(shape, np.float32)
    with pytest.raises(ValueError, match=f"(?s)does not fit the layer.*{said}"):
        load_torch(layer, state)
    for name, array in torch_state(layer).items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize(
    ("value", "error", "said"),
    [
        ([1.0], TypeError, "weight is a list"),
        (np.ones((2, 3), np.int64), ValueError, "wrong type: weight is int64, expected floats"),
        (np.ones((2, 3), complex), TypeError, "would lose precision"),
        (Tensor(None), TypeError, r"which NumPy does not have; convert the module with .float"),
    ],
)
def test_what_is_no_array_of_floats_is_refused(value, error, said):
    with pytest.raises(error, match=said):
        load_torch(Linear(3, 2, bias=False), {"weight": value})


def test_a_state_is_a_mapping():
    with pytest.raises(TypeError, match=r"state is a list.*expected a mapping.*state_dict"):
        load_torch(Linear(3, 2), [])


@pytest.mark.parametrize(
    ("layer", "error", "said"),
    [
        (Dropout(0.1), TypeError, "the layer is a Dropout, for which PyTorch has no module"),
        ({"a": [Dropout(0.1)]}, TypeError, r"a\.0 is a Dropout"),
        (MultiHeadAttention(4, 2, 1), ValueError, "the layer has 1 heads of keys for 2 of queries"),
        ({"a": MultiHeadAttention(4, 2, rotary_base=10.0)}, ValueError, "a turns queries and"),
        (
            Decoder(1, 4, 2, key_bias=False),
            ValueError,
            r"the layer.layers.0.self_attention has no bias of keys",
        ),
        (EncoderLayer(4, 2, activation="swiglu"), ValueError, "feed_forward has a gate"),
        (Encoder(1, 4, 2, norm="rms"), ValueError, "norm is an RMSNorm, where PyTorch's has a"),
    ],
)
def test_layers_that_no_module_can_be(layer, error, said):
    for ask in (torch_state, torch_gradients, lambda one: load_torch(one, {})):
        with pytest.raises(error, match=said):
            ask(layer)
