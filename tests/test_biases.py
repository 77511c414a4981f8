"""Biases: ALiBi and T5's by hand and by slow definitions, their tiles, gradients, and refusals."""

import itertools
import math
import re
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.oracle import complex_step
from support.strategies import normal, seeds

import npformer.functional as F
from npformer import biases, masks
from npformer.biases import Bias, alibi, alibi_slopes, buckets, relative
from npformer.layers import MultiHeadAttention
from npformer.masks import Span

WHOLE = sys.modules["npformer.functional.attention"]
sides = st.integers(1, 7)


def over(bias, *shape):
    return bias.over(shape)


def full(n):
    return Span(0, n, n)


# ALiBi


@pytest.mark.parametrize(
    ("num_heads", "exponents"),
    [
        (1, [8]),
        (2, [4, 8]),
        (8, [1, 2, 3, 4, 5, 6, 7, 8]),
        (3, [4, 8, 2]),
        (12, [1, 2, 3, 4, 5, 6, 7, 8, 0.5, 1.5, 2.5, 3.5]),
    ],
)
def test_slopes_by_hand(num_heads, exponents):
    np.testing.assert_allclose(alibi_slopes(num_heads), [2.0**-e for e in exponents], rtol=1e-15)


@pytest.mark.parametrize("num_heads", range(1, 20))
def test_every_head_has_a_slope_of_its_own(num_heads):
    slopes = alibi_slopes(num_heads)
    assert len(set(slopes)) == num_heads
    assert 0 < min(slopes) <= max(slopes) < 1


def test_alibi_by_hand():
    """Two queries at the end of three keys: their positions are 1 and 2."""
    bias = over(alibi(2), 2, 2, 3)
    distance = np.array([[1, 0, 1], [2, 1, 0]])
    np.testing.assert_array_equal(bias, [-distance / 16, -distance / 256])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_alibi_depends_on_the_distance_alone(dtype):
    bias = over(alibi(4, dtype=dtype), 4, 6, 6)
    assert bias.dtype == dtype
    np.testing.assert_array_equal(bias[:, 1:, 1:], bias[:, :-1, :-1])
    np.testing.assert_array_equal(bias, bias.swapaxes(1, 2))
    np.testing.assert_array_equal(over(alibi(4, dtype=dtype), 4, 2, 6), bias[:, -2:])
    np.testing.assert_array_equal(over(alibi(4, dtype=dtype), 3, 4, 6, 6), bias[None])


def test_positions_move_alibi():
    given = over(alibi(3, positions=np.arange(5)), 3, 4, 5)
    np.testing.assert_array_equal(given, over(alibi(3), 3, 4, 5))
    at = np.array([[0, 1, 2], [4, 6, 9]], np.uint8)  # one sequence each; no difference wraps round
    bias = over(alibi(2, positions=at), 2, 2, 2, 3)
    assert bias.shape == (2, 2, 2, 3)
    np.testing.assert_array_equal(bias[0], over(alibi(2), 2, 2, 3))
    np.testing.assert_array_equal(bias[1, 0], -np.array([[2, 0, 3], [5, 3, 0]]) / 16)
    one = over(alibi(2, positions=at[1:]), 7, 2, 2, 3)  # the same for every sequence
    np.testing.assert_array_equal(one, bias[1:])


def test_equal_scores_fall_off_by_the_slope():
    """exp(-m) a step: each key's weight is that of the next nearer one times exp(-m)."""
    q = k = np.zeros((2, 5, 4))
    p = F.attention_weights(q, k, bias=alibi(2))
    ratio = p[:, -1, :-1] / p[:, -1, 1:]
    np.testing.assert_allclose(ratio, np.exp(-np.array([[1 / 16], [1 / 256]])) * np.ones(4))


# T5's buckets


def published(r, num_buckets, bidirectional, max_distance):
    """The rule as the paper's code has it, for one distance, in whole numbers.

    floor(w log(d / e) / log(D / e)) is the largest t with (d / e)^w >= (D / e)^t.
    """
    bucket = 0
    if bidirectional:
        num_buckets //= 2
        if r > 0:
            bucket = num_buckets
        r = abs(r)
    else:
        r = -r if r < 0 else 0
    e = num_buckets // 2
    if r < e:
        return bucket + r
    w, t = num_buckets - e, 0
    while t < w - 1 and r**w * e ** (t + 1) >= max_distance ** (t + 1) * e**w:
        t += 1
    return bucket + e + t


@pytest.mark.parametrize(
    ("bidirectional", "by_hand"),
    [
        # 16 a direction: 8 exact, and 8 + floor(8 log(d / 8) / log 16).
        (True, {0: 0, -1: 1, -7: 7, -8: 8, -11: 8, -12: 9, -16: 10, -22: 10, -23: 11, -32: 12,
                -64: 14, -90: 14, -91: 15, -127: 15, -128: 15, -9999: 15,
                1: 17, 7: 23, 8: 24, 16: 26, 64: 30, 128: 31, 9999: 31}),
        # 32 for what is behind: 16 exact, and 16 + floor(16 log(d / 16) / log 8).
        (False, {0: 0, 1: 0, 50: 0, -1: 1, -15: 15, -16: 16, -31: 21, -32: 21, -64: 26, -127: 31,
                 -128: 31, -9999: 31}),
    ],
)  # fmt: skip
def test_buckets_by_hand(bidirectional, by_hand):
    distances = np.array(list(by_hand))
    np.testing.assert_array_equal(buckets(distances, 32, bidirectional, 128), [*by_hand.values()])
    for r, bucket in by_hand.items():
        assert published(r, 32, bidirectional, 128) == bucket


@pytest.mark.parametrize("bidirectional", [True, False])
def test_buckets_by_the_published_rule(bidirectional):
    """Also where a distance is just at the border of two, for all sizes that may be asked for."""
    distances = np.arange(-140, 141)
    for num_buckets in range(4, 42, 2) if bidirectional else range(2, 21):
        for max_distance in (2, 3, 4, 9, 16, 20, 27, 32, 64, 81, 128, 1000):
            if max_distance <= num_buckets // (4 if bidirectional else 2):
                continue
            got = buckets(distances, num_buckets, bidirectional, max_distance)
            want = [
                published(r, num_buckets, bidirectional, max_distance) for r in distances.tolist()
            ]
            np.testing.assert_array_equal(got, want, f"{num_buckets}, {max_distance}")
            assert got.min() == 0
            assert got.max() <= num_buckets - 1


def test_a_border_of_buckets_is_a_billionth_of_a_bucket_wide():
    """And no less or more: where distances are close enough to tell, the formula counts."""
    far = 2**62  # of 8 buckets 4 are exact, and the 4 others grow by 2^15
    below, within = (round(4 * 2.0 ** (15 * (3 - part * 1e-9))) for part in (1.0005, 0.9995))
    np.testing.assert_array_equal(buckets(-np.array([below, within]), 8, False, far), [6, 7])


def test_buckets_are_filled_from_near_to_far():
    for bidirectional in (True, False):
        got = buckets(-np.arange(300), 32, bidirectional, 128)
        n = 16 if bidirectional else 32
        assert np.all(np.diff(got) >= 0)
        assert set(got.tolist()) == set(range(n))
        assert np.all(got[128:] == n - 1)
    assert buckets(np.zeros((2, 0, 3), int), 8, True, 9).shape == (2, 0, 3)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint32])
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("max_distance", [20, np.uint8(20), 128, 2**70])
def test_buckets_of_any_integers_are_those_of_large_ones(dtype, bidirectional, max_distance):
    ends = np.iinfo(dtype)
    distances = np.array([ends.min, ends.min + 1, 0, 1, ends.max - 1, ends.max], dtype)
    want = [published(int(r), 8, bidirectional, int(max_distance)) for r in distances]
    got = buckets(distances, 8, bidirectional, max_distance)
    assert got.dtype == np.int64
    np.testing.assert_array_equal(got, want)


# T5's bias


def entry_by_entry(table, n_q, n_k, bidirectional, max_distance, at=None):
    """(H, n_q, n_k) by the definition, and for each entry its bucket."""
    at = range(n_k) if at is None else at.tolist()
    which = np.zeros((n_q, n_k), int)
    for i in range(n_q):
        for j in range(n_k):
            r = at[j] - at[i + n_k - n_q] if n_q <= n_k else j - (i + n_k - n_q)
            which[i, j] = published(r, len(table), bidirectional, max_distance)
    return table[which].transpose(2, 0, 1), which


tables = st.tuples(
    st.integers(1, 3), st.sampled_from([4, 6, 8]), st.booleans(), st.sampled_from([4, 7, 30])
)


@given(seeds, tables, sides, sides)
def test_relative_entry_by_entry(seed, kind, n_q, n_k):
    heads, num_buckets, both, far = kind
    far += num_buckets // 2
    table = normal(seed, num_buckets, heads)
    bias = relative(table, bidirectional=both, max_distance=far)
    want, _ = entry_by_entry(table, n_q, n_k, both, far)
    np.testing.assert_array_equal(over(bias, heads, n_q, n_k), want)
    np.testing.assert_array_equal(over(bias, 3, heads, n_q, n_k), want[None])


@given(seeds, tables, sides, sides, st.booleans())
def test_relative_by_positions_entry_by_entry(seed, kind, n_q, more, batched):
    heads, num_buckets, both, far = kind
    far, n_k = far + num_buckets // 2, n_q + more - 1
    rng = np.random.default_rng(seed)
    table = normal(seed, num_buckets, heads)
    at = rng.integers(0, 60, (2, n_k) if batched else n_k).astype(rng.choice(["u1", "i8", "u8"]))
    bias = relative(table, bidirectional=both, max_distance=far, positions=at)
    rows = at if batched else at[None]
    want = np.stack([entry_by_entry(table, n_q, n_k, both, far, row)[0] for row in rows])
    np.testing.assert_array_equal(over(bias, 2, heads, n_q, n_k), want)
    near = alibi(heads, positions=at)
    distance = rows[:, None, None, :].astype(int) - rows[:, None, n_k - n_q :, None].astype(int)
    slopes = np.array(alibi_slopes(heads))[:, None, None]
    np.testing.assert_allclose(over(near, 2, heads, n_q, n_k), -slopes * np.abs(distance))


# Every bias: tiles, gradients, groups


@st.composite
def drawn(draw, n_q, n_k):
    """A bias for scores (2, 4, n_q, n_k), and its table or array."""
    seed = draw(seeds)
    kind = draw(st.sampled_from(["array", "alibi", "relative"]))
    if kind == "array":
        shape = [draw(st.sampled_from([1, n])) for n in (2, 4, n_q, n_k)]
        shape = shape[draw(st.integers(0, 4)) :]
        array = normal(seed, *shape)
        return biases.as_bias(array), array
    at = None
    if n_q <= n_k and draw(st.booleans()):
        batch = draw(st.sampled_from([(), (1,), (2,)]))
        at = np.random.default_rng(seed).integers(0, 40, (*batch, n_k))
    if kind == "alibi":
        return alibi(4, positions=at), None
    table = normal(seed, 8, 4)
    both = draw(st.booleans())
    return relative(table, bidirectional=both, max_distance=9, positions=at), table


def spans(rng, total):
    start = int(rng.integers(0, total))
    return Span(start, int(rng.integers(start + 1, total + 1)), total)


@given(seeds, st.data(), sides, sides)
def test_a_tile_is_a_piece_of_the_whole(seed, data, n_q, n_k):
    bias, _ = data.draw(drawn(n_q, n_k))
    whole = np.broadcast_to(over(bias, 2, 4, n_q, n_k), (2, 4, n_q, n_k))
    grouped = bias.grouped(2)
    again = np.broadcast_to(over(grouped, 2, 2, 2, n_q, n_k), (2, 2, 2, n_q, n_k))
    np.testing.assert_array_equal(again, whole.reshape(again.shape))
    rng = np.random.default_rng(seed)
    for _ in range(8):
        b, h, rows, columns = *rng.integers((2, 4)).tolist(), spans(rng, n_q), spans(rng, n_k)
        want = whole[b, h, rows.start : rows.stop, columns.start : columns.stop]
        for got in (
            bias.tile((b, h), rows, columns),
            grouped.tile((b, h // 2, h % 2), rows, columns),
        ):
            np.testing.assert_array_equal(np.broadcast_to(got, want.shape), want)


def tiling(rng, n):
    """Blocks of any length that together are the whole."""
    edges = [0, *sorted(set(rng.integers(0, n + 1, 2).tolist()) - {0, n}), n]
    return [Span(a, b, n) for a, b in itertools.pairwise(edges)]


@given(seeds, st.data(), sides, sides, st.booleans())
def test_the_gradient_is_the_adjoint_of_the_tiles(seed, data, n_q, n_k, grouped):
    """<ds, d bias / d table . u> = <gradient, u>, as the bias is linear in what it learns."""
    bias, learned = data.draw(drawn(n_q, n_k).filter(lambda drawn: drawn[1] is not None))
    lead = (2, 2, 2) if grouped else (2, 4)
    bias = bias.grouped(2) if grouped else bias
    ds, rng = normal(seed, *lead, n_q, n_k), np.random.default_rng(seed)
    gradient = bias.new_gradient()
    assert gradient.size == learned.size  # grouped, an array has its heads on two axes
    assert grouped or gradient.shape == learned.shape
    assert not gradient.any()
    for index in np.ndindex(lead):
        for rows in tiling(rng, n_q):
            for columns in tiling(rng, n_k):
                piece = ds[index][rows.start : rows.stop, columns.start : columns.stop]
                kept = piece.copy()
                bias.add_gradient(gradient, piece, index, rows, columns)
                np.testing.assert_array_equal(piece, kept)  # it is the caller's
    whole = np.broadcast_to(over(bias, *lead, n_q, n_k), ds.shape)
    np.testing.assert_allclose(np.vdot(gradient, learned), np.sum(ds * whole), atol=1e-11)
    own = bias.gradient_lead(len(lead))
    assert len(own) == len(lead)
    assert all(n in (1, m) for n, m in zip(own, lead, strict=True))


@pytest.mark.parametrize("both", [True, False])
@pytest.mark.parametrize(
    "at", [None, np.array([2, 3, 5, 9]), np.array([[0, 1, 2, 3], [0, 4, 5, 20]])]
)
def test_the_gradient_of_a_table_entry_by_entry(both, at):
    table, ds = normal(0, 6, 3), normal(1, 2, 3, 2, 4)
    bias = relative(table, bidirectional=both, max_distance=8, positions=at)
    gradient, want = bias.new_gradient(), np.zeros((6, 3))
    for b, h in np.ndindex(2, 3):
        bias.add_gradient(gradient, ds[b, h], (b, h), full(2), full(4))
        row = at if at is None or at.ndim == 1 else at[b]
        _, which = entry_by_entry(table, 2, 4, both, 8, row)
        for i, j in np.ndindex(2, 4):
            want[which[i, j], h] += ds[b, h, i, j]
    np.testing.assert_allclose(gradient, want, atol=1e-14)

    def whole(t):
        made = relative(t, bidirectional=both, max_distance=8, positions=at)
        return np.broadcast_to(made.over((2, 3, 2, 4)), ds.shape)

    np.testing.assert_allclose(gradient, complex_step(whole, [table], ds)[0], atol=1e-14)


def test_alibi_and_a_user_s_bias_have_nothing_to_be_learned():
    for bias in (alibi(2), Ramp()):
        assert bias.dtype is bias.learn is bias.new_gradient() is None
        with pytest.raises(
            TypeError, match=f"^{type(bias).__name__} has no add_gradient; .* define it too$"
        ):
            bias.add_gradient(np.zeros(1), np.zeros((1, 1)), (0,), full(1), full(1))


def test_what_two_threads_may_add_to_at_the_same_time():
    """By itself nothing, as heads may share a number; a table's columns, an array's parts."""
    table = relative(np.ones((4, 4)), positions=np.arange(6).reshape(3, 2))
    for axes, heads in ((1, (4,)), (2, (1, 4)), (3, (1, 1, 4))):
        assert table.gradient_lead(axes) == heads
        assert Ramp().gradient_lead(axes) == (1,) * axes
    assert table.grouped(2).gradient_lead(3) == (1, 2, 2)
    assert Ramp().grouped(2).gradient_lead(3) == (1, 1, 1)
    bias = Ramp()
    bias.gradient_lead = lambda axes: (5, *(1,) * (axes - 1))  # a number for each of a batch
    assert bias.grouped(2).gradient_lead(3) == (5, 1, 1)
    assert biases.as_bias(np.ones((4, 1, 1))).gradient_lead(2) == (1, 4)


def test_positions_may_be_large():
    at = np.arange(5) + 10**12
    np.testing.assert_array_equal(over(alibi(2, positions=at), 2, 3, 5), over(alibi(2), 2, 3, 5))


def test_a_bias_says_what_it_is():
    assert repr(alibi(3)) == repr(alibi(4).grouped(2)).replace("4", "3") == "alibi(3)"
    assert repr(relative(np.ones((4, 2), np.float32))) == "relative(float32 (4, 2))"


def test_an_array_is_taken_as_it_is_and_a_bias_is_itself():
    array = normal(0, 3, 1)
    bias = biases.as_bias(array)
    assert bias.over((2, 3, 5)) is array
    assert np.shares_memory(bias.tile((1,), Span(1, 2, 3), Span(0, 4, 5)), array)
    assert biases.as_bias(bias) is bias
    assert biases.as_bias(np.array(2.0)).tile((), full(3), full(3)).shape == (1, 1)
    assert biases.as_bias(np.array(2.0)).new_gradient().shape == ()
    for nothing in ([[0.0]], np.ones((2, 2), int)):
        with pytest.raises(TypeError, match="attention: bias is"):
            biases.as_bias(nothing)


def test_a_bias_without_queries_or_keys_is_empty():
    for n_q, n_k in ((0, 3), (3, 0), (0, 0)):
        for bias in (alibi(2), relative(np.ones((4, 2))), Ramp()):
            assert over(bias, 2, n_q, n_k).shape[-2:] == (n_q, n_k)


# A user's own


class Ramp(Bias):
    """The least that a bias can be: in each head, r times its number."""

    def tile(self, lead_index, rows, columns):
        o = columns.total - rows.total
        return lead_index[-1] * 0.1 * (columns.numbers - (rows.numbers + o)[:, None])

    def check(self, shape):
        if shape[-3] > 9:
            raise ValueError("Ramp: at most 9 heads")

    def lead_shape(self, axes):
        return (1,) * (axes - 1) + (4,)


def ramp(n_q, n_k):
    r = np.arange(n_k) - (np.arange(n_q) + n_k - n_q)[:, None]
    return 0.1 * np.arange(4)[:, None, None] * r


@pytest.mark.parametrize("method", ["textbook", "tiled"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_user_s_bias_is_added(monkeypatch, method, dtype):
    monkeypatch.setattr(WHOLE, "TILE", (2, 3))
    q, k, v, dy = (normal(i, 2, 4, n, 3).astype(dtype) for i, n in enumerate((5, 7, 7, 5)))
    results = []
    for bias in (Ramp(), ramp(5, 7).astype(dtype)):
        y, saved = F.attention(q, k, v, bias=bias, mask=masks.causal(), method=method)
        results.append([y, *F.attention_backward(dy, saved)])
    assert results[0][4] is None
    for a, b in zip(results[0][:4], results[1][:4], strict=True):
        assert a.dtype == dtype
        np.testing.assert_allclose(a, b, atol=1e-5 if dtype is np.float32 else 1e-13)


@pytest.mark.parametrize("limit", [math.inf, 0])
def test_a_user_s_bias_in_a_layer(monkeypatch, limit):
    monkeypatch.setattr(WHOLE, "TILE", (2, 3))
    monkeypatch.setattr(WHOLE, "_TEXTBOOK_UP_TO", limit)
    layer = MultiHeadAttention(8, 4, rng=np.random.default_rng(0), dtype=np.float64)
    x, dy = normal(0, 2, 5, 8), normal(1, 2, 5, 8)
    results = []
    for bias in (Ramp(), ramp(5, 5)):
        layer.zero_grad()
        y, saved = layer.forward(x, bias=bias)
        results.append(
            [y, layer.backward(dy, saved)[0], *(p.grad.copy() for p in layer.parameters())]
        )
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)
    with pytest.raises(ValueError, match="Ramp: at most 9 heads"):
        MultiHeadAttention(20, 10, dtype=np.float64)(normal(0, 3, 20), bias=Ramp())


def test_a_bias_of_heads_is_asked_for_a_head_as_there_were_no_groups():
    asked, bias = [], Ramp()
    bias.tile = lambda lead_index, rows, columns: asked.append(lead_index)
    for index in ((7, 0, 0), (7, 0, 1), (7, 1, 1)):
        bias.grouped(2).tile(index, full(1), full(1))
    assert asked == [(7, 0), (7, 1), (7, 3)]


def test_a_bias_of_which_nothing_is_learned_is_handed_no_gradient():
    layer, bias, handed = MultiHeadAttention(8, 4, dtype=np.float64), Ramp(), []
    bias.learn = handed.append
    y, saved = layer.forward(normal(0, 2, 3, 8), bias=bias)
    layer.backward(y, saved)
    assert handed == []


class LearnedRamp(Ramp):
    """The same, with a slope for each head that is learned."""

    def __init__(self, slopes):
        self.slopes, self.dtype = slopes, slopes.dtype

    def tile(self, lead_index, rows, columns):
        o = columns.total - rows.total
        r = columns.numbers - (rows.numbers + o)[:, None]
        return self.slopes[lead_index[-1]] * r

    def new_gradient(self):
        return np.zeros(4, self.dtype)

    def gradient_lead(self, axes):
        return self.lead_shape(axes)

    def add_gradient(self, gradient, ds, lead_index, rows, columns):
        o = columns.total - rows.total
        gradient[lead_index[-1]] += np.sum(ds * (columns.numbers - (rows.numbers + o)[:, None]))


@pytest.mark.parametrize("limit", [math.inf, 0])
@pytest.mark.parametrize("groups", [1, 2])
def test_a_user_s_bias_of_each_head_knows_the_heads_of_a_group(monkeypatch, groups, limit):
    """With shared keys the scores are (batch, group, rest, ...), and a user's tile sees a head."""
    monkeypatch.setattr(WHOLE, "TILE", (2, 3))
    monkeypatch.setattr(WHOLE, "_TEXTBOOK_UP_TO", limit)
    rng, x = np.random.default_rng(0), normal(0, 2, 5, 8)
    layer = MultiHeadAttention(8, 4, groups, rng=rng, dtype=np.float64)
    want = layer(x, bias=ramp(5, 5))
    for bias in (Ramp(), LearnedRamp(0.1 * np.arange(4.0))):
        np.testing.assert_allclose(layer(x, bias=bias), want, atol=1e-13)
    learned = []
    bias = LearnedRamp(0.1 * np.arange(4.0))
    bias.learn = learned.append
    assert bias.grouped(groups).gradient_lead(3) == (1, groups, 4 // groups)
    layer.backward(x, layer.forward(x, bias=bias)[1])

    def attend(slopes):
        return layer(x + 0j, bias=LearnedRamp(slopes))

    (exact,) = complex_step(attend, [bias.slopes], x)
    np.testing.assert_allclose(learned[0], exact, atol=1e-12)


# Refusals


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: alibi(0), ValueError, "alibi: num_heads is 0; expected a positive int"),
        (lambda: alibi(2.0), TypeError, "alibi: num_heads is 2.0; expected a positive int"),
        (lambda: alibi(2, dtype=int), TypeError, "alibi: dtype"),
        (lambda: alibi(2, positions=[0, 1]), TypeError, "alibi: positions is a list; expected"),
        (lambda: alibi(2, positions=np.ones(3)), TypeError, "alibi: positions is float64 (3,)"),
        (lambda: alibi(2, positions=np.ones((1, 1, 3), int)), ValueError,
         "alibi: positions are (1, 1, 3); expected (n_k,) or (batch, n_k)"),
        (lambda: relative(np.ones((4, 2)), positions=np.array(3)), ValueError,
         "relative: positions are (); expected (n_k,) or (batch, n_k)"),
        (lambda: relative([[1.0]]), TypeError, "relative: table is a list; expected"),
        (lambda: relative(np.ones((4, 2), int)), TypeError, "relative: table is int64 (4, 2)"),
        (lambda: relative(np.ones(4)), ValueError,
         "relative: table is (4,); expected (num_buckets, num_heads)"),
        (lambda: relative(np.ones((2, 2))), ValueError,
         "relative: 2 buckets; expected at least 4, and an even number, half for each direction"),
        (lambda: relative(np.ones((5, 2))), ValueError, "relative: 5 buckets; expected at least 4"),
        (lambda: relative(np.ones((1, 2)), bidirectional=False), ValueError,
         "relative: 1 buckets; expected at least 2"),
        (lambda: relative(np.ones((4, 2)), bidirectional=1), TypeError,
         "relative: bidirectional is 1; expected True or False"),
        (lambda: relative(np.ones((32, 2)), max_distance=8), ValueError,
         "relative: max_distance is 8; expected more than 8, the number of distances that have a"),
        (lambda: relative(np.ones((32, 2)), bidirectional=False, max_distance=16), ValueError,
         "relative: max_distance is 16; expected more than 16"),
        (lambda: relative(np.ones((4, 2)), learn=3), TypeError,
         "relative: learn is 3; expected a function that takes the table's gradient"),
        (lambda: alibi_slopes(0), ValueError, "alibi_slopes: num_heads is 0; expected a positive"),
        (lambda: alibi_slopes(2.5), TypeError, "alibi_slopes: num_heads is 2.5; expected a pos"),
        (lambda: alibi_slopes("a"), TypeError, "alibi_slopes: num_heads is 'a'"),
        (lambda: buckets(np.ones(3), 8, True, 9), TypeError,
         "buckets: distance is float64 (3,); expected a NumPy array of integers"),
        (lambda: buckets([1, 2], 8, True, 9), TypeError, "buckets: distance is a list; expected"),
        (lambda: buckets(AT, 1, False, 9), ValueError, "buckets: 1 buckets; expected at least 2"),
        (lambda: buckets(AT, 7, True, 9), ValueError, "buckets: 7 buckets; expected at least 4"),
        (lambda: buckets(AT, 8, 1, 9), TypeError, "buckets: bidirectional is 1; expected True or"),
        (lambda: buckets(AT, 8, True, 2), ValueError, "buckets: max_distance is 2; expected more"),
        (lambda: relative(np.ones((4, 2)), max_distance=0), ValueError,
         "relative: max_distance is 0; expected a positive int"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_bias_is_refused(make, error, said):
    with pytest.raises(error, match=re.escape(said)):
        make()


def test_the_smallest_tables_are_taken():
    relative(np.ones((4, 2)), max_distance=2)
    relative(np.ones((2, 2)), bidirectional=False, max_distance=2)
    relative(np.ones((3, 2)), bidirectional=False, max_distance=2)


AT = np.arange(3)


@pytest.mark.parametrize("make", [alibi, lambda n, **how: relative(np.ones((4, n)), **how)])
@pytest.mark.parametrize(
    ("shape", "positions", "groups", "said"),
    [
        ((2, 3, 3), None, 1, "bias is made for 4 heads and does not fit scores (2, 3, 3); "
                             "expected (..., 4, n_q, n_k)"),
        ((4, 2, 3, 3), None, 1, "made for 4 heads and does not fit scores (4, 2, 3, 3)"),
        ((3, 3), None, 1, "made for 4 heads and does not fit scores (3, 3)"),
        ((4, 3, 3), None, 2, "made for 4 heads and does not fit scores (4, 3, 3); expected "
                             "(..., 2, 2, n_q, n_k)"),
        ((4, 2, 4), AT, 1, "positions (3,), which do not fit scores (4, 2, 4); expected (n_k,)"),
        ((4, 4, 3), AT, 1, "positions (3,), which do not fit scores (4, 4, 3); expected (n_k,) or "
                           "(batch, n_k), with at least as many keys as queries"),
        ((4, 2, 3), AT[None], 1, "positions (1, 3), which do not fit scores (4, 2, 3)"),
        ((3, 4, 2, 3), AT[[[0, 1, 2]] * 2], 1, "positions (2, 3), which do not fit scores (3, 4"),
        ((2, 2, 2, 3), AT[None], 2, "positions (1, 3), which do not fit scores (4, 2, 3)"),
        ((2, 2, 2, 3), AT[[[0, 1, 2]] * 2], 2, "positions (2, 3), which do not fit scores (4, 2"),
    ],
)  # fmt: skip
def test_scores_that_a_bias_does_not_fit_are_refused(make, shape, positions, groups, said):
    bias = make(4, positions=positions)
    bias = bias.grouped(groups) if groups > 1 else bias
    for use in (bias.check, bias.over):
        with pytest.raises(ValueError, match=re.escape(said)):
            use(shape)
    if groups == 1 and len(shape) > 2:
        x = np.ones((*shape[:-2], 1, 2))
        q, k = np.broadcast_to(x, (*shape[:-1], 2)), np.broadcast_to(x, (*shape[:-2], shape[-1], 2))
        with pytest.raises(ValueError, match=re.escape(said)):
            F.attention(q, k, k, bias=bias)


def test_an_array_that_does_not_fit_is_refused():
    for array, said in (
        (np.ones((3, 4)), "attention: bias (3, 4) does not broadcast to the scores (2, 3, 5)"),
        (np.ones((1, 2, 3, 5)), "attention: bias (1, 2, 3, 5) does not broadcast"),
        (np.full(5, np.inf), "attention: bias holds +inf or NaN; expected finite numbers, or -inf"),
        (np.full((1, 1), np.nan), "attention: bias holds +inf or NaN"),
    ):
        with pytest.raises(ValueError, match=re.escape(said)):
            biases.as_bias(array).check((2, 3, 5))
    biases.as_bias(np.full(5, -np.inf)).check((2, 3, 5))
    biases.as_bias(np.ones(5)).check((5,) * 2)
