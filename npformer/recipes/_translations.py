"""Texts and their translations: a table of two columns, or two Bibles verse by verse.

A Bible is a module of the SWORD project, in the format zText: for each testament three files.
In ``ot.bzv``, verse i has 10 bytes: the number of a block, and where in it the verse begins and
how long it is. In ``ot.bzs``, a block has 12: where in ``ot.bzz`` it begins, and its length there
and once it is decompressed. A verse is XML, with notes and headings that are no part of it. Two
modules of the same versification have the same verse at the same index.

References
----------
The SWORD Project, https://crosswire.org/sword, whose library reads these in zverse.cpp.
"""

import html
import re
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

from ._settings import InputError
from ._texts import read

HOW_TO_GET = (
    "a file of lines 'text TAB translation', in UTF-8, or a folder with two Bibles of the SWORD "
    "project. On Debian or Ubuntu this brings an English and a Spanish one, in the public "
    "domain:\n"
    "  apt-get download sword-text-kjv sword-text-sparv\n"
    "  for package in sword-text-*.deb; do dpkg-deb --extract $package bibles; done\n"
    "  npformer train translate --data bibles"
)
_ASIDE = re.compile(r"<(note|title)\b[^>]*(?<!/)>.*?</\1>", re.DOTALL)  # not of the verse
_TAG = re.compile(r"<[^>]*>")


class Translations(NamedTuple):
    """Pairs, in the order in which they stand."""

    sources: list[str]
    targets: list[str]
    remark: str  # what was left out, or nothing


def read_translations(path: str) -> Translations:
    """Read pairs of a text and its translation.

    Parameters
    ----------
    path : str
        A UTF-8 file of lines ``text TAB translation``; or a folder that holds two SWORD modules,
        of which the first by name is the source.

    Returns
    -------
    Translations
        Runs of white space have become one space.

    Raises
    ------
    InputError
        If it is neither, a line has one column or an empty one: with its number.
    """
    return _bibles(Path(path)) if Path(path).is_dir() else _table(path)


def _table(path: str) -> Translations:
    sources, targets, wider = [], [], 0
    for number, line in enumerate(read(path).split("\n"), 1):
        if not line.strip():
            continue
        columns = [" ".join(column.split()) for column in line.split("\t")]
        if len(columns) == 1:
            raise InputError(
                f"--data {path}: line {number} is {line[:60]!r}, without a tab; expected lines "
                f"'text TAB translation'"
            )
        if not (columns[0] and columns[1]):
            which = "first" if not columns[0] else "second"
            raise InputError(
                f"--data {path}: line {number} has nothing in its {which} column; give a text and "
                f"its translation, or remove the line"
            )
        sources.append(columns[0])
        targets.append(columns[1])
        wider += len(columns) > 2
    remark = f"columns beyond the second, which {wider:,} lines have, are left out" if wider else ""
    return Translations(sources, targets, remark)


def _bibles(folder: Path) -> Translations:
    found = sorted(folder.rglob("mods.d/*.conf"))
    if len(found) != 2:
        raise InputError(
            f"--data {folder} holds {len(found)} SWORD modules (mods.d/*.conf); expected two, or "
            f"{HOW_TO_GET}"
        )
    configurations = [_configuration(path) for path in found]
    systems = [one.get("Versification", "KJV") for one in configurations]
    verses = [_verses(path, one) for path, one in zip(found, configurations, strict=True)]
    if systems[0] != systems[1] or len(verses[0]) != len(verses[1]):
        raise InputError(
            f"--data {folder}: {found[0].stem} counts verses as {systems[0]} does and "
            f"{found[1].stem} as {systems[1]} ({len(verses[0]):,} and {len(verses[1]):,}); "
            f"expected two that count alike"
        )
    pairs = [pair for pair in zip(*verses, strict=True) if all(pair)]
    alone = sum(any(pair) and not all(pair) for pair in zip(*verses, strict=True))
    remark = f"{alone:,} verses that one of the two lacks are left out" if alone else ""
    return Translations([one for one, _ in pairs], [other for _, other in pairs], remark)


def _configuration(path: Path) -> dict[str, str]:
    """Return the lines ``key=value`` of a module's configuration."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    found = dict(line.split("=", 1) for line in lines if re.match(r"\w+=", line))
    form = found.get("ModDrv"), found.get("CompressType"), found.get("Encoding", "Latin-1")
    if form != ("zText", "ZIP", "UTF-8"):
        raise InputError(
            f"{path} describes a module of the form {form}; expected zText, ZIP, UTF-8"
        )
    return found


def _verses(path: Path, configuration: dict[str, str]) -> list[str]:
    """Return the plain text of all entries of a module, headings of books and chapters empty."""
    folder = path.parent.parent / configuration.get("DataPath", "")
    verses = []
    try:
        for testament in ("ot", "nt"):
            (places,) = folder.glob(f"{testament}.?zs")  # b, c or v: what a block holds
            starts, index, data = (
                places.with_suffix(places.suffix[:-1] + letter).read_bytes() for letter in "svz"
            )
            texts: dict[int, bytes] = {}
            for block, start, length in struct.iter_unpack("<IIH", index):
                if length and block not in texts:
                    at, size, _ = struct.unpack_from("<III", starts, 12 * block)
                    texts[block] = zlib.decompress(data[at : at + size])
                verse = texts[block][start : start + length].decode() if length else ""
                words = html.unescape(_TAG.sub("", _ASIDE.sub("", verse)))
                verses.append(" ".join(words.split()))
    except (OSError, ValueError, struct.error, zlib.error) as error:
        raise InputError(f"{path}: the files in {folder} cannot be read: {error}") from error
    return verses
