"""Whisper: two convolutions before the encoder, cross-attention after self-attention.

The row of the padding token learns like any other here; transformers withholds its gradient.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from .name_map import NameMap, Row, Shape, linear, refuse, row
from .options import Options
from .words import ACTIVATIONS, word_of


def _read(options: Options, shapes: Mapping[str, Shape]) -> dict[str, Any]:
    options.only("is_encoder_decoder", True)
    options.only("scale_embedding", False)
    for name in ("encoder_layerdrop", "decoder_layerdrop"):
        options.only(name, 0.0)
    options.only("apply_spec_augment", False)
    options.ignore(*_IGNORED)
    num_heads = options.take("encoder_attention_heads", int)
    options.only("decoder_attention_heads", num_heads)
    d_ff = options.take("encoder_ffn_dim", int)
    options.only("decoder_ffn_dim", d_ff)
    return {
        "vocab_size": options.take("vocab_size", int),
        "max_len": options.take("max_target_positions", int, 448),
        "d_model": options.take("d_model", int),
        "num_heads": num_heads,
        "num_layers": options.take("encoder_layers", int),
        "num_decoder_layers": options.take("decoder_layers", int),
        "d_ff": d_ff,
        "n_mels": options.take("num_mel_bins", int, 80),
        "max_source_len": options.take("max_source_positions", int, 1500),
        "dropout": _dropout(options),
        "activation": options.choice("activation_function", ACTIVATIONS, "gelu"),
        "tie_embeddings": options.take("tie_word_embeddings", bool, True),
    }


# How text is written, marks that apply_spec_augment would make, parts that are not here, and
# encoder_layers again.
_IGNORED = (
    *("decoder_start_token_id", "forced_decoder_ids", "suppress_tokens", "begin_suppress_tokens"),
    *(f"mask_{axis}_{name}" for axis in ("time", "feature") for name in ("prob", "length")),
    *(f"mask_{axis}_min_masks" for axis in ("time", "feature")),
    *("use_weighted_layer_sum", "classifier_proj_size", "median_filter_width"),
    *("num_hidden_layers", "init_std"),
)


def _dropout(options: Options) -> float:
    """Return the one rate: of branches and embeddings, and of attention weights."""
    inside = options.take("activation_dropout", float, 0.0)
    if inside and "dropout" not in options.chosen:
        raise ValueError(
            f"its 'activation_dropout' is {inside}, inside feed-forward layers, where models here "
            f"have none; choose a rate for all else with from_pretrained(..., dropout=...), which "
            f"matters in training only"
        )
    return options.dropout(dropout=0.0, attention_dropout=0.0)


def _write(config: Any) -> dict[str, Any]:
    refuse("whisper", activation=(config.activation, tuple(ACTIVATIONS.values())))
    d_ff = 4 * config.d_model if config.d_ff is None else config.d_ff
    depth = config.num_decoder_layers
    return {
        "architectures": ["WhisperForConditionalGeneration"],
        "is_encoder_decoder": True,
        "vocab_size": config.vocab_size,
        "max_target_positions": config.max_len,
        "d_model": config.d_model,
        "encoder_attention_heads": config.num_heads,
        "decoder_attention_heads": config.num_heads,
        "encoder_layers": config.num_layers,
        "decoder_layers": config.num_layers if depth is None else depth,
        "encoder_ffn_dim": d_ff,
        "decoder_ffn_dim": d_ff,
        "num_mel_bins": config.n_mels,
        "max_source_positions": config.max_source_len,
        "dropout": config.dropout,
        "attention_dropout": config.dropout,
        "activation_dropout": 0.0,
        "activation_function": word_of(config.activation),
        "tie_word_embeddings": config.tie_embeddings,
        # Not known here; theirs would take those of one vocabulary.
        **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "begin_suppress_tokens")),
    }


def _rows(config: Any) -> Iterator[Row]:
    theirs, ours = "model.encoder", "source_inputs"
    for conv in ("conv1", "conv2"):
        yield from linear(f"{theirs}.{conv}", f"{ours}.{conv}", bias=True)
    yield row(f"{theirs}.embed_positions.weight", f"{ours}.position.weight")
    yield from _stack("encoder", config.num_layers, _ATTENTION)
    theirs, ours = "model.decoder", "target_inputs"
    yield row(f"{theirs}.embed_tokens.weight", f"{ours}.token.weight")
    yield row(f"{theirs}.embed_positions.weight", f"{ours}.position.weight")
    depth = config.num_decoder_layers
    yield from _stack(
        "decoder",
        config.num_layers if depth is None else depth,
        {**_ATTENTION, "encoder_attn": "cross_attention"},
    )
    yield row("proj_out.weight", f"{ours}.token.weight" if config.tie_embeddings else "head.weight")


_ATTENTION = {"self_attn": "self_attention"}


def _stack(name: str, depth: int, attention: Mapping[str, str]) -> Iterator[Row]:
    """Yield the layers of an encoder or a decoder, and its last norm."""
    for i in range(depth):
        theirs, ours = f"model.{name}.layers.{i}", f"{name}.layers.{i}"
        for there, here in attention.items():
            for which in ("q_proj", "k_proj", "v_proj", "out_proj"):
                yield from linear(
                    f"{theirs}.{there}.{which}", f"{ours}.{here}.{which}", bias=which != "k_proj"
                )
            yield from linear(f"{theirs}.{there}_layer_norm", f"{ours}.{here}_norm", bias=True)
        for there, here in (
            ("fc1", "feed_forward.up"),
            ("fc2", "feed_forward.down"),
            ("final_layer_norm", "feed_forward_norm"),
        ):
            yield from linear(f"{theirs}.{there}", f"{ours}.{here}", bias=True)
    yield from linear(f"model.{name}.layer_norm", f"{name}.norm", bias=True)


WHISPER = NameMap(
    model_type="whisper",
    model="Whisper",
    read=_read,
    write=_write,
    rows=_rows,
    prefix="model.",
)
