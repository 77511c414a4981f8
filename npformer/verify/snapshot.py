"""Has anything changed? Arrays within nested objects, remembered bit for bit."""

import dataclasses
import types
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..core.arrays import Array

_PLAIN = (
    str,
    bytes,
    int,
    float,
    complex,
    bool,
    type(None),
    np.dtype,
    np.generic,
    np.random.Generator,
)


def same_bits(a: Array, b: Array) -> bool:
    """Say whether two arrays are equal in every bit, NaN and -0.0 included."""
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def share_memory(a: Any, b: Any) -> bool:
    """Say whether writing to one array could change the other."""
    if not isinstance(a, np.ndarray) or not isinstance(b, np.ndarray):
        return False
    return np.may_share_memory(a, b) and np.shares_memory(a, b)


class Snapshot:
    """Arrays and attributes within an object, as they are now.

    Parameters
    ----------
    item : object
        Tuples, lists, mappings, dataclasses and objects with attributes are looked into.
    ignore : list of ndarray, optional
        Arrays that may change.
    """

    def __init__(self, item: Any, ignore: list[Array] | None = None) -> None:
        self._item = item
        self._then: dict[str, tuple[Any, Array | None]] = {}
        self._ignored: set[str] = set()
        ids = {id(array) for array in ignore or ()}
        for path, value in leaves(item):
            if id(value) in ids:
                self._ignored.add(path)
            else:
                bits = value.copy() if isinstance(value, np.ndarray) else None
                self._then[path] = value, bits

    def changes(self) -> list[str]:
        """List the paths of what is no longer as it was: changed, new or gone."""
        now = {path: v for path, v in leaves(self._item) if path not in self._ignored}
        changed = list(self._then.keys() ^ now.keys())
        for path in self._then.keys() & now.keys():
            value, bits = self._then[path]
            if bits is None:
                if now[path] is not value and not _equal(now[path], value):
                    changed.append(path)
            elif not isinstance(now[path], np.ndarray) or not same_bits(now[path], bits):
                changed.append(path)
        return sorted(changed)

    def rewrite(self) -> list[str]:
        """Put back the bits of arrays that were written to in place, and list their paths."""
        written = [
            (path, value, bits)
            for path, (value, bits) in self._then.items()
            if bits is not None and not same_bits(value, bits)
        ]
        for _, value, bits in written:
            value[...] = bits
        return [path for path, _, _ in written]


def leaves(item: Any, path: str = "", seen: set[int] | None = None) -> Iterator[tuple[str, Any]]:
    """Yield the paths and values of the arrays and plain values within `item`."""
    seen = set() if seen is None else seen
    if isinstance(item, (np.ndarray, *_PLAIN)):
        yield path, item
        return
    if id(item) in seen:
        return
    seen.add(id(item))
    for key, child in _children(item):
        yield from leaves(child, f"{path}.{key}" if path else key, seen)


def _children(item: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(item, tuple) and hasattr(item, "_fields"):
        yield from zip(item._fields, item, strict=True)
    elif isinstance(item, Mapping):
        yield from ((str(key), value) for key, value in list(item.items()))
    elif isinstance(item, list | tuple):
        yield from ((str(i), value) for i, value in enumerate(item))
    elif dataclasses.is_dataclass(item) and not isinstance(item, type):
        yield from ((f.name, getattr(item, f.name, None)) for f in dataclasses.fields(item))
    elif not isinstance(item, type | types.ModuleType | types.FunctionType):
        yield from list(getattr(item, "__dict__", {}).items())


def _equal(a: Any, b: Any) -> bool:
    try:
        return type(a) is type(b) and bool(a == b)
    except Exception:
        return False
