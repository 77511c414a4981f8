"""BERT: the same in parts, each called a layer's output or its intermediate.

The row of the padding token learns like any other here; transformers withholds its gradient.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from .name_map import NameMap, Row, Shape, linear, refuse, row
from .options import Options
from .words import ACTIVATIONS, word_of

_HEAD = "cls.predictions"
_HEADED = "BertForMaskedLM", "BertForPreTraining", "BertLMHeadModel"


def _read(options: Options, shapes: Mapping[str, Shape]) -> dict[str, Any]:
    options.only("position_embedding_type", "absolute")
    options.ignore("classifier_dropout", "directionality")  # of heads that are not here
    options.ignore(*(f"pooler_{name}" for name in _POOLER))
    return {
        "vocab_size": options.take("vocab_size", int),
        "max_len": options.take("max_position_embeddings", int),
        "d_model": options.take("hidden_size", int),
        "num_heads": options.take("num_attention_heads", int),
        "num_layers": options.take("num_hidden_layers", int),
        "d_ff": options.take("intermediate_size", int),
        "num_token_types": options.take("type_vocab_size", int, 2),
        "dropout": options.dropout(hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1),
        "norm_eps": options.take("layer_norm_eps", float, 1e-12),
        "activation": options.choice("hidden_act", ACTIVATIONS, "gelu"),
        "tie_embeddings": options.take("tie_word_embeddings", bool, True),
        "head": f"{_HEAD}.transform.dense.weight" in shapes or options.is_one_of(*_HEADED),
        "pooler": "pooler.dense.weight" in shapes,
    }


_POOLER = ("fc_size", "num_attention_heads", "num_fc_layers", "size_per_head", "type")  # not used


def _write(config: Any) -> dict[str, Any]:
    refuse(
        "bert",
        norm=(config.norm, "layer"),
        norm_position=(config.norm_position, "post"),
        position=(config.position, "learned"),
        activation=(config.activation, tuple(ACTIVATIONS.values())),
        bias=(config.bias, True),
        num_kv_heads=(config.num_kv_heads, (None, config.num_heads)),
    )
    heads = {(True, True): "ForPreTraining", (True, False): "ForMaskedLM"}
    return {
        "architectures": ["Bert" + heads.get((config.head, config.pooler), "Model")],
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.max_len,
        "hidden_size": config.d_model,
        "num_attention_heads": config.num_heads,
        "num_hidden_layers": config.num_layers,
        "intermediate_size": 4 * config.d_model if config.d_ff is None else config.d_ff,
        "type_vocab_size": config.num_token_types,
        "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": config.dropout,
        "layer_norm_eps": config.norm_eps,
        "hidden_act": word_of(config.activation),
        "tie_word_embeddings": config.tie_embeddings,
    }


def _rows(config: Any) -> Iterator[Row]:
    base = "bert.embeddings"
    yield row(f"{base}.word_embeddings.weight", "inputs.token.weight")
    yield row(f"{base}.position_embeddings.weight", "inputs.position.weight")
    yield row(f"{base}.token_type_embeddings.weight", "inputs.token_type.weight")
    yield from linear(f"{base}.LayerNorm", "inputs.norm", bias=True)
    for i in range(config.num_layers):
        theirs, ours = f"bert.encoder.layer.{i}", f"encoder.layers.{i}"
        for there, here in (
            ("attention.self.query", "self_attention.q_proj"),
            ("attention.self.key", "self_attention.k_proj"),
            ("attention.self.value", "self_attention.v_proj"),
            ("attention.output.dense", "self_attention.out_proj"),
            ("attention.output.LayerNorm", "self_attention_norm"),
            ("intermediate.dense", "feed_forward.up"),
            ("output.dense", "feed_forward.down"),
            ("output.LayerNorm", "feed_forward_norm"),
        ):
            yield from linear(f"{theirs}.{there}", f"{ours}.{here}", bias=True)
    if config.pooler:
        yield from linear("bert.pooler.dense", "pooler.dense", bias=True)
    if config.head:
        yield from linear(f"{_HEAD}.transform.dense", "head.dense", bias=True)
        yield from linear(f"{_HEAD}.transform.LayerNorm", "head.norm", bias=True)
        tied = config.tie_embeddings  # weight and bias alike: untied, one of the two is not used
        yield row(f"{_HEAD}.bias", *(["head.decoder.bias"] if tied else []))
        yield row(f"{_HEAD}.decoder.bias", "head.decoder.bias")
        yield row(f"{_HEAD}.decoder.weight", f"{'inputs.token' if tied else 'head.decoder'}.weight")


BERT = NameMap(
    model_type="bert",
    model="BERT",
    read=_read,
    write=_write,
    rows=_rows,
    prefix="bert.",
    skipped=(r"embeddings\.position_ids", r"cls\.seq_relationship\.(weight|bias)"),
    renamed=(("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias")),
)
