"""Rows against tensors: which tensor holds what of ours, what does not fit, and the copying."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ...core.arrays import Array
from ...core.parameter import Parameter
from .name_map import Row, Shape

_INTEGERS = re.compile(r"[IU]\d+|BOOL|u?int\d+|bool")  # as formats and as NumPy name them
_LISTED = 12  # of what does not fit


class Misfits(NamedTuple):
    """What does not fit, in words: a line for each tensor."""

    missing: list[str]
    misshaped: list[str]  # or of another type
    unknown: list[str]

    def __bool__(self) -> bool:
        """Say whether there are any."""
        return any(self[:])

    @property
    def counts(self) -> str:
        """How many there are of each, in words."""
        return (
            f"{len(self.missing)} are missing, {len(self.misshaped)} of another shape or type, "
            f"{len(self.unknown)} not known"
        )

    @property
    def lines(self) -> str:
        """The first of them, a line each."""
        wrong = [*self.missing, *self.misshaped, *self.unknown]
        more = f"\n  and {len(wrong) - _LISTED} more" if len(wrong) > _LISTED else ""
        return "\n  " + "\n  ".join(wrong[:_LISTED]) + more


def by_ours(rows: Iterable[Row]) -> dict[tuple[str, ...], list[Row]]:
    """Return the rows by what of ours they hold: more than one, where theirs has it twice."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        if row.ours:
            groups.setdefault(row.ours, []).append(row)
    return groups


def match(
    rows: Collection[Row],
    parameters: Mapping[str, Parameter],
    stored: Mapping[str, list[str]],
    kinds: Mapping[str, tuple[str, Shape]],
    *,
    plain: Callable[[str], str] = str,
    skipped: Collection[str] = (),
) -> tuple[dict[Row, list[str]], Misfits]:
    """Return for each row the tensors that fill it, and what does not fit.

    Parameters
    ----------
    rows : collection of Row
    parameters : mapping of str to Parameter
        Ours by name.
    stored : mapping of str to list of str
        Plain names to the names that tensors have.
    kinds : mapping of str to (str, shape)
        Type and shape of each tensor, by the name that it has.
    plain : callable, optional
        Makes a row's name a plain one.
    skipped : collection of str, optional
        Patterns of plain names that are of no use.
    """
    misfits = Misfits([], [], [])
    found: dict[Row, list[str]] = {}
    expected = {plain(row.theirs) for row in rows}
    for group in by_ours(rows).values():
        there = [row for row in group if plain(row.theirs) in stored]
        if not there:
            row = group[0]
            shape, ours = _their_shape(row, parameters), ", ".join(row.ours)
            misfits.missing.append(f"missing: {row.theirs} {shape}, for {ours}")
        for row in there:
            found[row] = stored[plain(row.theirs)]
            shape = _their_shape(row, parameters)
            for name in found[row]:
                kind, given = kinds[name]
                if given != shape:
                    misfits.misshaped.append(f"wrong shape: {name} is {given}, expected {shape}")
                elif _INTEGERS.fullmatch(kind):
                    misfits.misshaped.append(f"wrong type: {name} is {kind}, expected floats")
    useless = [re.compile(pattern) for pattern in skipped]
    misfits.unknown.extend(
        f"not known: {name} {kinds[name][1]}"
        for one, given in stored.items()
        for name in given
        if one not in expected and not any(pattern.fullmatch(one) for pattern in useless)
    )
    return found, misfits


def _their_shape(row: Row, parameters: Mapping[str, Parameter]) -> Shape:
    first, *others = (parameters[name].shape for name in row.ours)
    rows = sum((shape[0] for shape in others), first[0]) if first else 0
    return row.layout.shape((rows, *first[1:]) if first else ())


def fill(parts: list[Array], array: Array, compare: bool = False) -> bool:
    """Write an array into arrays, one below the other, or say whether it is there already."""
    start = 0
    for part in parts:
        piece = array if len(parts) == 1 else array[start : start + len(part)]
        if compare and not np.array_equal(part, piece):
            return False
        if not compare:
            part[...] = piece
        start += len(part) if part.ndim else 0
    return True


def theirs(row: Row, values: Mapping[str, Array]) -> Any:
    """Return the tensor of a row, made of arrays of ours by name."""
    parts = [values[name] for name in row.ours]
    return row.layout.to_theirs(parts[0] if len(parts) == 1 else np.concatenate(parts))
