"""Llama: RMSNorm, rotary positions, a gated feed-forward layer, grouped queries."""

from collections.abc import Iterator, Mapping
from typing import Any

from .name_map import NameMap, Row, Shape, linear, pairs_apart, refuse, row
from .options import Options


def _read(options: Options, shapes: Mapping[str, Shape]) -> dict[str, Any]:
    d_model = options.take("hidden_size", int)
    num_heads = options.take("num_attention_heads", int)
    options.only("head_dim", d_model // max(num_heads, 1), None)
    options.only("hidden_act", "silu", "swish")
    options.only("pretraining_tp", 1)
    bias = options.take("attention_bias", bool, False)
    options.only("mlp_bias", bias)
    rate = options.take("attention_dropout", float, 0.0)
    if rate and "dropout" not in options.chosen:
        raise ValueError(
            f"its 'attention_dropout' is {rate}, of attention weights alone, and here one rate "
            f"acts on weights, branches and embeddings; choose it with "
            f"from_pretrained(..., dropout=...), which matters in training only"
        )
    tied = options.take("tie_word_embeddings", bool, False)
    return {
        "vocab_size": options.take("vocab_size", int),
        "max_len": options.take("max_position_embeddings", int, 2048),
        "d_model": d_model,
        "num_heads": num_heads,
        "num_layers": options.take("num_hidden_layers", int),
        "d_ff": options.take("intermediate_size", int),
        "num_kv_heads": options.take("num_key_value_heads", int, num_heads),
        "norm_eps": options.take("rms_norm_eps", float, 1e-6),
        "rotary_base": _rotary_base(options),
        "bias": bias,
        "tie_embeddings": tied,
        "head": tied or "lm_head.weight" in shapes or options.is_one_of("LlamaForCausalLM"),
        **FAMILY,
    }


# What all of the family have alike; see GPTConfig.
FAMILY = {
    "norm": "rms",
    "norm_position": "pre",
    "activation": "swiglu",
    "position": "rotary",
}


def _rotary_base(options: Options) -> float:
    """Read the base from where newer folders have it, or older ones; refuse stretched positions."""
    old = options.take("rope_theta", float, 10000.0)
    options.only("rope_scaling", None, {"type": "default"}, {"rope_type": "default"})
    given = options.optional("rope_parameters", dict)
    if given is None:
        return old
    rope = Options(given)
    rope.only("rope_type", "default")
    rope.only("partial_rotary_factor", 1.0, None)
    base = rope.take("rope_theta", float, old)
    rope.finish()
    return base


def _write(config: Any) -> dict[str, Any]:
    refuse(
        "llama",
        **{name: (getattr(config, name), value) for name, value in FAMILY.items()},
        window=(config.window, None),
    )
    return {
        "architectures": ["LlamaForCausalLM" if config.head else "LlamaModel"],
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.max_len,
        "hidden_size": config.d_model,
        "num_attention_heads": config.num_heads,
        "num_hidden_layers": config.num_layers,
        "intermediate_size": 4 * config.d_model if config.d_ff is None else config.d_ff,
        "num_key_value_heads": config.num_kv_heads or config.num_heads,
        "head_dim": config.d_model // config.num_heads,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rotary_base,  # where older readers look
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rotary_base},
        "attention_bias": config.bias,
        "mlp_bias": config.bias,
        "attention_dropout": config.dropout,
        "tie_word_embeddings": config.tie_embeddings,
    }


def _rows(config: Any) -> Iterator[Row]:
    bias, kv_heads = config.bias, config.num_kv_heads or config.num_heads
    yield row("model.embed_tokens.weight", "inputs.token.weight")
    for i in range(config.num_layers):
        theirs, ours = f"model.layers.{i}", f"decoder.layers.{i}"
        yield row(f"{theirs}.input_layernorm.weight", f"{ours}.self_attention_norm.weight")
        for which, heads in (("q", config.num_heads), ("k", kv_heads), ("v", 0), ("o", 0)):
            here = f"{ours}.self_attention.{'out' if which == 'o' else which}_proj"
            turned = heads and config.rotary_interleaved
            layout = {"layout": pairs_apart(heads)} if turned else {}
            yield from linear(f"{theirs}.self_attn.{which}_proj", here, bias=bias, **layout)
        yield row(f"{theirs}.post_attention_layernorm.weight", f"{ours}.feed_forward_norm.weight")
        for which in ("gate", "up", "down"):
            here = f"{ours}.feed_forward.{which}"
            yield from linear(f"{theirs}.mlp.{which}_proj", here, bias=bias)
    yield row("model.norm.weight", "decoder.norm.weight")
    if config.head:
        yield row(
            "lm_head.weight", "inputs.token.weight" if config.tie_embeddings else "head.weight"
        )


LLAMA = NameMap(
    model_type="llama",
    model="GPT",
    read=_read,
    write=_write,
    rows=_rows,
    prefix="model.",
    skipped=(r"layers\.\d+\.self_attn\.rotary_emb\.inv_freq", r"rotary_emb\.inv_freq"),
)
