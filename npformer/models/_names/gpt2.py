"""GPT-2: linear maps are stored transposed, those to query, key and value side by side."""

from collections.abc import Iterator, Mapping
from typing import Any

from .name_map import TRANSPOSED, NameMap, Row, Shape, linear, refuse, row
from .options import Options
from .words import ACTIVATIONS, word_of


def _read(options: Options, shapes: Mapping[str, Shape]) -> dict[str, Any]:
    options.only("scale_attn_weights", True)
    options.only("scale_attn_by_inverse_layer_idx", False)
    options.ignore("reorder_and_upcast_attn", "n_ctx")  # precision alone; n_positions again
    options.ignore(*(f"summary_{name}" for name in _SUMMARY))  # a head that is not here
    return {
        "vocab_size": options.take("vocab_size", int),
        "max_len": options.take("n_positions", int),
        "d_model": options.take("n_embd", int),
        "num_heads": options.take("n_head", int),
        "num_layers": options.take("n_layer", int),
        "d_ff": options.optional("n_inner", int),
        "dropout": options.dropout(resid_pdrop=0.1, embd_pdrop=0.1, attn_pdrop=0.1),
        "norm_eps": options.take("layer_norm_epsilon", float, 1e-5),
        "activation": options.choice("activation_function", ACTIVATIONS, "gelu_new"),
        "tie_embeddings": (tied := options.take("tie_word_embeddings", bool, True)),
        "head": tied or "lm_head.weight" in shapes or options.is_one_of("GPT2LMHeadModel"),
    }


_SUMMARY = ("activation", "first_dropout", "proj_to_labels", "type", "use_proj")


def _write(config: Any) -> dict[str, Any]:
    refuse(
        "gpt2",
        norm=(config.norm, "layer"),
        norm_position=(config.norm_position, "pre"),
        position=(config.position, "learned"),
        activation=(config.activation, tuple(ACTIVATIONS.values())),
        bias=(config.bias, True),
        num_kv_heads=(config.num_kv_heads, (None, config.num_heads)),
        window=(config.window, None),
    )
    return {
        "architectures": ["GPT2LMHeadModel" if config.head else "GPT2Model"],
        "vocab_size": config.vocab_size,
        "n_positions": config.max_len,
        "n_embd": config.d_model,
        "n_head": config.num_heads,
        "n_layer": config.num_layers,
        "n_inner": config.d_ff,
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.dropout,
        "layer_norm_epsilon": config.norm_eps,
        "activation_function": word_of(config.activation),
        "tie_word_embeddings": config.tie_embeddings,
    }


def _rows(config: Any) -> Iterator[Row]:
    yield row("transformer.wte.weight", "inputs.token.weight")
    yield row("transformer.wpe.weight", "inputs.position.weight")
    for i in range(config.num_layers):
        theirs, ours = f"transformer.h.{i}", f"decoder.layers.{i}"
        attention, feed = f"{ours}.self_attention", f"{ours}.feed_forward"
        three = (f"{attention}.{which}_proj" for which in "qkv")
        yield from linear(f"{theirs}.ln_1", f"{ours}.self_attention_norm", bias=True)
        for there, here in (
            ("attn.c_attn", tuple(three)),
            ("attn.c_proj", (f"{attention}.out_proj",)),
            ("mlp.c_fc", (f"{feed}.up",)),
            ("mlp.c_proj", (f"{feed}.down",)),
        ):
            yield from linear(f"{theirs}.{there}", *here, bias=True, layout=TRANSPOSED)
        yield from linear(f"{theirs}.ln_2", f"{ours}.feed_forward_norm", bias=True)
    yield from linear("transformer.ln_f", "decoder.norm", bias=True)
    if config.head:
        yield row(
            "lm_head.weight", "inputs.token.weight" if config.tie_embeddings else "head.weight"
        )


GPT2 = NameMap(
    model_type="gpt2",
    model="GPT",
    read=_read,
    write=_write,
    rows=_rows,
    prefix="transformer.",
    skipped=(r"h\.\d+\.attn\.(masked_)?bias",),  # the causal mask, and what it wrote
)
