"""Checks that several configurations share: a config that exists can be built."""

from typing import Any

from ..biases import check_buckets
from ..core.arrays import check_choice, check_positive, check_rate, check_size, describe
from ..layers._heads import check_heads
from ..layers._residual import NORM_POSITIONS, NORMS
from ..layers.feed_forward import ACTIVATIONS

POSITIONS = ("learned", "sinusoidal", "rotary", "alibi", "t5")


def check_config(config: Any) -> None:
    """Refuse what no model can be built from, naming the configuration's class and field.

    Raises
    ------
    TypeError, ValueError
        If a size is not a positive int, heads do not divide the width, a name is not known, or
        a rate is not in [0, 1).
    """
    owner = type(config).__name__
    check_size(owner, vocab_size=config.vocab_size, max_len=config.max_len)
    check_size(owner, num_layers=config.num_layers, d_ff=1 if config.d_ff is None else config.d_ff)
    kv_heads = config.num_heads if config.num_kv_heads is None else config.num_kv_heads
    check_heads(owner, config.d_model, config.num_heads, kv_heads)
    check_rate(owner, "dropout", config.dropout)
    for name in ("bias", "tie_embeddings", "rotary_interleaved", "checkpoint"):
        if not isinstance(getattr(config, name), bool):
            raise TypeError(f"{owner}: {name} is {getattr(config, name)!r}; expected True or False")
    check_choice(owner, "norm", config.norm, NORMS)
    check_choice(owner, "norm_position", config.norm_position, NORM_POSITIONS)
    check_choice(owner, "activation", config.activation, [*ACTIVATIONS, "swiglu"])
    check_choice(owner, "position", config.position, POSITIONS)
    if config.position == "t5":  # a decoder has all buckets for one direction, an encoder half
        for both in (False, True):
            check_buckets(owner, config.relative_buckets, both, config.relative_distance)
    check_positive(owner, norm_eps=config.norm_eps, rotary_base=config.rotary_base)
    even = config.d_model if config.position == "sinusoidal" else 0
    even = config.d_model // config.num_heads if config.position == "rotary" else even
    if even % 2:
        raise ValueError(
            f"{owner}: {config.position} positions go in pairs and the width is {even}; "
            f"choose d_model and num_heads such that it is even"
        )


def check_config_type(config: Any, expected: type) -> None:
    """Refuse a configuration of another model."""
    if not isinstance(config, expected):
        raise TypeError(
            f"config is {describe(config)}; expected a {expected.__name__}, the configuration "
            f"of this model"
        )


def stack_options(config: Any) -> dict[str, Any]:
    """Return the options of `Encoder` and `Decoder` that a configuration names."""
    return {
        "d_model": config.d_model,
        "num_heads": config.num_heads,
        "d_ff": config.d_ff,
        "num_kv_heads": config.num_kv_heads,
        "dropout": config.dropout,
        "attention_dropout": getattr(config, "attention_dropout", None),
        "bias": config.bias,
        "activation": config.activation,
        "norm": config.norm,
        "norm_position": config.norm_position,
        "norm_eps": config.norm_eps,
        "rotary_base": config.rotary_base if config.position == "rotary" else None,
        "rotary_interleaved": config.rotary_interleaved,
        "checkpoint": config.checkpoint,
    }
