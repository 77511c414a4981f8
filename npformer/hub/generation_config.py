"""What a folder says of how its model is to write: in a file of its own, or in the model's."""

from pathlib import Path
from typing import Any

from ..formats.safetensors import read_json

_FILES = ("config.json", "generation_config.json")  # the second has the last word


def generation_config(folder: Path) -> dict[str, Any]:
    """Return the options of both files; what is null stands for nothing.

    Raises
    ------
    CheckpointError
        If one is no JSON.
    """
    found: dict[str, Any] = {}
    for name in _FILES:
        if (folder / name).is_file():
            found |= {key: x for key, x in read_json(folder / name).items() if x is not None}
    return found
