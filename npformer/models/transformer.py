r"""The Transformer: an encoder reads a source, a decoder writes a target while looking at it.

Forward, for source ids s (B, S) and target ids t (B, T), shifted right by a start token
    (1)  a = embed(s)                       _inputs.py; one table for both    (B, S, D)
    (2)  z = encoder(a)                     layers/encoder.py: the memory     (B, S, D)
    (3)  b = embed(t)                                                         (B, T, D)
    (4)  h = decoder(b, z)                  layers/decoder.py                 (B, T, D)
    (5)  logits = h W_out^T                 W_out is the table, if tied; with (B, T, V)
                                            a constant beside it, if asked for
    (6)  L = cross_entropy(logits, targets), with label smoothing; with (5) in one,
         functional/linear_cross_entropy.py

Backward, given dL
    (6') dlogits                            together with (5'): linear_cross_entropy.py
    (5') dh, dW_out
    (4') db, dz                             dz: the sum over the decoder's layers
    (3') dW_embed
    (2') da
    (1') dW_embed                           the table's gradient: three uses, three parts
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from .. import functional as F
from ..core.arrays import (
    Array,
    BoolArray,
    check_choice,
    check_count,
    check_flag,
    check_rate,
    check_size,
    describe,
)
from ..core.initialize import skeleton
from ..core.run import Run
from ..functional.linear import LinearSaved
from ..functional.linear_cross_entropy import LinearCrossEntropySaved
from ..functional.sinusoidal import LAYOUTS
from ..layers import Decoder, Embedding, Encoder, Linear
from ..layers.decoder import DecoderSaved
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
    check_targets,
    of_keys,
    relative_table,
    score_bias,
    token_positions,
)
from ._model import Model


@dataclass(frozen=True)
class TransformerConfig:
    """What a `Transformer` is built from; the defaults are the paper's."""

    vocab_size: int  # number of token ids, source and target together
    max_len: int  # longest sequence; a hard limit for learned positions only
    d_model: int  # width of the stream; 512 in the paper's base model
    num_heads: int  # d_model / num_heads is the width of each; 8 in the paper
    num_layers: int  # of the encoder, and of the decoder; 6 in the paper
    d_ff: int | None = None  # width inside the feed-forward layers; None: 4 d_model
    num_kv_heads: int | None = None  # fewer than num_heads: grouped queries; None: as many
    dropout: float = 0.1  # of attention weights, branches and embeddings
    bias: bool = True  # False removes every bias, those of layer norms too
    norm: str = "layer"  # "layer" or "rms"
    norm_position: str = "post"  # "post" (the paper) or "pre" (easier to train)
    norm_eps: float = 1e-5
    activation: str = "relu"  # see layers.FeedForward
    position: str = "sinusoidal"  # "learned", "sinusoidal", "rotary", "alibi" or "t5"
    rotary_base: float = 10000.0  # for position="rotary"
    rotary_interleaved: bool = False  # pair 2c with 2c + 1, rather than c with c + n/2
    relative_buckets: int = 32  # for position="t5": groups of distances ...
    relative_distance: int = 128  # ... from here on in one group
    tie_embeddings: bool = True  # the output layer shares the table of both inputs
    label_smoothing: float = 0.1  # share of the wanted probability spread over all tokens
    num_decoder_layers: int | None = None  # if they are not as many as the encoder's
    attention_dropout: float | None = None  # of attention weights, if it is not dropout
    sinusoid_layout: str = "interleaved"  # or "halves", all sines first, as Marian has them
    scale_embeddings: bool | None = None  # by sqrt(d_model); None: beside sinusoids (the paper)
    logits_bias: bool = False  # a bias of the logits that is not trained, as Marian has one
    start_token: int | None = None  # id that a target starts with, for generation
    checkpoint: bool = False  # run each layer again in backward: less memory, more time

    def __post_init__(self) -> None:
        check_config(self)
        if not 0.0 <= self.label_smoothing < 1.0:
            raise ValueError(
                f"TransformerConfig: label_smoothing is {self.label_smoothing}; "
                f"expected 0 <= it < 1"
            )
        owner = "TransformerConfig"
        if self.num_decoder_layers is not None:
            check_size(owner, num_decoder_layers=self.num_decoder_layers)
        if self.attention_dropout is not None:
            check_rate(owner, "attention_dropout", self.attention_dropout)
        check_choice(owner, "sinusoid_layout", self.sinusoid_layout, LAYOUTS)
        if self.scale_embeddings is not None:
            check_flag(owner, "scale_embeddings", self.scale_embeddings, " or None")
        check_flag(owner, "logits_bias", self.logits_bias)
        if self.start_token is not None:
            check_count(owner, start_token=self.start_token)
            if self.start_token >= self.vocab_size:
                raise ValueError(
                    f"{owner}: start_token is {self.start_token}; expected 0 to "
                    f"{self.vocab_size - 1} (vocab_size {self.vocab_size})"
                )


class EncodeSaved(NamedTuple):
    """What undoes `Transformer.encode`."""

    inputs: InputEmbeddingSaved
    encoder: EncoderSaved | None


class DecodeSaved(NamedTuple):
    """What undoes `Transformer.decode`."""

    inputs: InputEmbeddingSaved
    decoder: DecoderSaved | None
    head: LinearSaved


class TransformerSaved(NamedTuple):
    """What `Transformer.backward` needs."""

    encode: EncodeSaved
    decode: DecodeSaved | None


class TransformerLossSaved(NamedTuple):
    """What `Transformer.loss_backward` needs."""

    encode: EncodeSaved
    inputs: InputEmbeddingSaved
    decoder: DecoderSaved | None
    head: LinearCrossEntropySaved


class Transformer(Model):
    """The encoder–decoder of the paper.

    Parameters
    ----------
    config : TransformerConfig
    rng : numpy.random.Generator, optional
        Draws the weights (`npformer.models._initialize`). None draws from fresh entropy.
    dtype : float32 or float64, optional

    Attributes
    ----------
    source_inputs, target_inputs : layers of token and position embeddings
        They share the token table.
    encoder : Encoder
    decoder : Decoder
    source_relative, target_relative : RelativePositionBias or None
        T5's tables of relative positions, each shared by all layers of its stack.
    head : Linear
        Its bias, where there is one, is frozen.

    References
    ----------
    Vaswani et al. (2017), "Attention Is All You Need", arXiv:1706.03762.
    """

    config_type: ClassVar[type] = TransformerConfig

    def __init__(
        self,
        config: TransformerConfig,
        *,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        check_config_type(config, TransformerConfig)
        self.config = config
        with skeleton():  # weights are drawn below, by one rule
            embedding = Embedding(config.vocab_size, config.d_model, dtype=dtype)
            self.source_inputs, self.target_inputs = (
                InputEmbedding(
                    embedding,
                    config.max_len,
                    config.position,
                    config.dropout,
                    layout=config.sinusoid_layout,
                    scaled=config.scale_embeddings,
                    dtype=dtype,
                )
                for _ in range(2)
            )
            self.source_relative, self.target_relative = (
                relative_table(config, bidirectional, dtype=dtype)
                for bidirectional in (True, False)
            )
            self.encoder = Encoder(config.num_layers, **stack_options(config), dtype=dtype)
            depth = config.num_decoder_layers or config.num_layers
            self.decoder = Decoder(depth, **stack_options(config), dtype=dtype)
            self.head = Linear(
                config.d_model,
                config.vocab_size,
                bias=config.logits_bias,
                weight=embedding.weight if config.tie_embeddings else None,
                dtype=dtype,
            )
            if self.head.bias is not None:
                self.head.bias.trainable = False
        initialize_weights(self, config.num_layers, rng, {"decoder": depth})

    def encode(
        self, source: Array, source_mask: BoolArray | None = None, *, run: Run | None = None
    ) -> tuple[Array, EncodeSaved]:
        """Turn source ids (batch, S) into a memory (batch, S, d_model).

        `source_mask` is a bool array (batch, S), True = real token; padding may be
        on either side.
        """
        check_batch("Transformer", "source", source)
        check_mask("Transformer", "source_mask", source_mask, source)
        a, inputs_saved = self.source_inputs.forward(
            source, token_positions(source_mask), run=run
        )  # (1)
        bias = score_bias(self.config, self.source_relative, a.real.dtype)
        z, encoder_saved = self.encoder.forward(
            a, mask=of_keys(source_mask), bias=bias, run=run
        )  # (2)
        return z, EncodeSaved(inputs_saved, encoder_saved)

    def decode(
        self,
        target_in: Array,
        memory: Array,
        source_mask: BoolArray | None = None,
        cache: KVCache | None = None,
        *,
        run: Run | None = None,
    ) -> tuple[Array, DecodeSaved | None]:
        """Predict the token after each of target_in (batch, T), looking at a memory.

        With a cache from `new_cache`, target_in are the next tokens alone: they see the ones
        before them through the cache, and join them.

        Returns logits (batch, T, vocab_size), and what undoes it: None with a cache.
        """
        if cache is None:
            h, inputs_saved, decoder_saved = self._hidden(target_in, memory, source_mask, run)
            logits, head_saved = self.head.forward(h)  # (5)
            return logits, DecodeSaved(inputs_saved, decoder_saved, head_saved)
        self._check_decode(target_in, memory, source_mask)
        check_cache("Transformer", cache, target_in)
        look = partial(self._look, memory=memory, memory_mask=of_keys(source_mask), run=run)
        length = target_in.shape[1]
        with cache.step(self, None, None, length):
            at = cache.positions(length)[:, -length:]
            b, _ = self.target_inputs.forward(target_in, at, run=run)
            h, _ = look(b, cache=cache, positions=at)
            return self.head.forward(h)[0], None

    def _check_decode(self, target_in: Array, memory: Array, source_mask: BoolArray | None) -> None:
        """Refuse a target that is no batch of ids, or does not fit the source."""
        check_batch("Transformer", "target_in", target_in)
        if not isinstance(memory, np.ndarray):
            raise TypeError(
                f"Transformer: memory is {describe(memory)}; expected what encode returned first"
            )
        if len(target_in) != len(memory):
            raise ValueError(
                f"Transformer: target_in has {len(target_in)} sequences and the source "
                f"{len(memory)}; expected one target for each source"
            )
        check_mask("Transformer", "source_mask", source_mask, memory)

    def _hidden(
        self, target_in: Array, memory: Array, source_mask: BoolArray | None, run: Run | None
    ) -> tuple[Array, InputEmbeddingSaved, DecoderSaved | None]:
        """Equations (3) and (4), without a cache."""
        self._check_decode(target_in, memory, source_mask)
        b, inputs_saved = self.target_inputs.forward(target_in, run=run)  # (3)
        h, decoder_saved = self._look(
            b, memory=memory, memory_mask=of_keys(source_mask), run=run
        )  # (4)
        return h, inputs_saved, decoder_saved

    def _look(
        self,
        b: Array,
        *,
        memory: Array,
        memory_mask: BoolArray | None,
        cache: KVCache | None = None,
        positions: Array | None = None,
        run: Run | None,
    ) -> tuple[Array, DecoderSaved | None]:
        """Equation (4)."""
        return self.decoder.forward(
            b,
            memory,
            memory_mask=memory_mask,
            bias=score_bias(self.config, self.target_relative, b.real.dtype),
            positions=positions if self.config.position == "rotary" else None,
            cache=cache,
            run=run,
        )

    def forward(
        self,
        source: Array,
        target_in: Array,
        source_mask: BoolArray | None = None,
        *,
        run: Run | None = None,
    ) -> tuple[Array, TransformerSaved]:
        """Predict the token after each of `target_in`, given the source.

        Parameters
        ----------
        source : (batch, S) integer ndarray
        target_in : (batch, T) integer ndarray
            The target shifted right: a start token, then all tokens but the last.
        source_mask : (batch, S) bool ndarray, optional
            True = real token.
        run : Run, optional

        Returns
        -------
        logits : (batch, T, vocab_size) ndarray
        saved : TransformerSaved

        Raises
        ------
        ValueError, TypeError
            If ids are not (batch, length) integers below vocab_size, a sequence is longer than
            learned positions go, or the mask is not a bool array of the source's shape.
        """
        check_batch("Transformer", "target_in", target_in)
        z, encode_saved = self.encode(source, source_mask, run=run)
        logits, decode_saved = self.decode(target_in, z, source_mask, run=run)
        return logits, TransformerSaved(encode_saved, decode_saved)

    def backward(self, dy: Array, saved: TransformerSaved, run: Run | None = None) -> None:
        """Add to every parameter's gradient, given dy (batch, T, vocab_size)."""
        decode = undoable("Transformer", saved.decode)
        dh = self.head.backward(dy, decode.head)  # (5')
        self._hidden_backward(dh, saved.encode, decode.inputs, decode.decoder)

    def _hidden_backward(
        self,
        dh: Array,
        encode: EncodeSaved,
        inputs: InputEmbeddingSaved,
        decoder: DecoderSaved | None,
    ) -> None:
        """Equations (4') to (1')."""
        db, dz = self.decoder.backward(dh, decoder)  # (4')
        self.target_inputs.backward(db, inputs)  # (3')
        da = self.encoder.backward(dz, encode.encoder)  # (2')
        self.source_inputs.backward(da, encode.inputs)  # (1')

    def loss(
        self,
        source: Array,
        target_in: Array,
        targets: Array,
        source_mask: BoolArray | None = None,
        *,
        run: Run | None = None,
    ) -> tuple[Any, TransformerLossSaved]:
        """Mean cross-entropy of the counted targets, with the configuration's smoothing.

        Parameters
        ----------
        source : (batch, S) integer ndarray
        target_in : (batch, T) integer ndarray
        targets : (batch, T) integer ndarray
            ``targets[:, t]`` is the answer at position t, -100 where there is none.
        source_mask : (batch, S) bool ndarray, optional
            True = real token.
        run : Run, optional

        Returns
        -------
        loss : scalar of the model's dtype
            In nats per token.
        saved : TransformerLossSaved
        """
        check_batch("Transformer", "target_in", target_in)
        check_targets("Transformer", targets, target_in, "target_in")
        z, encode_saved = self.encode(source, source_mask, run=run)
        h, inputs_saved, decoder_saved = self._hidden(target_in, z, source_mask, run)
        weight = self.head.weight.value
        if self.head.bias is not None:  # a column more, beside a 1 in each h
            h = np.concatenate([h, np.ones((*h.shape[:-1], 1), h.dtype)], axis=-1)
            weight = np.concatenate([weight, self.head.bias.value[:, None]], axis=1)
        loss, head_saved = F.linear_cross_entropy(
            h,
            weight,
            targets,
            label_smoothing=self.config.label_smoothing,
        )  # (5), (6)
        return loss, TransformerLossSaved(encode_saved, inputs_saved, decoder_saved, head_saved)

    def loss_backward(self, saved: TransformerLossSaved, dloss: float = 1.0) -> None:
        """Add `dloss` times the loss's gradient to every parameter's."""
        dh, dweight = F.linear_cross_entropy_backward(dloss, saved.head)  # (6'), (5')
        if self.head.bias is not None:  # which is frozen
            dh, dweight = np.ascontiguousarray(dh[..., :-1]), dweight[:, :-1].copy()
        self.head.weight.add_grad(dweight, fresh=True)
        self._hidden_backward(dh, saved.encode, saved.inputs, saved.decoder)

    def loss_weight(
        self,
        source: Array,
        target_in: Array,
        targets: Array,
        source_mask: BoolArray | None = None,
    ) -> int:
        """Return the number of targets that are counted."""
        return int(np.count_nonzero(targets != -100))
