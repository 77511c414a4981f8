"""Marian's tokenizer: two models of SentencePiece and one table of ids.

``source.spm`` cuts a text into pieces and ``target.spm`` joins them, both through the library
`sentencepiece`; ``vocab.json`` says which id a piece has, for both languages together. A text may
begin with the language to translate to, as ``>>fra<<``, which is one piece. Each ends with
``</s>``.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..core.errors import CheckpointError, optional
from .safetensors import read_json

SOURCE, TARGET, VOCAB = "source.spm", "target.spm", "vocab.json"
_END, _UNKNOWN, _PAD = "</s>", "<unk>", "<pad>"
_LANGUAGE = re.compile(r">>.*?<<")
_SPACE = "\u2581"  # stands for a space within pieces


class Pieces(NamedTuple):
    """A text as ids."""

    ids: list[int]
    overflowing: list[int]  # what was cut off


class SentencePieces:
    """What `Tokenizer` asks of the library `tokenizers`, done with the one that Marian has.

    Parameters
    ----------
    folder : Path
        With the three files.

    Raises
    ------
    FileNotFoundError
        If one is not there.
    CheckpointError
        If one is broken.
    MissingExtraError
        Without the extra ``hub``.
    """

    def __init__(self, folder: Path) -> None:
        library = optional("sentencepiece", extra="hub", purpose="turn text into Marian's tokens")
        self._ids = _table(folder / VOCAB)
        self._pieces = {i: piece for piece, i in self._ids.items()}
        self._special = {self._ids[one] for one in (_END, _UNKNOWN, _PAD) if one in self._ids}
        self._source, self._target = (_model(library, folder / name) for name in (SOURCE, TARGET))
        self._longest: int | None = None

    def no_truncation(self) -> None:
        """Keep all of each text."""
        self._longest = None

    def no_padding(self) -> None:
        """Keep texts as long as they are, which they always are here."""

    def enable_truncation(self, longest: int) -> None:
        """Keep so many tokens of each text, the last of them its end."""
        self._longest = longest

    def get_vocab(self, with_added_tokens: bool = True) -> Mapping[str, int]:
        """Return the id of each piece."""
        return self._ids

    def encode(self, text: str, add_special_tokens: bool = True) -> Pieces:
        """Return the ids of a text."""
        language = _LANGUAGE.match(text)
        pieces = [] if language is None else [language[0]]
        pieces += self._source.encode(text[len("".join(pieces)) :], out_type=str)
        ids = [self._ids.get(piece, self._ids[_UNKNOWN]) for piece in pieces]
        end = [self._ids[_END]] if add_special_tokens else []
        most = len(ids) if self._longest is None else self._longest - len(end)
        return Pieces([*ids[:most], *end], ids[most:])

    def encode_batch(self, texts: Sequence[str]) -> list[Pieces]:
        """Return the ids of several texts."""
        return [self.encode(text) for text in texts]

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = True) -> str:
        """Return the text of ids."""
        kept = [i for i in ids if not (skip_special_tokens and i in self._special)]
        pieces = [self._pieces.get(i, _UNKNOWN) for i in kept]
        text: str = self._target.decode_pieces(pieces)
        return text.replace(_SPACE, " ").strip()


def _table(path: Path) -> dict[str, int]:
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}, which says the ids of pieces; fetch it")
    found = read_json(path)
    wrong = [piece for piece, i in found.items() if type(i) is not int or i < 0]
    lacking = [piece for piece in (_END, _UNKNOWN) if piece not in found]
    if wrong or lacking:
        raise CheckpointError(
            f"{path} is no table of pieces and their ids: "
            + (f"{lacking[0]} is not in it" if lacking else f"{wrong[0]!r} has {found[wrong[0]]!r}")
            + "; fetch it again"
        )
    return found


def _model(library: Any, path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}, a model of SentencePiece; fetch it")
    try:
        return library.SentencePieceProcessor(model_file=str(path))
    except (RuntimeError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is no model of SentencePiece: {error}; fetch it again"
        ) from error
