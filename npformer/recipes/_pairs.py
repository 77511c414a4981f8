"""Images with a line of text each: those of a folder with a list, or the emoji of a font."""

import unicodedata
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..core.arrays import Array
from ..core.errors import optional
from ._images import open_image
from ._lists import read_list
from ._settings import InputError

LIST = "captions.csv"
_FONTS = (".ttf", ".otf")


class Pairs(NamedTuple):
    """Images and what they show, in the same order."""

    images: Array  # (n, 3, size, size)  float32, from 0 to 1
    texts: Sequence[str]  # in lower case


def read_pairs(path: str, size: int) -> Pairs:
    """Read images and their texts.

    Parameters
    ----------
    path : str
        A folder with images and a file ``captions.csv`` of lines ``file,text``; or an emoji font
        that holds pictures (CBDT), whose names are Unicode's.
    size : int
        Height and width that images are brought to, in pixels.

    Raises
    ------
    InputError
        If it is neither, or one of the files cannot be read: with its name.
    """
    place = Path(path)
    if place.is_dir():
        found = _folder(place, size)
    elif place.suffix.lower() in _FONTS and place.is_file():
        found = _font(place, size)
    else:
        raise InputError(
            f"--data {path} is neither a folder with images and {LIST}, nor an emoji font (.ttf)"
        )
    return Pairs(np.stack([image for image, _ in found]), [text.lower() for _, text in found])


def _folder(folder: Path, size: int) -> list[tuple[Array, str]]:
    _, rows = read_list(folder, [LIST])
    return [(_image(file, size), text) for file, text in rows]


def _font(path: Path, size: int) -> list[tuple[Array, str]]:
    module = optional("fontTools.ttLib", extra="cli", purpose="read a font")
    try:
        font = module.TTFont(path)
        names, pictures = font.getBestCmap(), font["CBDT"].strikeData[0]
    except (OSError, KeyError, module.TTLibError) as error:
        raise InputError(
            f"--data {path} is not a font with pictures (a table CBDT), such as Noto Color Emoji: "
            f"{error}"
        ) from error
    found = []
    for code, glyph in sorted(names.items()):
        name = unicodedata.name(chr(code), "")
        if glyph in pictures and name and not name.startswith(("DIGIT", "REGIONAL", "TAG")):
            found.append((_image(BytesIO(pictures[glyph].imageData), size), name))
    if not found:
        raise InputError(f"--data {path} holds no picture that has a name")
    return found


def _image(source: Any, size: int) -> Array:
    """Read one image, over white, as (3, size, size)."""
    box = optional("PIL.Image", extra="cli", purpose="read images").Resampling.BOX
    try:
        layers = open_image(source, "RGBA").resize((size, size), box)
    except ValueError as error:
        raise InputError(f"--data: {source} is not an image that can be read: {error}") from error
    pixels = np.asarray(layers, np.float32) / 255.0
    opaque = pixels[..., 3:]
    return np.ascontiguousarray((pixels[..., :3] * opaque + 1.0 - opaque).transpose(2, 0, 1))
