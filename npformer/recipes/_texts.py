"""Texts to learn from: that of every CPython, or a file; and what the recipes on them share."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ._recipe import Recipe
from ._settings import InputError
from ._vocabulary import Vocabulary


class TextRecipe(Recipe):
    """A recipe on the characters of one text, whose last tenth is held out.

    Parameters
    ----------
    settings : Settings
        With `data` and `context`.
    *names : str
        Tokens in angle brackets that the vocabulary has besides the text's characters.

    Attributes
    ----------
    text : str
    train, held_out : (n,) int64 ndarray
        The text as ids.

    Raises
    ------
    InputError
        If the file cannot be read, is not UTF-8, or is too short to be split.
    """

    def __init__(self, settings: Any, *names: str) -> None:
        super().__init__(settings)
        self.text = read(settings.data) if settings.data else python_documentation()
        self.vocabulary = Vocabulary([*sorted(set(self.text)), *names])
        ids = self.vocabulary.encode(self.text)
        self.train, self.held_out = np.split(ids, [len(ids) * 9 // 10])
        if len(self.held_out) <= settings.context:
            raise InputError(
                f"the text has {len(ids):,} characters; its last tenth is held out and has to be "
                f"longer than --context {settings.context}, so give a longer --data or a shorter "
                f"--context"
            )

    def describe(self) -> str:
        """Return how long the text is and how it is split."""
        return (
            f"{self.settings.data or 'Python documentation'}: {len(self.train):,} characters to "
            f"train on, the last {len(self.held_out):,} held out, "
            f"{len(set(self.text))} different"
        )

    def attention_example(self) -> None:
        """Return None: the attention of a text depends on the text, so it is drawn on demand."""
        return

    def record(self) -> dict[str, Any]:
        """Return what a checkpoint holds; a digest stands for the text."""
        return {**super().record(), "text": _digest(self.text)}

    def check_record(self, metadata: Mapping[str, Any]) -> None:
        """Refuse to go on with another text than the run began with."""
        if metadata.get("text") != _digest(self.text):
            raise InputError(
                f"{self.settings.data or 'the documentation of this Python'} is not the text that "
                f"the run began with; give that one as --data"
            )
        super().check_record(metadata)


def python_documentation() -> str:
    """Return the topics of Python's ``help()``, in alphabetical order.

    Raises
    ------
    InputError
        If this Python comes without them.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise InputError(
            "this Python comes without its documentation (pydoc_data.topics); give a text: --data"
        ) from error
    return "\n\n".join(topics[name].strip() for name in sorted(topics)) + "\n"


def read(path: str) -> str:
    """Return the text of a UTF-8 file, whatever its line ends.

    Raises
    ------
    InputError
        If it cannot be read, or is not UTF-8.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"--data {path} is not UTF-8 text: byte {error.object[error.start]:#04x} at "
            f"{error.start:,}; convert it to UTF-8"
        ) from error
    except OSError as error:
        raise InputError(f"--data {path} cannot be read: {error.strerror or error}") from error


def _digest(text: str) -> str:
    """Return what a checkpoint holds in place of a text, to know it again."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
