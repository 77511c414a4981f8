r"""A speaker made of a few numbers: source and filter, as in the formant synthesisers of old.

Voiced sounds are pulses at the speaker's pitch; a breath, a burst or a hiss is noise. Both are
shaped by the vocal tract, a cascade of resonators (1) at the formants, which move from one sound
to the next; hisses and bursts, which are made at its front, by one broad band of their own (2):
    (1)  H(f) = prod_k (1 - 2 r_k cos t_k + r_k^2) / (1 - 2 r_k cos t_k z^-1 + r_k^2 z^-2)
         z = exp(2 pi j f / rate),  r_k = exp(-pi b_k / rate),  t_k = 2 pi f_k / rate
    (2)  B(f) = 1 / (1 + ((f - c) / w)^2)
for formants at f_k of bandwidth b_k, and a hiss centred at c and 2 w wide. H is 1 at 0 Hz, so that
vowels differ in loudness as real ones do. The filter is applied in frames of 16 ms that overlap by
half, each multiplied by its own H and B in the frequency domain and added up.

Every utterance is new: the durations, the melody, where the formants come to lie, the room's noise
and the loudness are drawn anew around those of the speaker.

References
----------
Klatt (1980), "Software for a cascade/parallel formant synthesizer", Journal of the Acoustical
Society of America 67, for the method and, roughly, the formants of consonants. Peterson and Barney
(1952), "Control Methods Used in a Study of the Vowels", same journal 24, for those of vowels.
"""

from bisect import bisect_left
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..audio import RATE
from ..core.arrays import Array

_FRAME, _HOP, _FFT = 256, 128, 512  # samples; the filters may ring beyond the frame
_TICK = 0.004  # seconds between two values of what moves
_WIDTHS = (70.0, 90.0, 140.0, 220.0, 280.0)  # Hz, of the formants
_HIGHER = np.array([3500.0, 4500.0])  # Hz, of the two that do not move


class Speaker(NamedTuple):
    """What stays the same from word to word."""

    pitch: float  # Hz
    formants: Array  # (5,)  what each formant is multiplied by
    pace: float  # what durations are multiplied by
    breath: float  # noise in the voice
    tilt: float  # Hz from which on the voice is duller


class _Part(NamedTuple):
    """What a sound consists of: one of its stages."""

    seconds: float
    formants: tuple[int, int, int] | None  # Hz; None: those of the next sound
    voice: float = 0.0
    breath: float = 0.0
    hiss: float = 0.0
    centre: int = 4000  # Hz, of the hiss
    width: int = 1000


def _vowel(seconds: float, *formants: tuple[int, int, int]) -> list[_Part]:
    return [_Part(seconds / len(formants), each, voice=1.0) for each in formants]


def _stop(formants: tuple[int, int, int], voiced: bool, centre: int, width: int) -> list[_Part]:
    """Silence (or a murmur), a burst, and the breath that follows if it is voiceless."""
    closed = _Part(0.06, formants, voice=0.12 if voiced else 0.0)
    burst = _Part(0.012, formants, hiss=0.5, centre=centre, width=width)
    return [closed, burst] if voiced else [closed, burst, _Part(0.035, None, breath=0.35)]


def _hiss(
    formants: tuple[int, int, int], voice: float, hiss: float, centre: int, width: int
) -> list[_Part]:
    return [_Part(0.085 if voice else 0.11, formants, voice, 0.0, hiss, centre, width)]


def _hum(seconds: float, voice: float, formants: tuple[int, int, int]) -> list[_Part]:
    return [_Part(seconds, formants, voice)]


_PARTS: dict[str, list[_Part]] = {
    "i": _vowel(0.14, (270, 2290, 3010)),
    "I": _vowel(0.10, (390, 1990, 2550)),
    "E": _vowel(0.12, (530, 1840, 2480)),
    "A": _vowel(0.16, (660, 1720, 2410)),
    "V": _vowel(0.11, (640, 1190, 2390)),
    "@": _vowel(0.06, (500, 1400, 2400)),
    "Q": _vowel(0.16, (730, 1090, 2440)),
    "O": _vowel(0.16, (570, 840, 2410)),
    "U": _vowel(0.10, (440, 1020, 2240)),
    "u": _vowel(0.14, (300, 870, 2240)),
    "R": _vowel(0.14, (490, 1350, 1690)),
    "e": _vowel(0.17, (500, 1850, 2500), (330, 2200, 2850)),
    "o": _vowel(0.17, (540, 1000, 2400), (380, 850, 2300)),
    "a": _vowel(0.20, (710, 1150, 2450), (400, 2000, 2600)),
    "W": _vowel(0.20, (710, 1250, 2450), (420, 950, 2300)),
    "Y": _vowel(0.20, (540, 840, 2400), (390, 1950, 2550)),
    "w": _hum(0.07, 0.6, (290, 610, 2150)),
    "y": _hum(0.06, 0.6, (260, 2070, 3020)),
    "r": _hum(0.07, 0.6, (310, 1060, 1380)),
    "l": _hum(0.07, 0.6, (310, 1050, 2880)),
    "m": _hum(0.08, 0.3, (250, 1100, 2130)),
    "n": _hum(0.08, 0.3, (250, 1500, 2470)),
    "N": _hum(0.09, 0.3, (250, 2100, 2700)),
    "p": _stop((350, 900, 2150), False, 800, 700),
    "b": _stop((200, 900, 2150), True, 800, 700),
    "t": _stop((350, 1700, 2600), False, 4500, 1500),
    "d": _stop((200, 1700, 2600), True, 4500, 1500),
    "k": _stop((300, 1990, 2400), False, 2000, 500),
    "g": _stop((200, 1990, 2400), True, 2000, 500),
    "f": _hiss((340, 1000, 2080), 0.0, 0.10, 6000, 5000),
    "v": _hiss((220, 1000, 2080), 0.3, 0.06, 6000, 5000),
    "T": _hiss((320, 1290, 2540), 0.0, 0.10, 5500, 1800),
    "D": _hiss((270, 1290, 2540), 0.3, 0.06, 5500, 1800),
    "s": _hiss((320, 1390, 2530), 0.0, 0.5, 6300, 1000),
    "z": _hiss((240, 1390, 2530), 0.25, 0.35, 6300, 1000),
    "S": _hiss((300, 1840, 2750), 0.0, 0.5, 3000, 700),
    "Z": _hiss((260, 1840, 2750), 0.25, 0.35, 3000, 700),
    "h": [_Part(0.06, None, breath=0.4)],
}
_PARTS["C"] = [_PARTS["t"][0], _PARTS["S"][0]._replace(seconds=0.08)]
_PARTS["J"] = [_PARTS["d"][0], _PARTS["Z"][0]._replace(seconds=0.06)]

PHONEMES = frozenset(_PARTS)


def draw_speaker(rng: np.random.Generator) -> Speaker:
    """Return a speaker, from a deep voice to a child's; who has a short tract speaks high."""
    size = rng.uniform(-1, 1)
    return Speaker(
        pitch=float(145 * 2 ** (0.7 * size + rng.uniform(-0.2, 0.2))),
        formants=1.08 * 1.14**size * rng.uniform(0.95, 1.05, 5),
        pace=float(rng.uniform(0.75, 1.15)),
        breath=float(rng.uniform(0.01, 0.08)),
        tilt=float(rng.uniform(400, 1500)),
    )


def say(sounds: str, speaker: Speaker, rng: np.random.Generator, seconds: float) -> Array:
    """Let a speaker say a word somewhere within a clip.

    Parameters
    ----------
    sounds : str
        Of `PHONEMES`, at least one of them a vowel.
    speaker : Speaker
    rng : numpy.random.Generator
        Draws what is new in every utterance.
    seconds : float
        Length of the clip. A word that is longer is said faster.

    Returns
    -------
    (n,) float32 ndarray
        At 16 kHz, in [-1, 1].
    """
    moves = _movements(sounds, speaker, rng, seconds)
    voice = _pulses(len(moves), speaker, rng)
    hiss = 0.1 * rng.standard_normal(len(voice))
    word = _filtered(np.stack([voice, hiss]), moves, speaker)
    clip = 10 ** rng.uniform(-2.2, -0.8) * rng.standard_normal(round(RATE * seconds))  # the room
    start = int(rng.integers(len(clip) - len(word) + 1))
    clip[start : start + len(word)] += word / np.sqrt(np.mean(word**2))
    clip *= rng.uniform(0.1, 0.9) / np.abs(clip).max()
    return clip.astype(np.float32)


def _movements(sounds: str, speaker: Speaker, rng: np.random.Generator, seconds: float) -> Array:
    """Return three formants, how loud voice, breath and hiss are, and the hiss's centre and width.

    (ticks, 8): every 4 ms.
    """
    parts = [part for sound in sounds for part in _PARTS[sound]]
    times = np.array([part.seconds for part in parts]) * speaker.pace
    times *= np.exp(0.15 * rng.standard_normal(len(parts)))
    times[-1] *= 1.3  # the end of a word is drawn out
    times *= min(1.0, 0.95 * seconds / times.sum())
    ticks = np.arange(int(times.sum() / _TICK))
    which = np.searchsorted(np.cumsum(times), ticks * _TICK, "right")
    known = [i for i, part in enumerate(parts) if part.formants is not None]
    shape = [known[min(bisect_left(known, i), len(known) - 1)] for i in range(len(parts))]
    formants = np.array([parts[i].formants for i in shape], np.float64)
    formants *= np.exp(0.04 * rng.standard_normal(formants.shape)) * speaker.formants[:3]
    loudness = np.array([(part.voice, part.breath, part.hiss) for part in parts])
    loudness[:, 1] += speaker.breath * loudness[:, 0]
    band = np.array([(part.centre, part.width) for part in parts], np.float64)
    fade = np.minimum(1, (1 + np.minimum(ticks, ticks[::-1])) / 4)[:, None]
    moves = _smooth(formants[which], 13), _smooth(loudness[which], 5) * fade, band[which]
    return np.concatenate(moves, axis=1)


def _smooth(x: Array, ticks: int) -> Array:
    """Let values (n, c) glide, as the organs of speech do."""
    window = np.hanning(ticks + 2)[1:-1]
    padded = np.pad(x, [(ticks // 2, ticks // 2), (0, 0)], mode="edge")
    smooth: Array = sliding_window_view(padded, ticks, axis=0) @ (window / window.sum())
    return smooth


def _pulses(ticks: int, speaker: Speaker, rng: np.random.Generator) -> Array:
    """Return the voice's pulses: a melody that falls, with a hump where the word is stressed."""
    t = np.linspace(0, 1, int(ticks * _TICK * RATE))
    hump = np.exp(-(((t - rng.uniform(0.1, 0.6)) / 0.25) ** 2))
    octaves = rng.uniform(-0.15, 0.15) + rng.uniform(-0.35, 0.1) * t + rng.uniform(0, 0.3) * hump
    pitch = speaker.pitch * 2**octaves
    phase = np.cumsum(pitch / RATE)
    whole = np.floor(phase)
    at = np.flatnonzero(np.diff(whole))  # a period ends between this sample and the next
    late = (phase - whole)[at + 1] / (pitch / RATE)[at + 1]  # how long before the next, in samples
    strength = 0.1 * np.sqrt(RATE / pitch[at])  # as loud as the noise, at any pitch
    pulses = np.zeros(len(t))
    pulses[at] += late * strength
    pulses[at + 1] += (1 - late) * strength
    return pulses


def _filtered(sources: Array, moves: Array, speaker: Speaker) -> Array:
    """Shape voice and noise (2, n), frame by frame."""
    n = sources.shape[1]
    frames = n // _HOP + 1
    middle = (np.arange(frames) * _HOP / (RATE * _TICK)).astype(np.int64)
    formants, loudness, band = np.split(moves[np.minimum(middle, len(moves) - 1)], [3, 6], axis=1)
    voice, breath, hiss = (part[:, None] for part in loudness.T)
    centre, width = (part[:, None] for part in band.T)
    padded = np.pad(sources, [(0, 0), (_HOP, _FRAME)])
    windows = sliding_window_view(padded, _FRAME, axis=1)[:, : frames * _HOP : _HOP]
    spectra = np.fft.rfft(windows * np.hanning(_FRAME + 1)[:-1], _FFT)  # (2, frames, bins)
    f = np.fft.rfftfreq(_FFT, 1 / RATE)
    dull = (1 + f / 500) / (1 + (f / speaker.tilt) ** 2)  # the glottis, and the lips
    through = (spectra[0] * (voice * dull) + spectra[1] * breath) * _tract(formants, speaker, f)
    front = spectra[1] * (hiss / (1 + ((f - centre) / width) ** 2))  # (2)
    y = np.zeros((frames - 1) * _HOP + _FFT)
    for i, piece in enumerate(np.fft.irfft(through + front)):
        y[i * _HOP : i * _HOP + _FFT] += piece
    return y[_HOP : _HOP + n]


def _tract(formants: Array, speaker: Speaker, f: Array) -> Array:
    """Equation (1), (frames, bins)."""
    z = np.exp(-2j * np.pi * f / RATE)
    higher = np.broadcast_to(_HIGHER * speaker.formants[3:], (len(formants), 2))
    response: Array = np.ones(1)
    for centre, width in zip(np.concatenate([formants, higher], axis=1).T, _WIDTHS, strict=True):
        r = np.exp(-np.pi * width / RATE)
        c = 2 * r * np.cos(2 * np.pi * centre / RATE)[:, None]
        response = response * ((1 - c + r * r) / (1 - c * z + r * r * z * z))
    return response
