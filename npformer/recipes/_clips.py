"""Clips of speech with what is said in them: synthesised words, or the recordings of a folder.

A clip is heard as a log-mel spectrum, and all of them are equally long: what is said stands
somewhere in a synthesised one, and at the beginning of a recorded one, with silence behind.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..audio import RATE, Recording, log_mel, read_wav, resample
from ..core.arrays import Array
from ._formants import Speaker, draw_speaker, say
from ._lists import read_list
from ._recipe import CLIPS, SPLIT, stream
from ._settings import InputError
from ._spoken_words import SOUNDS

LISTS = ("transcripts.csv", "transcripts.tsv")
STEPS = 50  # of a model, in a second; each is two frames of a spectrum
ERROR, NEW_WORDS_ERROR = "character error", "in new words"
_SPEAKERS, _HELD_OUT_SPEAKERS = 200, 20
_TAKES = 10  # of every word that is trained on, each by any speaker
_KNOWN, _NEW_TAKES = 240, 4  # held-out clips of known words; takes of each new word
_SPEEDS = (1.0, 1.1, 1.2)  # of recordings to train on: none slower, so that all fit


class Shape(NamedTuple):
    """The size of a spectrum."""

    n_mels: int
    steps: int  # half as many as frames

    @property
    def seconds(self) -> float:
        """How long a clip is."""
        return self.steps / STEPS


class Clips:
    """Clips that are made when they are asked for, and kept.

    Parameters
    ----------
    texts : sequence of str
        What is said in each.
    make : callable
        Takes the number of a clip, and returns its spectrum.
    """

    def __init__(self, texts: Sequence[str], make: Callable[[int], Array]) -> None:
        self.texts, self._make = texts, make
        self._made: dict[int, Array] = {}

    def spectra(self, which: Sequence[int]) -> Array:
        """Return the spectra (n, n_mels, frames) of some of the clips."""
        for number in which:
            if number not in self._made:
                self._made[number] = self._make(number)
        return np.stack([self._made[number] for number in which])


class Split(NamedTuple):
    """What is trained on, and what is held out."""

    about: str
    train: Clips
    held_out: dict[str, Clips]  # by the measure that is taken of them
    example: str  # of what is held out: a word, or a file
    mark: str  # to know the same data by


def spectrum(samples: Array, shape: Shape) -> Array:
    """Return the log-mel spectrum of samples at 16 kHz, made as loud as they can be."""
    loudest = float(np.abs(samples).max(initial=0.0))
    return log_mel(samples / (loudest or 1.0), shape.n_mels, seconds=shape.seconds)


def plain(text: str) -> str:
    """Return a text in lower case, with letters, digits and apostrophes alone, a space between."""
    kept = (c if c.isalnum() or c == "'" else " " for c in text.lower())
    return " ".join("".join(kept).split())


def heard(path: str | Path, shape: Shape) -> Array:
    """Return the spectrum of a WAV file.

    Raises
    ------
    InputError
        If it cannot be read, or is longer than a clip.
    """
    samples, rate = _read(Path(path))
    if len(samples) > shape.seconds * rate:
        raise InputError(
            f"{path} lasts {len(samples) / rate:.2f} s; the model hears clips of at most "
            f"{shape.seconds:g} s, so cut it"
        )
    return spectrum(resample(samples, rate, RATE), shape)


def _read(path: Path) -> Recording:
    try:
        return read_wav(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be heard: {error}") from error


def synthesised(shape: Shape, seed: int) -> Split:
    """Return words that are said by speakers that do not exist (`_formants`).

    A tenth of the speakers is held out, and a tenth of the words: in ``held_out`` are words that
    are trained on, and words that are not, all by speakers that nothing was heard of.
    """
    rng = stream(seed, SPLIT)
    speakers = [draw_speaker(rng) for _ in range(_SPEAKERS + _HELD_OUT_SPEAKERS)]
    old, new = speakers[_HELD_OUT_SPEAKERS:], speakers[:_HELD_OUT_SPEAKERS]
    words = [str(word) for word in rng.permutation(list(SOUNDS))]
    unknown, known = words[: len(words) // 10], words[len(words) // 10 :]

    def clips(texts: Sequence[str], part: int, of: Sequence[Speaker]) -> Clips:
        def make(number: int) -> Array:
            rng = stream(seed, CLIPS, 3 * number + part)
            speaker = of[int(rng.integers(len(of)))]
            return spectrum(say(SOUNDS[texts[number]], speaker, rng, shape.seconds), shape)

        return Clips(texts, make)

    about = (
        f"{len(known)} words by {len(old)} synthetic speakers to train on; {len(new)} other "
        f"speakers are held out, and {len(unknown)} words"
    )
    held_out = {
        ERROR: clips(known[:_KNOWN], 1, new),
        NEW_WORDS_ERROR: clips(unknown * _NEW_TAKES, 2, new),
    }
    return Split(about, clips(known * _TAKES, 0, old), held_out, unknown[0], _mark(words))


def recorded(path: str, shape: Shape, seed: int) -> Split:
    """Return the recordings of a folder, of which a tenth is held out.

    Parameters
    ----------
    path : str
        A folder with WAV files and a file ``transcripts.csv`` or ``.tsv`` (`read_list`). Texts are
        taken in lower case, without punctuation. Recordings that are longer than a clip are left
        out; what is trained on is heard at three speeds.
    shape : Shape
    seed : int

    Raises
    ------
    InputError
        If the list or one of the recordings cannot be read, or there are too few.

    References
    ----------
    Ko et al. (2015), "Audio Augmentation for Speech Recognition", Interspeech, for the speeds.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise InputError(f"--data {path} is no folder; expected one with WAV files and {LISTS[0]}")
    name, rows = read_list(folder, LISTS)
    files, texts, sounds = [], [], []
    for number, (file, text) in enumerate(rows, 1):
        said = plain(text)
        if not said:
            raise InputError(
                f"--data {path}: row {number} of {name} says {text!r}, which has neither letters "
                f"nor digits"
            )
        recording = _read(file)
        if len(recording.samples) <= shape.seconds * recording.rate:
            files.append(str(file))
            texts.append(said)
            sounds.append(recording)
    order = [int(i) for i in stream(seed, SPLIT).permutation(len(texts))]
    count = len(order) // 10
    if not count:
        raise InputError(
            f"--data {path}: {len(texts)} of {len(rows)} recordings last at most {shape.seconds:g} "
            f"s, and a tenth of them is held out; expected at least 10: raise --seconds, or add "
            f"recordings"
        )

    def clips(which: Sequence[int], speeds: Sequence[float]) -> Clips:
        def make(number: int) -> Array:
            speed, of = divmod(number, len(which))
            samples, rate = sounds[which[of]]
            return spectrum(resample(samples, round(rate * speeds[speed]), RATE), shape)

        return Clips([texts[i] for i in which] * len(speeds), make)

    about = (
        f"{path}: {len(order) - count} recordings to train on, {count} held out, "
        f"{len(rows) - len(texts)} left out as longer than {shape.seconds:g} s"
    )
    held_out = {ERROR: clips(order[:count], (1.0,))}
    return Split(
        about, clips(order[count:], _SPEEDS), held_out, files[order[0]], _mark(texts, sounds)
    )


def _mark(texts: Sequence[str], sounds: Sequence[Recording] = ()) -> str:
    """Return what a checkpoint holds in place of the data, to know them again."""
    mark = hashlib.sha256("\n".join(texts).encode("utf-8", "surrogatepass"))
    for recording in sounds:
        mark.update(recording.samples.tobytes())
    return mark.hexdigest()
