"""Images as CLIP's folders say that they are to be seen: resized, cropped, and each channel scaled.

Of pixels p from 0 to 255, after both
    (1)  y = (p f - mean) / std             f = 1/255, mean and std of each channel
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..core.arrays import Array
from ..core.errors import CheckpointError, optional
from ..formats.safetensors import read_json
from ..models._names.options import Options
from ..recipes._images import open_image
from ..recipes._settings import InputError

_FILES = ("preprocessor_config.json", "processor_config.json")  # the second in newer folders
_MEAN = (0.48145466, 0.4578275, 0.40821073)  # of CLIP's training images, where a folder says none
_STD = (0.26862954, 0.26130258, 0.27577711)
_BICUBIC = 3  # as the library numbers the ways to resize
_WAYS = range(6)
# Who made the file, and what says how arrays are handed over.
_HARMLESS = (
    *("data_format", "input_data_format", "return_tensors", "device", "disable_grouping"),
    *("feature_extractor_type", "image_processor_type", "processor_class", "image_seq_length"),
    "_valid_processor_keys",
)

Size = tuple[int, int]  # height and width


class Preparation(NamedTuple):
    """What happens to an image before a model sees it; None for what does not happen."""

    shortest: int | None  # what the shorter edge is brought to
    size: Size | None  # or both edges
    way: int  # of resizing, as Pillow numbers it
    crop: Size | None
    factor: float | None
    mean_std: tuple[Array, Array] | None  # (3,) each

    def __call__(self, image: Any) -> Array:
        """Return an image of Pillow's as (3, height, width) float32."""
        if self.shortest is not None:
            width, height = image.size
            short, long = sorted((height, width))
            other = int(self.shortest * long / short)
            edges = (self.shortest, other) if width <= height else (other, self.shortest)
            image = image.resize(edges, self.way)
        elif self.size is not None:
            image = image.resize(self.size[::-1], self.way)
        pixels: Array = np.asarray(image, np.float32)
        if self.crop is not None:
            top, left = ((n - m) // 2 for n, m in zip(pixels.shape, self.crop, strict=False))
            if min(top, left) < 0:
                raise CheckpointError(
                    f"the folder would crop {self.crop} from an image of {pixels.shape[:2]}, which "
                    f"is smaller; it resizes images to less than it crops"
                )
            pixels = pixels[top : top + self.crop[0], left : left + self.crop[1]]
        if self.factor is not None:
            pixels = pixels * np.float32(self.factor)
        if self.mean_std is not None:
            mean, std = self.mean_std
            pixels = (pixels - mean) / std  # (1)
        return np.ascontiguousarray(pixels.transpose(2, 0, 1), np.float32)


def open_preparation(folder: Path) -> Preparation:
    """Read what a folder says of images.

    Raises
    ------
    FileNotFoundError
        If it says nothing.
    CheckpointError
        If it says what is not known here, and would change the image.
    """
    path = next((folder / name for name in _FILES if (folder / name).is_file()), None)
    if path is None:
        raise FileNotFoundError(
            f"{folder} has no {_FILES[0]}, which says how images are prepared; fetch the whole "
            f"folder"
        )
    given = read_json(path)
    given = given.get("image_processor", given)
    try:
        return _read(Options(given))
    except ValueError as error:
        raise CheckpointError(f"{path} cannot be used: {error}") from error


def _read(options: Options) -> Preparation:
    on = {
        name: options.take(f"do_{name}", bool, True)
        for name in ("resize", "center_crop", "rescale", "normalize")
    }
    options.only("do_convert_rgb", True, None)  # else grey images would have one channel
    options.only("do_pad", False, None)
    options.only("pad_size", None)
    options.only("default_to_square", False, None)
    shortest, size = _edges(options, "size", {"shortest_edge": 224})
    _, crop = _edges(options, "crop_size", {"height": 224, "width": 224}, square=True)
    way = options.take("resample", int, _BICUBIC)
    if way not in _WAYS:
        raise ValueError(f"its 'resample' is {way}; expected a number from 0 to 5, 3 for bicubic")
    factor = options.take("rescale_factor", float, 1 / 255)
    mean_std = _channels(options, "image_mean", _MEAN), _channels(options, "image_std", _STD)
    options.ignore(*_HARMLESS)
    options.finish()
    return Preparation(
        shortest if on["resize"] else None,
        size if on["resize"] else None,
        way,
        crop if on["center_crop"] else None,
        factor if on["rescale"] else None,
        mean_std if on["normalize"] else None,
    )


def _edges(
    options: Options, name: str, default: Mapping[str, int], square: bool = False
) -> tuple[int | None, Size | None]:
    """Return what an option makes the shorter edge, or both: one of the two."""
    given = options.given.get(name) or default
    options.ignore(name)
    if type(given) is int:  # as older folders have it
        given = {"height": given, "width": given} if square else {"shortest_edge": given}
    if isinstance(given, dict):
        known = {key: value for key, value in given.items() if value is not None}
        if all(type(value) is int and value > 0 for value in known.values()):
            if set(known) == {"shortest_edge"} and not square:
                return known["shortest_edge"], None
            if set(known) == {"height", "width"}:
                return None, (known["height"], known["width"])
    raise ValueError(
        f"its {name!r} is {given!r}; expected height and width"
        + (", or shortest_edge" if not square else "")
        + ", in pixels"
    )


def _channels(options: Options, name: str, default: tuple[float, ...]) -> Array:
    given = options.given.get(name) or list(default)
    options.ignore(name)
    numbers = isinstance(given, list) and all(type(one) in (int, float) for one in given)
    if not numbers or len(given) != 3:
        raise ValueError(f"its {name!r} is {given!r}; expected three numbers, one for each colour")
    return np.array(given, np.float32)


def read_image(path: str | os.PathLike[str]) -> Any:
    """Read an image, upright, in red, green and blue, as Pillow has it; without transparency.

    Raises
    ------
    InputError
        If there is no such file, or it is no image, or its numbers are of an unknown range.
    MissingExtraError
        Without the extra ``cli``.
    """
    optional("PIL.Image", extra="cli", purpose="read images")
    if not Path(path).is_file():
        raise InputError(f"there is no image {os.fspath(path)}")
    try:
        return open_image(path, "RGB")
    except ValueError as error:
        raise InputError(f"{os.fspath(path)} is no image that can be read: {error}") from error
