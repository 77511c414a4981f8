"""The masks that need no array: each knows by a closed form what a rectangle of it is.

Throughout, d = i + o - j is how far the key j lies behind the query i, and p = i + o is the
query's position.
"""

import operator
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.arrays import (
    BoolArray,
    check_choice,
    check_count,
    check_integers,
    check_size,
    describe,
    whole_numbers,
)
from ._mask import EMPTY, FULL, Codes, Lead, Leaf, Mask, Span, Tile, codes_of

Lengths = np.ndarray[tuple[int], np.dtype[np.integer]]
Numbers = NDArray[np.intp]

# No sequence is as long, and sums of two such numbers are still counted right.
FAR = int(np.iinfo(np.intp).max // 2)


def causal() -> Mask:
    """Each query may attend to the keys up to its own position: j <= i + o.

    References
    ----------
    Vaswani et al. (2017), "Attention Is All You Need", section 3.2.3.
    """
    return _Causal()


def sliding_window(w: int) -> Mask:
    """Each query may attend to the keys less than w positions away: ``|i + o - j| < w``.

    Parameters
    ----------
    w : int
        At least 1, which is its own position alone. w - 1 keys on each side are seen; joined
        with `causal`, w keys in all.

    Raises
    ------
    TypeError, ValueError
        If `w` is not a positive int.

    References
    ----------
    Beltagy et al. (2020), "Longformer: The Long-Document Transformer", arXiv:2004.05150,
    section 3.1. Its w counts both sides: that of the paper is ``sliding_window(w // 2 + 1)``.
    """
    return _Window(positive("sliding_window", "w", w, "1 is each query's own position alone"))


def strided(s: int) -> Mask:
    """Each query may attend to every s-th key, counted from its own position.

    That is where (i + o - j) mod s = 0, on both sides.

    Parameters
    ----------
    s : int
        At least 1, which is all keys.

    Raises
    ------
    TypeError, ValueError
        If `s` is not a positive int.

    References
    ----------
    Child et al. (2019), "Generating Long Sequences with Sparse Transformers",
    arXiv:1904.10509, section 4.3: A^(2) of strided attention, there joined with `causal`.

    Notes
    -----
    A tile of b x b meets 2b - 1 successive distances. So every tile is touched where
    s < 2b, and nothing is skipped: fewer pairs, but no less work.
    """
    return _Strided(positive("strided", "s", s, "1 is every key"))


def global_tokens(positions: "int | Sequence[int] | NDArray[np.integer]") -> Mask:
    """Let some positions attend to all, and all attend to them: i + o in P or j in P.

    Parameters
    ----------
    positions : int, sequence of int, or integer ndarray
        P. Positions that a sequence does not reach do nothing.

    Raises
    ------
    TypeError, ValueError
        If they are not integers from 0 on.

    References
    ----------
    Beltagy et al. (2020), arXiv:2004.05150, section 3.1, "Global Attention".
    """
    return _Global(positions_of("global_tokens", "positions", positions))


def same_block(s: int) -> Mask:
    """Each query may attend to the keys of its own block: floor((i + o) / s) = floor(j / s).

    Parameters
    ----------
    s : int
        Positions in a block.

    Raises
    ------
    TypeError, ValueError
        If `s` is not a positive int.

    References
    ----------
    Child et al. (2019), arXiv:1904.10509, section 4.3: A^(1) of fixed attention, there joined
    with `causal`.
    """
    return _SameBlock(positive("same_block", "s", s, "1 is each query's own position alone"))


def block_ends(s: int, c: int) -> Mask:
    """Every query may attend to the last c keys of each block of s: j mod s >= s - c.

    Parameters
    ----------
    s : int
        Keys in a block.
    c : int
        How many of them, 1 to s.

    Raises
    ------
    TypeError, ValueError
        If `s` is not a positive int, or `c` is not from 1 to s.

    References
    ----------
    Child et al. (2019), arXiv:1904.10509, section 4.3: A^(2) of fixed attention, there joined
    with `causal`.
    """
    s = positive("block_ends", "s", s, "1 is every key")
    return _BlockEnds(s, keys_of_block("block_ends", c, "s", s))


def padding(lengths: Lengths, side: str = "right") -> Mask:
    """Only the first (or last) `lengths[b]` keys of batch entry b are real.

    Parameters
    ----------
    lengths : (batch,) integer ndarray
        Number of real keys in each entry. They belong to the first axis of the scores,
        whatever stands between it and the queries. So the scores need a batch axis: those of
        one sequence without it are (heads, n_q, n_k), and as many lengths as heads would be
        taken for one length a head. Give such a sequence an axis, x[None], or a mask of its
        own: ``np.arange(n_k) < length``.
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


def blocks(pattern: BoolArray, block_size: int) -> Mask:
    """Each block of queries may attend to the blocks of keys that `pattern` gives it.

    The query at position p = i + o and the key j are held against
    ``pattern[p // block_size, j // block_size]``. Rows are positions, so the same mask serves
    cached decoding, where the last queries alone are there. It may cover more than there is.

    Parameters
    ----------
    pattern : (n_q_blocks, n_k_blocks) bool ndarray
        True = may attend.
    block_size : int
        Positions in a block, on both sides.

    Raises
    ------
    TypeError, ValueError
        If `pattern` is not a boolean matrix, or `block_size` not a positive int. Scores that
        the pattern does not cover are refused when the mask meets them.

    References
    ----------
    Zaheer et al. (2020), "Big Bird: Transformers for Longer Sequences", arXiv:2007.14062,
    appendix D: patterns of blocks, because single entries are no faster to skip.
    """
    if not isinstance(pattern, np.ndarray) or pattern.dtype != np.bool_:
        raise TypeError(
            f"blocks: pattern is {describe(pattern)}; expected a bool array (n_q_blocks, "
            f"n_k_blocks), so convert it with np.asarray(pattern, dtype=bool)"
        )
    if pattern.ndim != 2 or not pattern.size:
        raise ValueError(
            f"blocks: pattern is {describe(pattern)}; expected (n_q_blocks, n_k_blocks) with at "
            f"least one block each. Give each head its own by joining with boolean arrays"
        )
    size = positive("blocks", "block_size", block_size, "it is how many positions a block has")
    return _Blocks(pattern.copy(), size)


def random_blocks(
    num_blocks: int, per_row: int, seed: int, *, exclude: BoolArray | None = None
) -> BoolArray:
    """Draw a pattern for `blocks`: some key blocks at random for each block of queries.

    Parameters
    ----------
    num_blocks : int
        Rows and columns of the pattern.
    per_row : int
        Different key blocks in each row, 0 to `num_blocks`.
    seed : int
        Of a generator made for this call: the same seed gives the same pattern.
    exclude : (num_blocks, num_blocks) bool ndarray, optional
        Blocks not to draw, because they are attended to anyway. A row that has fewer than
        `per_row` others gets all of these.

    Returns
    -------
    (num_blocks, num_blocks) bool ndarray

    Raises
    ------
    TypeError, ValueError
        If a number is not an int in its range, or `exclude` is something else.

    References
    ----------
    Zaheer et al. (2020), arXiv:2007.14062, section 2.
    """
    n = positive("random_blocks", "num_blocks", num_blocks, "it is the pattern's side")
    per_row = from_zero("random_blocks", "per_row", per_row)
    seed = from_zero("random_blocks", "seed", seed)
    if per_row > n:
        raise ValueError(
            f"random_blocks: per_row is {per_row} but a row has num_blocks = {n} blocks; "
            f"expected 0 to {n}"
        )
    order = np.random.default_rng(seed).random((n, n))
    if exclude is not None:
        if not isinstance(exclude, np.ndarray) or exclude.dtype != np.bool_:
            raise TypeError(
                f"random_blocks: exclude is {describe(exclude)}; expected a bool array, so "
                f"convert it with np.asarray(exclude, dtype=bool)"
            )
        if exclude.shape != (n, n):
            raise ValueError(
                f"random_blocks: exclude is {describe(exclude)}; expected ({n}, {n}), a flag "
                f"for each block of the pattern"
            )
        order[exclude] = 1.0  # above all that random() gives
    pattern = np.zeros((n, n), np.bool_)
    np.put_along_axis(pattern, np.argsort(order, axis=1)[:, :per_row], True, axis=1)
    return pattern & (order < 1.0)


class _ByDistance(Leaf):
    """A mask of d alone. A rectangle meets every d from its lowest to its highest."""

    @abstractmethod
    def _some(self, low: Any, high: Any) -> Any:
        """Say whether any d from low to high holds; of ints, or of arrays entry by entry."""

    @abstractmethod
    def _every(self, low: Any, high: Any) -> Any:
        """Say whether every d from low to high holds."""

    def check(self, shape: tuple[int, ...]) -> None:
        pass  # fits any scores

    def holds(self, lead: Lead, rows: Span, columns: Span) -> BoolArray:
        """Each row is the one above it, one to the right: all are views of one vector."""
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        first = rows.start + columns.total - rows.total - columns.start  # d of the first pair
        d = np.arange(first + shape[0], first - shape[1], -1)
        held: BoolArray = np.ndarray(shape, np.bool_, self._some(d, d), shape[0], (-1, 1))
        held.flags.writeable = False
        return held

    def tile(self, lead_index: tuple[int, ...], rows: Span, columns: Span) -> Tile:
        o = columns.total - rows.total
        low, high = rows.start + o - (columns.stop - 1), rows.stop - 1 + o - columns.start
        if self._every(low, high):
            return FULL
        return self.holds(lead_index, rows, columns) if self._some(low, high) else EMPTY

    def coverage(self, lead_index: tuple[int, ...], rows: Span, columns: Span, width: int) -> Codes:
        o = columns.total - rows.total
        edges = _edges(columns, width)
        low, high = rows.start + o + 1 - edges[1:], rows.stop - 1 + o - edges[:-1]
        return codes_of(self._some(low, high), self._every(low, high))


class _Causal(_ByDistance):
    def _some(self, low: Any, high: Any) -> Any:
        return high >= 0

    def _every(self, low: Any, high: Any) -> Any:
        return low >= 0

    def __repr__(self) -> str:
        return "causal()"


class _Window(_ByDistance):
    def __init__(self, w: int) -> None:
        self._w = w

    def _some(self, low: Any, high: Any) -> Any:
        return (low < self._w) & (high > -self._w)

    def _every(self, low: Any, high: Any) -> Any:
        return (high < self._w) & (low > -self._w)

    def __repr__(self) -> str:
        return f"sliding_window({self._w})"


class _Strided(_ByDistance):
    def __init__(self, s: int) -> None:
        self._s = s

    def _some(self, low: Any, high: Any) -> Any:
        return high - high % self._s >= low  # the last multiple up to high

    def _every(self, low: Any, high: Any) -> Any:
        return (self._s == 1) | ((low == high) & (low % self._s == 0))

    def __repr__(self) -> str:
        return f"strided({self._s})"


class _ByKey(Leaf):
    """A mask of j alone, the same for all queries of a leading entry."""

    @abstractmethod
    def _before(self, lead_index: tuple[int, ...], n_k: int, j: Any) -> Any:
        """Count the keys before j that hold; of an int, or of an array entry by entry."""

    def tile(self, lead_index: tuple[int, ...], rows: Span, columns: Span) -> Tile:
        count = self._before(lead_index, columns.total, columns.stop) - self._before(
            lead_index, columns.total, columns.start
        )
        if count == columns.stop - columns.start:
            return FULL
        if not count:
            return EMPTY
        held = self.holds(lead_index, rows, columns)
        return np.broadcast_to(held, (rows.stop - rows.start, held.shape[1]))

    def coverage(self, lead_index: tuple[int, ...], rows: Span, columns: Span, width: int) -> Codes:
        edges = _edges(columns, width)
        count = np.diff(self._before(lead_index, columns.total, edges))
        return codes_of(count > 0, count == np.diff(edges))


class _Padding(_ByKey):
    def __init__(self, lengths: Lengths, side: str) -> None:
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

    def _before(self, lead_index: tuple[int, ...], n_k: int, j: Any) -> Any:
        length = int(self._lengths[lead_index[0]])
        if self._side == "right":
            return _least(j, length)
        return _most(j - (n_k - length), 0)

    def __repr__(self) -> str:
        return f"padding({self._lengths.tolist()}, side={self._side!r})"


class _BlockEnds(_ByKey):
    def __init__(self, s: int, c: int) -> None:
        self._s, self._c = s, c

    def check(self, shape: tuple[int, ...]) -> None:
        pass  # fits any scores

    def holds(self, lead: Lead, rows: Span, columns: Span) -> BoolArray:
        held: BoolArray = columns.numbers[None, :] % self._s >= self._s - self._c
        return held

    def _before(self, lead_index: tuple[int, ...], n_k: int, j: Any) -> Any:
        return j // self._s * self._c + _most(j % self._s - (self._s - self._c), 0)

    def __repr__(self) -> str:
        return f"block_ends({self._s}, {self._c})"


class _SameBlock(Leaf):
    def __init__(self, s: int) -> None:
        self._s = s

    def check(self, shape: tuple[int, ...]) -> None:
        pass  # fits any scores

    def holds(self, lead: Lead, rows: Span, columns: Span) -> BoolArray:
        p = rows.numbers[:, None] + (columns.total - rows.total)
        held: BoolArray = p // self._s == columns.numbers // self._s
        return held

    def tile(self, lead_index: tuple[int, ...], rows: Span, columns: Span) -> Tile:
        first, last = self._blocks_of(rows, columns)
        low, high = columns.start // self._s, (columns.stop - 1) // self._s
        if first == last == low == high:
            return FULL
        overlap = low <= last and first <= high
        return self.holds(lead_index, rows, columns) if overlap else EMPTY

    def coverage(self, lead_index: tuple[int, ...], rows: Span, columns: Span, width: int) -> Codes:
        first, last = self._blocks_of(rows, columns)
        edges = _edges(columns, width)
        low, high = edges[:-1] // self._s, (edges[1:] - 1) // self._s
        some = (low <= last) & (first <= high)
        return codes_of(some, (low == high) & (low == first) & (first == last))

    def _blocks_of(self, rows: Span, columns: Span) -> tuple[int, int]:
        """Return the first and the last block of the queries."""
        o = columns.total - rows.total
        return (rows.start + o) // self._s, (rows.stop - 1 + o) // self._s

    def __repr__(self) -> str:
        return f"same_block({self._s})"


class _Global(Leaf):
    """A rectangle is full exactly where all its rows or all its columns are global."""

    def __init__(self, positions: Numbers) -> None:
        self._positions = positions  # each once, in order

    def check(self, shape: tuple[int, ...]) -> None:
        pass  # fits any scores

    def holds(self, lead: Lead, rows: Span, columns: Span) -> BoolArray:
        o = columns.total - rows.total
        held: BoolArray = (
            self._among(rows.start + o, rows.stop + o)[:, None]
            | self._among(columns.start, columns.stop)[None, :]
        )
        return held

    def tile(self, lead_index: tuple[int, ...], rows: Span, columns: Span) -> Tile:
        seen = int(self._before(columns.stop) - self._before(columns.start))
        seeing = self._seeing(rows, columns)
        if seeing == rows.stop - rows.start or seen == columns.stop - columns.start:
            return FULL
        return self.holds(lead_index, rows, columns) if seeing or seen else EMPTY

    def coverage(self, lead_index: tuple[int, ...], rows: Span, columns: Span, width: int) -> Codes:
        edges = _edges(columns, width)
        seen, seeing = np.diff(self._before(edges)), self._seeing(rows, columns)
        all_see = seeing == rows.stop - rows.start
        return codes_of((seen > 0) | (seeing > 0), (seen == np.diff(edges)) | all_see)

    def _before(self, at: "int | Numbers") -> Any:
        """Count the global positions before `at`."""
        return self._positions.searchsorted(at)

    def _seeing(self, rows: Span, columns: Span) -> int:
        """Count the global queries."""
        o = columns.total - rows.total
        return int(self._before(rows.stop + o) - self._before(rows.start + o))

    def _among(self, start: int, stop: int) -> BoolArray:
        """Say of start, ..., stop - 1 which are global."""
        flags = np.zeros(stop - start, np.bool_)
        flags[self._positions[self._before(start) : self._before(stop)] - start] = True
        return flags

    def __repr__(self) -> str:
        return f"global_tokens({self._positions.tolist()})"


class _Blocks(Leaf):
    """A rectangle's True blocks are counted by four entries of the pattern's running sums."""

    def __init__(self, pattern: BoolArray, size: int) -> None:
        self._pattern = pattern
        self._size = size
        self._sums = np.zeros((pattern.shape[0] + 1, pattern.shape[1] + 1), np.int32)
        np.cumsum(pattern, axis=0, out=self._sums[1:, 1:], dtype=np.int32)
        np.cumsum(self._sums, axis=1, out=self._sums)

    def check(self, shape: tuple[int, ...]) -> None:
        n_q, n_k = shape[-2:]
        queries, keys = (n * self._size for n in self._pattern.shape)
        if n_q and (n_q > n_k or n_k > queries or n_k > keys):
            raise ValueError(
                f"blocks: pattern {self._pattern.shape} with block_size {self._size} covers "
                f"queries at positions 0 to {queries - 1} and keys 0 to {keys - 1}, but scores "
                f"{shape} have queries at positions {n_k - n_q} to {n_k - 1} and {n_k} keys. The "
                f"last query stands at the last key; enlarge the pattern, or mask with an array"
            )

    def holds(self, lead: Lead, rows: Span, columns: Span) -> BoolArray:
        top, bottom, left, right = self._corners(rows, columns)
        o = columns.total - rows.total
        piece = self._pattern[top:bottom, left:right]
        held: BoolArray = piece.take(columns.numbers // self._size - left, axis=1).take(
            (rows.numbers + o) // self._size - top, axis=0
        )
        return held

    def tile(self, lead_index: tuple[int, ...], rows: Span, columns: Span) -> Tile:
        top, bottom, left, right = self._corners(rows, columns)
        sums = self._sums
        count = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
        if count == (bottom - top) * (right - left):
            return FULL
        return self.holds(lead_index, rows, columns) if count else EMPTY

    def coverage(self, lead_index: tuple[int, ...], rows: Span, columns: Span, width: int) -> Codes:
        top, bottom, _, _ = self._corners(rows, columns)
        edges = _edges(columns, width)
        left, right = edges[:-1] // self._size, (edges[1:] - 1) // self._size + 1
        band = self._sums[bottom] - self._sums[top]
        count = band[right] - band[left]
        return codes_of(count > 0, count == (bottom - top) * (right - left))

    def _corners(self, rows: Span, columns: Span) -> tuple[int, int, int, int]:
        """Return top, bottom, left and right of the part of the pattern that is met."""
        o = columns.total - rows.total
        top, bottom = (rows.start + o) // self._size, (rows.stop + o - 1) // self._size + 1
        return top, bottom, columns.start // self._size, (columns.stop - 1) // self._size + 1

    def __repr__(self) -> str:
        return f"blocks(pattern {self._pattern.shape}, {self._size})"


def _edges(columns: Span, width: int) -> Numbers:
    """Return where each block begins, and where the last one ends."""
    return np.append(np.arange(columns.start, columns.stop, width), columns.stop)


def positive(owner: str, name: str, value: object, remedy: str) -> int:
    """Return a positive int as a Python int, or say what was given and what would do.

    One that is longer than any sequence comes back as `FAR`, which is as good.
    """
    try:
        check_size(owner, **{name: value})
    except (TypeError, ValueError) as error:
        raise type(error)(f"{error}; {remedy}") from None
    return min(operator.index(value), FAR)  # type: ignore[arg-type]


def from_zero(owner: str, name: str, value: object) -> int:
    """Return an int from 0 on as a Python int."""
    check_count(owner, **{name: value})
    return operator.index(value)  # type: ignore[arg-type]


def keys_of_block(owner: str, c: object, name: str, s: int) -> int:
    """Return c as a Python int, from 1 to the s keys of a block; `name` is what s is called."""
    count = positive(owner, "c", c, "it is how many keys of each block are seen")
    if count > s:
        raise ValueError(
            f"{owner}: c is {c} but a block has {name} = {s} keys; expected 1 to {s}, so lower c "
            f"or raise {name}"
        )
    return count


def positions_of(owner: str, name: str, positions: object) -> Numbers:
    """Return positions in order, each once; `global_tokens` says what they may be given as."""
    given = whole_numbers(positions)
    if given is None or given.ndim > 1:
        raise TypeError(
            f"{owner}: {name} is {positions!r}; expected an int, a sequence of ints or a vector "
            f"of integers. Of a boolean vector pass np.flatnonzero({name})"
        )
    if given.size and given.min() < 0:
        raise ValueError(
            f"{owner}: {name} holds {given.min()}; expected positions from 0 on. Counted from "
            f"the end, pass n + position"
        )
    near = [min(position, FAR) for position in given.reshape(-1).tolist()]
    return np.unique(np.array(near, np.intp))


def _least(a: Any, b: int) -> Any:
    return np.minimum(a, b) if isinstance(a, np.ndarray) else min(a, b)


def _most(a: Any, b: int) -> Any:
    return np.maximum(a, b) if isinstance(a, np.ndarray) else max(a, b)
