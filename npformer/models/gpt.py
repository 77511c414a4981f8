r"""GPT: a decoder that predicts the next token.

Forward, for ids t (batch, length)
    (1)  x = embed(t)                       _inputs.py                        (B, T, D)
    (2)  h = stack(x), causal               layers/encoder.py                 (B, T, D)
    (3)  logits = h W_out^T                 W_out is the token table, if tied (B, T, V)
    (4)  L = cross_entropy(logits, targets) with (3) in one, functional/linear_cross_entropy.py

Backward, given dL
    (4') dlogits                            together with (3'): linear_cross_entropy.py
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
from ..core.arrays import Array, BoolArray, check_flag, check_size
from ..core.initialize import skeleton
from ..core.run import Run
from ..functional.linear import LinearSaved
from ..functional.linear_cross_entropy import LinearCrossEntropySaved
from ..layers import Embedding, Encoder, Linear
from ..layers.encoder import EncoderSaved
from ..layers.kv_cache import KVCache, undoable
from ._config import check_config, check_config_type, stack_options
from ._initialize import initialize_weights
from ._inputs import (
    InputEmbedding,
    InputEmbeddingSaved,
    check_batch,
    check_cache,
    check_mask,
    check_positions,
    check_targets,
    of_keys,
    relative_table,
    score_bias,
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
    position: str = "learned"  # "learned", "sinusoidal", "rotary", "alibi" or "t5"
    rotary_base: float = 10000.0  # for position="rotary"
    rotary_interleaved: bool = False  # pair 2c with 2c + 1, rather than c with c + n/2
    relative_buckets: int = 32  # for position="t5": groups of distances ...
    relative_distance: int = 128  # ... from here on in one group
    window: int | None = None  # tokens that each looks back at, itself included; None: all
    tie_embeddings: bool = True  # one table for input and output
    head: bool = True  # False: a base model, which ends at (2) and gives hidden states
    checkpoint: bool = False  # run each layer again in backward: less memory, more time

    def __post_init__(self) -> None:
        check_config(self)
        check_size("GPTConfig", window=1 if self.window is None else self.window)
        check_flag("GPTConfig", "head", self.head)


class GPTSaved(NamedTuple):
    """What `GPT.backward` needs."""

    inputs: InputEmbeddingSaved
    stack: EncoderSaved | None
    head: LinearSaved | None


class GPTLossSaved(NamedTuple):
    """What `GPT.loss_backward` needs."""

    inputs: InputEmbeddingSaved
    stack: EncoderSaved | None
    head: LinearCrossEntropySaved


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
    relative : RelativePositionBias or None
        T5's table of relative positions, shared by all layers.
    head : Linear or None
        None in a base model.

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
            self.relative = relative_table(config, bidirectional=False, dtype=dtype)
            self.decoder = Encoder(config.num_layers, **stack_options(config), dtype=dtype)
            self.head: Linear | None = None
            if config.head:
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
        cache: KVCache | None = None,
        *,
        run: Run | None = None,
    ) -> tuple[Array, GPTSaved | None]:
        """Predict the token after each.

        Parameters
        ----------
        ids : (batch, length) integer ndarray
        mask : (batch, length) bool ndarray, optional
            True = real token; padding may be on either side.
        positions : (batch, length) or (length,) integer ndarray, optional
            0, 1, 2, ... if not given, counted from each sequence's first real token.
        cache : KVCache, optional
            From `new_cache`. ids, mask and positions are then those of the next tokens alone,
            which see the ones before them through the cache, and join them.
        run : Run, optional

        Returns
        -------
        logits : (batch, length, vocab_size) ndarray
            ``logits[:, t]`` are for the token that follows ``ids[:, t]``. Without a head, these
            are the hidden states (batch, length, d_model) of (2).
        saved : GPTSaved or None
            None with a cache.

        Raises
        ------
        ValueError, TypeError
            If ids are not (batch, length) integers below vocab_size, the sequence is longer
            than learned positions go, the mask is not a bool array of the ids' shape, or the
            cache is of another batch, or full.
        """
        check_batch("GPT", "ids", ids)
        check_mask("GPT", "mask", mask, ids)
        if positions is not None:
            check_positions("GPT", positions, ids)
        if cache is None:
            h, inputs_saved, stack_saved = self._hidden(ids, mask, positions, run)
            if self.head is None:
                return h, GPTSaved(inputs_saved, stack_saved, None)
            logits, head_saved = self.head.forward(h)  # (3)
            return logits, GPTSaved(inputs_saved, stack_saved, head_saved)
        check_cache("GPT", cache, ids)
        with cache.step(self, mask, positions, ids.shape[1]):
            length = ids.shape[1]
            keys = cache.positions(length)
            x, _ = self.inputs.forward(ids, keys[:, -length:], run=run)
            real = cache.real(length)
            h, _ = self._stack(x, real, keys[:, -length:], keys, cache, run)
            return h if self.head is None else self.head.forward(h)[0], None

    def _hidden(
        self, ids: Array, mask: BoolArray | None, positions: Array | None, run: Run | None
    ) -> tuple[Array, InputEmbeddingSaved, EncoderSaved | None]:
        """Equations (1) and (2), without a cache."""
        at = token_positions(mask) if positions is None else positions
        x, inputs_saved = self.inputs.forward(ids, at, run=run)  # (1)
        h, stack_saved = self._stack(x, mask, at, positions, None, run)  # (2)
        return h, inputs_saved, stack_saved

    def _stack(
        self,
        x: Array,
        real: BoolArray | None,
        at: Array | None,
        key_positions: Array | None,
        cache: KVCache | None,
        run: Run | None,
    ) -> tuple[Array, EncoderSaved | None]:
        """Equation (2).

        `real` and `key_positions` are those of all keys, `at` the positions of x alone.
        """
        # A token that comes alone comes after all others, so that nothing of them is its future.
        mask = masks.causal() if x.shape[1] > 1 else None
        if self.config.window is not None:
            mask = masks.causal() & masks.sliding_window(self.config.window)
        keys = of_keys(real)
        if keys is not None:
            mask = masks.as_mask(keys) if mask is None else mask & keys
        config = self.config
        return self.decoder.forward(
            x,
            mask=mask,
            bias=score_bias(config, self.relative, x.real.dtype, key_positions),
            positions=at if config.position == "rotary" else None,
            cache=cache,
            run=run,
        )

    def backward(self, dy: Array, saved: GPTSaved | None, run: Run | None = None) -> None:
        """Add to every parameter's gradient, given dy of the output's shape."""
        saved = undoable("GPT", saved)
        dh = dy
        if self.head is not None and saved.head is not None:
            dh = self.head.backward(dy, saved.head)  # (3')
        self._hidden_backward(dh, saved.inputs, saved.stack)

    def _hidden_backward(
        self, dh: Array, inputs: InputEmbeddingSaved, stack: EncoderSaved | None
    ) -> None:
        """Equations (2') and (1')."""
        dx = self.decoder.backward(dh, stack)  # (2')
        self.inputs.backward(dx, inputs)  # (1')

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
        self._head()
        check_batch("GPT", "ids", ids)
        check_targets("GPT", targets, ids, "ids")
        check_mask("GPT", "mask", mask, ids)
        h, inputs_saved, stack_saved = self._hidden(ids, mask, None, run)
        weight = self._head().weight.value
        loss, head_saved = F.linear_cross_entropy(h, weight, targets)  # (3), (4)
        return loss, GPTLossSaved(inputs_saved, stack_saved, head_saved)

    def loss_backward(self, saved: GPTLossSaved, dloss: float = 1.0) -> None:
        """Add `dloss` times the loss's gradient to every parameter's."""
        dh, dweight = F.linear_cross_entropy_backward(dloss, saved.head)  # (4'), (3')
        self._head().weight.add_grad(dweight, fresh=True)
        self._hidden_backward(dh, saved.inputs, saved.stack)

    def _head(self) -> Linear:
        """Return the head, or say that there is none."""
        if self.head is None:
            raise ValueError(
                "GPT: this is a base model, without a head (config.head is False), so that it "
                "predicts nothing and has no loss; build it with GPTConfig(head=True)"
            )
        return self.head

    def loss_weight(self, ids: Array, targets: Array, mask: BoolArray | None = None) -> int:
        """Return the number of targets that are counted."""
        return int(np.count_nonzero(targets != -100))
