"""An image file as it is looked at: upright, with eight bits a channel."""

import struct
from typing import Any

import numpy as np

from ..core.errors import optional


def open_image(source: Any, mode: str) -> Any:
    """Read an image, turned as its camera says that it was held.

    Grey of 16 bits is brought to 8, which Pillow itself would cut off at 255: 65535 = 257 * 255.

    Parameters
    ----------
    source : path or binary file
    mode : {"RGB", "RGBA"}

    Returns
    -------
    PIL.Image.Image

    Raises
    ------
    ValueError
        If it is no image, or its numbers are of an unknown range: with the reason alone.
    MissingExtraError
        Without the extra ``cli``.
    """
    module = optional("PIL.Image", extra="cli", purpose="read images")
    turned = optional("PIL.ImageOps", extra="cli", purpose="read images").exif_transpose
    broken = (OSError, ValueError, SyntaxError, struct.error, module.DecompressionBombError)
    try:
        with module.open(source) as image:
            # Older versions of Pillow hold grey PNG files of 16 bits as "I".
            sixteen = image.mode.startswith("I;16") or (image.mode, image.format) == ("I", "PNG")
            if image.mode in ("I", "F") and not sixteen:
                raise ValueError(
                    f"its numbers are of 32 bits (mode {image.mode}) and could mean any range of "
                    f"grey; save it with 8 or 16 bits, as PNG"
                )
            upright = turned(image)
            if sixteen:
                grey = np.rint(np.asarray(upright, np.float64) / 257)
                upright = module.fromarray(grey.astype(np.uint8))
            return upright.convert(mode)
    except broken as error:
        raise ValueError(str(error)) from error
