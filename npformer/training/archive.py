"""A checkpoint's file: one zip of arrays and a JSON header, written whole and read with distrust.

The zip is uncompressed, its arrays are in NumPy's own ``.npy`` format without pickle, and the
header is the entry ``header.json``: ``numpy.load`` opens it, and so does any unzip.

A file from elsewhere may be cut off, damaged, or made to harm. Reading it
    runs no code:       array headers are matched against the one form that is written here,
                        never evaluated; there is no pickle
    takes no memory:    every declared size is checked against the file's real size first,
                        and nothing in it is compressed
    believes nothing:   every byte of content is under a checksum, entries are each there once,
                        JSON is bounded in size, in depth and in the length of its numbers
"""

import contextlib
import json
import math
import os
import re
import secrets
import zipfile
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from ..core.arrays import Array
from ..core.errors import CheckpointError

HEADER = "header.json"
_MAX_HEADER = 1 << 23  # bytes
_MAX_DEPTH = 50
_MAX_DIGITS = 40  # of an integer; a generator's state has numbers of 128 bits
_NPY = re.compile(
    rb"\{'descr': '(<f4|<f8)', 'fortran_order': False, "
    rb"'shape': \(((?:\d{1,18}, )*\d{0,18},?)\), \} *\n"
)


def write_archive(
    path: str | os.PathLike[str], header: Mapping[str, Any], arrays: Mapping[str, Array]
) -> None:
    """Write header and arrays to exactly `path`, wholly or not at all.

    They are written to a new file in the same folder, forced to disk, and only then given the
    name; if anything fails before that, the old file stays and the new one is removed. A
    symbolic link is followed.

    Parameters
    ----------
    path : str or path
    header : mapping
        As `encode_header` accepts it.
    arrays : mapping of str to float ndarray
        By name, without ``.npy``.

    Raises
    ------
    ValueError
        If the header is not JSON, or is too large.
    OSError
        If the folder does not exist, `path` is a folder, or the disk is full.
    """
    text = encode_header(header)
    target = os.path.realpath(os.fspath(path))
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"save: the folder {folder} does not exist; create it first")
    if os.path.isdir(target):
        raise IsADirectoryError(f"save: {target} is a folder; give the name of a file in it")
    temporary = os.path.join(folder, f".{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            _write_zip(file, text, arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    with contextlib.suppress(OSError):  # where folders can be synced, so that the name lasts too
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _write_zip(file: BinaryIO, text: bytes, arrays: Mapping[str, Array]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(HEADER), text)
        for name, array in arrays.items():
            plain = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
            large = plain.nbytes > 1 << 30
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=large) as entry:
                np.lib.format.write_array(entry, plain, version=(1, 0), allow_pickle=False)


def read_archive(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Array]]:
    """Read what `write_archive` wrote.

    Returns
    -------
    header : dict
    arrays : dict of str to ndarray
        float32 or float64, read-only.

    Raises
    ------
    CheckpointError
        If the file is not such an archive, is cut off or damaged, or declares what it does
        not hold.
    OSError
        If it cannot be opened.
    """
    with open(path, "rb") as file:
        try:
            return _read_zip(file)
        except Exception as error:  # zipfile answers broken input with a dozen types of error
            raise CheckpointError(
                f"{os.fspath(path)} is not a checkpoint that can be read: {_reason(error)}; "
                f"expected a whole file as written by Trainer.save, so take another copy of it "
                f"or an earlier checkpoint (nothing was changed)"
            ) from error


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _read_zip(file: BinaryIO) -> tuple[dict[str, Any], dict[str, Array]]:
    size = os.fstat(file.fileno()).st_size
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        names = [entry.filename for entry in entries]
        if len(set(names)) != len(names):
            raise ValueError(f"it has {len(names)} entries under {len(set(names))} names")
        for entry in entries:
            if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
                raise ValueError(f"{entry.filename} is compressed, which checkpoints never are")
        declared = sum(entry.file_size for entry in entries)
        if declared > size:
            raise ValueError(f"its entries declare {declared} bytes, and the file has {size}")
        if HEADER not in names:
            raise ValueError(f"it has no {HEADER}")
        header, arrays = {}, {}
        for entry in entries:
            if entry.filename == HEADER:
                if entry.file_size > _MAX_HEADER:
                    raise ValueError(f"{HEADER} has {entry.file_size} bytes, over {_MAX_HEADER}")
                header = decode_header(archive.read(entry))
            elif entry.filename.endswith(".npy"):
                name = entry.filename.removesuffix(".npy")
                arrays[name] = _array(entry.filename, archive.read(entry))
            else:
                raise ValueError(f"{entry.filename} is neither {HEADER} nor an array")
    return header, arrays


def _array(name: str, data: bytes) -> Array:
    """Parse a ``.npy`` entry: magic, version 1.0, length of the header, header, numbers."""
    if data[:8] != b"\x93NUMPY\x01\x00":
        raise ValueError(f"{name} is not an array in .npy format 1.0")
    start = 10 + int.from_bytes(data[8:10], "little")
    match = _NPY.fullmatch(data[10:start])
    if match is None:
        raise ValueError(
            f"{name} declares {data[10 : min(start, 130)]!r}; expected a float32 or float64 array "
            f"in C order"
        )
    dtype = np.dtype(match[1].decode())
    shape = tuple(int(n) for n in match[2].decode().split(",") if n.strip())
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes != len(data) - start:
        raise ValueError(
            f"{name} declares the shape {shape} in {dtype}, which takes {nbytes} bytes, and holds "
            f"{len(data) - start}"
        )
    array = np.frombuffer(data, dtype, offset=start).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


def encode_header(header: Mapping[str, Any]) -> bytes:
    """Turn a header into JSON that `decode_header` accepts.

    NumPy numbers become plain ones, tuples lists.

    Raises
    ------
    ValueError
        If something in it is not JSON (also NaN, infinity, and keys that are not strings), or
        it is too large: with the path to the value.
    """
    plain = _plain(header, "")
    text = json.dumps(plain, separators=(",", ":"), allow_nan=False).encode()
    if len(text) > _MAX_HEADER:
        raise ValueError(
            f"save: the header takes {len(text)} bytes, over {_MAX_HEADER}; keep large metadata "
            f"in a file of its own"
        )
    return text


def _plain(value: Any, where: str, depth: int = 0) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int) and abs(value) < 10 ** (_MAX_DIGITS - 1):
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if isinstance(value, list | tuple) and depth < _MAX_DEPTH:
        return [_plain(item, f"{where}[{i}]", depth + 1) for i, item in enumerate(value)]
    if isinstance(value, Mapping) and depth < _MAX_DEPTH:
        for key in value:
            if not isinstance(key, str):
                raise ValueError(
                    f"save: {where} has the key {key!r}; JSON takes strings alone, so convert it"
                )
        return {str(key): _plain(item, f"{where}.{key}", depth + 1) for key, item in value.items()}
    raise ValueError(
        f"save: {where.removeprefix('.')} is {_short(value)}, which a checkpoint's JSON cannot "
        f"hold; expected None, bool, str, a finite number (an int of less than {_MAX_DIGITS} "
        f"digits), or lists and dicts of these, so convert it"
    )


def _short(value: Any) -> str:
    if isinstance(value, float):
        return repr(value)
    return f"a {type(value).__name__}"


def decode_header(text: bytes) -> dict[str, Any]:
    """Parse a header.

    Raises
    ------
    ValueError, RecursionError
        If it is not JSON of the kind that `encode_header` writes.
    """
    header = json.loads(
        text,
        parse_constant=_refuse_constant,
        parse_int=_int,
        parse_float=_float,
        object_pairs_hook=_object,
    )
    if not isinstance(header, dict):
        raise ValueError(f"{HEADER} is not a JSON object")
    _check_depth(header, _MAX_DEPTH)
    return header


def _check_depth(value: Any, left: int) -> None:
    if isinstance(value, dict | list):
        if left == 0:
            raise ValueError(f"{HEADER} is nested more than {_MAX_DEPTH} deep")
        for item in value.values() if isinstance(value, dict) else value:
            _check_depth(item, left - 1)


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{HEADER} has {text}, which is not JSON")


def _int(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"{HEADER} has an integer of {len(text)} digits")
    return int(text)


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{HEADER} has {text}, which is out of range")
    return number


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError(f"{HEADER} has an object with one key twice")
    return result
