"""GGUF: one file with a model's metadata, its tokenizer, and its tensors, mostly quantised.

The library maps the file into memory and turns blocks of quantised numbers into float32. Its
shapes run from the fastest axis on; here they are NumPy's.
"""

import os
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from ..core.arrays import Array
from ..core.errors import CheckpointError, optional
from .tensors import Stored, Tensors

_OF_A_FOLDER = (".safetensors", ".json", ".bin")  # how files of Hugging Face's folders end


class GGUFTensors(Tensors):
    """The tensors of a GGUF file.

    Attributes
    ----------
    metadata : dict
        What the file says by key, such as ``"general.architecture"``: numbers, strings, lists.
    """

    def __init__(self, path: Path, reader: Any, quants: Any) -> None:
        self._path, self._quants = path, quants
        self._tensors = {tensor.name: tensor for tensor in reader.tensors}
        self.metadata: dict[str, Any] = {
            key: field.contents() for key, field in reader.fields.items()
        }
        self.stored = {
            name: Stored(tensor.tensor_type.name, tuple(int(n) for n in reversed(tensor.shape)))
            for name, tensor in self._tensors.items()
        }

    def __getitem__(self, name: str) -> Array:
        tensor, (kind, shape) = self._tensors[name], self.stored[name]
        if kind in ("I8", "I16", "I32", "I64"):
            return np.array(tensor.data).reshape(shape)
        try:
            array: Array = self._quants.dequantize(tensor.data, tensor.tensor_type)
        except NotImplementedError as error:
            raise CheckpointError(
                f"{self._path}: {name} is stored as {kind}, which the library gguf does not turn "
                f"into float32; quantise the model otherwise, as Q8_0 or F16"
            ) from error
        return array.reshape(shape)


# A file that is open already is not read again: to find its way through the metadata of a large
# vocabulary takes the library seconds. By path, time and size; gone when nobody holds it.
_OPEN: weakref.WeakValueDictionary[tuple[Path, int, int], GGUFTensors] = (
    weakref.WeakValueDictionary()
)


def open_gguf(path: str | os.PathLike[str]) -> GGUFTensors:
    """Open a GGUF file.

    Raises
    ------
    FileNotFoundError
        If it is not there.
    CheckpointError
        If it is cut off, or no GGUF file, such as one of a folder of Hugging Face's.
    MissingExtraError
        Without the extra ``hub``.
    """
    path = Path(path)
    if path.suffix in _OF_A_FOLDER and path.is_file():
        raise CheckpointError(
            f"{path} is one of the files of a model's folder; expected the folder, or a .gguf "
            f"file: give its folder, {path.parent}"
        )
    library = optional("gguf", extra="hub", purpose="read GGUF files")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    status = path.stat()
    key = path.resolve(), status.st_mtime_ns, status.st_size
    found = _OPEN.get(key)
    if found is not None:
        return found
    try:
        found = _OPEN[key] = GGUFTensors(path, library.GGUFReader(path), library.quants)
        return found
    except (ValueError, IndexError, KeyError, OSError, OverflowError) as error:
        raise CheckpointError(
            f"{path} ({path.stat().st_size} bytes) is no whole GGUF file: {error}; it was perhaps "
            f"cut off, so fetch it again"
        ) from error
