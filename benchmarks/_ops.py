"""The operations and layers that `ops.py` compares, each written once for either side.

An array of floats is differentiated, one of integers is not. Both sides get the same arrays. No
side imports the other's library.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Size(NamedTuple):
    """B sequences of T tokens, D wide, H heads, F in between, V classes."""

    B: int
    T: int
    D: int
    H: int
    F: int
    V: int


SIZES = {
    "tiny": Size(2, 5, 8, 2, 12, 11),  # for tests
    "baby": Size(8, 256, 384, 6, 1536, 5_000),
    "gpt2": Size(4, 128, 768, 12, 3072, 50_257),
}


class Case(NamedTuple):
    """One operation with its arguments."""

    arrays: dict[str, np.ndarray]
    dy: np.ndarray | float
    ours: Callable[[dict, Any], tuple]  # arrays and dy to the output and the gradients by name
    theirs: Callable[[dict], Any]  # tensors to a tensor
    flops: int  # forward and backward, where matmul is most of the work; else 0


def cases(size):
    """Return the cases by name; their arrays are the same each time."""
    B, T, D, H, F, V = size
    N, K = B * T, D // H
    rng = np.random.default_rng(0)

    def normal(*shape, scale=1.0):
        return scale * rng.standard_normal(shape, dtype=np.float32)

    def x(width=D):
        return normal(B, T, width)

    def linear(d_out, d_in, name=""):
        return {
            f"{name}weight": normal(d_out, d_in, scale=d_in**-0.5),
            f"{name}bias": normal(d_out, scale=0.1),
        }

    def norm(name=""):
        return {f"{name}weight": 1.0 + normal(D, scale=0.1), f"{name}bias": normal(D, scale=0.1)}

    def ids(*shape):
        return rng.integers(0, V, shape)

    def projections(name=""):
        maps = (linear(D, D, f"{name}{part}_proj.") for part in ("q", "k", "v", "out"))
        return {key: value for arrays in maps for key, value in arrays.items()}

    def feed(name=""):
        return linear(F, D, f"{name}up.") | linear(D, F, f"{name}down.")

    heads = {part: normal(B, H, T, K) for part in "qkv"}
    weight = normal(V, D, scale=D**-0.5)
    of_linear, of_attention = 6 * N * D * F, 3 * 2 * B * D * T * (T + 1)
    of_heads, of_feed = 6 * N * 4 * D * D + of_attention, 12 * N * D * F
    block = projections("self_attention.") | norm("self_attention_norm.")
    block |= feed("feed_forward.") | norm("feed_forward_norm.")
    return {
        "linear": Case({"x": x()} | linear(F, D), x(F), _op("linear"), _linear, of_linear),
        "layer_norm": Case({"x": x()} | norm(), x(), _op("layer_norm"), _layer_norm, 0),
        "rms_norm": Case(
            {"x": x(), "weight": norm()["weight"]}, x(), _op("rms_norm"), _rms_norm, 0
        ),
        "gelu": Case({"x": x(F)}, x(F), _op("gelu"), _gelu, 0),
        "swiglu": Case({"a": x(F), "b": x(F)}, x(F), _op("swiglu"), _swiglu, 0),
        "softmax": Case({"x": normal(B, H, T, T)}, normal(B, H, T, T), _op("softmax"), _softmax, 0),
        "cross_entropy": Case(
            *({"logits": normal(N, V), "targets": ids(N)}, 1.0),
            *(_op("cross_entropy"), _cross_entropy, 0),
        ),
        "linear_cross_entropy": Case(
            *({"x": normal(N, D), "weight": weight, "targets": ids(N)}, 1.0),
            *(_op("linear_cross_entropy"), _linear_cross_entropy, 6 * N * D * V),
        ),
        "embedding": Case(
            {"ids": ids(B, T), "weight": weight}, x(), _op("embedding"), _embedding, 0
        ),
        "attention, causal": Case(
            heads, normal(B, H, T, K), _op("attention", causal=True), _attention, of_attention
        ),
        "MultiHeadAttention": Case(
            *({"x": x()} | projections(), x()),
            *(_layer("MultiHeadAttention", D, H, causal=True), _multi_head(H), of_heads),
        ),
        "FeedForward": Case(
            *({"x": x()} | feed(), x()),
            *(_layer("FeedForward", D, F, activation="gelu"), _feed_forward, of_feed),
        ),
        "block of a GPT": Case(
            *({"x": x()} | block, x()),
            _layer("EncoderLayer", D, H, F, activation="gelu", causal=True),
            *(_block(H), of_heads + of_feed),
        ),
    }


def our_pass(case):
    """Return a function that runs a case here, forward and backward."""
    return lambda: case.ours(case.arrays, case.dy)


def torch_pass(case):
    """Return a function that runs a case in PyTorch."""
    import torch

    tensors = {name: torch.from_numpy(x) for name, x in case.arrays.items()}
    learned = {name: x for name, x in tensors.items() if x.is_floating_point()}
    dy = None if isinstance(case.dy, float) else torch.from_numpy(case.dy)

    def both_ways():
        for x in learned.values():
            x.grad = None
            x.requires_grad_(True)
        y = case.theirs(tensors)
        y.backward(dy)
        return y.detach().numpy(), {name: x.grad.numpy() for name, x in learned.items()}

    return both_ways


def _op(name, causal=False):
    def ours(arrays, dy):
        import npformer.functional as F
        from npformer import masks

        options = {"mask": masks.causal()} if causal else {}
        y, saved = getattr(F, name)(*arrays.values(), **options)
        found = getattr(F, f"{name}_backward")(dy, saved)
        found = found if isinstance(found, tuple) else (found,)
        learned = [key for key, x in arrays.items() if x.dtype.kind == "f"]
        return y, dict(zip(learned, found, strict=False))  # attention's bias is the last

    return ours


def _layer(name, *arguments, causal=False, **settings):
    kept = []

    def ours(arrays, dy):
        from npformer import layers, masks

        if not kept:
            kept.append(getattr(layers, name)(*arguments, **settings))
            kept[0].load_state_dict({key: x for key, x in arrays.items() if key != "x"})
        layer = kept[0]
        layer.zero_grad()
        y, saved = layer.forward(arrays["x"], **({"mask": masks.causal()} if causal else {}))
        dx = layer.backward(dy, saved)
        dx = dx[0] if isinstance(dx, tuple) else dx
        return y, {"x": dx} | {key: p.grad for key, p in layer.named_parameters()}

    return ours


def _functions():
    from torch.nn import functional

    return functional


def _linear(t, name="", x=None):
    x = t["x"] if x is None else x
    return _functions().linear(x, t[f"{name}weight"], t[f"{name}bias"])


def _layer_norm(t, name="", x=None):
    x = t["x"] if x is None else x
    weight, bias = t[f"{name}weight"], t[f"{name}bias"]
    return _functions().layer_norm(x, weight.shape, weight, bias)


def _rms_norm(t):
    return _functions().rms_norm(t["x"], t["weight"].shape, t["weight"], 1e-6)


def _gelu(t):
    return _functions().gelu(t["x"])


def _swiglu(t):
    return _functions().silu(t["a"]) * t["b"]


def _softmax(t):
    return _functions().softmax(t["x"], -1)


def _cross_entropy(t):
    return _functions().cross_entropy(t["logits"], t["targets"])


def _linear_cross_entropy(t):
    functions = _functions()
    return functions.cross_entropy(functions.linear(t["x"], t["weight"]), t["targets"])


def _embedding(t):
    return _functions().embedding(t["ids"], t["weight"])


def _attention(t):
    return _functions().scaled_dot_product_attention(t["q"], t["k"], t["v"], is_causal=True)


def _multi_head(heads, name=""):
    def theirs(t, x=None):
        x = t["x"] if x is None else x
        batch, length, width = x.shape
        q, k, v = (
            _linear(t, f"{name}{part}_proj.", x).view(batch, length, heads, -1).transpose(1, 2)
            for part in "qkv"
        )
        a = _attention({"q": q, "k": k, "v": v})
        return _linear(t, f"{name}out_proj.", a.transpose(1, 2).reshape(batch, length, width))

    return theirs


def _feed_forward(t, name="", x=None):
    up = _linear(t, f"{name}up.", x)
    return _linear(t, f"{name}down.", _functions().gelu(up))


def _block(heads):
    attention = _multi_head(heads, "self_attention.")

    def theirs(t):
        x = t["x"]
        x = x + attention(t, _layer_norm(t, "self_attention_norm.", x))
        return x + _feed_forward(t, "feed_forward.", _layer_norm(t, "feed_forward_norm.", x))

    return theirs
