"""Masks at random: every kind, each with what it is in full, by its definition and a slow loop."""

import operator

import numpy as np
from hypothesis import strategies as st
from support.strategies import seeds

from npformer import masks
from npformer.masks import Span

B, H = 2, 4  # batch and heads of the scores that masks are held against
JOIN = {"&": operator.and_, "|": operator.or_}
KINDS = [
    "causal",
    "window",
    "strided",
    "global",
    "same block",
    "block ends",
    "blocks",
    "right",
    "left",
    "array",
]
sides = st.sampled_from([0, 1, 2, 3, 5, 7, 8, 9, 10])  # integers() would favour the smallest
sizes = st.tuples(sides, sides)


def by_definition(n_q, n_k, holds):
    """A bool (n_q, n_k), pair by pair; `holds` is asked with the query's position, and the key."""
    full = np.zeros((n_q, n_k), bool)
    for i in range(n_q):
        for j in range(n_k):
            full[i, j] = holds(i + n_k - n_q, j)
    return full


@st.composite
def leaves(draw, n_q, n_k, kind=None):
    """A mask object or array, and what it is in full: bool (B, H, n_q, n_k)."""
    kind = kind or draw(st.sampled_from(KINDS))
    if kind == "blocks" and n_q > n_k:  # which it refuses
        kind = "window"
    s = draw(st.integers(1, 12))
    if kind == "causal":
        mask, full = masks.causal(), by_definition(n_q, n_k, lambda p, j: j <= p)
    elif kind == "window":
        mask = masks.sliding_window(s)
        full = by_definition(n_q, n_k, lambda p, j: abs(p - j) < s)
    elif kind == "strided":
        mask, full = masks.strided(s), by_definition(n_q, n_k, lambda p, j: (p - j) % s == 0)
    elif kind == "global":
        places = draw(st.lists(st.integers(0, 12), max_size=6))
        mask = masks.global_tokens(places)
        full = by_definition(n_q, n_k, lambda p, j: p in places or j in places)
    elif kind == "same block":
        mask, full = masks.same_block(s), by_definition(n_q, n_k, lambda p, j: p // s == j // s)
    elif kind == "block ends":
        c = draw(st.integers(1, s))
        mask, full = masks.block_ends(s, c), by_definition(n_q, n_k, lambda _, j: j % s >= s - c)
    elif kind == "blocks":
        s = draw(st.integers(1, 4))
        side = -(-n_k // s) + draw(st.integers(0, 1)) or 1
        pattern = np.random.default_rng(draw(seeds)).random((side, side)) < draw(shares)
        mask = masks.blocks(pattern, s)
        full = by_definition(n_q, n_k, lambda p, j: pattern[p // s, j // s])
    elif kind == "array":
        shape = [draw(st.sampled_from([1, n])) for n in (B, H, n_q, n_k)]
        shape = shape[draw(st.integers(0, 3)) :]
        mask = full = np.random.default_rng(draw(seeds)).random(shape) < draw(shares)
    else:
        dtype = draw(st.sampled_from([np.int64, np.uint8, np.uint64]))
        lengths = np.array(draw(st.tuples(*[st.integers(0, n_k)] * B)), dtype)
        mask, full = masks.padding(lengths, kind), np.zeros((B, 1, n_q, n_k), bool)
        for b, n in enumerate(lengths.tolist()):
            real = range(n) if kind == "right" else range(n_k - n, n_k)
            full[b, 0] = by_definition(n_q, n_k, lambda _, j, real=real: j in real)
    return mask, np.broadcast_to(full, (B, H, n_q, n_k))


shares = st.sampled_from([0.0, 0.5, 0.9, 1.0])


@st.composite
def combinations(draw, n_q, n_k):
    """Leaves joined by &, | and ~ in any order, with arrays on either side."""
    mask, full = draw(leaves(n_q, n_k))
    for _ in range(draw(st.integers(0, 3))):
        if draw(st.booleans()):
            mask, full = ~mask, ~full
        other, other_full = draw(leaves(n_q, n_k))
        join = JOIN[draw(st.sampled_from("&|"))]
        mask = join(other, mask) if draw(st.booleans()) else join(mask, other)
        full = join(full, other_full)
    return masks.as_mask(mask), full


def rectangles(seed, n_q, n_k, count=12):
    """Yield lead index, rows, columns and the width of blocks; few runs are empty."""
    rng = np.random.default_rng(seed)

    def span(total):
        if rng.random() < 0.3:
            return Span(0, total, total)
        start, stop = np.sort(rng.integers(0, total + 1, 2)).tolist()
        return Span(start, min(stop + int(rng.random() < 0.9), total), total)

    for _ in range(count):
        lead = int(rng.integers(B)), int(rng.integers(H))
        yield lead, span(n_q), span(n_k), int(rng.integers(1, n_k + 3))


def in_full(mask, n_q, n_k, shape=(B, H)):
    """The mask over all leading axes, as attention forms it."""
    return np.broadcast_to(mask.over((*shape, n_q, n_k)), (*shape, n_q, n_k))


def assert_tile(tile, full, rows, columns):
    """A tile is EMPTY or FULL exactly where it is, and else the part of the whole."""
    part = full[rows.start : rows.stop, columns.start : columns.stop]
    if not part.size:
        assert isinstance(tile, masks.Coverage) or tile.shape == part.shape
    elif part.all():
        assert tile is masks.FULL
    elif not part.any():
        assert tile is masks.EMPTY
    else:
        np.testing.assert_array_equal(tile, part)
        assert tile.dtype == np.bool_


def codes(full, rows, columns, width):
    """NONE, SOME or ALL of each block, from the array."""
    found = []
    for start in range(columns.start, columns.stop, width):
        part = full[rows.start : rows.stop, start : min(start + width, columns.stop)]
        found.append(masks.ALL if part.all() else masks.SOME if part.any() else masks.NONE)
    return np.array(found, np.int8)
