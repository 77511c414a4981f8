"""Marian: the paper's Transformer with all sines first, and a bias of the logits that is fixed.

A folder without that bias has none: transformers takes it to be zero then, too.

The row of the padding token learns like any other here; transformers withholds its gradient.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ...core.arrays import Array
from ...functional.sinusoidal import sinusoidal
from .name_map import Layout, NameMap, Row, Shape, linear, refuse, row
from .options import Options
from .words import ACTIVATIONS, word_of


def _read(options: Options, shapes: Mapping[str, Shape]) -> dict[str, Any]:
    vocab_size = options.take("vocab_size", int, 58101)
    options.only("decoder_vocab_size", vocab_size, None)
    options.only("share_encoder_decoder_embeddings", True)
    options.only("tie_word_embeddings", True)  # else source, target and output have one each
    options.only("is_encoder_decoder", True)
    # Of older folders: that there is no norm where others have one, and none of positions learned.
    options.only("normalize_embedding", False)
    options.only("normalize_before", False)
    options.only("add_final_layer_norm", False)
    options.only("add_bias_logits", False)
    options.only("static_position_embeddings", True)
    options.ignore("init_std", "num_hidden_layers", "extra_pos_embeddings")
    options.ignore("classif_dropout", "classifier_dropout")  # of a head that is not here
    # Of attention weights, a rate of its own, unless one for everything has been chosen.
    chosen = "dropout" in options.chosen
    attention_dropout = options.take("attention_dropout", float, 0.0)
    for name in ("activation_dropout", "encoder_layerdrop", "decoder_layerdrop"):
        rate = options.take(name, float, 0.0)
        if rate and not chosen:
            raise ValueError(
                f"its {name!r} is {rate}, of what has no dropout here; choose one rate with "
                f"from_pretrained(..., dropout=...), which matters in training only"
            )
    start = options.take("decoder_start_token_id", int, 58100)
    return {
        "vocab_size": vocab_size,
        "max_len": options.take("max_position_embeddings", int, 1024),
        "d_model": options.take("d_model", int, 1024),
        "num_heads": _both(options, "attention_heads", 16),
        "num_layers": options.take("encoder_layers", int, 12),
        "num_decoder_layers": options.take("decoder_layers", int, 12),
        "d_ff": _both(options, "ffn_dim", 4096),
        "dropout": options.take("dropout", float, 0.1),
        "attention_dropout": None if chosen else attention_dropout,
        "activation": options.choice("activation_function", ACTIVATIONS, "gelu"),
        "scale_embeddings": options.take("scale_embedding", bool, False),
        # The default is of a large vocabulary; beyond a small one, there is none.
        "start_token": start if start < vocab_size else None,
        "logits_bias": "final_logits_bias" in shapes,
        "label_smoothing": 0.0,
        **_FAMILY,
    }


def _both(options: Options, name: str, default: int) -> int:
    """Return an option that encoder and decoder have to have alike."""
    found = [options.take(f"{stack}_{name}", int, default) for stack in ("encoder", "decoder")]
    if found[0] != found[1]:
        raise ValueError(
            f"its 'encoder_{name}' is {found[0]} and its 'decoder_{name}' {found[1]}; both stacks "
            f"are of one size here, but for the number of their layers"
        )
    return found[0]


# What all of them have alike; see TransformerConfig.
_FAMILY = {
    "norm": "layer",
    "norm_position": "post",
    "norm_eps": 1e-5,
    "position": "sinusoidal",
    "sinusoid_layout": "halves",
    "bias": True,
    "tie_embeddings": True,
}


def _write(config: Any) -> dict[str, Any]:
    refuse(
        "marian",
        **{name: (getattr(config, name), value) for name, value in _FAMILY.items()},
        activation=(config.activation, tuple(ACTIVATIONS.values())),
        num_kv_heads=(config.num_kv_heads, (None, config.num_heads)),
    )
    attention, depth = config.attention_dropout, config.num_decoder_layers
    d_ff = 4 * config.d_model if config.d_ff is None else config.d_ff
    start = config.start_token
    return {
        "architectures": ["MarianMTModel"],
        "is_encoder_decoder": True,
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.max_len,
        "d_model": config.d_model,
        "encoder_attention_heads": config.num_heads,
        "decoder_attention_heads": config.num_heads,
        "encoder_layers": config.num_layers,
        "decoder_layers": config.num_layers if depth is None else depth,
        "encoder_ffn_dim": d_ff,
        "decoder_ffn_dim": d_ff,
        "dropout": config.dropout,
        "attention_dropout": config.dropout if attention is None else attention,
        "activation_dropout": 0.0,
        "activation_function": word_of(config.activation),
        "scale_embedding": config.scale_embeddings is not False,  # None: beside sinusoids
        "share_encoder_decoder_embeddings": True,
        "tie_word_embeddings": True,
        **({} if start is None else {"decoder_start_token_id": start}),
        "eos_token_id": None,  # not known here, and their defaults are of another vocabulary
        "forced_eos_token_id": None,
        "pad_token_id": None,
    }


# Ours is a vector, theirs a matrix of one row.
_ROW = Layout(lambda x: x[0], lambda x: x[None], lambda shape: (1, *shape))


def _rows(config: Any) -> Iterator[Row]:
    table = "source_inputs.token.weight"
    yield row("model.shared.weight", table)
    yield row("model.encoder.embed_tokens.weight", table)
    yield row("model.decoder.embed_tokens.weight", table)
    depth = config.num_decoder_layers or config.num_layers
    for stack, count in (("encoder", config.num_layers), ("decoder", depth)):
        for i in range(count):
            theirs = ours = f"{stack}.layers.{i}"
            kinds = ["self_attn self_attention", "encoder_attn cross_attention"]
            for there, here in (kind.split() for kind in kinds[: 1 + (stack == "decoder")]):
                for which in ("q", "k", "v", "out"):
                    names = f"{theirs}.{there}.{which}_proj", f"{ours}.{here}.{which}_proj"
                    yield from linear(f"model.{names[0]}", names[1], bias=True)
                norms = f"model.{theirs}.{there}_layer_norm", f"{ours}.{here}_norm"
                yield from linear(*norms, bias=True)
            for there, here in (
                ("fc1", "feed_forward.up"),
                ("fc2", "feed_forward.down"),
                ("final_layer_norm", "feed_forward_norm"),
            ):
                yield from linear(f"model.{theirs}.{there}", f"{ours}.{here}", bias=True)
    yield row("lm_head.weight", table)
    if config.logits_bias:
        yield row("final_logits_bias", "head.bias", layout=_ROW)


def _positions(config: Any) -> dict[str, Array]:
    """Return the tables of positions, which are computed here."""
    nothing = np.zeros((config.max_len, config.d_model))
    table, _ = sinusoidal(nothing, np.arange(config.max_len), config.sinusoid_layout)
    return {f"{stack}.embed_positions.weight": table for stack in ("encoder", "decoder")}


MARIAN = NameMap(
    model_type="marian",
    model="Transformer",
    read=_read,
    write=_write,
    rows=_rows,
    prefix="model.",
    skipped=(r"(encoder|decoder)\.embed_positions\.weight",),
    fixed=_positions,
)
