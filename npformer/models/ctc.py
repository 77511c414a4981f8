r"""CTC: an encoder hears a recording and spells what is said, step by step, without a decoder.

Forward, for log-mel spectra m (B, M, N), of M channels in N frames
    (1)  x = hear(m)                        _spectrum.py: S = ceil(N/2)       (B, S, D)
    (2)  z = encoder(x)                     layers/encoder.py                 (B, S, D)
    (3)  logits = z W^T + b                 one row of W is the blank's       (B, S, V)
    (4)  p = log_softmax(logits)            each step by itself               (B, S, V)
    (5)  L = ctc_loss(p, targets)           over all ways to spell them in S steps

Backward, given dL
    (5') dp                                 functional/ctc_loss.py
    (4') dlogits
    (3') dz, dW, db
    (2') dx
    (1') dm                                 it says what in the sound mattered

The encoder is Whisper's: norms are before their branches, it ends with one, and no map to keys
has a bias. `npformer.generation.ctc_greedy` reads the logits.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from .. import functional as F
from ..core.arrays import Array, check_choice, check_flag, check_integers, check_rate, check_size
from ..core.initialize import skeleton
from ..core.run import Run
from ..functional.ctc_loss import CTCLossSaved
from ..functional.linear import LinearSaved
from ..functional.log_softmax import LogSoftmaxSaved
from ..layers import Encoder, Linear
from ..layers._heads import check_heads
from ..layers.encoder import EncoderSaved
from ..layers.feed_forward import ACTIVATIONS
from ._config import check_config_type
from ._initialize import initialize_weights
from ._model import Model
from ._spectrum import SpectrumInput, SpectrumInputSaved

BLANK = 0  # the class that stands for none


@dataclass(frozen=True)
class CTCConfig:
    """What a `CTC` is built from."""

    vocab_size: int  # number of classes, the blank among them: it is 0
    d_model: int  # width of the stream, even
    num_heads: int  # d_model / num_heads is the width of each
    num_layers: int
    d_ff: int | None = None  # width inside the feed-forward layers; None: 4 d_model
    n_mels: int = 80  # channels of a spectrum
    max_source_len: int = 1500  # most steps: half as many as frames, 30 s
    dropout: float = 0.0  # of attention weights, branches and inputs
    activation: str = "gelu"  # see layers.FeedForward; the convolutions' is always GELU
    checkpoint: bool = False  # run each layer again in backward: less memory, more time

    def __post_init__(self) -> None:
        owner = "CTCConfig"
        check_size(owner, vocab_size=self.vocab_size, num_layers=self.num_layers)
        check_size(owner, n_mels=self.n_mels, max_source_len=self.max_source_len)
        check_size(owner, d_ff=1 if self.d_ff is None else self.d_ff)
        check_heads(owner, self.d_model, self.num_heads, self.num_heads)
        check_rate(owner, "dropout", self.dropout)
        check_choice(owner, "activation", self.activation, [*ACTIVATIONS, "swiglu"])
        check_flag(owner, "checkpoint", self.checkpoint)
        if self.d_model % 2:
            raise ValueError(
                f"{owner}: d_model is {self.d_model}; expected an even number, a sine and a "
                f"cosine for each wavelength of the positions"
            )


class CTCSaved(NamedTuple):
    """What `CTC.backward` needs."""

    inputs: SpectrumInputSaved
    encoder: EncoderSaved | None
    head: LinearSaved


class CTCModelLossSaved(NamedTuple):
    """What `CTC.loss_backward` needs."""

    forward: CTCSaved
    log_softmax: LogSoftmaxSaved
    loss: CTCLossSaved


class CTC(Model):
    """An encoder from sound to a class for each step.

    Parameters
    ----------
    config : CTCConfig
    rng : numpy.random.Generator, optional
        Draws the weights (`npformer.models._initialize`). None draws from fresh entropy.
    dtype : float32 or float64, optional

    Attributes
    ----------
    inputs : SpectrumInput
        Two convolutions and fixed positions.
    encoder : Encoder
    head : Linear

    References
    ----------
    Graves et al. (2006), "Connectionist Temporal Classification: Labelling Unsegmented Sequence
    Data with Recurrent Neural Networks"; Radford et al. (2022), arXiv:2212.04356, section 2.2,
    for the encoder.
    """

    config_type: ClassVar[type] = CTCConfig

    def __init__(
        self,
        config: CTCConfig,
        *,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        check_config_type(config, CTCConfig)
        self.config = config
        with skeleton():  # weights are drawn below, by one rule
            self.inputs = SpectrumInput(
                *(config.n_mels, config.d_model, config.max_source_len, config.dropout),
                dtype=dtype,
            )
            self.encoder = Encoder(
                config.num_layers,
                config.d_model,
                config.num_heads,
                config.d_ff,
                dropout=config.dropout,
                key_bias=False,
                activation=config.activation,
                norm_position="pre",
                checkpoint=config.checkpoint,
                dtype=dtype,
            )
            self.head = Linear(config.d_model, config.vocab_size, dtype=dtype)
        initialize_weights(self, config.num_layers, rng)

    def forward(self, mel: Array, *, run: Run | None = None) -> tuple[Array, CTCSaved]:
        """Score each class at each step.

        Parameters
        ----------
        mel : (batch, n_mels, frames) ndarray
            As `npformer.audio.log_mel` makes them, of the model's dtype. Of padding the model
            knows nothing: it hears silence.
        run : Run, optional

        Returns
        -------
        logits : (batch, ceil(frames / 2), vocab_size) ndarray
        saved : CTCSaved

        Raises
        ------
        ValueError, TypeError
            If mel are no such spectra or longer than positions go.
        """
        self.inputs.check("CTC", mel)
        x, inputs_saved = self.inputs.forward(mel, run=run)  # (1)
        z, encoder_saved = self.encoder.forward(x, run=run)  # (2)
        logits, head_saved = self.head.forward(z)  # (3)
        return logits, CTCSaved(inputs_saved, encoder_saved, head_saved)

    def backward(self, dy: Array, saved: CTCSaved, run: Run | None = None) -> Array:
        """Return dmel, given dy (batch, S, vocab_size); add to every parameter's gradient."""
        dz = self.head.backward(dy, saved.head)  # (3')
        dx = self.encoder.backward(dz, saved.encoder)  # (2')
        return self.inputs.backward(dx, saved.inputs)  # (1')

    def loss(
        self, mel: Array, targets: Array, *, run: Run | None = None
    ) -> tuple[Any, CTCModelLossSaved]:
        """Mean of the recordings' CTC losses, each in nats per class of its target.

        Parameters
        ----------
        mel : (batch, n_mels, frames) ndarray
        targets : (batch, T) integer ndarray
            The classes of each target, none of them the blank, then -100.
        run : Run, optional

        Returns
        -------
        loss : scalar of the model's dtype
        saved : CTCModelLossSaved

        Raises
        ------
        ValueError, TypeError
            As `forward`, and if targets are no such classes, or do not fit the steps that there
            are: with which.
        """
        check_integers("CTC", "targets", targets)
        if targets.ndim != 2 or len(targets) != len(mel):
            raise ValueError(
                f"CTC: targets are {targets.shape} and mel is {mel.shape}; expected (batch, T), "
                f"the classes of each recording, then -100"
            )
        logits, forward_saved = self.forward(mel, run=run)
        p, softmax_saved = F.log_softmax(logits)  # (4)
        steps = np.full(len(p), p.shape[1])
        lengths = np.count_nonzero(targets != -100, axis=1)
        loss, loss_saved = F.ctc_loss(p, targets, steps, lengths, BLANK)  # (5)
        return loss, CTCModelLossSaved(forward_saved, softmax_saved, loss_saved)

    def loss_backward(self, saved: CTCModelLossSaved, dloss: float = 1.0) -> None:
        """Add `dloss` times the loss's gradient to every parameter's."""
        dp = F.ctc_loss_backward(dloss, saved.loss)  # (5')
        dlogits = F.log_softmax_backward(dp, saved.log_softmax)  # (4')
        self.backward(dlogits, saved.forward)

    def loss_weight(self, mel: Array, targets: Array) -> int:
        """Return the number of recordings, over which the loss is a mean."""
        return len(targets)
