"""A model that is asked again and again what comes next, and when it is to end.

With a cache (`npformer.layers.KVCache`) it looks at each token once: at all that stands there at
first in one pass, then at one new token a time. Without, it looks at everything each time.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from ..core.arrays import (
    Array,
    BoolArray,
    check_flag,
    check_integers,
    check_size,
    describe,
    whole_numbers,
)
from ..layers.kv_cache import KVCache

Stop: TypeAlias = int | Sequence[int] | Callable[[Array], BoolArray]
Forbid: TypeAlias = int | Sequence[int] | Callable[[Array], BoolArray]


class Writer(ABC):
    """One run of a model over the sequences of a batch.

    Attributes
    ----------
    begun : (batch, length) int64 ndarray
        What stands there before anything is written.
    """

    def __init__(
        self, model: Any, begun: Array, room: int | None, cache: KVCache | None = None
    ) -> None:
        self.begun = begun
        self._model = model
        if cache is None and room is not None:
            cache = model.new_cache(len(begun), room)
        self._cache = cache

    @abstractmethod
    def logits(self, written: Array) -> Array:
        """Return the logits (batch, vocab) of what follows each sequence.

        `written` is `begun` at first. Then it is what it was, reordered as the writer was, and
        at least one more token each time.
        """

    def reorder(self, index: Array) -> None:
        """Let sequence b go on from what sequence ``index[b]`` was."""
        if self._cache is not None:
            self._cache.reorder(index)


class Continuation(Writer):
    """A decoder alone goes on with a prompt."""

    def __init__(
        self,
        model: Any,
        ids: Array,
        mask: BoolArray | None,
        room: int | None,
        context: int | None = None,
        cache: KVCache | None = None,
    ) -> None:
        fits = context is None or ids.shape[1] <= context
        super().__init__(model, ids.astype(np.int64), room if fits else None, cache)
        self._mask = mask
        self._context = context

    def logits(self, written: Array) -> Array:
        real = self._mask
        if real is not None:  # what the model has written is real
            new = np.ones((len(written), written.shape[1] - real.shape[1]), dtype=bool)
            real = np.concatenate([real, new], axis=1)
        options = {}
        shown = slice(None)
        if self._context is not None and written.shape[1] > self._context:
            # Now the window slides, and what is kept of its tokens is of no use: they had looked
            # at tokens that have left it, and learned positions count from where it begins. So
            # the model looks at the whole window again, for each token.
            self._cache = None
            shown = slice(-self._context, None)
        elif self._cache is not None:
            shown = slice(self._cache.length, None)
            options["cache"] = self._cache
        seen = None if real is None else real[:, shown]
        every: Array = self._model(written[:, shown], seen, **options)
        return every[:, -1]

    def reorder(self, index: Array) -> None:
        super().reorder(index)
        self._mask = None if self._mask is None else self._mask[index]


class Answer(Writer):
    """An encoder–decoder writes a target, while it looks at its source, which it reads once."""

    def __init__(
        self, model: Any, source: Array, mask: BoolArray | None, start: Array, room: int | None
    ) -> None:
        super().__init__(model, np.tile(start.astype(np.int64), (len(source), 1)), room)
        self._mask: tuple[BoolArray, ...] = () if mask is None else (mask,)
        self._memory, _ = model.encode(source, *self._mask)

    def logits(self, written: Array) -> Array:
        options = {}
        if self._cache is not None:
            written = written[:, self._cache.length :]
            options["cache"] = self._cache
        every: Array = self._model.decode(written, self._memory, *self._mask, **options)[0]
        return every[:, -1]

    def reorder(self, index: Array) -> None:
        super().reorder(index)
        self._memory = self._memory[index]
        self._mask = tuple(mask[index] for mask in self._mask)


def start_writing(
    owner: str,
    model: Any,
    ids: Array,
    max_new_tokens: int,
    *,
    start: int | Sequence[int] | None,
    mask: BoolArray | None,
    use_cache: bool,
    context: int | None = None,
    slides: bool = False,
    cache: KVCache | None = None,
) -> Writer:
    """Check what `generate` and `beam_search` are given alike, and begin.

    Parameters
    ----------
    owner : str
        Who asks.
    model, ids, max_new_tokens, start, mask, use_cache, context, cache
        As for `npformer.generation.generate`.
    slides : bool, optional
        Whether `owner` has an option `context` to point to.

    Raises
    ------
    ValueError, TypeError
        As `npformer.generation.generate`.
    """
    encodes = hasattr(model, "encode") and hasattr(model, "decode")
    if not encodes and not callable(model):
        raise TypeError(
            f"{owner}: model is {describe(model)}; expected a model, such as GPT or Transformer, "
            f"or a function of ids and a mask that returns logits"
        )
    if not encodes and getattr(model, "head", model) is None:
        raise ValueError(
            f"{owner}: this {type(model).__name__} is a base model, without a head, so that it "
            f"predicts no tokens; use one with a head"
        )
    check_flag(owner, "use_cache", use_cache)
    check_size(owner, max_new_tokens=max_new_tokens)
    if context is not None:
        check_size(owner, context=context)
    config = getattr(model, "config", None)
    first = _check_start(owner, model, encodes, start, context)
    if not encodes:
        _check_prompt(owner, ids, mask)
    elif mask is not None and not _takes_mask(model):
        raise ValueError(
            f"{owner}: the source of {type(model).__name__} has no padding, so leave out mask"
        )
    shown = (first.size if encodes else ids.shape[1]) + max_new_tokens - 1
    shown = shown if context is None else min(shown, context)
    if getattr(config, "position", None) == "learned" and shown > model.config.max_len:
        raise ValueError(
            f"{owner}: {type(model).__name__} would be shown {shown} tokens and knows only "
            f"{model.config.max_len} positions (max_len); write fewer, shorten the prompt"
            + (f", or pass context={model.config.max_len}" if slides and not encodes else "")
        )
    room = shown if use_cache and hasattr(model, "new_cache") else None
    if cache is not None:
        _check_given_cache(owner, cache, ids, shown, encodes or context is not None or room is None)
    if encodes:
        return Answer(model, ids, mask, first, room)
    return Continuation(model, ids, mask, room, context, cache)


def _check_given_cache(owner: str, cache: KVCache, ids: Array, shown: int, useless: bool) -> None:
    """Refuse a cache that cannot be gone on with."""
    if not isinstance(cache, KVCache):
        raise TypeError(
            f"{owner}: cache is {describe(cache)}; expected a KVCache, from "
            f"model.new_cache(batch, max_len)"
        )
    if useless:
        raise ValueError(
            f"{owner}: a cache can be gone on with by a decoder alone that has one, without "
            f"context and with use_cache"
        )
    if cache.batch != len(ids) or cache.length >= ids.shape[1] or shown > cache.max_len:
        raise ValueError(
            f"{owner}: the cache has seen {cache.length} tokens of a batch of {cache.batch} and "
            f"has room for {cache.max_len}; with ids {ids.shape} it has to have seen fewer than "
            f"{ids.shape[1]} of {len(ids)}, and needs room for {shown}"
        )


def start_of(model: Any, start: int | Sequence[int] | None) -> int | Sequence[int] | None:
    """Return the tokens that a target starts with: as given, else as the configuration says."""
    if start is not None:
        return start
    told: int | None = getattr(getattr(model, "config", None), "start_token", None)
    return told


def _check_start(
    owner: str,
    model: Any,
    encodes: bool,
    start: int | Sequence[int] | None,
    context: int | None,
) -> Array:
    """Return the tokens that a target starts with, one or several; none for a decoder alone."""
    name = type(model).__name__
    if encodes and start is None:
        raise ValueError(
            f"{owner}: {name} is an encoder–decoder, so give the token that its target starts "
            f"with as start=, or its configuration a start_token"
        )
    if encodes and context is not None:
        raise ValueError(f"{owner}: context is for decoders alone, and {name} has an encoder")
    if not encodes and start is not None:
        raise ValueError(
            f"{owner}: {name} has no encoder, so there is no start token; it continues ids"
        )
    if start is None:
        return np.zeros(0, np.int64)
    first = whole_numbers(start)
    if first is None or first.ndim > 1 or not first.size:
        raise TypeError(
            f"{owner}: start is {start!r}; expected a token id, an int, or several in a list"
        )
    _check_tokens(owner, "start", first, model)
    return first.reshape(-1)


def _takes_mask(model: Any) -> bool:
    """Say whether `encode` has a place for a mask beside the source."""
    try:
        inspect.signature(model.encode).bind(None, None)
    except TypeError:
        return False
    return True


def _check_tokens(owner: str, name: str, tokens: Array, model: Any) -> None:
    """Refuse whole numbers that are no tokens of the model; without a config, negative ones."""
    size = getattr(getattr(model, "config", None), "vocab_size", None)
    for token in tokens.reshape(-1).tolist():
        if token < 0 or (size is not None and token >= size):
            known = "0 or more" if size is None else f"0 to {size - 1} (a vocabulary of {size})"
            raise ValueError(
                f"{owner}: {name} {'holds' if tokens.ndim else 'is'} {token}; expected {known}, "
                f"so check the tokenizer"
            )


def _check_prompt(owner: str, ids: Array, mask: BoolArray | None) -> None:
    check_integers(owner, "ids", ids)
    if ids.ndim != 2 or ids.size == 0:
        raise ValueError(f"{owner}: ids are {ids.shape}; expected (batch, length)")
    if mask is None:
        return
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
        raise TypeError(
            f"{owner}: mask is {describe(mask)}; expected a bool array (batch, length), True = "
            f"real token; convert ones and zeros with .astype(bool)"
        )
    if mask.shape != ids.shape or not np.all(mask[:, -1]):
        raise ValueError(
            f"{owner}: mask {mask.shape} must have the shape of ids {ids.shape} and be True "
            f"at the end of each row: pad prompts on the left"
        )


def endings(owner: str, stop: Stop | None, model: Any) -> Callable[[Array], BoolArray]:
    """Return the function that says which sequences end with the last token written.

    Its argument is (batch, length), what was written without prompt and start token; its result
    is (batch,).

    Raises
    ------
    TypeError
        If `stop` is neither one or several token ids nor a function. The function that is
        returned raises TypeError or ValueError if a user's does not return (batch,) bools.
    ValueError
        If ids are not in the model's vocabulary, or have more than one axis.
    """
    if not callable(stop):
        ids = whole_numbers([] if stop is None else stop)
        if ids is None or ids.ndim > 1:
            raise (TypeError if ids is None else ValueError)(
                f"{owner}: stop is {stop!r}; expected a token id, or several, or a function. Of "
                f"several each ends a text by itself, so they are a flat list; for a run of "
                f"tokens pass a function of what has been written, (batch, length), that returns "
                f"(batch,) bools"
            )
        _check_tokens(owner, "stop", ids, model)
        stops = ids.astype(np.int64)
        return lambda written: np.isin(written[:, -1], stops)
    ask = stop

    def ended(written: Array) -> BoolArray:
        shown = written.view()
        shown.flags.writeable = False
        answer = ask(shown)
        if not isinstance(answer, np.ndarray) or answer.dtype != np.bool_:
            raise TypeError(
                f"{owner}: stop returned {describe(answer)}; expected a bool array "
                f"({len(written)},), True for each sequence that ends here"
            )
        if answer.shape != (len(written),):
            raise ValueError(
                f"{owner}: stop returned {answer.shape}; expected ({len(written)},), one for each "
                f"sequence"
            )
        return answer

    return ended


def forbidding(owner: str, forbid: Forbid | None, model: Any) -> Callable[[Array, Array], Array]:
    """Return the function that takes from scores what may not be written.

    Its arguments are scores (batch, vocab) and what was written (batch, new length); its result
    are the scores, -inf for each token that is forbidden.

    Raises
    ------
    TypeError
        If `forbid` is neither one or several token ids nor a function. The function that is
        returned raises TypeError if a user's returns anything else than bools.
    ValueError
        If ids are not in the model's vocabulary, or have more than one axis. From the function
        that is returned: if bools are of another shape than (batch, vocab) or (vocab,), or leave
        no token.
    """
    if forbid is None:
        return lambda scores, written: scores
    fixed = np.zeros(0, np.int64)
    if not callable(forbid):
        ids = whole_numbers(forbid)
        if ids is None or ids.ndim > 1:
            raise (TypeError if ids is None else ValueError)(
                f"{owner}: forbid is {forbid!r}; expected a token id, or several in a flat list, "
                f"or a function of what has been written, (batch, length), that returns bools "
                f"(batch, vocab) or (vocab,), True for what may not follow"
            )
        _check_tokens(owner, "forbid", ids, model)
        fixed = ids.astype(np.int64)

    def asked(scores: Array, written: Array) -> BoolArray:
        if not callable(forbid):
            banned = np.zeros(scores.shape[-1:], bool)
            banned[fixed] = True
            return banned
        shown = written.view()
        shown.flags.writeable = False
        answer = forbid(shown)
        if not isinstance(answer, np.ndarray) or answer.dtype != np.bool_:
            raise TypeError(
                f"{owner}: forbid returned {describe(answer)}; expected a bool array {scores.shape}"
            )
        if answer.shape not in (scores.shape, scores.shape[-1:]):
            raise ValueError(
                f"{owner}: forbid returned {answer.shape}; expected {scores.shape} or "
                f"{scores.shape[-1:]}"
            )
        return answer

    def left(scores: Array, written: Array) -> Array:
        banned = asked(scores, written)
        if banned.all(axis=-1).any():
            raise ValueError(f"{owner}: forbid leaves no token that could be written")
        allowed: Array = np.where(banned, -np.inf, scores).astype(scores.dtype)
        return allowed

    return left
