"""Modules of PyTorch's: what they compute and learn, layers here do from their state dicts."""

import numpy as np
import pytest
import torch
from interop.hugging_face import silently
from support.strategies import normal
from torch import nn

from npformer import layers, masks
from npformer.interop import load_torch, torch_gradients, torch_state

EXACT = {"rtol": 1e-9, "atol": 1e-11}
WIDE = {"dtype": np.float64}
FIRST = {"batch_first": True, "dtype": torch.float64}
D, H, F, B, T, S = 8, 2, 12, 2, 4, 5
STACK = (2, D, H, F)
X, Z = normal(0, B, T, D), normal(1, B, S, D)
KEYS = np.array([[True] * S, [True, True, True, False, False]])


def drawn(module, seed=0):
    """A module in evaluation mode, its parameters away from their initial values."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return module.eval()


def transformer(**options):
    return silently(nn.Transformer, D, H, 2, 3, F, **FIRST, **options)


def encoder(norm=True, **options):
    layer = nn.TransformerEncoderLayer(D, H, F, **FIRST, **options)
    last = nn.LayerNorm(D, dtype=torch.float64) if norm else None
    return nn.TransformerEncoder(layer, 2, last, enable_nested_tensor=False)


def decoder(norm=True, **options):
    layer = nn.TransformerDecoderLayer(D, H, F, **FIRST, **options)
    return nn.TransformerDecoder(layer, 2, nn.LayerNorm(D, dtype=torch.float64) if norm else None)


def ahead(n):
    return nn.Transformer.generate_square_subsequent_mask(n, dtype=torch.float64)


def attend(module, x, z):
    return module(x, z, z, key_padding_mask=torch.tensor(~KEYS), need_weights=False)[0]


def look(module, x, z):
    return module(x, z, tgt_mask=ahead(T), memory_key_padding_mask=torch.tensor(~KEYS))


SEEN = {"memory_mask": KEYS[:, None, None]}
# By name: their module, the layer here, the inputs, how theirs is called, options of ours.
CASES = {
    "Linear": (nn.Linear(D, 3, dtype=torch.float64), layers.Linear(D, 3, **WIDE), (X,)),
    "Linear without bias": (
        nn.Linear(D, 3, bias=False, dtype=torch.float64),
        layers.Linear(D, 3, bias=False, **WIDE),
        (X,),
    ),
    "LayerNorm": (nn.LayerNorm(D, dtype=torch.float64), layers.LayerNorm(D, **WIDE), (X,)),
    "RMSNorm": (nn.RMSNorm(D, 1e-6, dtype=torch.float64), layers.RMSNorm(D, **WIDE), (X,)),
    "Embedding": (
        nn.Embedding(7, D, dtype=torch.float64),
        layers.Embedding(7, D, **WIDE),
        (np.array([[1, 2, 1], [6, 0, 1]]),),
    ),
    "Conv1d": (
        nn.Conv1d(D, 3, 3, 2, 1, dtype=torch.float64),
        layers.Conv1d(D, 3, 3, stride=2, padding=1, **WIDE),
        (X,),
        lambda module, x: module(x.mT).mT,
    ),
    "MultiheadAttention to itself": (
        nn.MultiheadAttention(D, H, **FIRST),
        layers.MultiHeadAttention(D, H, **WIDE),
        (X,),
        lambda module, x: module(x, x, x, need_weights=False, attn_mask=ahead(T))[0],
        {"mask": masks.causal()},
    ),
    "MultiheadAttention to a memory": (
        nn.MultiheadAttention(D, H, bias=False, **FIRST),
        layers.MultiHeadAttention(D, H, bias=False, **WIDE),
        (X, Z),
        attend,
        {"mask": KEYS[:, None, None]},
    ),
    "RNN": (
        nn.RNN(D, 3, **FIRST),
        layers.RNN(D, 3, **WIDE),
        (X,),
        lambda module, x: module(x)[0],
    ),
    "LSTM": (
        nn.LSTM(D, 3, **FIRST),
        layers.LSTM(D, 3, **WIDE),
        (X,),
        lambda module, x: module(x)[0],
    ),
    "TransformerEncoderLayer": (
        nn.TransformerEncoderLayer(D, H, F, **FIRST),
        layers.EncoderLayer(D, H, F, norm_position="post", **WIDE),
        (X,),
    ),
    "TransformerDecoderLayer, norm first, GELU, no bias": (
        nn.TransformerDecoderLayer(
            D, H, F, activation="gelu", norm_first=True, bias=False, **FIRST
        ),
        layers.DecoderLayer(D, H, F, activation="gelu", bias=False, **WIDE),
        (X, Z),
        look,
        SEEN,
    ),
    "TransformerEncoder": (
        encoder(),
        layers.Encoder(*STACK, norm_position="post", final_norm=True, **WIDE),
        (X,),
    ),
    "TransformerEncoder, norm first, none at the end": (
        encoder(norm=False, norm_first=True, activation="gelu"),
        layers.Encoder(*STACK, activation="gelu", final_norm=False, **WIDE),
        (X,),
    ),
    "TransformerDecoder": (
        decoder(norm=False),
        layers.Decoder(*STACK, norm_position="post", **WIDE),
        (X, Z),
        look,
        SEEN,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_outputs_and_every_gradient_are_theirs(case):
    module, layer, inputs, *rest = CASES[case]
    call = rest[0] if rest else lambda module, *inputs: module(*inputs)
    options = rest[1] if len(rest) > 1 else {}
    load_torch(layer, drawn(module).state_dict())
    learns = inputs[0].dtype.kind == "f"
    leaves = [torch.from_numpy(x.copy()).requires_grad_(learns) for x in inputs]
    want = call(module, *leaves)
    y, saved = layer.forward(*inputs, **options)
    np.testing.assert_allclose(y, want.detach().numpy(), **EXACT)
    dy = normal(5, *y.shape)
    want.backward(torch.from_numpy(dy))
    gradients = layer.backward(dy, saved)
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)
    for got, leaf in zip(gradients, leaves, strict=False) if learns else ():
        np.testing.assert_allclose(got, leaf.grad.numpy(), **EXACT)
    same_gradients(layer, module)
    same_state(layer, module)


def same_gradients(layer, module):
    got, want = torch_gradients(layer), dict(module.named_parameters())
    assert got.keys() == want.keys()
    for name, parameter in want.items():
        assert parameter.grad.any(), name
        np.testing.assert_allclose(got[name], parameter.grad.numpy(), **EXACT, err_msg=name)


def same_state(layer, module):
    """What is given back is what was loaded, and the module takes it."""
    want = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    state = {name: torch.from_numpy(array) for name, array in torch_state(layer).items()}
    drawn(module, 1)
    module.load_state_dict(state, strict=True)
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, want[name])


@pytest.mark.parametrize(
    ("options", "ours"),
    [
        ({}, {"norm_position": "post", "final_norm": True}),
        ({"norm_first": True, "activation": "gelu"}, {"activation": "gelu"}),
        ({"bias": False}, {"norm_position": "post", "final_norm": True, "bias": False}),
    ],
)
def test_a_whole_transformer(options, ours):
    module = drawn(transformer(**options))
    stacks = {
        "encoder": layers.Encoder(*STACK, **ours, **WIDE),
        "decoder": layers.Decoder(3, *STACK[1:], **ours, **WIDE),
    }
    load_torch(stacks, module.state_dict())
    source, target = (torch.from_numpy(x.copy()).requires_grad_() for x in (Z, X))
    hidden = torch.zeros(B, S, dtype=torch.float64).masked_fill(torch.tensor(~KEYS), -torch.inf)
    padded = {f"{name}_key_padding_mask": hidden for name in ("src", "memory")}
    want = module(source, target, tgt_mask=ahead(T), **padded)
    mask = KEYS[:, None, None]
    z, encoded = stacks["encoder"].forward(Z, mask=mask)
    y, decoded = stacks["decoder"].forward(X, z, memory_mask=mask)
    np.testing.assert_allclose(y, want.detach().numpy(), **EXACT)
    dy = normal(5, *y.shape)
    want.backward(torch.from_numpy(dy))
    dx, dz = stacks["decoder"].backward(dy, decoded)
    np.testing.assert_allclose(dx, target.grad.numpy(), **EXACT)
    dsource = stacks["encoder"].backward(dz, encoded)
    np.testing.assert_allclose(dsource, source.grad.numpy(), **EXACT)
    same_gradients(stacks, module)
    same_state(stacks, module)


@pytest.mark.parametrize(("theirs", "ours"), [(nn.RNN, layers.RNN), (nn.LSTM, layers.LSTM)])
def test_several_recurrent_layers(theirs, ours):
    module = drawn(theirs(D, 3, num_layers=2, **FIRST))
    first, second = stack = [ours(D, 3, **WIDE), ours(3, 3, **WIDE)]
    load_torch(stack, module.state_dict())
    want = module(torch.from_numpy(X))[0]
    h, first_saved = first.forward(X)
    y, second_saved = second.forward(h)
    np.testing.assert_allclose(y, want.detach().numpy(), **EXACT)
    dy = normal(5, *y.shape)
    want.backward(torch.from_numpy(dy))
    first.backward(second.backward(dy, second_saved)[0], first_saved)
    same_gradients(stack, module)
    same_state(stack, module)


class Reader(nn.Module):
    """A module of one's own, its output tied to its input."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, D)
        self.core = nn.ModuleDict({"blocks": encoder().to(torch.float32)})
        self.out = nn.Linear(D, 7)
        self.out.weight = self.embed.weight

    def forward(self, ids):
        return self.out(self.core["blocks"](self.embed(ids)))


def test_a_module_of_ones_own_is_a_dict_of_its_parts():
    module = drawn(Reader())
    embed = layers.Embedding(7, D)
    blocks = layers.Encoder(*STACK, norm_position="post", final_norm=True)
    out = layers.Linear(D, 7, weight=embed.weight)
    parts = {"embed": embed, "core.blocks": blocks, "out": out}
    load_torch(parts, module.state_dict())
    ids = np.array([[1, 2, 5, 0], [6, 6, 3, 1]])
    want = module(torch.from_numpy(ids)).detach().numpy()
    np.testing.assert_allclose(out(blocks(embed(ids))), want, rtol=1e-4, atol=1e-5)
    same_state(parts, module)


def test_a_type_that_numpy_has_not():
    module = nn.Linear(3, 2).to(torch.bfloat16)
    with pytest.raises(TypeError, match=r"weight is torch.bfloat16, which NumPy does not have"):
        load_torch(layers.Linear(3, 2), module.state_dict())
    layer = layers.Linear(3, 2)
    load_torch(layer, module.float().state_dict())
    np.testing.assert_array_equal(layer.weight.value, module.weight.detach().numpy())


@pytest.mark.parametrize(
    ("module", "layer", "said"),
    [
        (nn.MultiheadAttention(D, H, add_bias_kv=True), layers.MultiHeadAttention(D, H), "add_bia"),
        (nn.MultiheadAttention(D, H, kdim=3), layers.MultiHeadAttention(D, H), "kdim or vdim"),
        (nn.MultiheadAttention(D, H), layers.MultiHeadAttention(D, H, bias=False), "bias: build"),
        (nn.LSTM(D, 3, bidirectional=True), layers.LSTM(D, 3), "bidirectional"),
        (nn.LSTM(D, 3, proj_size=2), layers.LSTM(D, 3), "proj_size"),
        (nn.LSTM(D, 3, num_layers=2), layers.LSTM(D, 3), "several layers: give as many"),
        (encoder(), layers.Encoder(*STACK, norm_position="post"), "final_norm"),
        (nn.Linear(3, 2), layers.Linear(2, 3), r"weight is \(2, 3\), expected \(3, 2\)"),
    ],
)
def test_options_that_a_state_tells_of(module, layer, said):
    with pytest.raises(ValueError, match=f"(?s)does not fit the layer.*{said}"):
        load_torch(layer, module.state_dict())


def test_a_state_that_is_not_finite_changes_nothing():
    layer = layers.Linear(3, 2)
    state = torch_state(layer)
    before = {name: array.copy() for name, array in state.items()}
    state["bias"][1] = np.nan
    with pytest.raises(ValueError, match="bias holds NaN or infinite numbers"):
        load_torch(layer, state)
    for name, array in torch_state(layer).items():
        np.testing.assert_array_equal(array, before[name])
