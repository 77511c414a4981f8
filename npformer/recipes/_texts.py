"""Texts to learn from: the one that every CPython carries, or a file; and a mark to know it by."""

import hashlib
from pathlib import Path

from ._settings import InputError


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


def digest(text: str) -> str:
    """Return what a checkpoint holds in place of a text, to know it again."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
