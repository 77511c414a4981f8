"""The list of a folder of data: a line for each of its files, with the text that goes with it."""

import csv
from collections.abc import Sequence
from pathlib import Path

from ._settings import InputError


def read_list(folder: Path, names: Sequence[str]) -> tuple[str, list[tuple[Path, str]]]:
    """Read which files there are, and the text of each.

    Parameters
    ----------
    folder : Path
    names : sequence of str
        What the list may be called; the first that is there is read. It has lines ``file,text``,
        parted by tabs if its name ends in ``.tsv``, after a line that says so or without it.

    Returns
    -------
    name : str
        The list's.
    rows : list of (Path, str)

    Raises
    ------
    InputError
        If there is none, it cannot be read, or a line is something else: with which.
    """
    name = next((name for name in names if (folder / name).is_file()), names[0])
    tabs = name.endswith(".tsv")
    try:
        with open(folder / name, encoding="utf-8-sig", newline="") as lines:
            rows = [row for row in csv.reader(lines, "excel-tab" if tabs else "excel") if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"--data {folder}: {name} cannot be read: {error}") from error
    if rows and [cell.strip().lower() for cell in rows[0]] == ["file", "text"]:
        rows = rows[1:]
    for number, row in enumerate(rows, 1):
        if len(row) != 2 or not row[1].strip():
            raise InputError(
                f"--data {folder}: row {number} of {name} is {row}; expected a file and a text"
            )
    if not rows:
        raise InputError(f"--data {folder}: {name} lists nothing")
    return name, [(folder / file.strip(), text.strip()) for file, text in rows]
