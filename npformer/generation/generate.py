"""The loop that feeds a model its own tokens, for decoders alone and for encoder–decoders."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.arrays import Array, BoolArray, check_generator, describe
from ..layers.kv_cache import KVCache
from ._writer import Forbid, Stop, endings, forbidding, start_of, start_writing
from .sampling import check_repetition_penalty, check_sampling, next_tokens, penalise_repeats


def generate(
    model: Any,
    ids: Array,
    max_new_tokens: int,
    *,
    start: int | Sequence[int] | None = None,
    mask: BoolArray | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    repetition_penalty: float = 1.0,
    rng: np.random.Generator | None = None,
    stop: Stop | None = None,
    forbid: Forbid | None = None,
    context: int | None = None,
    use_cache: bool = True,
    cache: KVCache | None = None,
    on_token: Callable[[Array], object] | None = None,
) -> Array:
    """Write up to `max_new_tokens` tokens.

    Parameters
    ----------
    model : model
        A decoder alone (``model(ids, mask)`` gives logits), or an encoder–decoder (it has
        ``encode`` and ``decode``). If it has ``new_cache``, it also takes ``cache=``.
    ids : (batch, length) integer ndarray
        A decoder's prompt, or an encoder–decoder's source: for Whisper, spectra.
    max_new_tokens : int
        How many tokens to write at the most.
    start : int or several, optional
        The token that an encoder–decoder's target starts with, or several in their order, such as
        those that tell Whisper the language and the task; needed there, and only there, if its
        configuration has no `start_token`.
    mask : (batch, length) bool ndarray, optional
        True = real token. A prompt is padded on the left, so that it ends where it goes on;
        Whisper's spectra have no padding.
    temperature : float, optional
        0 always takes the best token.
    top_k, top_p : optional
        See `next_token_probabilities`.
    repetition_penalty : float, optional
        Above 1, tokens that stand there already become less likely; below 1, more. They are
        those of a decoder's prompt, without padding, and what has been written. See
        `penalise_repeats`.
    rng : numpy.random.Generator, optional
        Asked for one number a sequence and step, unless the temperature is 0: the same
        generator state gives the same tokens. None draws from fresh entropy.
    stop : int, several, or callable, optional
        A sequence ends with such a token, any of them; until all have ended, it repeats it. A
        callable, as for runs of tokens, is asked after each step, with what has been written
        (batch, new length), without prompt and start token, not to be written to. It returns a
        bool array (batch,): True where the sequence ends with its last token.
    forbid : int, several, or callable, optional
        Tokens that are never written. A callable is asked before each step, as `stop` is after
        it, and returns a bool array (batch, vocab) or (vocab,): True for what may not follow.
    context : int, optional
        Show a decoder at most the last `context` tokens, so that it can write on past the
        longest sequence that it knows. Not for encoder–decoders. Past `context` tokens there
        is no use for a cache, and each further token takes the time of a whole window.
    use_cache : bool, optional
        Whether to keep the keys and values of past tokens, rather than to compute them anew for
        each token. The tokens are the same, but for rounding. Of no effect for a model without
        ``new_cache``.
    cache : KVCache, optional
        From a decoder's ``new_cache``, to be used and left filled: tokens of the prompt that it
        has seen before, as many as its length says, are not looked at again. Afterwards it has
        seen all but the last token written. So a conversation goes on where it stood.
    on_token : callable, optional
        Called after each step with the tokens that it has written, a (batch,) int64 array of
        its own; rows that have ended repeat theirs. Writing waits for it. It may not change the
        model. What it returns is not looked at: to end early is for `stop`. If it raises, that
        ends generation and reaches the caller.

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
    check_sampling("generate", temperature, top_k, top_p)
    check_repetition_penalty("generate", repetition_penalty)
    check_generator("generate", rng, "for fresh entropy")
    ended_by = endings("generate", stop, model)
    without = forbidding("generate", forbid, model)
    if on_token is not None and not callable(on_token):
        raise TypeError(f"generate: on_token is {describe(on_token)}; expected a function")
    rng = np.random.default_rng(rng)
    start = start_of(model, start)
    writer = start_writing(
        "generate",
        model,
        ids,
        max_new_tokens,
        start=start,
        mask=mask,
        use_cache=use_cache,
        context=context,
        slides=True,
        cache=cache,
    )
    written = writer.begun
    first = written.shape[1]
    there: BoolArray | None = None  # (batch, vocab): which tokens stand there already
    rows = np.arange(len(written))
    ended = np.zeros(len(written), dtype=bool)
    for _ in range(max_new_tokens):
        logits = writer.logits(written)
        if repetition_penalty != 1.0:
            if there is None:
                there = np.zeros(logits.shape, dtype=bool)
                if start is None:
                    real = np.ones(ids.shape, dtype=bool) if mask is None else mask
                    there[np.nonzero(real)[0], ids[real]] = True
            logits = penalise_repeats(logits, there, repetition_penalty)
        logits = without(logits, written[:, first:])
        chosen = next_tokens(logits, rng, temperature=temperature, top_k=top_k, top_p=top_p)
        chosen = np.where(ended, written[:, -1], chosen)
        if there is not None:
            there[rows, chosen] = True
        written = np.concatenate([written, chosen[:, None]], axis=1)
        ended |= ended_by(written[:, first:])
        if on_token is not None:
            on_token(chosen)
        if ended.all():
            break
    return written if start is None else written[:, first:]  # the start is no part of the answer
