"""Who may attend to whom: boolean arrays (True = may), and masks that need no array.

A mask answers two questions. `Mask.dense` forms the whole boolean array, to look at and for
textbook attention. `Mask.tile` speaks of one rectangle of it at a time, and can say EMPTY or
FULL without forming it, which is what lets an attention over tiles skip work.

Masks join with ``&``, ``|`` and ``~``, with each other and with boolean arrays, in any order::

    mask = masks.causal() & masks.padding(lengths)

Rows are queries and columns are keys. Where there are more keys than queries the last query
stands at the last key: query i has the position i + o among the keys, with o = n_k - n_q.
"""

import enum
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Final, NamedTuple, TypeAlias

import numpy as np

from .core.arrays import Array, BoolArray, check_choice, check_integers, describe


class Coverage(enum.Enum):
    """What a tile is when it need not be looked into."""

    EMPTY = "empty"  # nobody may attend: the tile can be skipped
    FULL = "full"  # everybody may attend: the tile needs no mask


EMPTY: Final = Coverage.EMPTY
FULL: Final = Coverage.FULL
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
    """Base of all masks. A subclass says for a rectangle which pairs hold, and what it fits."""

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
            The array only where some pairs may attend and others may not.
        """
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        held = self.holds(lead_index, rows, columns)
        if held.all():
            return FULL
        if not held.any():
            return EMPTY
        return np.broadcast_to(held, shape)

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
        """
        lead: tuple[int, ...] = ()
        shapes = [leaf.lead_shape() for leaf in self.leaves()]
        axes = max(len(shape) for shape in shapes)
        try:
            for leaf in self.leaves():
                lead = np.broadcast_shapes(lead, leaf.lead_shape(axes))
        except ValueError:
            raise ValueError(
                f"dense: the leading axes of {self!r} do not broadcast; give its arrays an axis "
                f"for each of the scores, of length 1 where they are the same: mask[None]"
            ) from None
        shape = (*lead, n_q, n_k)
        whole: BoolArray = np.broadcast_to(self.over(shape), shape).copy()
        return whole

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


def causal() -> Mask:
    """Each query may attend to the keys up to its own position: j <= i + o.

    References
    ----------
    Vaswani et al. (2017), "Attention Is All You Need", section 3.2.3.
    """
    return _Causal()


def padding(lengths: "np.ndarray[tuple[int], np.dtype[np.integer]]", side: str = "right") -> Mask:
    """Only the first (or last) `lengths[b]` keys of batch entry b are real.

    Parameters
    ----------
    lengths : (batch,) integer ndarray
        Number of real keys in each entry. They belong to the first axis of the scores,
        whatever stands between it and the queries.
    side : "right" or "left"
        Where the padding is: after the real keys, or before them.

    Raises
    ------
    TypeError, ValueError
        If `lengths` is not a vector of integers from 0 on, or `side` is something else.
    """
    check_integers("padding", "lengths", lengths)
    check_choice("padding", "side", side, ("right", "left"))
    if lengths.ndim != 1 or np.any(lengths < 0):
        raise ValueError(
            f"padding: lengths is {describe(lengths)} with minimum {lengths.min(initial=0)}; "
            f"expected (batch,) numbers of real keys, 0 or more"
        )
    return _Padding(lengths.copy(), side)


def split_heads(array: Array, num_groups: int) -> Array:
    """View (..., heads, n_q, n_k) as (..., num_groups, heads / num_groups, n_q, n_k).

    For masks and biases of grouped-query attention; a head axis of 1, or none, stays 1.
    """
    if array.ndim < 3:
        return array
    *lead, heads, n_q, n_k = array.shape
    split = (1, 1) if heads == 1 else (num_groups, heads // num_groups)
    return array.reshape(*lead, *split, n_q, n_k)


class _Leaf(Mask):
    def leaves(self) -> Iterator[Mask]:
        yield self


class _Causal(_Leaf):
    def check(self, shape: tuple[int, ...]) -> None:
        pass  # fits any scores

    def holds(self, lead: Lead, rows: Span, columns: Span) -> BoolArray:
        o = columns.total - rows.total
        held: BoolArray = columns.numbers <= rows.numbers[:, None] + o
        return held

    def tile(self, lead_index: tuple[int, ...], rows: Span, columns: Span) -> Tile:
        o = columns.total - rows.total
        if columns.stop - 1 <= rows.start + o:  # even the first query sees the last key
            return FULL
        if columns.start > rows.stop - 1 + o:  # not even the last query sees the first key
            return EMPTY
        return self.holds(lead_index, rows, columns)

    def __repr__(self) -> str:
        return "causal()"


class _Padding(_Leaf):
    def __init__(self, lengths: "np.ndarray[tuple[int], np.dtype[np.integer]]", side: str) -> None:
        self._lengths = lengths
        self._side = side

    def check(self, shape: tuple[int, ...]) -> None:
        if len(shape) < 3 or shape[0] != len(self._lengths):
            raise ValueError(
                f"padding: {len(self._lengths)} lengths do not fit scores {shape}; expected "
                f"(batch, ..., n_q, n_k) with one length for each batch entry"
            )
        if self._lengths.size and self._lengths.max() > shape[-1]:
            at = int(self._lengths.argmax())
            raise ValueError(
                f"padding: lengths[{at}] is {self._lengths[at]} but there are only {shape[-1]} keys"
            )

    def lead_shape(self, axes: int = 1) -> tuple[int, ...]:
        return (len(self._lengths),) + (1,) * (axes - 1)

    def holds(self, lead: Lead, rows: Span, columns: Span) -> BoolArray:
        lengths = self._lengths[lead[0]]  # of one batch entry, or of all
        if lengths.ndim:
            lengths = lengths.reshape((-1,) + (1,) * (len(lead) + 1))  # (batch, 1, ..., 1, 1)
        j = columns.numbers[None, :]
        held: BoolArray
        held = j < lengths if self._side == "right" else j + lengths >= columns.total
        return held

    def __repr__(self) -> str:
        return f"padding({self._lengths.tolist()}, side={self._side!r})"


class _Dense(_Leaf):
    """A boolean array (..., n_q or 1, n_k or 1), whose axes align from the right."""

    def __init__(self, array: BoolArray) -> None:
        self._given = array.shape
        self._array = np.atleast_2d(array)

    def check(self, shape: tuple[int, ...]) -> None:
        own = self._given
        ends = zip(reversed(own), reversed(shape), strict=False)
        if len(own) > len(shape) or any(n not in (1, m) for n, m in ends):
            raise ValueError(
                f"mask {own} does not fit scores {shape}; from the right, each of its axes must "
                f"be 1 or equal. Insert axes for the heads and queries with mask[:, None, None, :]"
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


class _Both(_Pair):
    def holds(self, lead: Lead, rows: Span, columns: Span) -> BoolArray:
        return self._a.holds(lead, rows, columns) & self._b.holds(lead, rows, columns)

    def tile(self, lead_index: tuple[int, ...], rows: Span, columns: Span) -> Tile:
        return _join(self._a, self._b, EMPTY, FULL, lead_index, rows, columns)

    def __repr__(self) -> str:
        return f"({self._a!r} & {self._b!r})"


class _Either(_Pair):
    def holds(self, lead: Lead, rows: Span, columns: Span) -> BoolArray:
        return self._a.holds(lead, rows, columns) | self._b.holds(lead, rows, columns)

    def tile(self, lead_index: tuple[int, ...], rows: Span, columns: Span) -> Tile:
        return _join(self._a, self._b, FULL, EMPTY, lead_index, rows, columns)

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

    def holds(self, lead: Lead, rows: Span, columns: Span) -> BoolArray:
        return ~self._a.holds(lead, rows, columns)

    def tile(self, lead_index: tuple[int, ...], rows: Span, columns: Span) -> Tile:
        tile = self._a.tile(lead_index, rows, columns)
        if isinstance(tile, Coverage):
            return FULL if tile is EMPTY else EMPTY
        return ~tile

    def __repr__(self) -> str:
        return f"~{self._a!r}"


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
