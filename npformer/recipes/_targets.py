"""A file that a command is to write, tried before any work."""

import os
from pathlib import Path

from ._settings import InputError


def check_target(path: str | os.PathLike[str]) -> None:
    """Refuse a file that cannot be written; leave all as it was.

    Raises
    ------
    InputError
        If its folder is not there, it is a folder itself, or the system does not let it be opened.
    """
    target, said = Path(path), repr(os.fspath(path))
    if not target.parent.is_dir():
        raise InputError(
            f"{said} cannot be written, for there is no folder {os.fspath(target.parent)!r}; "
            f"make it, or choose another place"
        )
    if target.is_dir():
        raise InputError(f"{said} is a folder; expected the path of a file to write")
    there = target.exists()
    if there and not target.is_file():  # such as a pipe, which may be opened only once
        return
    try:
        target.open("ab").close()
    except OSError as error:
        raise InputError(
            f"{said} cannot be written ({error.strerror or error}); choose another place"
        ) from error
    if not there:
        target.unlink()
