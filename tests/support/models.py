"""Small models of every kind, and batches for them."""

import dataclasses

import numpy as np

from npformer.models import BERT, GPT, Transformer, Whisper
from support.passes import moved

VOCAB, LENGTH = 7, 5
SIZES = {
    "vocab_size": VOCAB,
    "max_len": 8,
    "d_model": 8,
    "num_heads": 4,
    "num_layers": 2,
    "d_ff": 12,
}

# Between them, every value of every option; each config differs from the others in many.
OPTIONS = {
    "learned": {"position": "learned", "activation": "gelu", "norm_position": "pre"},
    "sinusoidal": {
        "position": "sinusoidal",
        "activation": "relu",
        "norm_position": "post",
        "tie_embeddings": False,
        "bias": False,
    },
    "rotary": {
        "position": "rotary",
        "rotary_base": 100.0,
        "activation": "swiglu",
        "norm": "rms",
        "norm_position": "pre",
        "num_kv_heads": 2,
        "bias": False,
    },
    "alibi": {
        "position": "alibi",
        "activation": "gelu_tanh",
        "norm": "rms",
        "norm_position": "post",
        "num_kv_heads": 1,
        "tie_embeddings": False,
    },
}
CASES = [(kind, position) for kind in (GPT, Transformer, BERT, Whisper) for position in OPTIONS]
SPECTRA = {"n_mels": 3, "max_source_len": 4}  # Whisper's


def fields(kind):
    """Names of what a model is configured by."""
    return {field.name for field in dataclasses.fields(kind.config_type)}


def build(kind, position="learned", dtype=np.float64, seed=0, **options):
    """A model at its initial values."""
    given = SIZES | {"dropout": 0.0} | OPTIONS[position]
    if kind is Whisper:  # whose norms and positions are always the same
        given = {name: given[name] for name in fields(kind) & given.keys()} | SPECTRA
    options = given | options
    return kind(kind.config_type(**options), rng=np.random.default_rng(seed), dtype=dtype)


def trained(*arguments, **options):
    """A model whose weights are as far from the initial ones as training may bring them."""
    return moved(build(*arguments, **options))


def batch(kind, seed=0, size=3, dtype=np.float64):
    """(ids, targets, mask), or (source, target_in, targets, source_mask); some do not count.

    BERT's are (ids, targets, mask, types), Whisper's (mel, target_in, targets).
    """
    rng = np.random.default_rng(seed)
    ids, more, targets = rng.integers(0, VOCAB, (3, size, LENGTH))
    targets[0, 2:] = -100
    mask = np.ones((size, LENGTH), bool)
    mask[0, 3:] = mask[-1, :2] = False
    if kind is GPT:
        return ids, targets, mask
    if kind is Whisper:
        mel = rng.standard_normal((size, 3, 7)).astype(dtype)
        return mel, more[:, :4], targets[:, :4]
    if kind is BERT:
        return ids, targets, mask, more % 2
    return ids, more[:, :4], targets[:, :4], mask
