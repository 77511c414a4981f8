"""The loop that feeds a model its own tokens, for decoders alone and for encoder–decoders."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.arrays import Array, BoolArray, check_ids, check_integers
from .sampling import check_sampling, next_tokens


def generate(
    model: Any,
    ids: Array,
    max_new_tokens: int,
    *,
    start: int | None = None,
    mask: BoolArray | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    rng: np.random.Generator | None = None,
    stop: int | Sequence[int] | None = None,
    context: int | None = None,
) -> Array:
    """Write up to `max_new_tokens` tokens.

    Parameters
    ----------
    model : model
        A decoder alone (``model(ids, mask)`` gives logits), or an encoder–decoder (it has
        ``encode`` and ``decode``).
    ids : (batch, length) integer ndarray
        A decoder's prompt, or an encoder–decoder's source.
    max_new_tokens : int
        How many tokens to write at the most.
    start : int, optional
        The token that an encoder–decoder's target starts with; needed there, and only there.
    mask : (batch, length) bool ndarray, optional
        True = real token. A prompt is padded on the left, so that it ends where it goes on.
    temperature : float, optional
        0 always takes the best token.
    top_k, top_p : optional
        See `next_token_probabilities`.
    rng : numpy.random.Generator, optional
        None draws from fresh entropy.
    stop : int or several, optional
        A sequence ends with such a token; until all have ended, it repeats it.
    context : int, optional
        Show a decoder at most the last `context` tokens, so that it can write on past the
        longest sequence that it knows. Not for encoder–decoders.

    Returns
    -------
    (batch, ...) int64 ndarray
        A decoder's prompt and its continuation; an encoder–decoder's target, without `start`.

    Raises
    ------
    ValueError, TypeError
        If an option makes no sense or does not fit the model, or what is to be written would
        not fit the model's learned positions: before any work is done.
    """
    encodes = hasattr(model, "encode") and hasattr(model, "decode")
    check_sampling(temperature, top_k, top_p)
    _check(model, encodes, ids, max_new_tokens, start, mask, context)
    stops = _stops(stop)
    rng = np.random.default_rng(rng)
    if encodes:
        logits = _answer(model, ids, mask)
        written = np.full((len(ids), 1), start, dtype=np.int64)
    else:
        logits = _continue(model, mask, context)
        written = ids.astype(np.int64)

    ended = np.zeros(len(ids), dtype=bool)
    for _ in range(max_new_tokens):
        chosen = next_tokens(
            logits(written), rng, temperature=temperature, top_k=top_k, top_p=top_p
        )
        chosen = np.where(ended, written[:, -1], chosen)
        written = np.concatenate([written, chosen[:, None]], axis=1)
        ended |= np.isin(chosen, stops)
        if ended.all():
            break
    return written[:, 1:] if encodes else written  # the start token is no part of the answer


def _continue(model: Any, mask: BoolArray | None, context: int | None) -> Callable[[Array], Array]:
    """Return the function from what a decoder has written to the logits of what comes next."""

    def logits(written: Array) -> Array:
        seen = mask
        if mask is not None:  # what the model has written is real
            new = np.ones((len(written), written.shape[1] - mask.shape[1]), dtype=bool)
            seen = np.concatenate([mask, new], axis=1)
        if context is not None:
            written = written[:, -context:]
            seen = None if seen is None else seen[:, -context:]
        every: Array = model(written, seen)
        return every[:, -1]

    return logits


def _answer(model: Any, source: Array, mask: BoolArray | None) -> Callable[[Array], Array]:
    """Return the same for an encoder–decoder, which looks at the source."""
    memory, _ = model.encode(source, mask)

    def logits(written: Array) -> Array:
        every: Array = model.decode(written, memory, mask)[0]
        return every[:, -1]

    return logits


def _stops(stop: int | Sequence[int] | None) -> Array:
    stops = np.atleast_1d(np.asarray([] if stop is None else stop))
    if stops.size and stops.dtype.kind not in "iu":
        raise TypeError(f"stop is {stop!r}; expected a token id, or several")
    return stops


def _check(
    model: Any,
    encodes: bool,
    ids: Array,
    max_new_tokens: int,
    start: int | None,
    mask: BoolArray | None,
    context: int | None,
) -> None:
    name = type(model).__name__
    for what, number in (("max_new_tokens", max_new_tokens), ("context", context)):
        if number is not None and (
            isinstance(number, bool) or not isinstance(number, int | np.integer) or number < 1
        ):
            raise ValueError(f"generate: {what} is {number!r}; expected a positive int")
    if encodes and start is None:
        raise ValueError(
            f"generate: {name} is an encoder–decoder, so give the token that its target starts "
            f"with as start="
        )
    if encodes and context is not None:
        raise ValueError(f"generate: context is for decoders alone, and {name} has an encoder")
    if not encodes and start is not None:
        raise ValueError(
            f"generate: {name} has no encoder, so there is no start token; it continues ids"
        )
    if start is not None:
        first = np.asarray(start)
        if first.ndim:
            raise TypeError(f"generate: start is {start!r}; expected one token id")
        check_ids("generate", "start", first, model.config.vocab_size, "a vocabulary of")
    if not encodes:
        check_integers("generate", "ids", ids)
        if ids.ndim != 2 or ids.size == 0:
            raise ValueError(f"generate: ids are {ids.shape}; expected (batch, length)")
        if mask is not None and (mask.shape != ids.shape or not np.all(mask[:, -1])):
            raise ValueError(
                f"generate: mask {mask.shape} must have the shape of ids {ids.shape} and be True "
                f"at the end of each row: pad prompts on the left"
            )
    fed = max_new_tokens if encodes else ids.shape[1] + max_new_tokens - 1
    fed = fed if context is None else min(fed, context)
    if model.config.position == "learned" and fed > model.config.max_len:
        raise ValueError(
            f"generate: {name} would be shown {fed} tokens and knows only {model.config.max_len} "
            f"positions (max_len); write fewer, shorten the prompt"
            + ("" if encodes else f", or pass context={model.config.max_len}")
        )
