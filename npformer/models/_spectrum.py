r"""From spectra to vectors that know their positions: how Whisper's encoder begins.

Forward, for log-mel spectra m (B, M, N), of M channels in N frames
    (1)  a = gelu(conv1(m^T))               kernel 3; layers/conv1d.py        (B, N, D)
    (2)  c = gelu(conv2(a))                 kernel 3, stride 2: S = ceil(N/2) (B, S, D)
    (3)  x = dropout(c + P)                 P: sinusoids, frozen              (B, S, D)

Backward, given dx
    (3') dc                                 P learns nothing
    (2') da                                 the second convolution's weights
    (1') dm                                 the first one's; dm says what in the sound mattered
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from .. import functional as F
from ..core.arrays import Array, check_floats
from ..core.layer import Layer
from ..core.run import Run
from ..functional.conv1d import Conv1dSaved
from ..functional.dropout import DropoutSaved
from ..functional.sinusoidal import waves
from ..layers import Conv1d, Dropout, LearnedPositionalEncoding


class SpectrumInputSaved(NamedTuple):
    """What `SpectrumInput.backward` needs."""

    conv1: Conv1dSaved
    gelu1: Any
    conv2: Conv1dSaved
    gelu2: Any
    position: Any
    dropout: DropoutSaved


class SpectrumInput(Layer):
    """Spectra to vectors that know their positions; see the module.

    Parameters
    ----------
    n_mels : int
    d_model : int
        Even: a sine and a cosine for each wavelength.
    max_source_len : int
        Of the vectors, which are half as many as frames.
    dropout : float, optional
    dtype : float32 or float64, optional

    Attributes
    ----------
    conv1, conv2 : Conv1d
    position : LearnedPositionalEncoding
        Frozen: its table holds sinusoids.
    dropout : Dropout
    """

    def __init__(
        self,
        n_mels: int,
        d_model: int,
        max_source_len: int,
        dropout: float = 0.0,
        *,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.conv1 = Conv1d(n_mels, d_model, 3, padding=1, dtype=dtype)
        self.conv2 = Conv1d(d_model, d_model, 3, stride=2, padding=1, dtype=dtype)
        self.position = LearnedPositionalEncoding(d_model, max_source_len, dtype=dtype)
        table = self.position.weight
        table.trainable = False
        table.value[...] = waves(np.arange(len(table.value)), d_model, "halves", closed=True)
        self.dropout = Dropout(dropout)

    def forward(self, mel: Array, *, run: Run | None = None) -> tuple[Array, SpectrumInputSaved]:
        """Map mel (batch, n_mels, frames) to vectors (batch, ceil(frames / 2), d_model)."""
        a, conv1_saved = self.conv1.forward(mel.swapaxes(1, 2))
        a, gelu1_saved = F.gelu(a)  # (1)
        c, conv2_saved = self.conv2.forward(a)
        c, gelu2_saved = F.gelu(c)  # (2)
        x, position_saved = self.position.forward(c)
        x, dropout_saved = self.dropout.forward(x, run=run)  # (3)
        return x, SpectrumInputSaved(
            conv1_saved, gelu1_saved, conv2_saved, gelu2_saved, position_saved, dropout_saved
        )

    def backward(self, dy: Array, saved: SpectrumInputSaved, run: Run | None = None) -> Array:
        """Return dmel (batch, n_mels, frames)."""
        dc = self.position.backward(
            self.dropout.backward(dy, saved.dropout), saved.position
        )  # (3')
        dc = F.gelu_backward(dc, saved.gelu2)
        da = self.conv2.backward(dc, saved.conv2)  # (2')
        da = F.gelu_backward(da, saved.gelu1)
        dmel: Array = self.conv1.backward(da, saved.conv1).swapaxes(1, 2)  # (1')
        return dmel

    def check(self, model: str, mel: Array) -> None:
        """Refuse what is no batch of spectra, or is too long.

        Raises
        ------
        ValueError, TypeError
            Saying what the model of that name expected.
        """
        weight = self.conv1.weight.value
        check_floats(model, mel=mel, weight=weight)
        n_mels, longest = weight.shape[1], 2 * len(self.position.weight.value)
        if mel.ndim != 3 or mel.shape[1] != n_mels or mel.size == 0:
            raise ValueError(
                f"{model}: mel is {mel.shape}; expected (batch, {n_mels}, frames), at least one "
                f"of each" + ("; put one recording in a batch with mel[None]" * (mel.ndim == 2))
            )
        if mel.shape[2] > longest:
            raise ValueError(
                f"{model}: mel has {mel.shape[2]} frames and there are positions for {longest}; "
                f"cut the recording into parts"
            )
