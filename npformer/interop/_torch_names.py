"""How PyTorch names the parameters of its modules, for each layer here that is one of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from .. import layers
from ..core.layer import Layer
from ..core.parameter import Parameter
from ..models._names.name_map import Row, linear, row

Parts: TypeAlias = Layer | Sequence["Parts"] | Mapping[str, "Parts"]

_RECURRENT = (layers.RNN, layers.LSTM)
_NORMS = {"self_attention_norm": "norm1", "feed_forward_norm": "norm2"}


def rows_of(part: Parts, name: str = "") -> Iterator[Row]:
    """Yield a row for each parameter of PyTorch's.

    Parameters
    ----------
    part : Layer, or sequence or mapping of such
        Several recurrent layers in a sequence are one module of as many layers; all else in a
        sequence or mapping is a module each, by number or name.
    name : str
        Of the part, to be used in error messages.

    Raises
    ------
    TypeError
        If a layer has no counterpart.
    ValueError
        If it is built as its counterpart cannot be.
    """
    if isinstance(part, Mapping):
        for key, child in part.items():
            yield from under(key, key, rows_of(child, _join(name, key)))
    elif isinstance(part, Sequence) and not isinstance(part, str):
        deep = len(part) > 0 and all(isinstance(one, _RECURRENT) for one in part)
        for i, child in enumerate(part):
            if deep:
                yield from under("", str(i), _recurrent(child, i))
            else:
                yield from under(str(i), str(i), rows_of(child, _join(name, str(i))))
    else:
        table = next((_TABLES[kind] for kind in type(part).__mro__ if kind in _TABLES), None)
        if table is None:
            known = ", ".join(kind.__name__ for kind in _TABLES)
            raise TypeError(
                f"{name or 'the layer'} is a {type(part).__name__}, for which PyTorch has no "
                f"module that is known here; expected {known}, or a dict of them by the names "
                f"that a module of yours has for its parts"
            )
        _check(part, name or "the layer")
        yield from table(part)


def under(theirs: str, ours: str, rows: Iterator[Row]) -> Iterator[Row]:
    """Yield rows with longer names: of a module within another."""
    for one in rows:
        names = tuple(_join(ours, each) for each in one.ours)
        yield Row(_join(theirs, one.theirs), names, one.layout)


def _join(first: str, second: str) -> str:
    return f"{first}.{second}" if first and second else first + second


def _check(layer: Any, name: str) -> None:
    """Refuse a layer that no module of PyTorch's can be."""
    for path, part in layer.named_layers():
        reason = None
        if isinstance(part, layers.MultiHeadAttention):
            if part.num_kv_heads != part.num_heads:
                reason = f"has {part.num_kv_heads} heads of keys for {part.num_heads} of queries"
            elif part.rotary_base is not None:
                reason = "turns queries and keys by their positions (rotary_base)"
            elif (part.k_proj.bias is None) != (part.q_proj.bias is None):
                reason = "has no bias of keys (key_bias=False) beside one of queries"
        elif isinstance(part, layers.FeedForward) and part.gate is not None:
            reason = "has a gate (swiglu)"
        elif isinstance(part, layers.RMSNorm) and part is not layer:
            reason = "is an RMSNorm, where PyTorch's has a LayerNorm"
        if reason is not None:
            raise ValueError(
                f"{_join(name, path)} {reason}, which PyTorch's module cannot be; build the layer "
                f"as the module is"
            )


def _same(layer: Layer) -> Iterator[Row]:
    """Names that are PyTorch's own."""
    for name, value in vars(layer).items():
        if isinstance(value, Parameter):
            yield row(name, name)


def _recurrent(layer: Any, number: int = 0) -> Iterator[Row]:
    for one in _same(layer):
        yield one._replace(theirs=f"{one.theirs}_l{number}")


def _attention(layer: layers.MultiHeadAttention) -> Iterator[Row]:
    maps = ("q_proj", "k_proj", "v_proj")
    yield row("in_proj_weight", *(f"{one}.weight" for one in maps))
    bias = layer.q_proj.bias is not None
    if bias:
        yield row("in_proj_bias", *(f"{one}.bias" for one in maps))
    yield from linear("out_proj", "out_proj", bias=bias)


def _encoder_layer(layer: layers.EncoderLayer) -> Iterator[Row]:
    yield from under("self_attn", "self_attention", _attention(layer.self_attention))
    yield from _beside_attention(layer, _NORMS)


def _decoder_layer(layer: layers.DecoderLayer) -> Iterator[Row]:
    yield from under("self_attn", "self_attention", _attention(layer.self_attention))
    yield from under("multihead_attn", "cross_attention", _attention(layer.cross_attention))
    norms = {**_NORMS, "cross_attention_norm": "norm2", "feed_forward_norm": "norm3"}
    yield from _beside_attention(layer, norms)


def _beside_attention(layer: Any, norms: Mapping[str, str]) -> Iterator[Row]:
    for ours, theirs in (("up", "linear1"), ("down", "linear2")):
        part = getattr(layer.feed_forward, ours)
        yield from linear(theirs, f"feed_forward.{ours}", bias=part.bias is not None)
    for ours, theirs in norms.items():
        yield from linear(theirs, ours, bias=getattr(layer, ours).bias is not None)


def _stack(stack: Any) -> Iterator[Row]:
    one = _encoder_layer if isinstance(stack, layers.Encoder) else _decoder_layer
    for i, layer in enumerate(stack.layers):
        yield from under(f"layers.{i}", f"layers.{i}", one(layer))
    if stack.norm is not None:
        yield from linear("norm", "norm", bias=stack.norm.bias is not None)


_TABLES: dict[type, Callable[[Any], Iterator[Row]]] = {
    layers.Linear: _same,
    layers.Embedding: _same,
    layers.LayerNorm: _same,
    layers.RMSNorm: _same,
    layers.Conv1d: _same,
    layers.LearnedPositionalEncoding: _same,  # an nn.Embedding
    layers.RNN: _recurrent,
    layers.LSTM: _recurrent,
    layers.MultiHeadAttention: _attention,
    layers.EncoderLayer: _encoder_layer,
    layers.DecoderLayer: _decoder_layer,
    layers.Encoder: _stack,
    layers.Decoder: _stack,
}

# Names that say how a module was built, where that does not fit: endings, and what they mean.
REASONS = (
    (r"(^|\.)bias_[kv]", "add_bias_kv: a key and a value that are learned; layers here have none"),
    (
        r"(^|\.)[qkv]_proj_weight",
        "kdim or vdim: a memory of another width than d_model, which layers here cannot read",
    ),
    (r"_l\d+_reverse", "bidirectional: load each direction by itself, into a layer of its own"),
    (r"weight_hr_l\d+", "proj_size: a projected state, which layers here do not have"),
    (r"(weight|bias)_[ih]h_l[1-9]\d*", "several layers: give as many layers here, in a list"),
    (r"in_proj_bias", "bias: build the layer here as the module is, with or without"),
    (r"(^|\.)norm\.(weight|bias)", "a norm after the last layer: build the stack with final_norm"),
)
