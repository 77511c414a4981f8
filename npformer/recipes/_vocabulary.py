"""Characters as token ids, and back."""

from collections.abc import Iterable, Sequence

import numpy as np

from ..core.arrays import Array
from ._settings import InputError


class Vocabulary:
    """The tokens of a character-level model, by id.

    Parameters
    ----------
    tokens : sequence of str
        Single characters, and names in angle brackets, such as ``"<pad>"``, for tokens that
        no text contains.

    Raises
    ------
    ValueError
        If a token is there twice, or is neither a character nor such a name.
    """

    def __init__(self, tokens: Sequence[str]) -> None:
        self.tokens = list(tokens)
        self.ids = {token: i for i, token in enumerate(self.tokens)}
        for token in self.tokens:
            if len(token) != 1 and not (token.startswith("<") and token.endswith(">")):
                raise ValueError(f"Vocabulary: {token!r} is neither a character nor a <name>")
        if len(self.ids) != len(self.tokens):
            raise ValueError("Vocabulary: a token is listed twice; each needs one id of its own")
        characters = {ord(token): i for token, i in self.ids.items() if len(token) == 1}
        # A table from code point to id, so that a book is encoded at the speed of indexing.
        self._table = np.full(max(characters, default=0) + 2, -1, np.int64)
        self._table[list(characters)] = list(characters.values())

    @classmethod
    def from_record(cls, record: object) -> "Vocabulary":
        """Return the vocabulary whose `tokens` a checkpoint has.

        Raises
        ------
        ValueError
            If `record` is no list of tokens.
        """
        if not isinstance(record, list) or not all(isinstance(token, str) for token in record):
            raise ValueError("Vocabulary: the record is no list of tokens")
        return cls(record)

    def __len__(self) -> int:
        return len(self.tokens)

    def encode(self, text: str) -> Array:
        """Return the ids of a text's characters.

        Parameters
        ----------
        text : str

        Returns
        -------
        (len(text),) int64 ndarray

        Raises
        ------
        InputError
            Naming the characters that the vocabulary lacks.
        """
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
        ids: Array = self._table[np.minimum(codes, self._table.size - 1)]
        if ids.size and ids.min() < 0:
            unknown = sorted({text[i] for i in np.flatnonzero(ids < 0)})
            known = "".join(token for token in self.tokens if len(token) == 1)
            raise InputError(
                f"{text[:40]!r} contains {', '.join(map(repr, unknown[:5]))}, which the model has "
                f"never seen; it knows {known!r}"
            )
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of `ids`; names in brackets are spelled out."""
        return "".join(self.tokens[i] for i in ids)

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """Return the token of each of `ids`."""
        return [self.tokens[i] for i in ids]
