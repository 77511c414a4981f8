"""Biases of a head and a distance: ALiBi's, which is fixed, and T5's, which is learned.

As in masks, query i has the position i + o among the keys, with o = n_k - n_q, and r = j - (i + o)
is the distance from it to key j: negative behind it, positive before it.
"""

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ..core.arrays import (
    Array,
    check_flag,
    check_floats,
    check_integers,
    check_size,
    describe,
    real_dtype,
)
from ..masks import Span
from ._bias import Bias, Index


def alibi(num_heads: int, *, positions: Array | None = None, dtype: DTypeLike = np.float64) -> Bias:
    """ALiBi: a score falls in proportion to the distance, in each head at a rate of its own.

    b_hij = -m_h |r|. The slopes m_h are a geometric sequence that starts at 2^(-8/H) with that
    same ratio when the number of heads H is a power of two; for other H the sequence for the
    next lower power is filled up with every other slope of the next higher one. Nothing is
    learned.

    Parameters
    ----------
    num_heads : int
        H, the length of the scores' last leading axis.
    positions : (n_k,) or (batch, n_k) integer ndarray, optional
        Of the keys; the last n_q of them are the queries'. 0, 1, 2, ... if not given.
    dtype : float32 or float64, optional
        Of the tiles; that of the scores spares a conversion.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    References
    ----------
    Press, Smith and Lewis (2022), "Train Short, Test Long", arXiv:2108.12409, section 3.
    """
    check_size("alibi", num_heads=num_heads)
    return _Alibi(num_heads, _checked("alibi", positions), real_dtype("alibi", dtype))


def alibi_slopes(num_heads: int) -> list[float]:
    """Return m_h for each head; see `alibi`.

    Raises
    ------
    TypeError, ValueError
        If `num_heads` is not a positive int.
    """
    check_size("alibi_slopes", num_heads=num_heads)
    lower = 1 << (int(num_heads).bit_length() - 1)
    slopes = [2.0 ** (-8.0 * (h + 1) / lower) for h in range(lower)]
    higher = [2.0 ** (-8.0 * (h + 1) / (2 * lower)) for h in range(2 * lower)]
    return slopes + higher[0::2][: num_heads - lower]


def relative(
    table: Array,
    *,
    bidirectional: bool = True,
    max_distance: int = 128,
    positions: Array | None = None,
    learn: "Callable[[Array], None] | None" = None,
) -> Bias:
    """T5's bias: b_hij = table[bucket(r), h], to be learned.

    Parameters
    ----------
    table : (num_buckets, num_heads) ndarray
        One number for each bucket of distances and each head.
    bidirectional : bool, optional
        Whether keys before and behind the query have buckets of their own, half of them each.
        If not, those behind have all, and those before (r > 0) share the bucket of r = 0.
    max_distance : int, optional
        Distances from here on share the last bucket.
    positions : (n_k,) or (batch, n_k) integer ndarray, optional
        As for `alibi`.
    learn : callable, optional
        Where `npformer.layers.MultiHeadAttention` puts the table's gradient, such as the
        `add_grad` of its parameter.

    Returns
    -------
    Bias
        Its gradient, as `npformer.functional.attention_backward` returns it, is the table's.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    References
    ----------
    Raffel et al. (2020), "Exploring the Limits of Transfer Learning with a Unified Text-to-Text
    Transformer", arXiv:1910.10683, section 2.1; `buckets` says how distances are grouped.
    """
    check_floats("relative", table=table)
    if table.ndim != 2:
        raise ValueError(f"relative: table is {table.shape}; expected (num_buckets, num_heads)")
    check_buckets("relative", len(table), bidirectional, max_distance)
    if learn is not None and not callable(learn):
        raise TypeError(
            f"relative: learn is {learn!r}; expected a function that takes the table's gradient, "
            f"such as the add_grad of its parameter, or None"
        )
    heads = table.shape[1]
    bias = _Relative(heads, _checked("relative", positions), table, bidirectional, max_distance)
    bias.learn = learn
    return bias


def check_buckets(owner: str, num_buckets: int, bidirectional: bool, max_distance: int) -> None:
    """Refuse numbers of buckets that distances cannot be grouped in.

    Raises
    ------
    TypeError, ValueError
        If they are not ints, or too few, or `max_distance` is within the exact buckets.
    """
    check_size(owner, num_buckets=num_buckets, max_distance=max_distance)
    check_flag(owner, "bidirectional", bidirectional)
    least = 4 if bidirectional else 2
    if num_buckets < least or num_buckets % (least // 2):
        raise ValueError(
            f"{owner}: {num_buckets} buckets; expected at least {least}"
            + (", and an even number, half for each direction" if bidirectional else "")
        )
    exact = num_buckets // least
    if max_distance <= exact:
        raise ValueError(
            f"{owner}: max_distance is {max_distance}; expected more than {exact}, the number of "
            f"distances that have a bucket of their own"
        )


def buckets(distance: Array, num_buckets: int, bidirectional: bool, max_distance: int) -> Array:
    """Return the bucket of each distance r = key's position - query's position.

    Of the n buckets of a direction, e = floor(n/2) hold one distance each: 0, 1, ..., e - 1. The
    w = n - e others grow in proportion to the distance: d falls in bucket
    e + floor(w log(d / e) / log(max_distance / e) + 1e-9), and at most in the last, n - 1. The
    1e-9 is there for borders between two buckets, where the quotient is whole but for rounding.

    Parameters
    ----------
    distance : integer ndarray
    num_buckets, bidirectional, max_distance
        As for `relative`.

    Returns
    -------
    int64 ndarray of the same shape
        From 0 to num_buckets - 1.

    Raises
    ------
    TypeError, ValueError
        If distances are not integers, or as `relative`.
    """
    check_integers("buckets", "distance", distance)
    check_buckets("buckets", num_buckets, bidirectional, max_distance)
    # From max_distance on all are alike, and of those nearer |r| cannot overflow.
    farthest = min(int(max_distance), int(np.iinfo(np.int64).max))
    distance = np.clip(distance.astype(np.int64), -farthest, farthest)
    first: Array | int = 0
    if bidirectional:
        num_buckets //= 2
        first = np.where(distance > 0, num_buckets, 0)
        distance = np.abs(distance)
    else:
        distance = np.maximum(-distance, 0)
    exact = num_buckets // 2
    wide = num_buckets - exact
    ratio = np.maximum(distance, 1) / exact
    steps = np.log(ratio) / math.log(max_distance / exact) * wide
    far = exact + (steps + 1e-9).astype(np.int64)  # log 2 / log 32 * 5 is 1 but for rounding
    near: Array = np.where(distance < exact, distance, np.minimum(far, num_buckets - 1))
    return first + near


class _ByDistance(Bias):
    """A bias of a head and a distance alone; a subclass says what it is.

    Along a diagonal of a tile the distance is the same, so a tile of R x C has R + C - 1
    numbers, and is a view of these.
    """

    def __init__(self, heads: int, positions: Array | None) -> None:
        self._heads = heads
        self._positions = positions

    @abstractmethod
    def _of(self, head: int, distance: Array) -> Array:
        """Return the bias of each distance, in its shape."""

    def check(self, shape: tuple[int, ...]) -> None:
        if len(shape) < 3 or shape[-3] != self._heads:
            raise ValueError(
                f"bias is made for {self._heads} heads and does not fit scores {shape}; "
                f"expected (..., {self._heads}, n_q, n_k)"
            )
        at = self._positions
        if at is not None and (
            at.shape[-1] != shape[-1]
            or shape[-2] > shape[-1]
            or (at.ndim == 2 and (len(shape) < 4 or len(at) not in (1, shape[0])))
        ):
            raise ValueError(
                f"bias has positions {at.shape}, which do not fit scores {shape}; expected "
                f"(n_k,) or (batch, n_k), with at least as many keys as queries"
            )

    def lead_shape(self, axes: int) -> tuple[int, ...]:
        lead = [1] * (axes - 1) + [self._heads]
        if self._positions is not None and self._positions.ndim == 2:
            lead[0] = len(self._positions)
        return tuple(lead)

    def tile(self, lead_index: Index, rows: Span, columns: Span) -> Array:
        head = lead_index[-1]
        if self._positions is not None:
            return self._of(head, self._distances(lead_index, rows, columns))
        diagonals = self._of(head, self._diagonals(rows, columns))
        width = columns.stop - columns.start
        # Row i of R holds diagonals R - 1 - i, ..., R - 1 - i + C - 1.
        return np.lib.stride_tricks.sliding_window_view(diagonals, width)[::-1]

    def _distances(self, lead_index: Index, rows: Span, columns: Span) -> Array:
        """(len(rows), len(columns)) distances by the positions that were given."""
        assert self._positions is not None
        at = np.atleast_2d(self._positions)
        at = at[lead_index[0] if len(at) > 1 else 0].astype(np.int64)
        o = columns.total - rows.total
        queries = at[rows.start + o : rows.stop + o]
        distances: Array = at[columns.start : columns.stop] - queries[:, None]
        return distances

    def _diagonals(self, rows: Span, columns: Span) -> Array:
        """Return the distances of a tile, lowest first, each once."""
        o = columns.total - rows.total
        return np.arange(columns.start - (rows.stop - 1 + o), columns.stop - rows.start - o)


class _Alibi(_ByDistance):
    def __init__(self, heads: int, positions: Array | None, dtype: "np.dtype[Any]") -> None:
        super().__init__(heads, positions)
        self._slopes = alibi_slopes(heads)
        self._tile_dtype = dtype

    def _of(self, head: int, distance: Array) -> Array:
        bias: Array = (-self._slopes[head] * np.abs(distance)).astype(self._tile_dtype)
        return bias

    def __repr__(self) -> str:
        return f"alibi({self._heads})"


class _Relative(_ByDistance):
    def check(self, shape: tuple[int, ...]) -> None:
        super().check(shape)
        if not np.all(self._table.real < math.inf):
            raise ValueError(
                "attention: the table of a relative bias holds +inf or NaN; expected finite "
                "numbers, or -inf to mask"
            )

    def __init__(
        self,
        heads: int,
        positions: Array | None,
        table: Array,
        bidirectional: bool,
        max_distance: int,
    ) -> None:
        super().__init__(heads, positions)
        self.dtype = table.dtype
        self._table = table
        self._bidirectional = bidirectional
        self._max_distance = max_distance

    def _buckets(self, distance: Array) -> Array:
        return buckets(distance, len(self._table), self._bidirectional, self._max_distance)

    def _of(self, head: int, distance: Array) -> Array:
        bias: Array = self._table[self._buckets(distance), head]
        return bias

    def new_gradient(self) -> Array:
        return np.zeros(self._table.shape, self._table.dtype)

    def gradient_lead(self, axes: int) -> tuple[int, ...]:
        """Say that a head has a column of the table, and a batch, whatever its positions, none."""
        return (1,) * (axes - 1) + (self._heads,)

    def add_gradient(
        self, gradient: Array, ds: Array, lead_index: Index, rows: Span, columns: Span
    ) -> None:
        """Sum over the places that a number stands in."""
        if self._positions is not None:
            distance = self._distances(lead_index, rows, columns)
        else:
            distance, ds = self._diagonals(rows, columns), _diagonal_sums(ds)
        np.add.at(gradient[:, lead_index[-1]], self._buckets(distance), ds)

    def __repr__(self) -> str:
        return f"relative({describe(self._table)})"


def _diagonal_sums(x: Array) -> Array:
    """Return the sum along each diagonal of (R, C) x, the lowest first: R + C - 1 of them.

    Row i is put R - 1 - i places to the right, which stands each diagonal upright. In memory
    that is one row after another with R zeros between, read in rows that are one shorter.
    """
    rows, columns = x.shape
    wide = np.zeros((rows, columns + rows), x.dtype)
    wide[:, :columns] = x[::-1]  # from the last row on, each starts one place later
    sums: Array = wide.reshape(-1)[: rows * (columns + rows - 1)].reshape(rows, -1).sum(axis=0)
    return sums


def _checked(owner: str, positions: Array | None) -> Array | None:
    if positions is not None:
        check_integers(owner, "positions", positions)
        if positions.ndim not in (1, 2):
            raise ValueError(
                f"{owner}: positions are {positions.shape}; expected (n_k,) or (batch, n_k)"
            )
    return positions
