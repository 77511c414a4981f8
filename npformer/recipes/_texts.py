"""Texts to learn from: that of every CPython, or a file; and what the recipes on them share."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ._recipe import Recipe
from ._settings import InputError
from ._vocabulary import Vocabulary


class TextRecipe(Recipe):
    """A recipe on one text, whose last tenth is held out.

    Parameters
    ----------
    settings : Settings
        With `data` and `context`.

    Attributes
    ----------
    counted : str
        What the vocabulary makes of a text: characters, if nothing else is said.
    text : str
    train, held_out : (n,) int64 ndarray
        The text as ids.

    Raises
    ------
    InputError
        If the file cannot be read, is not UTF-8, or is too short to be split.
    """

    counted: ClassVar[str] = "characters"

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self.text = read(settings.data) if settings.data else python_documentation()
        self.vocabulary = self.make_vocabulary()
        ids = self.vocabulary.encode(self.text)
        self.train, self.held_out = np.split(ids, [len(ids) * 9 // 10])
        if len(self.held_out) <= settings.context:
            raise InputError(
                f"the text has {len(ids):,} {self.counted}; its last tenth is held out and has to "
                f"be longer than --context {settings.context}, so give a longer --data or a "
                f"shorter --context"
            )

    def make_vocabulary(self) -> Any:
        """Return the vocabulary for the text: its characters."""
        return Vocabulary(sorted(set(self.text)))

    def describe(self) -> str:
        """Return how long the text is and how it is split."""
        different = len(np.unique(np.concatenate([self.train, self.held_out])))
        return (
            f"{self.settings.data or 'Python documentation'}: {len(self.train):,} {self.counted} "
            f"to train on, the last {len(self.held_out):,} held out, {different:,} different"
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
