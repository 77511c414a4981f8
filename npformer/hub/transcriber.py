"""Recordings to text, by a Whisper folder.

The model hears 30 seconds at a time, and knows nothing of what came before. So a longer recording
is cut, each time where it is quietest among the last 10 of the 30 seconds, between words if there
is a pause: every part is heard once and whole. The model is asked for text without times; a
part's own times are those of the cuts.
"""

import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..audio import RATE, log_mel, resample
from ..audio.log_mel import HOP
from ..core.arrays import Array, BoolArray, check_choice
from ..core.errors import CheckpointError
from ..formats import Tokenizer, open_tokenizer
from ..generation import beam_search
from ..models import Whisper
from ..recipes._settings import InputError
from .generation_config import generation_config
from .packages import find_weights

TASKS = ("transcribe", "translate")  # the second into English
_START, _PLAIN = "<|startoftranscript|>", "<|notimestamps|>"
_LANGUAGE, _TIME = r"<\|([a-z]{2,3})\|>", r"<\|\d+\.\d\d\|>"
_PAUSE = 30  # of 10 ms each: how long it has to be quiet
_MULTILINGUAL = 51865  # tokens of Whisper's smallest vocabulary of many languages


class Part(NamedTuple):
    """What was said between two cuts."""

    start: float  # seconds
    end: float
    text: str


class Transcript(NamedTuple):
    """What was said, and in which language."""

    parts: tuple[Part, ...]
    language: str | None  # None of a model that knows English alone

    @property
    def text(self) -> str:
        """All of it."""
        return " ".join(part.text for part in self.parts if part.text)


class Transcriber:
    """A Whisper that writes down what it hears.

    Parameters
    ----------
    model : Whisper
    tokenizer : Tokenizer
    options : mapping, optional
        As ``generation_config.json`` has them. Of these ``is_multilingual``, ``suppress_tokens``
        and ``begin_suppress_tokens`` matter: which languages there are, and what is never
        written, or not first.

    Attributes
    ----------
    languages : dict of str to int
        The tokens of the languages that the model knows; none, if English alone.
    seconds : float
        The longest part.

    Raises
    ------
    CheckpointError
        If the tokenizer has ids that the model has not, or lacks a token of Whisper's.
    """

    def __init__(
        self, model: Whisper, tokenizer: Tokenizer, options: Mapping[str, Any] | None = None
    ) -> None:
        options = {} if options is None else options
        vocab_size = model.config.vocab_size
        tokenizer.check(vocab_size)
        self.model, self.tokenizer = model, tokenizer
        many = options.get("is_multilingual", vocab_size >= _MULTILINGUAL)
        named = tokenizer.matching(_LANGUAGE) if many else {}
        self.languages = {text[2:-2]: i for text, i in named.items()}
        wanted = [_START, _PLAIN, *(f"<|{task}|>" for task in TASKS if many)]
        self._tokens = tokenizer.matching("|".join(map(re.escape, wanted)))
        lacking = [one for one in wanted if one not in self._tokens]
        if many and not self.languages:
            lacking.append("<|en|>")
        if lacking or not tokenizer.ends:
            raise CheckpointError(
                f"the tokenizer is not Whisper's: it has no "
                f"{' nor '.join(lacking) or 'token that ends a text'}; fetch it from where the "
                f"model is from"
            )
        never = [*_ids(options, "suppress_tokens"), *tokenizer.matching(_TIME).values()]
        self._never = np.zeros(vocab_size, bool)
        self._never[[i for i in never if 0 <= i < vocab_size]] = True
        self._not_first = self._never.copy()
        first = _ids(options, "begin_suppress_tokens")
        self._not_first[[i for i in first if 0 <= i < vocab_size]] = True
        self._samples: int = 2 * model.config.max_source_len * HOP
        self.seconds = self._samples / RATE

    @classmethod
    def open(cls, model: str | os.PathLike[str]) -> "Transcriber":
        """Open a Whisper folder.

        Raises
        ------
        InputError, FileNotFoundError
            If it is not there, or lacks a part.
        CheckpointError
            If it is broken, or describes another kind of model.
        MissingExtraError
            Without the extra ``hub``.
        """
        folder = find_weights(model)
        whisper = Whisper.from_pretrained(folder)
        return cls(whisper, open_tokenizer(folder), generation_config(folder))

    def transcribe(
        self,
        samples: Array,
        rate: int = RATE,
        *,
        language: str | None = None,
        task: str = "transcribe",
        num_beams: int = 1,
        show: Callable[[Part], object] | None = None,
    ) -> Transcript:
        """Write down what is said.

        Parameters
        ----------
        samples : (n,) float32 ndarray
            Mono, as `npformer.audio.read_wav` returns them.
        rate : int, optional
            Samples a second.
        language : str, optional
            What is spoken, such as ``"en"``; heard from the first part if not given. Not for a
            model of English alone.
        task : {"transcribe", "translate"}, optional
            To write what is said, or what it is in English.
        num_beams : int, optional
            As for `npformer.generation.beam_search`; 1 is greedy.
        show : callable, optional
            Is given each part as soon as it is written.

        Returns
        -------
        Transcript
            A part that is all zeros, which no microphone records, is not listened to: its text is
            empty. Warns of parts whose text does not end by itself.

        Raises
        ------
        InputError
            If there are no samples, or the model does not know the language or the task.
        ValueError, TypeError
            If samples are no floats, or not finite.
        """
        check_choice("Transcriber", "task", task, TASKS)
        self._check(language, task)
        sound = resample(samples, rate, RATE)
        if sound.ndim != 1 or not len(sound):
            raise InputError(f"the samples are {sound.shape}; expected (n,), at least one")
        parts: list[Part] = []
        endless: list[int] = []
        for first, last in cuts(sound, self._samples):
            piece, text = sound[first:last], ""
            if piece.any():
                memory = _Heard(self.model, self._mel(piece))
                if language is None and self.languages:
                    language = self._language(memory)
                text, ended = self._write(memory, language, task, num_beams)
                if not ended:
                    endless.append(len(parts))
            parts.append(Part(first / RATE, last / RATE, text))
            if show is not None:
                show(parts[-1])
        if endless:
            warnings.warn(
                f"{len(endless)} of {len(parts)} parts did not end by themselves, first the one "
                f"from {parts[endless[0]].start:.1f} s on: their text may repeat itself, or lack "
                f"something",
                UserWarning,
                stacklevel=2,
            )
        return Transcript(tuple(parts), language)

    def _check(self, language: str | None, task: str) -> None:
        if not self.languages and (language is not None or task != TASKS[0]):
            raise InputError(
                "the model knows English alone, and only to write it down; leave out language "
                "and task, or take one of many languages"
            )
        if language is not None and language not in self.languages:
            raise InputError(
                f"the language is {language!r}; the model knows {', '.join(sorted(self.languages))}"
            )

    def _mel(self, piece: Array) -> Array:
        dtype = self.model.source_inputs.conv1.weight.value.dtype
        mel = log_mel(piece, self.model.config.n_mels, seconds=self.seconds)
        return mel[None].astype(dtype)

    def _language(self, heard: "_Heard") -> str:
        """Return the language that is likeliest to follow the start."""
        names = sorted(self.languages)
        start = np.array([[self._tokens[_START]]])
        logits = self.model.decode(start, heard.memory)[0][0, -1]
        return names[int(np.argmax(logits[[self.languages[name] for name in names]]))]

    def _write(
        self, heard: "_Heard", language: str | None, task: str, num_beams: int
    ) -> tuple[str, bool]:
        """Return the text of one part, and whether it ended."""
        start = [self._tokens[_START]]
        if language is not None:
            start += [self.languages[language], self._tokens[f"<|{task}|>"]]
        start.append(self._tokens[_PLAIN])
        ids = beam_search(
            heard,
            heard.mel,
            self.model.config.max_len - len(start),
            num_beams=num_beams,
            start=start,
            stop=sorted(self.tokenizer.ends),
            forbid=self._forbidden,
        ).best[0]
        text = self.tokenizer.decode(ids.tolist()).strip()
        return text, int(ids[-1]) in self.tokenizer.ends

    def _forbidden(self, written: Array) -> BoolArray:
        return self._never if written.shape[1] else self._not_first


class _Heard:
    """A model that has heard its sound already, since the language is asked for first."""

    def __init__(self, model: Whisper, mel: Array) -> None:
        self.mel, self.memory = mel, model.encode(mel)[0]
        self.config, self.decode, self.new_cache = model.config, model.decode, model.new_cache

    def encode(self, mel: Array) -> tuple[Array, None]:
        return self.memory, None


def cuts(samples: Array, longest: int) -> Iterator[tuple[int, int]]:
    """Yield where the parts of a recording begin and end.

    Parameters
    ----------
    samples : (n,) ndarray
    longest : int
        Samples of a part. Each but the last has at least two thirds of it, and ends in the middle
        of the quietest 0.3 seconds that there are from there on.
    """
    start = 0
    while len(samples) - start > longest:
        first = start + longest * 2 // 3
        blocks = (start + longest - first) // HOP
        loud = samples[first : first + blocks * HOP].astype(np.float64).reshape(blocks, HOP)
        energy = np.sum(loud * loud, axis=1)
        width = min(_PAUSE, blocks)
        sums = np.convolve(energy, np.ones(width), "valid")
        quietest = len(sums) - 1 - int(np.argmin(sums[::-1]))  # of equal ones, the last
        end = first + (quietest + width // 2) * HOP
        yield start, end
        start = end
    yield start, len(samples)


def _ids(options: Mapping[str, Any], name: str) -> list[int]:
    """Return a list of tokens; refuse what is none.

    Raises
    ------
    CheckpointError
    """
    found = options.get(name) or []
    if not isinstance(found, list) or not all(type(i) is int for i in found):
        raise CheckpointError(f"its {name!r} is {found!r}; expected a list of ids")
    return found
