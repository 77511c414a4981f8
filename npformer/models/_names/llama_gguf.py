"""Llama in a GGUF file: rotary pairs stand side by side there, so the model is built so, too."""

from collections.abc import Iterator, Mapping
from typing import Any

from .llama import FAMILY
from .name_map import SAME, NameMap, Row, Shape, linear, pairs_together, row
from .options import Options

_TABLE = "token_embd.weight"


def _read(options: Options, shapes: Mapping[str, Shape]) -> dict[str, Any]:
    def take(key: str, kind: type, *default: Any) -> Any:
        return options.take(f"llama.{key}", kind, *default)

    d_model, num_heads = take("embedding_length", int), take("attention.head_count", int)
    for key in ("rope.dimension_count", "attention.key_length", "attention.value_length"):
        options.only(f"llama.{key}", d_model // max(num_heads, 1))
    options.only("llama.rope.scaling.type", "none")
    for key in list(options.given):
        if key.startswith(("general.", "tokenizer.", "GGUF.", "quantize.")):
            options.ignore(key)
    known = shapes.get(_TABLE, (0,))[0]
    return {
        "vocab_size": take("vocab_size", int, known),
        "max_len": take("context_length", int),
        "d_model": d_model,
        "num_heads": num_heads,
        "num_layers": take("block_count", int),
        "d_ff": take("feed_forward_length", int),
        "num_kv_heads": take("attention.head_count_kv", int, num_heads),
        "norm_eps": take("attention.layer_norm_rms_epsilon", float),
        "rotary_base": take("rope.freq_base", float, 10000.0),
        "rotary_interleaved": True,
        "bias": "blk.0.attn_q.bias" in shapes,
        "tie_embeddings": "output.weight" not in shapes,
        **FAMILY,
    }


def _rows(config: Any) -> Iterator[Row]:
    bias, kv_heads = config.bias, config.num_kv_heads or config.num_heads
    yield row(_TABLE, "inputs.token.weight")
    for i in range(config.num_layers):
        theirs, ours = f"blk.{i}", f"decoder.layers.{i}"
        yield row(f"{theirs}.attn_norm.weight", f"{ours}.self_attention_norm.weight")
        for which, here, heads in (
            ("q", "q_proj", config.num_heads),
            ("k", "k_proj", kv_heads),
            ("v", "v_proj", 0),
            ("output", "out_proj", 0),
        ):
            apart = heads and not config.rotary_interleaved
            layout = pairs_together(heads) if apart else SAME
            here = f"{ours}.self_attention.{here}"
            yield from linear(f"{theirs}.attn_{which}", here, bias=bias, layout=layout)
        yield row(f"{theirs}.ffn_norm.weight", f"{ours}.feed_forward_norm.weight")
        for which in ("gate", "up", "down"):
            here = f"{ours}.feed_forward.{which}"
            yield from linear(f"{theirs}.ffn_{which}", here, bias=bias)
    yield row("output_norm.weight", "decoder.norm.weight")
    if not config.tie_embeddings:
        yield row("output.weight", "head.weight")


LLAMA_GGUF = NameMap(model_type="llama", model="GPT", read=_read, write=None, rows=_rows)
