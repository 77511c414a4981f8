"""A conversation with a language model, which looks at each of its tokens once.

Each turn the whole conversation is written down anew by the model's chat template. What its tokens
have in common with those that the model has seen stays in the cache of keys and values; the rest
is forgotten, and only what is new is looked at. So it is right whatever a template does.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.errors import CheckpointError
from ..layers import KVCache
from ..recipes._settings import InputError
from .language_model import LanguageModel, Written, stopped


class Chat:
    """A conversation.

    Parameters
    ----------
    language_model : LanguageModel
        With a chat template.
    system : str, optional
        What the model is told about its task; its template may have words of its own.
    max_tokens : int, optional
        The longest answer.
    context : int, optional
        Tokens of the conversation that are kept: beyond, its first turns are forgotten.
    **sampling
        temperature, top_k, top_p and rng, as for `LanguageModel.write`.

    Raises
    ------
    CheckpointError
        If the model has no chat template, or no token that ends an answer.
    """

    def __init__(
        self,
        language_model: LanguageModel,
        system: str | None = None,
        *,
        max_tokens: int = 512,
        context: int = 4096,
        **sampling: Any,
    ) -> None:
        tokenizer = language_model.tokenizer
        if not tokenizer.chats or not tokenizer.ends:
            missing = "token that ends an answer" if tokenizer.chats else "chat template"
            raise CheckpointError(
                f"the model has no {missing}, so it was perhaps not trained to answer; let it go "
                f"on from a text, with npformer generate"
            )
        self._model, self._sampling = language_model, sampling
        self._max_tokens = max_tokens
        self._context = min(context, language_model.longest)
        self._head = [] if system is None else [{"role": "system", "content": system}]
        self._turns: list[dict[str, str]] = []
        self._cache: KVCache | None = None
        self._seen = np.empty(0, np.int64)  # ids whose keys and values the cache has

    def answer(self, words: str, show: Callable[[str], object] | None = None) -> Written:
        """Say something, and have it answered; what is shown is as `LanguageModel.write` has it.

        If it is interrupted, the conversation is as it was. Warns where an answer stops because
        the conversation's room is full.

        Raises
        ------
        InputError
            If the words alone leave no room for an answer.
        """
        turns = [*self._turns, {"role": "user", "content": words}]
        ids = self._model.tokenizer.encode_chat([*self._head, *turns])
        while len(ids) >= self._context and len(turns) > 1:
            turns = turns[2:]  # the first question and its answer
            ids = self._model.tokenizer.encode_chat([*self._head, *turns])
        room = self._context - len(ids)
        if room < 1:
            raise InputError(
                f"that has {len(ids)} tokens, and a conversation has room for {self._context}; "
                f"say less"
            )
        cache = self._shared(ids)
        try:
            written = self._model.write(
                ids, min(self._max_tokens, room), cache=cache, show=show, **self._sampling
            )
        except BaseException:
            cache.forget(min(cache.length, len(self._seen)))
            raise
        if room < self._max_tokens and not written.ended:
            stopped(room, self._max_tokens, f"a conversation has room for {self._context}")
        self._seen = written.ids[: cache.length]
        self._turns = [*turns, {"role": "assistant", "content": written.text}]
        return written

    def _shared(self, ids: np.ndarray[Any, Any]) -> KVCache:
        """Return the cache, which has seen what `ids` begin with, but not all of them."""
        if self._cache is None:
            self._cache = self._model.model.new_cache(1, self._context)
        most = min(len(self._seen), len(ids) - 1)
        differs = self._seen[:most] != ids[:most]
        same = int(np.argmax(differs)) if differs.any() else most
        self._cache.forget(same)
        self._seen = self._seen[:same]
        return self._cache
