r"""Vectors of sentences: near in meaning, near in angle.

Forward, for a sentence's tokens t, of which m are real
    (1)  h = BERT(t)                        hidden states                     (T, D)
    (2)  p = sum_{real i} h_i / m           their mean                        (D,)
    (3)  y = p / |p|                        l2_normalize.py                   (D,)

Of two such vectors the product is the cosine of the angle between them, from -1 to 1.
"""

import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import functional as F
from ..core.arrays import Array, check_size
from ..core.errors import CheckpointError
from ..formats import Tokenizer, open_tokenizer
from ..formats.safetensors import read_json
from ..models import BERT
from .packages import find_weights

_STEPS = ("Transformer", "Pooling", "Normalize")  # of a folder's modules.json
_MEAN = "pooling_mode_mean_tokens"


class SentenceEncoder:
    """A BERT whose hidden states are averaged.

    Parameters
    ----------
    model : BERT
    tokenizer : Tokenizer
    longest : int, optional
        Tokens of a sentence that are read; as many as the model has positions if not given.

    Attributes
    ----------
    width : int
        Of the vectors.
    """

    def __init__(self, model: BERT, tokenizer: Tokenizer, longest: int | None = None) -> None:
        tokenizer.check(model.config.vocab_size)
        self._model, self._tokenizer = model, tokenizer
        most: int = model.config.max_len
        self.longest = most if longest is None else min(longest, most)
        self.width: int = model.config.d_model

    @classmethod
    def open(cls, model: str | os.PathLike[str]) -> "SentenceEncoder":
        """Open a folder, or what a short name stands for.

        Raises
        ------
        InputError, FileNotFoundError
            If it is not there, or lacks a part.
        CheckpointError
            If it is broken, is no BERT, or makes its vectors in another way than by (1) to (3).
        MissingExtraError
            Without the extra ``hub``.
        """
        folder = find_weights(model)
        _check_steps(folder)
        tokenizer = open_tokenizer(folder)
        options = _read(folder / "sentence_bert_config.json")
        longest = options.get("max_seq_length")
        bert = BERT.from_pretrained(folder)
        return cls(bert, tokenizer, longest if type(longest) is int and longest > 2 else None)

    def encode(self, sentences: Sequence[str], *, batch: int = 32) -> Array:
        """Return a unit vector for each sentence.

        Parameters
        ----------
        sentences : sequence of str
            Warns of those that are longer than `longest` tokens, whose rest is not read.
        batch : int, optional
            How many go through the model at once: those of similar length.

        Returns
        -------
        (len(sentences), width) float32 ndarray
        """
        check_size("SentenceEncoder", batch=batch)
        vectors = np.empty((len(sentences), self.width), np.float32)
        order = sorted(range(len(sentences)), key=lambda i: len(sentences[i]))
        cut: list[int] = []
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            texts = [sentences[i] for i in chosen]
            ids, mask, longer = self._tokenizer.encode_batch(texts, longest=self.longest)
            cut.extend(chosen[row] for row in longer)
            hidden = self._model(ids, mask=mask)  # (1)
            real = mask[..., None].astype(hidden.dtype)
            mean = np.sum(hidden * real, axis=1) / np.maximum(np.sum(real, axis=1), 1)  # (2)
            vectors[chosen] = F.l2_normalize(mean)[0]  # (3)
        if cut:
            warnings.warn(
                f"{len(cut)} of {len(sentences)} sentences are longer than {self.longest} tokens "
                f"and are not read to their end, first sentence {min(cut) + 1}",
                UserWarning,
                stacklevel=2,
            )
        return vectors


def _read(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _check_steps(folder: Path) -> None:
    """Refuse a folder that says that its vectors are made otherwise."""
    pooling = _read(folder / "1_Pooling" / "config.json")
    on = sorted(key for key, value in pooling.items() if key.startswith("pooling_mode_") and value)
    mode = pooling.get("pooling_mode")  # as newer folders say it
    if (on and on != [_MEAN]) or mode not in (None, "mean"):
        raise CheckpointError(
            f"{folder} pools its tokens by {', '.join(on) or mode}; expected {_MEAN} alone, the "
            f"mean over all tokens, so its vectors cannot be made here"
        )
    path = folder / "modules.json"
    if not path.is_file():
        return
    try:
        modules = json.loads(path.read_bytes())
        kinds = [str(one["type"]).rpartition(".")[2] for one in modules]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is no list of modules: {error}; fetch it again") from error
    other = [kind for kind in kinds if kind not in _STEPS]
    if other:
        raise CheckpointError(
            f"{folder} makes its vectors by {', '.join(kinds)}; expected {', '.join(_STEPS)} "
            f"alone, so {other[0]} would be left out"
        )
