r"""GPT: a decoder that predicts the next token.

Forward, for ids t (batch, length)
    (1)  x = embed(t)                       _inputs.py                        (B, T, D)
    (2)  h = stack(x), causal               layers/encoder.py                 (B, T, D)
    (3)  logits = h W_out^T                 W_out is the token table, if tied (B, T, V)
    (4)  L = cross_entropy(logits, targets)

Backward, given dL
    (4') dlogits                            functional/cross_entropy.py
    (3') dh, dW_out                         a tied table receives this ...
    (2') dx
    (1') dW_embed                           ... and this: the sum of both uses
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from .. import functional as F
from .. import masks
from ..core.arrays import Array, BoolArray
from ..core.initialize import skeleton
from ..core.run import Run
from ..functional._alibi import alibi_bias
from ..functional.cross_entropy import CrossEntropySaved
from ..functional.linear import LinearSaved
from ..layers import Embedding, Encoder, Linear
from ..layers.encoder import EncoderSaved
from ._config import check_config, check_config_type, stack_options
from ._initialize import initialize_weights
from ._inputs import (
    InputEmbedding,
    InputEmbeddingSaved,
    check_batch,
    check_positions,
    check_targets,
    key_mask,
    token_positions,
)
from ._model import Model


@dataclass(frozen=True)
class GPTConfig:
    """What a `GPT` is built from; the defaults are GPT-2's."""

    vocab_size: int  # number of token ids
    max_len: int  # longest sequence; a hard limit for learned positions only
    d_model: int  # width of the stream
    num_heads: int  # query heads; d_model / num_heads is the width of each
    num_layers: int
    d_ff: int | None = None  # width inside the feed-forward layers; None: 4 d_model
    num_kv_heads: int | None = None  # fewer than num_heads: grouped queries; None: as many
    dropout: float = 0.0  # of attention weights, branches and embeddings
    bias: bool = True  # False removes every bias, those of layer norms too
    norm: str = "layer"  # "layer" or "rms"
    norm_position: str = "pre"  # "pre" (GPT-2 and later) or "post" (the first GPT)
    norm_eps: float = 1e-5
    activation: str = "gelu"  # see layers.FeedForward; "swiglu" is gated
    position: str = "learned"  # "learned", "sinusoidal", "rotary" or "alibi"
    rotary_base: float = 10000.0  # for position="rotary"
    tie_embeddings: bool = True  # one table for input and output

    def __post_init__(self) -> None:
        check_config(self)


class GPTSaved(NamedTuple):
    """What `GPT.backward` needs."""

    inputs: InputEmbeddingSaved
    stack: EncoderSaved
    head: LinearSaved


class GPTLossSaved(NamedTuple):
    """What `GPT.loss_backward` needs."""

    model: GPTSaved
    cross_entropy: CrossEntropySaved


class GPT(Model):
    """A decoder-only language model.

    Parameters
    ----------
    config : GPTConfig
    rng : numpy.random.Generator, optional
        Draws the weights (`npformer.models._initialize`). None draws from fresh entropy.
    dtype : float32 or float64, optional

    Attributes
    ----------
    inputs : layer of token and position embeddings
    decoder : Encoder
        The stack, run under a causal mask.
    head : Linear

    References
    ----------
    Radford et al. (2019), "Language Models are Unsupervised Multitask Learners".
    """

    config_type: ClassVar[type] = GPTConfig

    def __init__(
        self,
        config: GPTConfig,
        *,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        check_config_type(config, GPTConfig)
        self.config = config
        with skeleton():  # weights are drawn below, by one rule
            embedding = Embedding(config.vocab_size, config.d_model, dtype=dtype)
            self.inputs = InputEmbedding(
                embedding, config.max_len, config.position, config.dropout, dtype=dtype
            )
            self.decoder = Encoder(config.num_layers, **stack_options(config), dtype=dtype)
            self.head = Linear(
                config.d_model,
                config.vocab_size,
                bias=False,
                weight=embedding.weight if config.tie_embeddings else None,
                dtype=dtype,
            )
        initialize_weights(self, config.num_layers, rng)

    def forward(
        self,
        ids: Array,
        mask: BoolArray | None = None,
        positions: Array | None = None,
        *,
        run: Run | None = None,
    ) -> tuple[Array, GPTSaved]:
        """Predict the token after each.

        Parameters
        ----------
        ids : (batch, length) integer ndarray
        mask : (batch, length) bool ndarray, optional
            True = real token; padding may be on either side.
        positions : (batch, length) or (length,) integer ndarray, optional
            0, 1, 2, ... if not given, counted from each sequence's first real token.
        run : Run, optional

        Returns
        -------
        logits : (batch, length, vocab_size) ndarray
            ``logits[:, t]`` are for the token that follows ``ids[:, t]``.
        saved : GPTSaved

        Raises
        ------
        ValueError, TypeError
            If ids are not (batch, length) integers below vocab_size, the sequence is longer
            than learned positions go, or the mask is not a bool array of the ids' shape.
        """
        check_batch("GPT", "ids", ids)
        keys = key_mask("GPT", "mask", mask, ids)
        if positions is not None:
            check_positions("GPT", positions, ids)
        at = token_positions(mask) if positions is None else positions
        x, inputs_saved = self.inputs.forward(ids, at, run=run)  # (1)
        h, stack_saved = self.decoder.forward(
            x,
            mask=masks.causal() if keys is None else masks.causal() & keys,
            bias=self._bias(x, positions),
            positions=at if self.config.position == "rotary" else None,
            run=run,
        )  # (2)
        logits, head_saved = self.head.forward(h)  # (3)
        return logits, GPTSaved(inputs_saved, stack_saved, head_saved)

    def backward(self, dy: Array, saved: GPTSaved, run: Run | None = None) -> None:
        """Add to every parameter's gradient, given dy (batch, length, vocab_size)."""
        dh = self.head.backward(dy, saved.head)  # (3')
        dx = self.decoder.backward(dh, saved.stack)  # (2')
        self.inputs.backward(dx, saved.inputs)  # (1')

    def loss(
        self,
        ids: Array,
        targets: Array,
        mask: BoolArray | None = None,
        *,
        run: Run | None = None,
    ) -> tuple[Any, GPTLossSaved]:
        """Mean cross-entropy of the counted targets, in nats per token.

        Parameters
        ----------
        ids : (batch, length) integer ndarray
        targets : (batch, length) integer ndarray
            ``targets[:, t]`` is the answer at position t (nothing is shifted), -100 where
            there is none.
        mask : (batch, length) bool ndarray, optional
            True = real token.
        run : Run, optional

        Returns
        -------
        loss : scalar of the model's dtype
        saved : GPTLossSaved
        """
        check_batch("GPT", "ids", ids)
        check_targets("GPT", targets, ids, "ids")
        logits, saved = self.forward(ids, mask, run=run)
        loss, loss_saved = F.cross_entropy(logits, targets)  # (4)
        return loss, GPTLossSaved(saved, loss_saved)

    def loss_backward(self, saved: GPTLossSaved, dloss: float = 1.0) -> None:
        """Add `dloss` times the loss's gradient to every parameter's."""
        self.backward(F.cross_entropy_backward(dloss, saved.cross_entropy), saved.model)  # (4')

    def loss_weight(self, ids: Array, targets: Array, mask: BoolArray | None = None) -> int:
        """Return the number of targets that are counted."""
        return int(np.count_nonzero(targets != -100))

    def _bias(self, x: Array, positions: Array | None) -> Array | None:
        if self.config.position != "alibi":
            return None
        length = x.shape[1]
        return alibi_bias(self.config.num_heads, length, length, x.real.dtype, positions)
