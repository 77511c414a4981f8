"""CLIP: two configurations in one, of the texts and of the images; patches by a convolution.

An `eos_token_id` of 2 is what older folders have, whatever ends their texts: transformers then
takes the largest id of each text for its end, as the paper does.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from .name_map import Layout, NameMap, Row, Shape, linear, refuse, row
from .options import Options
from .words import ACTIVATIONS, word_of

_OLD_END = 2  # stands for the largest id
_TOWERS = {"image": "vision", "text": "text"}  # ours to theirs
_DEFAULTS = {  # of d_model, num_heads and d_ff, where a folder does not say
    "image": (768, 12, 3072),
    "text": (512, 8, 2048),
}


def _read(options: Options, shapes: Mapping[str, Shape]) -> dict[str, Any]:
    # Where the factor began, and how weights were drawn; there is no table to tie.
    options.ignore("logit_scale_init_value", "initializer_factor", "tie_word_embeddings")
    fields: dict[str, Any] = {"d_embed": options.take("projection_dim", int, 512)}
    alike: dict[str, dict[str, Any]] = {}
    for ours, theirs in _TOWERS.items():
        given = options.optional(f"{theirs}_config", dict) or {}
        # In older folders a second one, which has the last word where it is there.
        given = options.optional(f"{theirs}_config_dict", dict) or given
        part = Options(given, chosen=options.chosen)
        try:
            own, shared = _read_tower(part, ours)
            part.finish()
        except ValueError as error:
            raise ValueError(f"in its '{theirs}_config', {error}") from error
        fields |= own
        alike[theirs] = shared
    for name, value in alike["text"].items():
        if value != alike["vision"][name] and name not in options.chosen:
            raise ValueError(
                f"its text_config has the {name} {value!r} and its vision_config "
                f"{alike['vision'][name]!r}; the towers here have one"
            )
    return fields | alike["text"]


def _read_tower(part: Options, ours: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what is a tower's own, and what it has to share with the other."""
    d_model, num_heads, d_ff = _DEFAULTS[ours]
    sizes = {
        "d_model": part.take("hidden_size", int, d_model),
        "num_heads": part.take("num_attention_heads", int, num_heads),
        "num_layers": part.take("num_hidden_layers", int, 12),
        "d_ff": part.take("intermediate_size", int, d_ff),
    }
    own: dict[str, Any] = {f"{ours}_{name}": value for name, value in sizes.items()}
    part.ignore("projection_dim", "initializer_factor", "tie_word_embeddings")
    part.ignore("dropout")  # of older folders: used nowhere
    if ours == "image":
        own["image_size"] = part.take("image_size", int, 224)
        own["patch_size"] = part.take("patch_size", int, 32)
        own["num_channels"] = part.take("num_channels", int, 3)
    else:
        own["vocab_size"] = part.take("vocab_size", int, 49408)
        own["max_len"] = part.take("max_position_embeddings", int, 77)
        own["end_token"] = _end_token(part.given.get("eos_token_id", 49407))
    rate = part.take("attention_dropout", float, 0.0)
    if rate and "dropout" not in part.chosen:
        raise ValueError(
            f"its 'attention_dropout' is {rate}, of attention weights alone, and here one rate "
            f"acts on weights, branches and embeddings; choose it with "
            f"from_pretrained(..., dropout=...), which matters in training only"
        )
    return own, {
        "norm_eps": part.take("layer_norm_eps", float, 1e-5),
        "activation": part.choice("hidden_act", ACTIVATIONS, "quick_gelu"),
    }


def _end_token(given: Any) -> int | None:
    if type(given) is not int:
        raise ValueError(f"its 'eos_token_id' is {given!r}; expected an int, which ends a text")
    return None if given == _OLD_END else given


def _write(config: Any) -> dict[str, Any]:
    refuse("clip", activation=(config.activation, tuple(ACTIVATIONS.values())))
    if config.end_token == _OLD_END:
        raise ValueError(
            "clip: end_token is 2, for which it would take the largest id of each text instead"
        )
    written: dict[str, Any] = {
        "architectures": ["CLIPModel"],
        "projection_dim": config.d_embed,
    }
    for ours, theirs in _TOWERS.items():
        d_model, num_heads, num_layers, d_ff = (
            getattr(config, f"{ours}_{name}")
            for name in ("d_model", "num_heads", "num_layers", "d_ff")
        )
        written[f"{theirs}_config"] = {
            "model_type": f"clip_{theirs}_model",
            "hidden_size": d_model,
            "num_attention_heads": num_heads,
            "num_hidden_layers": num_layers,
            "intermediate_size": 4 * d_model if d_ff is None else d_ff,
            "projection_dim": config.d_embed,
            "layer_norm_eps": config.norm_eps,
            "hidden_act": word_of(config.activation),
            "attention_dropout": config.dropout,
        }
    written["vision_config"] |= {
        "image_size": config.image_size,
        "patch_size": config.patch_size,
        "num_channels": config.num_channels,
    }
    written["text_config"] |= {
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.max_len,
        "eos_token_id": _OLD_END if config.end_token is None else config.end_token,
        "bos_token_id": None,  # neither is used, and their defaults are of another vocabulary
        "pad_token_id": None,
    }
    return written


def _one_row() -> Layout:
    """Ours has a table of one row, theirs the row."""
    return Layout(lambda x: x[None], lambda x: x[0], lambda shape: shape[1:])


def _patches(channels: int, size: int) -> Layout:
    """Ours has a patch as one row, theirs as an image of so many channels."""
    return Layout(
        lambda x: x.reshape(len(x), -1),
        lambda x: x.reshape(len(x), channels, size, size),
        lambda shape: (shape[0], channels, size, size),
    )


def _rows(config: Any) -> Iterator[Row]:
    yield row("logit_scale", "log_scale")
    theirs = "text_model.embeddings"
    yield row(f"{theirs}.token_embedding.weight", "text.inputs.token.weight")
    yield row(f"{theirs}.position_embedding.weight", "text.inputs.position.weight")
    theirs, ours = "vision_model.embeddings", "image.inputs"
    yield row(f"{theirs}.class_embedding", f"{ours}.class_token.weight", layout=_one_row())
    patches = _patches(config.num_channels, config.patch_size)
    yield row(f"{theirs}.patch_embedding.weight", f"{ours}.linear.weight", layout=patches)
    yield row(f"{theirs}.position_embedding.weight", f"{ours}.position.weight")
    yield from linear("vision_model.pre_layrnorm", "image.norm", bias=True)
    for tower, name in _TOWERS.items():
        for i in range(getattr(config, f"{tower}_num_layers")):
            for there, here in (
                ("layer_norm1", "self_attention_norm"),
                ("self_attn.q_proj", "self_attention.q_proj"),
                ("self_attn.k_proj", "self_attention.k_proj"),
                ("self_attn.v_proj", "self_attention.v_proj"),
                ("self_attn.out_proj", "self_attention.out_proj"),
                ("layer_norm2", "feed_forward_norm"),
                ("mlp.fc1", "feed_forward.up"),
                ("mlp.fc2", "feed_forward.down"),
            ):
                yield from linear(
                    f"{name}_model.encoder.layers.{i}.{there}",
                    f"{tower}.encoder.layers.{i}.{here}",
                    bias=True,
                )
    yield from linear("vision_model.post_layernorm", "image.encoder.norm", bias=True)
    yield from linear("text_model.final_layer_norm", "text.encoder.norm", bias=True)
    yield row("visual_projection.weight", "image.projection.linear.weight")
    yield row("text_projection.weight", "text.projection.linear.weight")


CLIP = NameMap(
    model_type="clip",
    model="CLIP",
    read=_read,
    write=_write,
    rows=_rows,
    skipped=(r"(text|vision)_model\.embeddings\.position_ids",),
)
