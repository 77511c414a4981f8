"""Safetensors: one file of named tensors, or a folder of several with an index.

A file is 8 bytes with the length of a JSON header, the header, and the tensors' bytes. The
library checks that and reads; it gives no bfloat16 to NumPy, so those bytes are read here:
bfloat16 is the upper half of a float32.

A folder holds ``model.safetensors``, or ``model.safetensors.index.json``, which says for each
name which file of the folder has it.
"""

import json
import math
import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..core.arrays import Array
from ..core.errors import CheckpointError, optional
from .tensors import Stored, Tensors

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json", "tf_model.h5", "flax_model.msgpack")


class _Safetensors(Tensors):
    """The tensors of one or several files."""

    def __init__(self, files: Mapping[str, tuple[Path, Any]]) -> None:
        self._files = files
        self.stored = {}
        for name, (_, file) in files.items():
            part = file.get_slice(name)
            self.stored[name] = Stored(part.get_dtype(), tuple(part.get_shape()))

    def __getitem__(self, name: str) -> Array:
        path, file = self._files[name]
        kind, shape = self.stored[name]
        if kind == "BF16":
            bits = _bytes_of(path, name, math.prod(shape)).astype(np.uint32) << np.uint32(16)
            array: Array = bits.view(np.float32).reshape(shape)
            return array
        try:
            array = file.get_tensor(name)
        except (TypeError, AttributeError, KeyError) as error:  # of a type that NumPy has not
            raise CheckpointError(
                f"{path}: {name} is stored as {kind}, which is not read here; expected F32, F64, "
                f"F16 or BF16, so convert the weights to one of them"
            ) from error
        return array.astype(np.float32) if kind == "F16" else array


def _bytes_of(path: Path, name: str, count: int) -> Array:
    """Return the 16-bit words of a tensor; the library has checked the header already."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        begin, _ = json.loads(file.read(length))[name]["data_offsets"]
        return np.fromfile(file, "<u2", count, offset=begin)


def open_safetensors(path: str | os.PathLike[str]) -> Tensors:
    """Open a file, or a folder with one or with an index of several.

    Parameters
    ----------
    path : str or path
        Where both are there, a folder's single file is taken.

    Returns
    -------
    Tensors

    Raises
    ------
    FileNotFoundError
        If a folder has neither file nor index, or the index names a file that is not there.
    CheckpointError
        If a file is cut off or broken, or an index and its files disagree.
    MissingExtraError
        Without the extra ``hub``.
    """
    path = Path(path)
    if not path.is_dir():
        return _Safetensors(_open(path))
    if (path / SINGLE).is_file():
        return _Safetensors(_open(path / SINGLE))
    if not (path / INDEX).is_file():
        there = sorted(file.name for file in path.iterdir())
        pickled = [name for name in PICKLED if name in there]
        raise FileNotFoundError(
            f"{path} has neither {SINGLE} nor {INDEX}; it holds {_some(there)}"
            + (
                f". {pickled[0]} is not read here, since unpickling can run code: load it with "
                f"transformers and save it again with save_pretrained"
                if pickled
                else ""
            )
        )
    return _open_sharded(path)


def _open_sharded(folder: Path) -> Tensors:
    where = _weight_map(folder / INDEX)
    shards = sorted(set(where.values()))
    bad = [name for name in shards if name in ("", ".", "..") or Path(name).name != name]
    if bad:
        raise CheckpointError(
            f"{folder / INDEX} names the files {bad[:3]}; expected names of files in its own folder"
        )
    missing = [name for name in shards if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder} lacks {_some(missing)} of the {len(shards)} files that its {INDEX} names; "
            f"fetch the folder again, whole"
        )
    files: dict[str, tuple[Path, Any]] = {}
    for shard in shards:
        held = _open(folder / shard)
        listed = {name for name, file in where.items() if file == shard}
        if listed != set(held):
            raise CheckpointError(
                f"{folder / shard} and the {INDEX} beside it disagree: the file lacks "
                f"{_some(listed - set(held))} and has also {_some(set(held) - listed)}; fetch the "
                f"folder again, whole"
            )
        files.update(held)
    return _Safetensors(files)


def _weight_map(path: Path) -> dict[str, str]:
    index = read_json(path)
    where = index.get("weight_map")
    if not isinstance(where, dict) or not all(isinstance(name, str) for name in where.values()):
        raise CheckpointError(
            f'{path} has no "weight_map" from names of tensors to names of files; fetch it again'
        )
    return where


def _open(path: Path) -> dict[str, tuple[Path, Any]]:
    """Open a file and return it beside each of its tensors' names."""
    library = optional("safetensors", extra="hub", purpose="read and write safetensors files")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        file = library.safe_open(path, framework="np")
        return dict.fromkeys(file.keys(), (path, file))
    except (library.SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} ({path.stat().st_size} bytes) is no whole safetensors file: {error}; it was "
            f"perhaps cut off, so fetch it again"
        ) from error


def read_json(path: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds.

    Raises
    ------
    CheckpointError
        If it holds anything else.
    """
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is no JSON: {error}; fetch it again") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} holds a JSON {type(found).__name__}; expected an object")
    return found


def write_safetensors(
    folder: str | os.PathLike[str],
    arrays: Iterable[tuple[str, Array]],
    *,
    shard_bytes: int = 5 * 10**9,
) -> None:
    """Write a folder's weights: one file, or several and an index if they are large.

    Nothing of the folder is replaced before all is written. What it held of weights in this
    format is then gone.

    Parameters
    ----------
    folder : str or path
        Has to exist.
    arrays : iterable of (str, ndarray)
        Taken one by one, so that no more than a file's worth is held.
    shard_bytes : int, optional
        What a file may hold, unless a single tensor is larger.
    """
    library = optional("safetensors.numpy", extra="hub", purpose="read and write safetensors files")
    folder, mark = Path(folder), secrets.token_hex(8)
    held: dict[str, Array] = {}
    shards: list[tuple[Path, list[str]]] = []
    total = 0

    def flush() -> None:
        path = folder / f".{mark}.{len(shards)}.tmp"
        shards.append((path, list(held)))
        library.save_file(held, path, metadata={"format": "pt"})
        held.clear()

    try:
        for name, array in arrays:
            if held and sum(a.nbytes for a in held.values()) + array.nbytes > shard_bytes:
                flush()
            held[name] = np.ascontiguousarray(array).reshape(array.shape)  # 0-d stays 0-d
            total += array.nbytes
        flush()
        old = {folder / INDEX, *folder.glob("model*.safetensors")}
        new = _put(folder, shards, total)
        for file in old - new:
            file.unlink(missing_ok=True)
    finally:
        for path, _ in shards:
            path.unlink(missing_ok=True)


def _put(folder: Path, shards: list[tuple[Path, list[str]]], total: int) -> set[Path]:
    """Give written files their names, and write the index; return what there is now."""
    if len(shards) == 1:
        return {shards[0][0].replace(folder / SINGLE)}
    files, where = set(), {}
    for number, (path, names) in enumerate(shards, 1):
        file = folder / f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        files.add(path.replace(file))
        where.update(dict.fromkeys(names, file.name))
    index = {"metadata": {"total_size": total}, "weight_map": where}
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n")
    return {*files, folder / INDEX}


def _some(names: Iterable[str]) -> str:
    """Name a few."""
    listed = sorted(names)
    more = f" and {len(listed) - 5} more" if len(listed) > 5 else ""
    return (", ".join(listed[:5]) or "nothing") + more
