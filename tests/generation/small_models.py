"""Models for the tests of generation: small ones of every kind, and one that is a table."""

import numpy as np
from hypothesis import strategies as st
from support.passes import moved

from npformer.models import GPT, GPTConfig, Transformer, TransformerConfig

POSITIONS = ("learned", "sinusoidal", "rotary", "alibi", "t5")
MAX_LEN = 12


def made(kind, position="learned", seed=0, vocab=7, **options):
    """A model that prefers some tokens clearly."""
    config = GPTConfig if kind is GPT else TransformerConfig
    sizes = {"max_len": MAX_LEN, "d_model": 8, "num_heads": 2, "num_layers": 2, "d_ff": 12}
    given = sizes | {"dropout": 0.0, "position": position, "relative_buckets": 4} | options
    given["relative_distance"] = 6
    model = kind(config(vocab, **given), rng=np.random.default_rng(seed), dtype=np.float64)
    return moved(model, seed, 0.5)


models = st.builds(
    made,
    st.sampled_from([GPT, Transformer]),
    st.sampled_from(POSITIONS),
    st.integers(0, 2**16),
    num_kv_heads=st.sampled_from([1, 2]),
)


def start_of(model):
    """The options that a model needs."""
    return {"start": 0} if isinstance(model, Transformer) else {}


def padded(rng, batch, length, vocab=7):
    """Ids and a mask, padded on the left; one row is whole."""
    first = rng.integers(0, length, (batch, 1))
    first[rng.integers(batch)] = 0
    return rng.integers(0, vocab, (batch, length)), np.arange(length) >= first


class Table:
    """A decoder whose logits are looked up by the last two tokens; it has nothing else."""

    def __init__(self, logits):
        self.logits = logits  # (vocab, vocab, vocab)
        self.calls = 0

    def __call__(self, ids, mask=None):
        self.calls += 1
        before = np.concatenate([ids[:, :1], ids[:, :-1]], axis=1)
        return self.logits[before, ids]

    @classmethod
    def drawn(cls, seed, vocab, size=1.5):
        return cls(size * np.random.default_rng(seed).standard_normal((vocab,) * 3))
