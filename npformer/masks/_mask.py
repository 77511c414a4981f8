"""What a mask is: the questions that it answers, boolean arrays as masks, and &, | and ~.

Rows are queries and columns are keys. Where there are more keys than queries the last query
stands at the last key: query i has the position i + o among the keys, with o = n_k - n_q.
"""

import enum
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..core.arrays import Array, BoolArray, check_count, describe, fits
from ._picture import draw


class Coverage(enum.Enum):
    """What a tile is when it need not be looked into."""

    EMPTY = "empty"  # nobody may attend: the tile can be skipped
    FULL = "full"  # everybody may attend: the tile needs no mask


EMPTY: Final = Coverage.EMPTY
FULL: Final = Coverage.FULL

# The same of a block in a row of blocks, where & is a minimum, | a maximum and ~ is 2 - code.
NONE: Final = 0  # nobody may attend
SOME: Final = 1  # unknown, or some may and others may not
ALL: Final = 2  # everybody may attend

Codes: TypeAlias = NDArray[np.int8]
Tile: TypeAlias = Coverage | BoolArray
Lead: TypeAlias = "tuple[int | slice, ...]"


class Span(NamedTuple):
    """A run of rows or of columns, and how many there are in all.

    The total is part of it because a query's position depends on it: o = n_k - n_q.
    """

    start: int
    stop: int
    total: int

    @property
    def numbers(self) -> "np.ndarray[tuple[int], np.dtype[np.intp]]":
        """They are start, ..., stop - 1."""
        return np.arange(self.start, self.stop)


class Mask(ABC):
    """Base of all masks. A subclass says for a rectangle which pairs hold, and what it fits.

    `holds`, `check` and `leaves` are enough. `tile` and `coverage` are worth their own code
    where they can answer without forming an array, `varies` where a mask is the same for all
    leading entries, and `grouped` and `lead_shape` are needed where it is not.

    Only `check` looks at whether a mask fits: all other methods rely on it having passed.
    """

    __array_ufunc__ = None  # so that `array & mask` comes to Mask.__rand__

    @abstractmethod
    def holds(self, lead: Lead, rows: Span, columns: Span) -> BoolArray:
        """Return the boolean array of a rectangle, or one that broadcasts to it.

        Parameters
        ----------
        lead : tuple of int or of slice
            Either one index per leading axis of the scores, or ``slice(None)`` for each:
            then the result has those axes too, where it depends on them.
        rows, columns : Span
            The queries and the keys.
        """

    @abstractmethod
    def check(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError if this mask does not fit scores of `shape` (..., n_q, n_k)."""

    @abstractmethod
    def leaves(self) -> "Iterator[Mask]":
        """Yield the masks that this one is joined from, or itself."""

    def grouped(self, num_groups: int) -> "Mask":
        """Return this mask for scores whose head axis -3 is split in (num_groups, rest)."""
        return self

    def varies(self, axes: int) -> tuple[bool, ...]:
        """Say along which leading axes of the scores this mask may differ.

        Parameters
        ----------
        axes : int
            How many leading axes the scores have.

        Returns
        -------
        tuple of `axes` bools
            False only where every index gives the same mask.
        """
        return (True,) * axes

    def tile(self, lead_index: tuple[int, ...], rows: Span, columns: Span) -> Tile:
        """Say what a rectangle is: EMPTY, FULL, or its boolean array.

        Parameters
        ----------
        lead_index : tuple of int
            Index along the leading axes of the scores: (batch, head), say.
        rows, columns : Span
            The queries and the keys.

        Returns
        -------
        EMPTY, FULL or (len(rows), len(columns)) bool ndarray
            The array only where some pairs may attend and others may not. It may be a view,
            so it is not to be written to.
        """
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        held = self.holds(lead_index, rows, columns)
        if held.all():
            return FULL
        if not held.any():
            return EMPTY
        return np.broadcast_to(held, shape)

    def coverage(self, lead_index: tuple[int, ...], rows: Span, columns: Span, width: int) -> Codes:
        """Say of a whole row of blocks which can be skipped and which need no mask.

        Parameters
        ----------
        lead_index : tuple of int
            Index along the leading axes of the scores.
        rows, columns : Span
            The queries and the keys.
        width : int
            Keys in a block, at least 1. The last block has what is left.

        Returns
        -------
        (ceil(len(columns) / width),) int8 ndarray
            NONE, SOME or ALL for each block. NONE and ALL are certain; SOME may stand for
            either, which costs time and nothing else.
        """
        first, last, n_k = columns
        spans = (Span(j, min(j + width, last), n_k) for j in range(first, last, width))
        return np.array([_code(self.tile(lead_index, rows, span)) for span in spans], np.int8)

    def dense(self, n_q: int, n_k: int) -> BoolArray:
        """Form the whole mask.

        Parameters
        ----------
        n_q, n_k : int
            Number of queries and of keys.

        Returns
        -------
        (..., n_q, n_k) bool ndarray
            With the leading axes that the mask itself has: none for `causal`, (batch,) for
            `padding`, those of the array for an array.

        Raises
        ------
        ValueError
            If the mask does not fit n_q and n_k, or the masks it is joined from each other.
        TypeError
            If n_q or n_k is not an int.
        """
        check_count("dense", n_q=n_q, n_k=n_k)
        shape = (*self._own_lead("dense"), n_q, n_k)
        whole: BoolArray = np.broadcast_to(self.over(shape), shape).copy()
        return whole

    def picture(self, n_q: int, n_k: int, lead_index: tuple[int, ...] | None = None) -> str:
        """Draw the mask with characters: ``#`` may attend, ``.`` may not, ``+`` some may.

        Up to 64 queries and keys each pair has a character; beyond, each square of pairs.

        Parameters
        ----------
        n_q, n_k : int
            Number of queries and of keys.
        lead_index : tuple of int, optional
            Which entry to draw, along the leading axes that the mask itself has (see `dense`).
            If not given, the first four are drawn.

        Returns
        -------
        str
            To print. Rows are queries, columns are keys, both numbered from 0.

        Raises
        ------
        ValueError
            If the mask does not fit n_q and n_k, or `lead_index` its leading axes.
        TypeError
            If n_q or n_k is not an int, or `lead_index` not a tuple of ints.

        Examples
        --------
        >>> from npformer import masks
        >>> print(masks.causal().picture(3, 4))
        causal(), 3 queries x 4 keys
            0
          0 # # . .
          1 # # # .
          2 # # # #
        # may attend   . may not
        """
        check_count("picture", n_q=n_q, n_k=n_k)
        lead = self._own_lead("picture")
        self.check((*lead, n_q, n_k))
        if lead_index is not None and not (
            isinstance(lead_index, tuple | list) and all(map(_is_int, lead_index))
        ):
            raise TypeError(
                f"picture: lead_index is {lead_index!r}; expected a tuple of ints, one for each of "
                f"the leading axes {lead}, such as {(0,) * len(lead)}"
            )
        if lead_index is None:
            shown = list(itertools.islice(np.ndindex(lead), 4))
        elif len(lead_index) == len(lead) and all(
            0 <= i < n for i, n in zip(lead_index, lead, strict=True)
        ):
            shown = [tuple(lead_index)]
        else:
            raise ValueError(
                f"picture: lead_index is {lead_index} but the leading axes of {self!r} are "
                f"{lead}; give an index for each, from 0, or none at all to see the first few"
            )
        edge = max(1, -(-max(n_q, n_k) // 64))
        title = f"{self!r}, {n_q} queries x {n_k} keys"
        drawn = [
            (f"{title}, entry {index}" if lead else title)
            + "\n"
            + draw(self._codes(index, n_q, n_k, edge), edge)
            for index in shown
        ]
        rest = math.prod(lead) - len(shown)
        if lead_index is None and rest:
            drawn.append(f"and {rest} more; choose one with lead_index=")
        return "\n\n".join(drawn) if drawn else f"{title}, no entries"

    def _codes(self, lead_index: tuple[int, ...], n_q: int, n_k: int, edge: int) -> Codes:
        """Return NONE, SOME or ALL, exactly, for each square of pairs."""
        codes = np.empty((-(-n_q // edge), -(-n_k // edge)), np.int8)
        for at, line in enumerate(codes):
            rows = Span(at * edge, min((at + 1) * edge, n_q), n_q)
            line[:] = self.coverage(lead_index, rows, Span(0, n_k, n_k), edge)
            for block in np.flatnonzero(line == SOME).tolist():
                columns = Span(block * edge, min((block + 1) * edge, n_k), n_k)
                line[block] = _code(self.tile(lead_index, rows, columns))
        return codes

    def over(self, shape: tuple[int, ...]) -> BoolArray:
        """Return the boolean array for scores of `shape`, not larger than it needs to be.

        Parameters
        ----------
        shape : tuple of int
            (..., n_q, n_k).

        Returns
        -------
        bool ndarray
            Broadcasts to `shape`.

        Raises
        ------
        ValueError
            If the mask does not fit.
        """
        self.check(shape)
        *lead, n_q, n_k = shape
        return self.holds((slice(None),) * len(lead), Span(0, n_q, n_q), Span(0, n_k, n_k))

    def lead_shape(self, axes: int = 0) -> tuple[int, ...]:
        """Leading axes that a leaf has of itself, when the scores have `axes` of them."""
        return ()

    def _own_lead(self, asker: str) -> tuple[int, ...]:
        """Leading axes that this mask has of itself: those of all its leaves together."""
        axes = max(len(leaf.lead_shape()) for leaf in self.leaves())
        try:
            return np.broadcast_shapes(*(leaf.lead_shape(axes) for leaf in self.leaves()))
        except ValueError:
            raise ValueError(
                f"{asker}: the leading axes of {self!r} do not broadcast; give its arrays an axis "
                f"for each of the scores, of length 1 where they are the same: mask[None]"
            ) from None

    def __and__(self, other: "Mask | BoolArray") -> "Mask":
        return _Both(self, as_mask(other))

    def __rand__(self, other: "Mask | BoolArray") -> "Mask":
        return _Both(as_mask(other), self)

    def __or__(self, other: "Mask | BoolArray") -> "Mask":
        return _Either(self, as_mask(other))

    def __ror__(self, other: "Mask | BoolArray") -> "Mask":
        return _Either(as_mask(other), self)

    def __invert__(self) -> "Mask":
        return _Not(self)

    def __bool__(self) -> bool:
        raise TypeError("a mask is neither true nor false; join masks with &, | and ~")


def as_mask(mask: "Mask | BoolArray") -> Mask:
    """Return `mask` as a `Mask`.

    Raises
    ------
    TypeError
        If it is neither a mask nor a boolean array. Float masks are refused: what is to be
        added to the scores is a bias, and no finite number masks.
    """
    if isinstance(mask, Mask):
        return mask
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
        raise TypeError(
            f"mask is {describe(mask)}; expected a bool array (True = may attend) or a mask "
            f"object. Convert ones and zeros with np.asarray(mask, dtype=bool); pass scores to "
            f"be added as bias="
        )
    if mask.ndim < 1:
        raise ValueError("mask is a single bool; expected an array (..., n_q, n_k)")
    return _Dense(mask)


def split_heads(array: Array, num_groups: int) -> Array:
    """View (..., heads, n_q, n_k) as (..., num_groups, heads / num_groups, n_q, n_k).

    For masks and biases of grouped-query attention; a head axis of 1, or none, stays 1.
    """
    if array.ndim < 3:
        return array
    *lead, heads, n_q, n_k = array.shape
    split = (1, 1) if heads == 1 else (num_groups, heads // num_groups)
    return array.reshape(*lead, *split, n_q, n_k)


class Leaf(Mask):
    """A mask that is not joined from others, and differs only along its own leading axes."""

    def leaves(self) -> Iterator[Mask]:
        yield self

    def varies(self, axes: int) -> tuple[bool, ...]:
        own = self.lead_shape(axes)
        return (False,) * (axes - len(own)) + tuple(n != 1 for n in own)


def codes_of(some: BoolArray, every: BoolArray) -> Codes:
    """Return NONE, SOME or ALL from whether some pairs of a block hold, and whether all do."""
    codes: Codes = np.add(some, every, dtype=np.int8)
    return codes


class _Dense(Leaf):
    """A boolean array (..., n_q or 1, n_k or 1), whose axes align from the right."""

    def __init__(self, array: BoolArray) -> None:
        self._given = array.shape
        self._array = np.atleast_2d(array)

    def check(self, shape: tuple[int, ...]) -> None:
        if not fits(self._given, shape):
            raise ValueError(
                f"mask {self._given} does not fit scores {shape}; from the right, each of "
                f"its axes must be 1 or equal. Insert axes for the heads and queries with "
                f"mask[:, None, None, :]"
            )

    def lead_shape(self, axes: int = 0) -> tuple[int, ...]:
        return self._array.shape[:-2]

    def holds(self, lead: Lead, rows: Span, columns: Span) -> BoolArray:
        *own_lead, n_q, n_k = self._array.shape
        aligned = lead[len(lead) - len(own_lead) :]
        ends = zip(own_lead, aligned, strict=True)
        index = tuple(0 if n == 1 and isinstance(i, int) else i for n, i in ends)
        row = slice(None) if n_q == 1 else slice(rows.start, rows.stop)
        column = slice(None) if n_k == 1 else slice(columns.start, columns.stop)
        held: BoolArray = self._array[index + (row, column)]  # noqa: RUF005
        return held

    def coverage(self, lead_index: tuple[int, ...], rows: Span, columns: Span, width: int) -> Codes:
        starts = np.arange(columns.start, columns.stop, width) - columns.start
        held = self.holds(lead_index, rows, columns)
        some: BoolArray = np.logical_or.reduce(held, axis=0)  # of each key
        every: BoolArray = np.logical_and.reduce(held, axis=0)
        if len(some) != 1 and len(starts):
            some = np.logical_or.reduceat(some, starts)
            every = np.logical_and.reduceat(every, starts)
        codes: Codes = np.broadcast_to(codes_of(some, every), starts.shape).copy()
        return codes

    def grouped(self, num_groups: int) -> Mask:
        return _Dense(split_heads(self._array, num_groups))

    def __repr__(self) -> str:
        return f"array{self._given}"


class _Pair(Mask):
    """Two masks joined; a subclass says how."""

    def __init__(self, a: Mask, b: Mask) -> None:
        self._a, self._b = a, b

    def check(self, shape: tuple[int, ...]) -> None:
        self._a.check(shape)
        self._b.check(shape)

    def leaves(self) -> Iterator[Mask]:
        yield from self._a.leaves()
        yield from self._b.leaves()

    def grouped(self, num_groups: int) -> Mask:
        return type(self)(self._a.grouped(num_groups), self._b.grouped(num_groups))

    def varies(self, axes: int) -> tuple[bool, ...]:
        both = zip(self._a.varies(axes), self._b.varies(axes), strict=True)
        return tuple(a or b for a, b in both)


class _Both(_Pair):
    def holds(self, lead: Lead, rows: Span, columns: Span) -> BoolArray:
        return self._a.holds(lead, rows, columns) & self._b.holds(lead, rows, columns)

    def tile(self, lead_index: tuple[int, ...], rows: Span, columns: Span) -> Tile:
        return _join(self._a, self._b, EMPTY, FULL, lead_index, rows, columns)

    def coverage(self, lead_index: tuple[int, ...], rows: Span, columns: Span, width: int) -> Codes:
        codes: Codes = np.minimum(
            self._a.coverage(lead_index, rows, columns, width),
            self._b.coverage(lead_index, rows, columns, width),
        )
        return codes

    def __repr__(self) -> str:
        return f"({self._a!r} & {self._b!r})"


class _Either(_Pair):
    def holds(self, lead: Lead, rows: Span, columns: Span) -> BoolArray:
        return self._a.holds(lead, rows, columns) | self._b.holds(lead, rows, columns)

    def tile(self, lead_index: tuple[int, ...], rows: Span, columns: Span) -> Tile:
        return _join(self._a, self._b, FULL, EMPTY, lead_index, rows, columns)

    def coverage(self, lead_index: tuple[int, ...], rows: Span, columns: Span, width: int) -> Codes:
        codes: Codes = np.maximum(
            self._a.coverage(lead_index, rows, columns, width),
            self._b.coverage(lead_index, rows, columns, width),
        )
        return codes

    def __repr__(self) -> str:
        return f"({self._a!r} | {self._b!r})"


class _Not(Mask):
    def __init__(self, a: Mask) -> None:
        self._a = a

    def check(self, shape: tuple[int, ...]) -> None:
        self._a.check(shape)

    def leaves(self) -> Iterator[Mask]:
        yield from self._a.leaves()

    def grouped(self, num_groups: int) -> Mask:
        return _Not(self._a.grouped(num_groups))

    def varies(self, axes: int) -> tuple[bool, ...]:
        return self._a.varies(axes)

    def holds(self, lead: Lead, rows: Span, columns: Span) -> BoolArray:
        return ~self._a.holds(lead, rows, columns)

    def tile(self, lead_index: tuple[int, ...], rows: Span, columns: Span) -> Tile:
        tile = self._a.tile(lead_index, rows, columns)
        if isinstance(tile, Coverage):
            return FULL if tile is EMPTY else EMPTY
        return ~tile

    def coverage(self, lead_index: tuple[int, ...], rows: Span, columns: Span, width: int) -> Codes:
        codes: Codes = ALL - self._a.coverage(lead_index, rows, columns, width)
        return codes

    def __repr__(self) -> str:
        return f"~{self._a!r}"


def _is_int(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _code(tile: Tile) -> int:
    """Return the code of a block from its tile."""
    return ALL if tile is FULL else NONE if tile is EMPTY else SOME


def _join(
    a: Mask,
    b: Mask,
    wins: Coverage,
    yields: Coverage,
    lead_index: tuple[int, ...],
    rows: Span,
    columns: Span,
) -> Tile:
    """Join two tiles: `wins` decides alone (EMPTY for &, FULL for |), `yields` never does."""
    first = a.tile(lead_index, rows, columns)
    if first is wins:
        return wins
    second = b.tile(lead_index, rows, columns)
    if second is wins or first is yields:
        return second
    if second is yields:
        return first
    assert not isinstance(first, Coverage)
    assert not isinstance(second, Coverage)
    held = first & second if wins is EMPTY else first | second
    if held.all():
        return FULL
    return held if held.any() else EMPTY
