"""Texts in one language to texts in another, by a Marian folder."""

import os
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from ..core.arrays import Array, check_size
from ..core.errors import CheckpointError
from ..formats import Tokenizer, open_tokenizer
from ..generation import beam_search
from ..models import Transformer
from ..recipes._settings import InputError
from .generation_config import generation_config
from .packages import find_weights

BEAMS = 4


class Translator:
    """A Transformer that is told a text, and writes another.

    Parameters
    ----------
    model : Transformer
        With a start token in its configuration.
    tokenizer : Tokenizer
    forbid : collection of int, optional
        Tokens that are never written.

    Attributes
    ----------
    languages : list of str
        What a text may begin with to say the language of its translation, such as ``>>fra<<``;
        empty for a model that knows one.

    Raises
    ------
    CheckpointError
        If the tokenizer has ids that the model has not, or no token that ends a text, or the
        model none that begins one.
    """

    def __init__(
        self, model: Transformer, tokenizer: Tokenizer, forbid: Collection[int] = ()
    ) -> None:
        tokenizer.check(model.config.vocab_size)
        if not tokenizer.ends or model.config.start_token is None:
            lacking = "ends (eos_token_id)" if not tokenizer.ends else "begins one"
            raise CheckpointError(
                f"the model's configuration has no token that {lacking}, so that it cannot be "
                f"asked for a text; fetch the folder again, whole"
            )
        self.model, self.tokenizer = model, tokenizer
        self.longest: int = model.config.max_len
        self.languages = sorted(tokenizer.matching(r">>.*<<"))
        self._forbid = sorted(forbid)

    @classmethod
    def open(cls, model: str | os.PathLike[str]) -> "Translator":
        """Open a Marian folder.

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
        transformer = Transformer.from_pretrained(folder)
        tokenizer = open_tokenizer(folder)
        forbid = _forbidden(folder, transformer.config) - tokenizer.ends
        return cls(transformer, tokenizer, forbid)

    def translate(
        self,
        texts: Sequence[str],
        *,
        num_beams: int = BEAMS,
        max_tokens: int | None = None,
        batch: int = 8,
    ) -> list[str]:
        """Return a translation of each text.

        Parameters
        ----------
        texts : sequence of str
            A sentence or a few each, as the model was trained on; an empty one stays empty. Where
            the model knows several languages, each begins with the one that is wanted.
        num_beams : int, optional
            As for `npformer.generation.beam_search`. 1 is greedy.
        max_tokens : int, optional
            The most that is written for each; three times what is read and 30 if not given.
            Warns of those that do not end before.
        batch : int, optional
            How many go through the model at once: those of similar length.

        Returns
        -------
        list of str

        Raises
        ------
        InputError
            If a text is longer than the model's longest sequence, or names no language that the
            model knows.
        """
        check_size("Translator", batch=batch)
        ids = [self._read(number, text) for number, text in enumerate(texts, 1)]
        found = [""] * len(texts)
        order = sorted((i for i in range(len(ids)) if len(ids[i])), key=lambda i: len(ids[i]))
        cut: list[int] = []
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            source, mask, _ = self.tokenizer.encode_batch([texts[i] for i in chosen])
            most = 3 * source.shape[1] + 30 if max_tokens is None else max_tokens
            written = beam_search(
                self.model,
                source,
                min(most, self.longest),
                num_beams=num_beams,
                mask=mask,
                stop=sorted(self.tokenizer.ends),
                forbid=self._forbid,
            ).best.tolist()
            for i, row in zip(chosen, written, strict=True):
                found[i] = self.tokenizer.decode(row)
                if row[-1] not in self.tokenizer.ends:
                    cut.append(i)
        if cut:
            warnings.warn(
                f"{len(cut)} of {len(texts)} translations did not end where they had to, first "
                f"that of text {min(cut) + 1}; they may lack something",
                UserWarning,
                stacklevel=2,
            )
        return found

    def _read(self, number: int, text: str) -> Array:
        """Return the ids of a text; of an empty one, none."""
        if not text.strip():
            return self.tokenizer.encode("", special=False)
        ids = self.tokenizer.encode(text)
        if len(ids) > self.longest:
            raise InputError(
                f"text {number} has {len(ids)} tokens, and the model reads up to {self.longest}; "
                f"give it a sentence at a time"
            )
        if self.languages and not text.startswith(tuple(self.languages)):
            some = ", ".join(self.languages[:8]) + ", ..." * (len(self.languages) > 8)
            raise InputError(
                f"text {number} begins with {text[:12]!r}; expected the language to translate to, "
                f"one of {some}, as in {self.languages[0]!r} and a space before the text"
            )
        return ids


def _forbidden(folder: Path, config: Any) -> set[int]:
    """Return the tokens that are never written: what a folder says, and the one that begins."""
    runs = generation_config(folder).get("bad_words_ids") or []
    if not all(isinstance(run, list) and len(run) == 1 and type(run[0]) is int for run in runs):
        raise CheckpointError(
            f"{folder} forbids {runs!r} to be written (bad_words_ids); expected single tokens, "
            f"which alone can be forbidden here"
        )
    start = config.start_token
    tokens = {run[0] for run in runs} | (set() if start is None else {start})
    return {one for one in tokens if one < config.vocab_size}
