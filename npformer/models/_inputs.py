r"""What goes into a stack: token embeddings, positions and dropout; and how batches are checked.

Forward
    (1)  e = c W_ids                        c = sqrt(d_model) beside sinusoids, else 1, if no
                                            other is asked for
    (2)  e = e + position                   learned or sinusoidal; rotary, ALiBi and T5's bias act
                                            later, inside attention
    (3)  e = norm(e + T_types)              BERT's alone: a vector for each type of token
    (4)  y = dropout(e)

Backward, given dy
    (4') de by dropout's
    (3') de by the norm's; dT by embedding's backward of de
    (2') dP_t = sum_b de_bt, where positions are learned; de passes on unchanged
    (1') dW_v = c times the sum of de over the places of id v: embedding's backward of c de

Why c: a table drawn from N(0, 0.02²) would be drowned by sinusoids of size 1, and the same
table, used as the output layer too, must not be larger (Vaswani et al. 2017, section 3.4).
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from ..biases import Bias, alibi
from ..core.arrays import Array, BoolArray, check_integers, describe, unbroadcast
from ..core.layer import Layer
from ..core.run import Run
from ..functional.dropout import DropoutSaved
from ..functional.embedding import EmbeddingSaved
from ..layers import (
    Dropout,
    Embedding,
    KVCache,
    LayerNorm,
    LearnedPositionalEncoding,
    RelativePositionBias,
    RMSNorm,
    SinusoidalPositionalEncoding,
)


class InputEmbeddingSaved(NamedTuple):
    """What `InputEmbedding.backward` needs."""

    embedding: EmbeddingSaved
    position: Any
    token_type: Any
    norm: Any
    dropout: DropoutSaved


class InputEmbedding(Layer):
    """Ids to vectors that know their positions.

    Parameters
    ----------
    embedding : Embedding
        The table; may be shared with other layers.
    max_len : int
        Longest sequence, for learned positions.
    position : str
        "learned" and "sinusoidal" add to the vectors; anything else does not.
    dropout : float
    token_type : Embedding, optional
        A table of types of tokens, such as of the first and the second sentence.
    norm : LayerNorm or RMSNorm, optional
        Of the sum.
    layout : "interleaved" or "halves", optional
        Of sinusoidal positions.
    scaled : bool, optional
        Whether c is sqrt(d_model); None: beside sinusoids.
    rng : numpy.random.Generator, optional
    dtype : float32 or float64, optional
    """

    def __init__(
        self,
        embedding: Embedding,
        max_len: int,
        position: str,
        dropout: float,
        *,
        token_type: Embedding | None = None,
        norm: LayerNorm | RMSNorm | None = None,
        layout: str = "interleaved",
        scaled: bool | None = None,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        d_model = embedding.weight.shape[1]
        self.token = embedding
        self.position: LearnedPositionalEncoding | SinusoidalPositionalEncoding | None = None
        scaled = position == "sinusoidal" if scaled is None else scaled
        self.scale = math.sqrt(d_model) if scaled else 1.0
        if position == "learned":
            self.position = LearnedPositionalEncoding(d_model, max_len, rng=rng, dtype=dtype)
        elif position == "sinusoidal":
            self.position = SinusoidalPositionalEncoding(d_model, layout)
        self.token_type = token_type
        self.norm = norm
        self.dropout = Dropout(dropout)

    def forward(
        self,
        ids: Array,
        positions: Array | None = None,
        token_type_ids: Array | None = None,
        *,
        run: Run | None = None,
    ) -> tuple[Array, InputEmbeddingSaved]:
        """Map ids (batch, length) to vectors (batch, length, d_model).

        `token_type_ids` are of the same shape; 0 if not given.
        """
        e, embedding_saved = self.token.forward(ids)
        if self.scale != 1.0:
            e *= self.scale  # (1)
        position_saved: Any = None
        if self.position is not None:
            e, position_saved = self.position.forward(e, positions)  # (2)
        type_saved: Any = None
        norm_saved: Any = None
        if self.token_type is not None:
            types = np.zeros((1, 1), np.int64) if token_type_ids is None else token_type_ids
            t, type_saved = self.token_type.forward(types)
            e = e + t  # (3)
        if self.norm is not None:
            e, norm_saved = self.norm.forward(e)  # (3)
        y, dropout_saved = self.dropout.forward(e, run=run)  # (4)
        return y, InputEmbeddingSaved(
            embedding_saved, position_saved, type_saved, norm_saved, dropout_saved
        )

    def backward(self, dy: Array, saved: InputEmbeddingSaved, run: Run | None = None) -> None:
        """Add to the gradients of all that is learnt here; ids have none."""
        de = self.dropout.backward(dy, saved.dropout)  # (4')
        if self.norm is not None:
            de = self.norm.backward(de, saved.norm)  # (3')
        if self.token_type is not None:
            dt = unbroadcast(de, (*saved.token_type.ids.shape, de.shape[-1]))
            self.token_type.backward(dt, saved.token_type)  # (3')
        if self.position is not None:
            de = self.position.backward(de, saved.position)  # (2')
        if self.scale != 1.0:
            de *= self.scale
        self.token.backward(de, saved.embedding)  # (1')


def relative_table(
    config: Any, bidirectional: bool, *, dtype: DTypeLike
) -> RelativePositionBias | None:
    """Return the table of T5's relative positions, if a configuration wants them."""
    if config.position != "t5":
        return None
    return RelativePositionBias(
        config.num_heads,
        config.relative_buckets,
        config.relative_distance,
        bidirectional,
        dtype=dtype,
    )


def score_bias(
    config: Any,
    table: RelativePositionBias | None,
    dtype: DTypeLike,
    positions: Array | None = None,
) -> Bias | None:
    """Return what is added to the scores of self-attention by position: ALiBi, T5's, or nothing.

    `positions` are those of the keys, where they are not 0, 1, 2, ... up to a shift.
    """
    if config.position == "alibi":
        return alibi(config.num_heads, positions=positions, dtype=dtype)
    return None if table is None else table.bias(positions)


def check_batch(model: str, name: str, ids: Array) -> None:
    """Refuse ids that are not a non-empty (batch, length) array of integers."""
    check_integers(model, name, ids)
    if ids.ndim != 2 or ids.size == 0:
        raise ValueError(
            f"{model}: {name} is {ids.shape}; expected (batch, length), at least one of each"
            + (f"; put a single sequence in a batch with {name}[None]" if ids.ndim == 1 else "")
        )


def check_targets(model: str, targets: Array, ids: Array, name: str) -> None:
    """Refuse targets that are not one integer for each of `ids`."""
    check_integers(model, "targets", targets)
    if targets.shape != ids.shape:
        raise ValueError(
            f"{model}: targets are {targets.shape} and {name} is {ids.shape}; expected the same "
            f"shape: targets[:, t] is the answer at position t, or -100 for none"
        )


def check_positions(model: str, positions: Array, ids: Array) -> None:
    """Refuse positions that are not one integer for each of `ids`, or of a row of them."""
    check_integers(model, "positions", positions)
    batch, length = ids.shape
    if positions.shape not in ((length,), (1, length), (batch, length)):
        raise ValueError(
            f"{model}: positions are {positions.shape}; expected {ids.shape}, or {ids.shape[1:]} "
            f"for the same in all sequences"
        )


def check_mask(model: str, name: str, mask: BoolArray | None, ids: Array) -> None:
    """Refuse a mask of real tokens that is not a bool array of the ids' (batch, length)."""
    if mask is None:
        return
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
        raise TypeError(
            f"{model}: {name} is {describe(mask)}; expected a bool array (batch, length), "
            f"True = real token; convert ones and zeros with .astype(bool)"
        )
    if mask.shape != ids.shape[:2]:
        raise ValueError(
            f"{model}: {name} is {mask.shape}; expected {ids.shape[:2]}, True for each real token"
        )


def check_cache(model: str, cache: KVCache, ids: Array) -> None:
    """Refuse a cache that is none, or is made for another batch than that of `ids`."""
    if not isinstance(cache, KVCache):
        raise TypeError(
            f"{model}: cache is {describe(cache)}; expected a KVCache, from "
            f"model.new_cache(batch, max_len)"
        )
    if cache.batch != len(ids):
        raise ValueError(
            f"{model}: the cache is made for a batch of {cache.batch} and ids are {ids.shape}; "
            f"make it with model.new_cache({len(ids)}, max_len)"
        )


def of_keys(real: BoolArray | None) -> BoolArray | None:
    """Return a mask of real tokens (batch, length) as one of keys, (batch, 1, 1, length)."""
    return None if real is None else real[:, None, None, :]


def token_positions(mask: BoolArray | None) -> Array | None:
    """Return positions counted from each sequence's first real token; None for 0, 1, 2, ...

    Padding on the left must not shift the tokens; padding on the right shifts none.
    """
    if mask is None or mask[:, 0].all():
        return None
    first = np.argmax(mask, axis=1)[:, None]  # 0 where there is none
    positions: Array = np.maximum(np.arange(mask.shape[1]) - first, 0)
    return positions
