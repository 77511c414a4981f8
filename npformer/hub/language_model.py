"""A language model with its tokenizer: text in, text out, piece by piece."""

import os
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..core.arrays import Array, check_size
from ..formats import Tokenizer, open_gguf, open_tokenizer
from ..generation import generate
from ..layers import KVCache
from ..models import GPT
from ..recipes._settings import InputError
from .packages import find_weights


class Written(NamedTuple):
    """What a model has written, and how long that took."""

    text: str
    ids: Array  # (length,) the prompt and what was written
    tokens_read: int  # of the prompt: those that were looked at
    seconds_read: float  # until the first token was written
    tokens_written: int
    seconds_written: float  # for all but the first of them
    ended: bool  # whether the model has ended the text itself

    @property
    def speeds(self) -> str:
        """Tokens a second, of reading and of writing, in words."""
        parts = [_speed("read", self.tokens_read, self.tokens_read, self.seconds_read)]
        written = self.tokens_written
        parts.append(_speed("written", written, written - 1, self.seconds_written))
        return ", ".join(parts)


def _speed(what: str, count: int, timed: int, seconds: float) -> str:
    tokens = f"{count} token{'' if count == 1 else 's'} {what}"
    return f"{tokens} ({timed / seconds:.1f} a second)" if timed > 0 and seconds > 0 else tokens


class LanguageModel:
    """A GPT that is told and tells text.

    Parameters
    ----------
    model : GPT
        With a head.
    tokenizer : Tokenizer

    Raises
    ------
    CheckpointError
        If the tokenizer has ids that the model has not.
    """

    def __init__(self, model: GPT, tokenizer: Tokenizer) -> None:
        tokenizer.check(model.config.vocab_size)
        self.model, self.tokenizer = model, tokenizer
        self.longest: int = model.config.max_len

    @classmethod
    def open(cls, model: str | os.PathLike[str]) -> "LanguageModel":
        """Open a folder, a GGUF file, or what a short name stands for.

        Raises
        ------
        InputError, FileNotFoundError
            If it is not there, or lacks a part.
        CheckpointError
            If it is broken, or describes another kind of model.
        MissingExtraError
            Without the extra ``hub``.
        """
        path = find_weights(model)
        held: Any = None if path.is_dir() else open_gguf(path)  # held, so that it is read once
        try:
            tokenizer = open_tokenizer(path)
        except FileNotFoundError:
            GPT.from_pretrained(path)  # what is no GPT is refused as such
            raise
        found = cls(GPT.from_pretrained(path), tokenizer)
        del held
        return found

    def room(self, ids: Array) -> int:
        """Return how many tokens the model can write after `ids` (length,).

        Raises
        ------
        InputError
            If there are none, or they fill the model's longest sequence.
        """
        if not len(ids):
            raise InputError("the prompt is empty, and the model needs a token to go on from")
        room = self.longest - len(ids)
        if room < 1:
            raise InputError(
                f"the prompt has {len(ids)} tokens, and the model knows sequences of "
                f"{self.longest}; shorten it"
            )
        return room

    def write(
        self,
        ids: Array,
        max_tokens: int = 128,
        *,
        temperature: float = 0.0,
        top_k: int | None = None,
        top_p: float | None = None,
        rng: np.random.Generator | None = None,
        cache: KVCache | None = None,
        show: Callable[[str], object] | None = None,
    ) -> Written:
        """Go on with ids until the model ends the text, or has written enough.

        Warns where the text stops because the model's longest sequence is full.

        Parameters
        ----------
        ids : (length,) integer ndarray
            From the tokenizer's `encode` or `encode_chat`.
        max_tokens : int, optional
            The most that is written; fewer where the model's longest sequence comes first.
        temperature, top_k, top_p, rng
            As for `npformer.generation.generate`.
        cache : KVCache, optional
            Of a batch of 1, as there.
        show : callable, optional
            Is given each piece of text as soon as it is known, whole characters only.

        Raises
        ------
        InputError
            If the prompt is empty, or fills the model's longest sequence.
        """
        check_size("LanguageModel.write", max_tokens=max_tokens)
        room = self.room(ids)
        stream, pieces = self.tokenizer.stream(), [""]
        ends = self.tokenizer.ends
        stop = sorted(ends) or None
        times = [time.perf_counter()]

        def tell(piece: str) -> None:
            pieces.append(piece)
            if show is not None and piece:
                show(piece)

        def on_token(chosen: Array) -> None:
            times.append(time.perf_counter())
            token = int(chosen[0])
            if token not in ends:
                tell(stream.add(token))

        seen = 0 if cache is None else cache.length
        written = generate(
            self.model,
            ids[None],
            min(max_tokens, room),
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            rng=rng,
            stop=stop,
            cache=cache,
            on_token=on_token,
        )[0]
        tell(stream.end())
        ended = int(written[-1]) in ends
        if room < max_tokens and not ended:
            stopped(room, max_tokens, f"the model knows sequences of {self.longest}")
        return Written(
            "".join(pieces),
            written,
            len(ids) - seen,
            times[1] - times[0],
            len(written) - len(ids),
            times[-1] - times[1],
            ended,
        )


def stopped(room: int, max_tokens: int, why: str) -> None:
    """Warn that a text has stopped before its end, and before its longest length."""
    warnings.warn(
        f"the text stops after {room} of {max_tokens} tokens, before its end: {why} tokens",
        UserWarning,
        stacklevel=3,
    )
