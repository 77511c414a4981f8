r"""Log-mel spectra: how loud each pitch is, moment by moment, as Whisper hears it.

For samples x at 16 kHz, frames of N = 400 (25 ms) begin 160 (10 ms) apart, the first centred on
x_0, with x mirrored at both ends
    (1)  w_i = (1 - cos(2 pi i / N)) / 2                  Hann's window
    (2)  p_fk = |sum_i w_i x_{160 f - 200 + i} e^(-2 pi j i k / N)|^2,   k = 0 ... N/2, 40 Hz apart
    (3)  s_mf = sum_k H_mk p_fk
    (4)  l_mf = log10(max(s_mf, 1e-10))
    (5)  y_mf = (max(l_mf, max l - 8) + 4) / 4            the loudest 80 dB of the recording
H are triangles over frequency, from corner m over corner m + 1 to corner m + 2, each of area 1:
    (6)  H_mk = 2 / (f_{m+2} - f_m) max(0, min((g_k - f_m) / (f_{m+1} - f_m),
                                               (f_{m+2} - g_k) / (f_{m+2} - f_{m+1})))
for g_k = 40 k Hz and corners f evenly spaced from 0 to 8 kHz on a scale of pitch, Slaney's, that
is linear in frequency up to 1 kHz and logarithmic beyond:
    (7)  mel(f) = 3 f / 200 below 1000,  15 + 27 log(f / 1000) / log(6.4) from there

References
----------
Radford et al. (2022), "Robust Speech Recognition via Large-Scale Weak Supervision",
arXiv:2212.04356, section 2.2, for (5) and the sizes. Slaney (1998), "Auditory Toolbox: Version
2", Interval Research technical report 1998-010, for (6) and (7). Davis and Mermelstein (1980),
"Comparison of Parametric Representations for Monosyllabic Word Recognition", IEEE Transactions on
Acoustics, Speech, and Signal Processing 28, for (3).
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..core.arrays import Array, check_floats, check_positive, check_size

RATE = 16_000  # samples a second
FRAME = 400  # samples in a frame, N
HOP = 160  # samples from one frame to the next


def log_mel(x: Array, n_mels: int = 80, *, seconds: float | None = None) -> Array:
    """Return the log-mel spectra of recordings.

    Parameters
    ----------
    x : (..., n) float32 or float64 ndarray
        Samples at 16 kHz in [-1, 1], mono; see `read_wav` and `resample`.
    n_mels : int, optional
        Number of filters, M: 80 in most of Whisper's models, 128 in the third large one.
    seconds : float, optional
        Pad x with silence, or cut it, to that length first: 30 for Whisper's weights, which have
        heard nothing else. None takes it as it is, at least 201 samples.

    Returns
    -------
    y : (..., n_mels, n // 160) ndarray
        Of x's dtype; of each recording by itself, between its loudest value and 2 below it.

    Raises
    ------
    ValueError, TypeError
        If x is no array of finite floats or too short, or there are so many filters that some
        lie between two frequencies.
    """
    check_floats("log_mel", x=x)
    check_size("log_mel", n_mels=n_mels)
    if x.dtype.kind != "f":
        raise TypeError(f"log_mel: x is {x.dtype}; expected float32 or float64")
    if x.ndim and seconds is not None:
        check_positive("log_mel", seconds=seconds)
        x = _cut(x, round(seconds * RATE))
    if not x.ndim or x.shape[-1] <= FRAME // 2:
        raise ValueError(
            f"log_mel: x is {x.shape}; expected samples (..., n), at least {FRAME // 2 + 1}, so "
            f"that they can be mirrored at both ends; pad it with seconds=30"
        )
    if not np.isfinite(x).all():
        raise ValueError("log_mel: x has infinite or NaN samples; check how it was made")
    middle = [(0, 0)] * (x.ndim - 1) + [(FRAME // 2, FRAME // 2)]
    padded = np.pad(x.astype(np.float64), middle, mode="reflect")
    frames = sliding_window_view(padded, FRAME, axis=-1)[..., ::HOP, :]
    frames = frames[..., : x.shape[-1] // HOP, :]
    window = (1 - np.cos(2 * np.pi * np.arange(FRAME) / FRAME)) / 2  # (1)
    spectrum = np.fft.rfft(frames * window)
    power = spectrum.real**2 + spectrum.imag**2  # (2)
    mel = mel_filters(n_mels) @ power.swapaxes(-1, -2)  # (3)
    loudness = np.log10(np.maximum(mel, 1e-10))  # (4)
    least = loudness.max(axis=(-2, -1), keepdims=True) - 8
    y: Array = (np.maximum(loudness, least) + 4) / 4  # (5)
    return y.astype(x.dtype)


def mel_filters(n_mels: int) -> Array:
    """Equation (6): how much each filter takes of each frequency, (n_mels, 201).

    Raises
    ------
    ValueError
        If a filter takes nothing.
    """
    frequency = np.arange(FRAME // 2 + 1) * (RATE / FRAME)  # g
    corner = _hertz(np.linspace(0, _mel(RATE / 2), n_mels + 2))  # f
    low, peak, high = corner[:-2, None], corner[1:-1, None], corner[2:, None]
    rising = (frequency - low) / (peak - low)
    falling = (high - frequency) / (high - peak)
    filters: Array = np.maximum(0, np.minimum(rising, falling)) * (2 / (high - low))  # (6)
    if not filters.any(axis=1).all():
        raise ValueError(
            f"log_mel: n_mels is {n_mels}, so many that some filters lie between two of the "
            f"{len(frequency)} frequencies; Whisper has 80 or 128"
        )
    return filters


def _mel(frequency: float) -> float:
    """Equation (7), for a frequency of 1 kHz or more."""
    return float(15 + 27 * np.log(frequency / 1000) / np.log(6.4))


def _hertz(mel: Array) -> Array:
    """Equation (7), solved for the frequency."""
    return np.where(mel < 15, 200 * mel / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))


def _cut(x: Array, length: int) -> Array:
    """Return x (..., n) cut to `length`, or with silence behind."""
    missing = max(length - x.shape[-1], 0)
    return np.pad(x[..., :length], [(0, 0)] * (x.ndim - 1) + [(0, missing)])
