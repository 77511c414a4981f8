"""Presets: the papers' sets written out, and the costs that their docstrings state."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from masks.drawn import by_definition

from npformer import masks
from npformer.masks import NONE, Span

sizes = st.integers(1, 20)


def tiles(mask, n, b):
    """How many tiles of b x b hold a pair."""
    rows = [Span(start, min(start + b, n), n) for start in range(0, n, b)]
    return sum(int((mask.coverage((), r, Span(0, n, n), b) != NONE).sum()) for r in rows)


def pairs(mask, n):
    return int(mask.dense(n, n).sum())


@given(sizes, sizes, st.lists(st.integers(0, 20), max_size=3), st.booleans())
def test_longformer_is_a_window_and_global_positions(n, w, places, causal):
    mask = masks.longformer(w, places, causal)
    np.testing.assert_array_equal(
        mask.dense(n, n),
        by_definition(
            n,
            n,
            lambda i, j: (abs(i - j) < w or i in places or j in places) and not (causal and j > i),
        ),
    )


@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 8), st.sets(st.integers(0, 59)))
def test_the_stated_cost_of_longformer(n, w, b, places):
    places = sorted(p for p in places if p < n)[:3]
    w = min(w, n)
    both, past = masks.longformer(w), masks.longformer(w, causal=True)
    assert pairs(both, n) == n * (2 * w - 1) - w * (w - 1)
    assert pairs(past, n) == n * w - w * (w - 1) // 2
    side, m = math.ceil(n / b), math.ceil((w - 1) / b)
    if m < side:
        assert tiles(both, n, b) == side * (2 * m + 1) - m * (m + 1)
        assert tiles(past, n, b) == side * (m + 1) - m * (m + 1) // 2
    g, touched = len(places), len({p // b for p in places})
    both_g, past_g = masks.longformer(w, places), masks.longformer(w, places, causal=True)
    assert pairs(both_g, n) <= pairs(both, n) + 2 * g * n
    assert pairs(past_g, n) <= pairs(past, n) + g * n
    assert tiles(both_g, n, b) <= tiles(both, n, b) + 2 * touched * side
    assert tiles(past_g, n, b) <= tiles(past, n, b) + touched * side


@given(sizes, st.integers(1, 8), st.integers(1, 8))
def test_sparse_transformer_is_the_sets_of_the_paper(n, stride, c):
    c = min(c, stride)
    first, second, both = (
        masks.sparse_transformer(stride, part=part).dense(n, n)
        for part in ("first", "second", "both")
    )
    previous = [set(range(max(0, i - stride), i + 1)) for i in range(n)]
    regular = [{j for j in range(i + 1) if (i - j) % stride == 0} for i in range(n)]
    np.testing.assert_array_equal(first, by_definition(n, n, lambda i, j: j in previous[i]))
    np.testing.assert_array_equal(second, by_definition(n, n, lambda i, j: j in regular[i]))
    np.testing.assert_array_equal(both, first | second)

    first, second, both = (
        masks.sparse_transformer(stride, "fixed", c=c, part=part).dense(n, n)
        for part in ("first", "second", "both")
    )
    block = [{j for j in range(i + 1) if j // stride == i // stride} for i in range(n)]
    ends = range(stride - c, stride)
    np.testing.assert_array_equal(first, by_definition(n, n, lambda i, j: j in block[i]))
    np.testing.assert_array_equal(
        second, by_definition(n, n, lambda i, j: j <= i and j % stride in ends)
    )
    np.testing.assert_array_equal(both, first | second)


@given(st.integers(2, 60), st.integers(1, 12), st.integers(1, 12), st.integers(1, 6))
def test_the_stated_cost_of_sparse_transformer(n, stride, c, b):
    c, half = min(c, stride), math.ceil(n / b) * (math.ceil(n / b) + 1) // 2
    m = (n - 1) // stride
    mask = masks.sparse_transformer(stride)
    if m >= 1:
        assert pairs(mask, n) == n * (stride + m) - stride * (stride + m * (m + 1) - 1) // 2
    if stride < 2 * b and n % b == 0:
        assert tiles(mask, n, b) == half
    m = n // stride
    n = m * stride
    mask = masks.sparse_transformer(stride, "fixed", c=c)
    if m:
        assert pairs(mask, n) == m * stride * (stride + 1) // 2 + c * stride * m * (m - 1) // 2
        if stride - c < b and n % b == 0:
            assert tiles(mask, n, b) == math.ceil(n / b) * (math.ceil(n / b) + 1) // 2


def test_a_stride_alone_skips_no_tile_until_it_is_twice_as_long():
    for s, skips in ((15, False), (16, True), (40, True)):
        assert (tiles(masks.strided(s), 128, 8) < 16 * 16) == skips


def test_the_fixed_kind_without_c():
    short, long = (masks.sparse_transformer(n, "fixed") for n in (4, 16))
    assert repr(short) == "(causal() & (same_block(4) | block_ends(4, 4)))"
    assert repr(long) == "(causal() & (same_block(16) | block_ends(16, 8)))"


@given(
    st.integers(1, 12),
    st.integers(1, 3),
    st.integers(0, 3),
    st.sampled_from([1, 3, 5]),
    st.integers(0, 3),
    st.integers(0, 99),
)
def test_big_bird_has_its_window_its_global_blocks_and_so_many_at_random(n, b, r, w, g, seed):
    g = min(g, n)
    mask = masks.big_bird(n, b, r, w, g, seed)
    whole = mask.dense(n * b, n * b)
    pattern = whole[::b, ::b]
    np.testing.assert_array_equal(whole, np.kron(pattern, np.ones((b, b), bool)))
    seen = by_definition(n, n, lambda i, j: 2 * abs(i - j) < w or i < g or j < g)
    assert pattern[seen].all()
    rest = np.minimum(r, (~seen).sum(axis=1))
    np.testing.assert_array_equal((pattern & ~seen).sum(axis=1), rest)
    assert tiles(mask, n * b, b) == pattern.sum() <= n * (w + r + 2 * g)
    np.testing.assert_array_equal(masks.big_bird(n, b, r, w, g, seed).dense(n * b, n * b), whole)


def test_big_bird_by_hand():
    """Without the random blocks: the first row and column, and the diagonal one block wide."""
    pattern = masks.big_bird(5, 1, num_random=0, num_global=1).dense(5, 5)
    assert ["".join(".#"[int(x)] for x in row) for row in pattern] == [
        "#####",
        "###..",
        "####.",
        "#.###",
        "#..##",
    ]


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: masks.longformer(0), ValueError, r"longformer: window is 0; .*pass w // 2 \+ 1"),
        (lambda: masks.longformer(3, [-1]), ValueError, "longformer: global_positions holds -1"),
        (lambda: masks.longformer(3, [[1], [2, 3]]), TypeError, "longformer: global_positions is"),
        (lambda: masks.longformer(3, 0, 1), TypeError, r"causal is 1; .*global_positions=\[0, 1\]"),
        (lambda: masks.sparse_transformer(0), ValueError, r"stride is 0; .*about sqrt\(n\)"),
        (lambda: masks.sparse_transformer(4, "local"), ValueError, "kind is 'local'; .*strided, f"),
        (
            lambda: masks.sparse_transformer(4, part=1),
            ValueError,
            "part is 1; expected one of both",
        ),
        (
            lambda: masks.sparse_transformer(4, c=2),
            ValueError,
            "c is 2 but the strided kind has no",
        ),
        (
            lambda: masks.sparse_transformer(3, "fixed", c=5),
            ValueError,
            "sparse_transformer: c is 5 but a block has stride = 3 keys; expected 1 to 3",
        ),
        (
            lambda: masks.sparse_transformer(3, "fixed", c=1.5),
            TypeError,
            "sparse_transformer: c is 1.5; expected a positive int",
        ),
        (lambda: masks.big_bird(0), ValueError, "big_bird: num_blocks is 0"),
        (lambda: masks.big_bird(8, 0), ValueError, "big_bird: block_size is 0; .*takes 64"),
        (lambda: masks.big_bird(8, window_blocks=4), ValueError, "is 4; expected an odd .*3 or 5"),
        (lambda: masks.big_bird(8, num_global=9), ValueError, "num_global is 9 but .*= 8 blocks"),
        (lambda: masks.big_bird(8, num_global=-1), ValueError, "num_global is -1; expected an int"),
        (lambda: masks.big_bird(8, num_random=1.0), TypeError, r"num_random is 1\.0"),
        (lambda: masks.big_bird(8, seed=None), TypeError, "big_bird: seed is None"),
        (lambda: masks.big_bird(8, seed=1.5), TypeError, "big_bird: seed is 1.5; expected an int"),
    ],
)
def test_wrong_arguments_are_refused_at_once(make, error, said):
    with pytest.raises(error, match=said):
        make()
