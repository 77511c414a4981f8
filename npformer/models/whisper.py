r"""Whisper: an encoder hears a recording, a decoder writes what is said.

Forward, for log-mel spectra m (B, M, N), of M channels in N frames, and target ids t (B, T),
shifted right by a start token
    (1)  x = hear(m)                        _spectrum.py: S = ceil(N/2)       (B, S, D)
    (2)  z = encoder(x)                     layers/encoder.py: the memory     (B, S, D)
    (3)  b = embed(t)                       _inputs.py; learned positions     (B, T, D)
    (4)  h = decoder(b, z)                  layers/decoder.py                 (B, T, D)
    (5)  logits = h W_out^T                 W_out is the token table, if tied (B, T, V)
    (6)  L = cross_entropy(logits, targets) with (5) in one, functional/linear_cross_entropy.py

Backward, given dL
    (6') dlogits                            together with (5'): linear_cross_entropy.py
    (5') dh, dW_out                         a tied table receives this ...
    (4') db, dz                             dz: the sum over the decoder's layers
    (3') dW_embed                           ... and this: the sum of both uses
    (2') dx
    (1') dm                                 it says what in the sound mattered

All norms are before their branches, both stacks end with one, and no map to keys has a bias.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from .. import functional as F
from ..core.arrays import (
    Array,
    check_choice,
    check_flag,
    check_rate,
    check_size,
    describe,
)
from ..core.initialize import skeleton
from ..core.run import Run
from ..functional.linear import LinearSaved
from ..functional.linear_cross_entropy import LinearCrossEntropySaved
from ..layers import Decoder, Embedding, Encoder, Linear
from ..layers._heads import check_heads
from ..layers.decoder import DecoderSaved
from ..layers.encoder import EncoderSaved
from ..layers.feed_forward import ACTIVATIONS
from ..layers.kv_cache import KVCache, undoable
from ._config import check_config_type
from ._initialize import initialize_weights
from ._inputs import (
    InputEmbedding,
    InputEmbeddingSaved,
    check_batch,
    check_cache,
    check_targets,
)
from ._model import Model
from ._spectrum import SpectrumInput, SpectrumInputSaved


@dataclass(frozen=True)
class WhisperConfig:
    """What a `Whisper` is built from; the defaults are the paper's."""

    vocab_size: int  # number of token ids; 51,865 in the paper's multilingual models
    max_len: int  # longest target, a hard limit; 448 in the paper's
    d_model: int  # width of the stream, even; 384 in the paper's smallest model
    num_heads: int  # d_model / num_heads is the width of each; 6 in the smallest
    num_layers: int  # of the encoder; 4 in the smallest
    d_ff: int | None = None  # width inside the feed-forward layers; None: 4 d_model
    num_decoder_layers: int | None = None  # None: as many; distilled models have fewer
    n_mels: int = 80  # channels of a spectrum; 128 in the third version of the large model
    max_source_len: int = 1500  # longest memory: half as many as frames, 30 s
    dropout: float = 0.0  # of attention weights, branches and embeddings
    activation: str = "gelu"  # see layers.FeedForward; the convolutions' is always GELU
    tie_embeddings: bool = True  # one table for the decoder's input and output
    checkpoint: bool = False  # run each layer again in backward: less memory, more time

    position: ClassVar[str] = "learned"  # of the decoder

    def __post_init__(self) -> None:
        owner = "WhisperConfig"
        check_size(owner, vocab_size=self.vocab_size, max_len=self.max_len)
        check_size(owner, num_layers=self.num_layers, n_mels=self.n_mels)
        check_size(owner, max_source_len=self.max_source_len)
        for name in ("d_ff", "num_decoder_layers"):
            given = getattr(self, name)
            check_size(owner, **{name: 1 if given is None else given})
        check_heads(owner, self.d_model, self.num_heads, self.num_heads)
        check_rate(owner, "dropout", self.dropout)
        check_choice(owner, "activation", self.activation, [*ACTIVATIONS, "swiglu"])
        for name in ("tie_embeddings", "checkpoint"):
            check_flag(owner, name, getattr(self, name))
        if self.d_model % 2:
            raise ValueError(
                f"{owner}: d_model is {self.d_model}; expected an even number, a sine and a "
                f"cosine for each wavelength of the encoder's positions"
            )


class EncodeSaved(NamedTuple):
    """What undoes `Whisper.encode`."""

    inputs: SpectrumInputSaved
    encoder: EncoderSaved | None


class DecodeSaved(NamedTuple):
    """What undoes `Whisper.decode`."""

    inputs: InputEmbeddingSaved
    decoder: DecoderSaved | None
    head: LinearSaved


class WhisperSaved(NamedTuple):
    """What `Whisper.backward` needs."""

    encode: EncodeSaved
    decode: DecodeSaved | None


class WhisperLossSaved(NamedTuple):
    """What `Whisper.loss_backward` needs."""

    encode: EncodeSaved
    inputs: InputEmbeddingSaved
    decoder: DecoderSaved | None
    head: LinearCrossEntropySaved


class Whisper(Model):
    """An encoder–decoder from sound to text.

    Parameters
    ----------
    config : WhisperConfig
    rng : numpy.random.Generator, optional
        Draws the weights (`npformer.models._initialize`). None draws from fresh entropy.
    dtype : float32 or float64, optional

    Attributes
    ----------
    source_inputs : SpectrumInput
        Two convolutions and fixed positions.
    target_inputs : layer of token and position embeddings
    encoder : Encoder
    decoder : Decoder
    head : Linear

    References
    ----------
    Radford et al. (2022), "Robust Speech Recognition via Large-Scale Weak Supervision",
    arXiv:2212.04356, section 2.2.
    """

    config_type: ClassVar[type] = WhisperConfig

    def __init__(
        self,
        config: WhisperConfig,
        *,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        check_config_type(config, WhisperConfig)
        self.config = config
        stack: dict[str, Any] = {
            "d_model": config.d_model,
            "num_heads": config.num_heads,
            "d_ff": config.d_ff,
            "dropout": config.dropout,
            "key_bias": False,
            "activation": config.activation,
            "norm_position": "pre",
            "checkpoint": config.checkpoint,
            "dtype": dtype,
        }
        depth = config.num_decoder_layers
        with skeleton():  # weights are drawn below, by one rule
            self.source_inputs = SpectrumInput(
                *(config.n_mels, config.d_model, config.max_source_len, config.dropout),
                dtype=dtype,
            )
            embedding = Embedding(config.vocab_size, config.d_model, dtype=dtype)
            self.target_inputs = InputEmbedding(
                embedding, config.max_len, config.position, config.dropout, dtype=dtype
            )
            self.encoder = Encoder(config.num_layers, **stack)
            self.decoder = Decoder(config.num_layers if depth is None else depth, **stack)
            self.head = Linear(
                config.d_model,
                config.vocab_size,
                bias=False,
                weight=embedding.weight if config.tie_embeddings else None,
                dtype=dtype,
            )
        initialize_weights(self, config.num_layers, rng)

    def encode(self, mel: Array, *, run: Run | None = None) -> tuple[Array, EncodeSaved]:
        """Turn spectra (batch, n_mels, frames) into a memory (batch, ceil(frames / 2), d_model).

        Of padding the model knows nothing: it hears silence.
        """
        self.source_inputs.check("Whisper", mel)
        x, inputs_saved = self.source_inputs.forward(mel, run=run)  # (1)
        z, encoder_saved = self.encoder.forward(x, run=run)  # (2)
        return z, EncodeSaved(inputs_saved, encoder_saved)

    def decode(
        self,
        target_in: Array,
        memory: Array,
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
            h, inputs_saved, decoder_saved = self._hidden(target_in, memory, run)
            logits, head_saved = self.head.forward(h)  # (5)
            return logits, DecodeSaved(inputs_saved, decoder_saved, head_saved)
        self._check_decode(target_in, memory)
        check_cache("Whisper", cache, target_in)
        length = target_in.shape[1]
        with cache.step(self, None, None, length):
            at = cache.positions(length)[:, -length:]
            b, _ = self.target_inputs.forward(target_in, at, run=run)
            h, _ = self.decoder.forward(b, memory, cache=cache, run=run)
            return self.head.forward(h)[0], None

    def _hidden(
        self, target_in: Array, memory: Array, run: Run | None
    ) -> tuple[Array, InputEmbeddingSaved, DecoderSaved | None]:
        """Equations (3) and (4), without a cache."""
        self._check_decode(target_in, memory)
        b, inputs_saved = self.target_inputs.forward(target_in, run=run)  # (3)
        h, decoder_saved = self.decoder.forward(b, memory, run=run)  # (4)
        return h, inputs_saved, decoder_saved

    def _check_decode(self, target_in: Array, memory: Array) -> None:
        """Refuse a target that is no batch of ids, or does not fit the source."""
        check_batch("Whisper", "target_in", target_in)
        if not isinstance(memory, np.ndarray):
            raise TypeError(
                f"Whisper: memory is {describe(memory)}; expected what encode returned first"
            )
        if len(target_in) != len(memory):
            raise ValueError(
                f"Whisper: target_in has {len(target_in)} sequences and the source {len(memory)}; "
                f"expected one target for each source"
            )

    def forward(
        self, mel: Array, target_in: Array, *, run: Run | None = None
    ) -> tuple[Array, WhisperSaved]:
        """Predict the token after each of `target_in`, given the sound.

        Parameters
        ----------
        mel : (batch, n_mels, frames) ndarray
            As `npformer.audio.log_mel` makes them, of the model's dtype.
        target_in : (batch, T) integer ndarray
            The target shifted right: a start token, then all tokens but the last.
        run : Run, optional

        Returns
        -------
        logits : (batch, T, vocab_size) ndarray
        saved : WhisperSaved

        Raises
        ------
        ValueError, TypeError
            If mel are no such spectra or longer than positions go, or ids are not
            (batch, length) integers below vocab_size, as many sequences, and as long as
            positions go.
        """
        check_batch("Whisper", "target_in", target_in)
        z, encode_saved = self.encode(mel, run=run)
        logits, decode_saved = self.decode(target_in, z, run=run)
        return logits, WhisperSaved(encode_saved, decode_saved)

    def backward(self, dy: Array, saved: WhisperSaved, run: Run | None = None) -> Array:
        """Return dmel, given dy (batch, T, vocab_size); add to every parameter's gradient."""
        decode = undoable("Whisper", saved.decode)
        dh = self.head.backward(dy, decode.head)  # (5')
        return self._hidden_backward(dh, saved.encode, decode.inputs, decode.decoder)

    def _hidden_backward(
        self,
        dh: Array,
        encode: EncodeSaved,
        inputs: InputEmbeddingSaved,
        decoder: DecoderSaved | None,
    ) -> Array:
        """Equations (4') to (1')."""
        db, dz = self.decoder.backward(dh, decoder)  # (4')
        self.target_inputs.backward(db, inputs)  # (3')
        dx = self.encoder.backward(dz, encode.encoder)  # (2')
        return self.source_inputs.backward(dx, encode.inputs)  # (1')

    def loss(
        self, mel: Array, target_in: Array, targets: Array, *, run: Run | None = None
    ) -> tuple[Any, WhisperLossSaved]:
        """Mean cross-entropy of the counted targets, in nats per token.

        Parameters
        ----------
        mel : (batch, n_mels, frames) ndarray
        target_in : (batch, T) integer ndarray
        targets : (batch, T) integer ndarray
            ``targets[:, t]`` is the answer at position t, -100 where there is none.
        run : Run, optional

        Returns
        -------
        loss : scalar of the model's dtype
        saved : WhisperLossSaved
        """
        check_batch("Whisper", "target_in", target_in)
        check_targets("Whisper", targets, target_in, "target_in")
        z, encode_saved = self.encode(mel, run=run)
        h, inputs_saved, decoder_saved = self._hidden(target_in, z, run)
        loss, head_saved = F.linear_cross_entropy(h, self.head.weight.value, targets)  # (5), (6)
        return loss, WhisperLossSaved(encode_saved, inputs_saved, decoder_saved, head_saved)

    def loss_backward(self, saved: WhisperLossSaved, dloss: float = 1.0) -> None:
        """Add `dloss` times the loss's gradient to every parameter's."""
        dh, dweight = F.linear_cross_entropy_backward(dloss, saved.head)  # (6'), (5')
        self.head.weight.add_grad(dweight, fresh=True)
        self._hidden_backward(dh, saved.encode, saved.inputs, saved.decoder)

    def loss_weight(self, mel: Array, target_in: Array, targets: Array) -> int:
        """Return the number of targets that are counted."""
        return int(np.count_nonzero(targets != -100))
