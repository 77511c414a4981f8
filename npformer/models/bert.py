r"""BERT: an encoder that reads both ways, and fills in what is masked.

Forward, for ids t (batch, length) and their types
    (1)  x = embed(t, types)                _inputs.py; normalised            (B, T, D)
    (2)  h = stack(x)                       layers/encoder.py; no causal mask (B, T, D)
    (3)  u = norm(f(W h + b))               of the counted n alone            (n, D)
    (4)  logits = u W_out^T + b_out         W_out is the token table, if tied (n, V)
    (5)  L = cross_entropy(logits, targets) with (4) in one, functional/linear_cross_entropy.py
    (6)  p = tanh(W_p h_0 + b_p)            the pooler: of the first token, beside (3) to (5)

Backward, given dL, or dp
    (6') dh_0, from dp; 0 elsewhere         beside (5') to (3')
    (5') dlogits                            together with (4'): linear_cross_entropy.py
    (4') du, dW_out, db_out                 a tied table receives this ...
    (3') dh                                 0 where nothing is counted
    (2') dx
    (1') dW_embed                           ... and this: the sum of both uses

Why (3) is of the counted alone: masked language modelling asks for 15 tokens in 100, and the
head is as costly as several layers. (5) has no bias of its own; b_out is a column more of W_out,
beside a 1 in each u.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from .. import functional as F
from ..core.arrays import Array, BoolArray, check_flag, check_ids, check_size
from ..core.initialize import skeleton
from ..core.layer import Layer
from ..core.run import Run
from ..functional.linear import LinearSaved
from ..functional.linear_cross_entropy import LinearCrossEntropySaved
from ..functional.tanh import TanhSaved
from ..layers import Embedding, Encoder, LayerNorm, Linear, RMSNorm
from ..layers._residual import make_norm
from ..layers.encoder import EncoderSaved
from ..layers.feed_forward import ACTIVATIONS
from ._config import check_config, check_config_type, stack_options
from ._initialize import initialize_weights
from ._inputs import (
    InputEmbedding,
    InputEmbeddingSaved,
    check_batch,
    check_mask,
    check_targets,
    of_keys,
    relative_table,
    score_bias,
    token_positions,
)
from ._model import Model


@dataclass(frozen=True)
class BERTConfig:
    """What a `BERT` is built from; the defaults are the paper's."""

    vocab_size: int  # number of token ids
    max_len: int  # longest sequence; a hard limit for learned positions only
    d_model: int  # width of the stream; 768 in the paper's base model
    num_heads: int  # d_model / num_heads is the width of each; 12 in the paper's
    num_layers: int  # 12 in the paper's
    d_ff: int | None = None  # width inside the feed-forward layers; None: 4 d_model
    num_token_types: int = 2  # such as first and second sentence
    num_kv_heads: int | None = None  # fewer than num_heads: grouped queries; None: as many
    dropout: float = 0.1  # of attention weights, branches and embeddings
    bias: bool = True  # False removes every bias, those of layer norms and of the head too
    norm: str = "layer"  # "layer" or "rms"
    norm_position: str = "post"  # "post" (the paper) or "pre"
    norm_eps: float = 1e-12
    activation: str = "gelu"  # see layers.FeedForward; the head's too ("silu" for "swiglu")
    position: str = "learned"  # "learned", "sinusoidal", "rotary", "alibi" or "t5"
    rotary_base: float = 10000.0  # for position="rotary"
    rotary_interleaved: bool = False  # pair 2c with 2c + 1, rather than c with c + n/2
    relative_buckets: int = 32  # for position="t5": groups of distances ...
    relative_distance: int = 128  # ... from here on in one group
    tie_embeddings: bool = True  # one table for input and output
    head: bool = True  # False: a base model without (3) to (5), which has no loss
    pooler: bool = False  # (6), which only what is trained on it uses
    checkpoint: bool = False  # run each layer again in backward: less memory, more time

    def __post_init__(self) -> None:
        check_config(self)
        check_size("BERTConfig", num_token_types=self.num_token_types)
        for name in ("head", "pooler"):
            check_flag("BERTConfig", name, getattr(self, name))


class PoolerSaved(NamedTuple):
    """What `Pooler.backward` needs."""

    shape: tuple[int, ...]  # of h
    dense: LinearSaved
    tanh: TanhSaved


class Pooler(Layer):
    """One vector for a sequence, from its first token; equation (6) of the module.

    Attributes
    ----------
    dense : Linear
    """

    def __init__(
        self,
        config: BERTConfig,
        *,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        d_model = config.d_model
        self.dense = Linear(d_model, d_model, config.bias, rng=rng, dtype=dtype)

    def forward(self, h: Array, *, run: Run | None = None) -> tuple[Array, PoolerSaved]:
        """Map hidden states (batch, length, d_model) to (batch, d_model)."""
        p, dense_saved = self.dense.forward(h[:, 0])  # (6)
        p, tanh_saved = F.tanh(p)
        return p, PoolerSaved(h.shape, dense_saved, tanh_saved)

    def backward(self, dy: Array, saved: PoolerSaved, run: Run | None = None) -> Array:
        """Return dh (batch, length, d_model)."""
        first = self.dense.backward(F.tanh_backward(dy, saved.tanh), saved.dense)  # (6')
        dh = np.zeros(saved.shape, first.dtype)
        dh[:, 0] = first
        return dh


class TransformSaved(NamedTuple):
    """What undoes equation (3)."""

    dense: LinearSaved
    activation: Any
    norm: Any


class HeadSaved(NamedTuple):
    """What `MaskedLanguageHead.backward` needs."""

    transform: TransformSaved
    decoder: LinearSaved


class HeadLossSaved(NamedTuple):
    """What `MaskedLanguageHead.loss_backward` needs."""

    shape: tuple[int, ...]  # of h
    counted: Array  # (n,)     numbers of the counted among all tokens
    transform: TransformSaved
    decoder: LinearCrossEntropySaved


class MaskedLanguageHead(Layer):
    """Which token may stand at each place; equations (3) to (5) of the module.

    Parameters
    ----------
    config : BERTConfig
    embedding : Embedding
        The token table, for the output too if the configuration ties it.
    rng : numpy.random.Generator, optional
    dtype : float32 or float64, optional

    Attributes
    ----------
    dense : Linear
    norm : LayerNorm or RMSNorm
    decoder : Linear
    """

    def __init__(
        self,
        config: BERTConfig,
        embedding: Embedding,
        *,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        d_model, bias = config.d_model, config.bias
        self.activation = "silu" if config.activation == "swiglu" else config.activation
        self.dense = Linear(d_model, d_model, bias, rng=rng, dtype=dtype)
        self.norm: LayerNorm | RMSNorm = make_norm(
            config.norm, d_model, config.norm_eps, bias, dtype
        )
        weight = embedding.weight if config.tie_embeddings else None
        self.decoder = Linear(d_model, config.vocab_size, bias, weight=weight, rng=rng, dtype=dtype)

    def forward(self, h: Array, *, run: Run | None = None) -> tuple[Array, HeadSaved]:
        """Map hidden states (..., d_model) to logits (..., vocab_size)."""
        u, transform_saved = self._transform(h)
        logits, decoder_saved = self.decoder.forward(u)  # (4)
        return logits, HeadSaved(transform_saved, decoder_saved)

    def backward(self, dy: Array, saved: HeadSaved, run: Run | None = None) -> Array:
        """Return dh (..., d_model)."""
        du = self.decoder.backward(dy, saved.decoder)  # (4')
        return self._transform_backward(du, saved.transform)

    def _transform(self, h: Array) -> tuple[Array, TransformSaved]:
        a, dense_saved = self.dense.forward(h)  # (3)
        g, activation_saved = ACTIVATIONS[self.activation][0](a)
        u, norm_saved = self.norm.forward(g)
        return u, TransformSaved(dense_saved, activation_saved, norm_saved)

    def _transform_backward(self, du: Array, saved: TransformSaved) -> Array:
        dg = self.norm.backward(du, saved.norm)  # (3')
        da = ACTIVATIONS[self.activation][1](dg, saved.activation)
        return self.dense.backward(da, saved.dense)

    def loss(self, h: Array, targets: Array) -> tuple[Any, HeadLossSaved]:
        """Mean cross-entropy of the counted targets (batch, length), from hidden states."""
        counted = np.flatnonzero(targets.reshape(-1) != -100)
        u, transform_saved = self._transform(h.reshape(-1, h.shape[-1])[counted])  # (3)
        weight = self.decoder.weight.value
        if self.decoder.bias is not None:
            u = np.concatenate([u, np.ones((len(u), 1), u.dtype)], axis=1)
            weight = np.concatenate([weight, self.decoder.bias.value[:, None]], axis=1)
        loss, decoder_saved = F.linear_cross_entropy(u, weight, targets.reshape(-1)[counted])
        # (4), (5)
        return loss, HeadLossSaved(h.shape, counted, transform_saved, decoder_saved)

    def loss_backward(self, saved: HeadLossSaved, dloss: float = 1.0) -> Array:
        """Return dh, of h's shape."""
        du, dweight = F.linear_cross_entropy_backward(dloss, saved.decoder)  # (5'), (4')
        if self.decoder.bias is not None:
            self.decoder.bias.add_grad(dweight[:, -1])
            du, dweight = np.ascontiguousarray(du[:, :-1]), dweight[:, :-1]
        self.decoder.weight.add_grad(dweight)
        rows = self._transform_backward(du, saved.transform)  # (3')
        dh = np.zeros(saved.shape, rows.dtype)
        dh.reshape(-1, dh.shape[-1])[saved.counted] = rows
        return dh


class BERTSaved(NamedTuple):
    """What `BERT.backward` needs."""

    inputs: InputEmbeddingSaved
    stack: EncoderSaved | None


class BERTLossSaved(NamedTuple):
    """What `BERT.loss_backward` needs."""

    hidden: BERTSaved
    head: HeadLossSaved


class BERT(Model):
    """An encoder for understanding, trained by filling in masked tokens.

    Parameters
    ----------
    config : BERTConfig
    rng : numpy.random.Generator, optional
        Draws the weights (`npformer.models._initialize`). None draws from fresh entropy.
    dtype : float32 or float64, optional

    Attributes
    ----------
    inputs : layer of token, position and type embeddings
    encoder : Encoder
    relative : RelativePositionBias or None
        T5's table of relative positions, shared by all layers.
    pooler : Pooler or None
        A layer: hidden states to one vector a sequence.
    head : MaskedLanguageHead or None
        A layer: hidden states to logits. None in a base model.

    References
    ----------
    Devlin et al. (2019), "BERT: Pre-training of Deep Bidirectional Transformers for Language
    Understanding", arXiv:1810.04805.
    """

    config_type: ClassVar[type] = BERTConfig

    def __init__(
        self,
        config: BERTConfig,
        *,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        check_config_type(config, BERTConfig)
        self.config = config
        with skeleton():  # weights are drawn below, by one rule
            embedding = Embedding(config.vocab_size, config.d_model, dtype=dtype)
            self.inputs = InputEmbedding(
                embedding,
                config.max_len,
                config.position,
                config.dropout,
                token_type=Embedding(config.num_token_types, config.d_model, dtype=dtype),
                norm=make_norm(config.norm, config.d_model, config.norm_eps, config.bias, dtype),
                dtype=dtype,
            )
            self.relative = relative_table(config, bidirectional=True, dtype=dtype)
            self.encoder = Encoder(config.num_layers, **stack_options(config), dtype=dtype)
            self.pooler = Pooler(config, dtype=dtype) if config.pooler else None
            self.head = MaskedLanguageHead(config, embedding, dtype=dtype) if config.head else None
        initialize_weights(self, config.num_layers, rng)

    def forward(
        self,
        ids: Array,
        token_type_ids: Array | None = None,
        mask: BoolArray | None = None,
        *,
        run: Run | None = None,
    ) -> tuple[Array, BERTSaved]:
        """Read a batch of sequences.

        Parameters
        ----------
        ids : (batch, length) integer ndarray
        token_type_ids : (batch, length) integer ndarray, optional
            The type of each token, below `num_token_types`; 0 if not given.
        mask : (batch, length) bool ndarray, optional
            True = real token; padding may be on either side.
        run : Run, optional

        Returns
        -------
        hidden : (batch, length, d_model) ndarray
        saved : BERTSaved

        Raises
        ------
        ValueError, TypeError
            If ids are not (batch, length) integers below vocab_size, types are not integers of
            the same shape below num_token_types, the sequence is longer than learned positions
            go, or the mask is not a bool array of the ids' shape.
        """
        check_batch("BERT", "ids", ids)
        check_mask("BERT", "mask", mask, ids)
        if token_type_ids is not None:
            size = self.config.num_token_types
            check_ids("BERT", "token_type_ids", token_type_ids, size, "num_token_types")
            if token_type_ids.shape != ids.shape:
                raise ValueError(
                    f"BERT: token_type_ids are {token_type_ids.shape} and ids are {ids.shape}; "
                    f"expected one type for each token"
                )
        at = token_positions(mask)
        x, inputs_saved = self.inputs.forward(ids, at, token_type_ids, run=run)  # (1)
        h, stack_saved = self.encoder.forward(
            x,
            mask=of_keys(mask),
            bias=score_bias(self.config, self.relative, x.real.dtype),
            positions=at if self.config.position == "rotary" else None,
            run=run,
        )  # (2)
        return h, BERTSaved(inputs_saved, stack_saved)

    def backward(self, dy: Array, saved: BERTSaved, run: Run | None = None) -> None:
        """Add to every parameter's gradient, given dy (batch, length, d_model)."""
        dx = self.encoder.backward(dy, saved.stack)  # (2')
        self.inputs.backward(dx, saved.inputs)  # (1')

    def pooled(self, hidden: Array) -> Array:
        """Return one vector a sequence (batch, d_model), from hidden states; equation (6).

        Raises
        ------
        ValueError
            If there is no pooler.
        """
        if self.pooler is None:
            raise ValueError(
                "BERT: it has no pooler (config.pooler is False); build it with "
                "BERTConfig(pooler=True), or take the mean of the real tokens' hidden states"
            )
        pooled: Array = self.pooler(hidden)
        return pooled

    def logits(self, hidden: Array) -> Array:
        """Return logits (batch, length, vocab_size) of what stands at each place.

        Raises
        ------
        ValueError
            If there is no head.
        """
        logits: Array = self._head()(hidden)
        return logits

    def _head(self) -> MaskedLanguageHead:
        """Return the head, or say that there is none."""
        if self.head is None:
            raise ValueError(
                "BERT: this is a base model, without a head (config.head is False), so that it "
                "predicts nothing and has no loss; build it with BERTConfig(head=True)"
            )
        return self.head

    def loss(
        self,
        ids: Array,
        targets: Array,
        mask: BoolArray | None = None,
        token_type_ids: Array | None = None,
        *,
        run: Run | None = None,
    ) -> tuple[Any, BERTLossSaved]:
        """Mean cross-entropy of the counted targets, in nats per token.

        Parameters
        ----------
        ids : (batch, length) integer ndarray
            With some of the tokens masked.
        targets : (batch, length) integer ndarray
            ``targets[:, t]`` is what should stand at position t, -100 where nothing is asked.
        mask : (batch, length) bool ndarray, optional
            True = real token.
        token_type_ids : (batch, length) integer ndarray, optional
        run : Run, optional

        Returns
        -------
        loss : scalar of the model's dtype
        saved : BERTLossSaved
        """
        head = self._head()
        check_batch("BERT", "ids", ids)
        check_targets("BERT", targets, ids, "ids")
        h, hidden_saved = self.forward(ids, token_type_ids, mask, run=run)
        loss, head_saved = head.loss(h, targets)
        return loss, BERTLossSaved(hidden_saved, head_saved)

    def loss_backward(self, saved: BERTLossSaved, dloss: float = 1.0) -> None:
        """Add `dloss` times the loss's gradient to every parameter's."""
        dh = self._head().loss_backward(saved.head, dloss)
        self.backward(dh, saved.hidden)

    def loss_weight(
        self,
        ids: Array,
        targets: Array,
        mask: BoolArray | None = None,
        token_type_ids: Array | None = None,
    ) -> int:
        """Return the number of targets that are counted."""
        return int(np.count_nonzero(targets != -100))
