"""Tiles: the same as the textbook whatever is drawn, what is skipped, memory, and threads."""

import contextlib
import itertools
import math
import operator
import sys
import threading
import tracemalloc
import types
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from masks.drawn import combinations
from support.oracle import assert_gradients
from support.strategies import normal, seeds

import npformer.functional as F
from npformer import biases, gradcheck, masks
from npformer.biases import Bias
from npformer.core import threads
from npformer.functional import _tiles
from npformer.layers import MultiHeadAttention
from npformer.masks import Mask, Span

WHOLE = sys.modules["npformer.functional.attention"]
LEADS = [(), (3,), (2, 4), (2, 1, 2)]
tile_sizes = st.tuples(*[st.sampled_from([1, 2, 3, 4, 5, 50])] * 2)
lengths = st.sampled_from([0, 1, 2, 3, 5, 7, 8])
widths = st.integers(1, 3)


@contextlib.contextmanager
def tiles_of(size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WHOLE, "TILE", size)
        yield


def passes(q, k, v, dy, size=None, seed=None, **options):
    """Output, gradients and what was saved; by tiles of a size, or by the textbook."""
    rng = None if seed is None else np.random.default_rng(seed)
    with tiles_of(size or (1, 1)):
        y, saved = F.attention(q, k, v, rng=rng, **options, method="tiled" if size else "textbook")
    return [y, *F.attention_backward(dy, saved)], saved


def assert_close(got, want, tolerance=1e-12):
    """Equal to rounding at the scale of the array."""
    for a, b in zip(got, want, strict=True):
        assert (a is None) == (b is None)
        if b is not None:
            assert a.shape == b.shape
            scale = max(1.0, np.abs(b).max(initial=0.0))
            np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * scale)


class Parity(Mask):
    """As a user may write one: nothing but what is asked for."""

    def holds(self, lead, rows, columns):
        return (rows.numbers[:, None] * columns.numbers) % 3 != 1

    def check(self, shape):
        pass

    def leaves(self):
        yield self


class Slope(Bias):
    """A user's bias, with three methods: falls with the key's number, and masks the last key."""

    def tile(self, lead_index, rows, columns):
        steps = np.arange(columns.start, columns.stop)
        last = steps == columns.total - 1
        return np.where(last & (columns.total > 1), -np.inf, -0.5 * steps)

    def check(self, shape):
        pass

    def lead_shape(self, axes):
        return (1,) * axes


class Learned(Bias):
    """a t_i u_j, with one number a that all heads share."""

    dtype = np.dtype(np.float64)

    def __init__(self, a):
        self.a = a
        self.dtype = np.asarray(a).dtype

    def _steps(self, rows, columns):
        return np.sin(rows.numbers[:, None] + 1.0) * np.cos(columns.numbers)

    def tile(self, lead_index, rows, columns):
        return self.a * self._steps(rows, columns)

    def check(self, shape):
        pass

    def lead_shape(self, axes):
        return (1,) * axes

    def new_gradient(self):
        return np.zeros((1,), self.dtype)

    def add_gradient(self, gradient, ds, lead_index, rows, columns):
        gradient += np.sum(ds * self._steps(rows, columns))


@st.composite
def leading(draw, lead, more=()):
    """Leading axes that broadcast to `lead`: fewer of them, or 1 long; before them perhaps more."""
    own = [draw(st.sampled_from([1, n])) for n in lead]
    if more and draw(st.booleans()):
        return (*more, *own)
    return tuple(own[draw(st.integers(0, len(own))) :])


@st.composite
def drawn_masks(draw, lead, n_q, n_k):
    kinds = ["none", "own", "array", "pattern", *(["algebra"] * 4 if lead == (2, 4) else [])]
    kind = draw(st.sampled_from(kinds))
    if kind == "algebra":
        return draw(combinations(n_q, n_k))[0]
    if kind == "array":
        shape = (*draw(leading(lead)), draw(st.sampled_from([1, n_q])), n_k)
        return np.random.default_rng(draw(seeds)).random(shape) < 0.6
    w = draw(st.integers(1, 5))
    pattern = draw(st.sampled_from([masks.causal(), masks.sliding_window(w), masks.strided(w)]))
    return {"none": None, "own": Parity() & ~pattern | masks.causal(), "pattern": pattern}[kind]


@st.composite
def drawn_biases(draw, lead, n_q, n_k):
    kind = draw(st.sampled_from(["array", "holes", "alibi", "relative", "slope", "learned"]))
    seed = draw(seeds)
    if kind in ("array", "holes"):
        shape = (*draw(leading(lead)), *(draw(st.sampled_from([1, n])) for n in (n_q, n_k)))
        bias = normal(seed, *shape[draw(st.integers(0, len(shape) - 1)) :])
        if kind == "holes":
            bias[np.random.default_rng(seed).random(bias.shape) < 0.4] = -np.inf
        return bias
    if kind == "slope":
        return Slope()
    if kind == "learned" or not lead:
        return Learned(1.5)
    at = None
    if n_q <= n_k and draw(st.booleans()):
        batch = (lead[0],) if len(lead) > 1 and draw(st.booleans()) else ()
        at = np.random.default_rng(seed).integers(0, 30, (*batch, n_k))
    if kind == "alibi":
        return biases.alibi(lead[-1], positions=at)
    both = draw(st.booleans())
    table = normal(seed, 6, lead[-1])
    return biases.relative(table, bidirectional=both, max_distance=7, positions=at)


@st.composite
def cases(draw, biased):
    """q, k, v, dy, and options; scores are small, or integers up to 1e4, and so exact."""
    lead = draw(st.sampled_from(LEADS))
    n_q, n_k, d_k, d_v = draw(lengths), draw(lengths), draw(widths), draw(widths)
    seed, large = draw(seeds), draw(st.booleans()) if biased else False
    of_q = draw(leading(lead))
    of_k = lead if np.prod(of_q) < np.prod(lead) or len(of_q) < len(lead) else draw(leading(lead))
    shapes = (*of_q, n_q, d_k), (*of_k, n_k, d_k), (*draw(leading(lead, (2,))), n_k, d_v)
    q, k, v = (normal(seed + i, *shape) for i, shape in enumerate(shapes))
    scale = draw(st.sampled_from([None, 0.5]))
    if large:
        q, k, scale = (np.round(30 * q), np.round(30 * k), draw(st.sampled_from([2.0, 16.0])))
    else:
        q, k = np.clip(q, -2, 2), np.clip(k, -2, 2)  # scores within 12
    options = {"mask": draw(drawn_masks(lead, n_q, n_k)), "scale": scale}
    if biased:
        options["bias"] = draw(drawn_biases(lead, n_q, n_k))
    options["dropout"] = draw(st.sampled_from([0.0, 0.4]))
    lead_y = np.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
    return (q, k, v, normal(seed + 3, *lead_y, n_q, d_v)), options, draw(tile_sizes), seed


# The same as the textbook


@settings(max_examples=120)
@given(cases(biased=False))
def test_tiles_equal_the_textbook_where_no_maximum_is_needed(case):
    arrays, options, size, seed = case
    got, saved = passes(*arrays, size, seed, **options)
    assert saved.top is None
    assert_close(got, passes(*arrays, None, seed, **options)[0])


@settings(max_examples=200)
@given(cases(biased=True))
def test_tiles_equal_the_textbook_with_a_maximum(case):
    arrays, options, size, seed = case
    got, saved = passes(*arrays, size, seed, **options)
    assert saved.top is not None
    assert_close(got, passes(*arrays, None, seed, **options)[0])


@pytest.mark.parametrize("scale", [1.0, 2**14])
@pytest.mark.parametrize("mask", [None, masks.causal(), ~masks.causal()])
def test_scores_of_ten_thousand_take_the_path_with_a_maximum(scale, mask):
    """Just below the limit of 30 and just above, and far above."""
    q = np.round(normal(0, 2, 7, 3))
    k, v, dy = np.round(normal(1, 2, 8, 3)), normal(2, 2, 8, 2), normal(3, 2, 7, 2)
    longest = math.sqrt(np.max(np.sum(q * q, -1)) * np.max(np.sum(k * k, -1)))
    for c, small in ((29.9 / longest, True), (30.1 / longest, False), (scale, scale == 1.0)):
        for sign in (1, -1):
            options = {"scale": sign * c, "mask": mask}
            got, saved = passes(q, k, v, dy, (2, 3), **options)
            assert (saved.top is None) is small
            assert_close(got, passes(q, k, v, dy, **options)[0])
    assert scale == 1.0 or scale * np.abs(q @ k.swapaxes(1, 2)).max() > 1e4


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("score", [-29.0, 0.0, 29.0])
def test_without_a_maximum_gradients_of_any_size_keep_their_digits(score, size):
    """In float32: l is 1e-12 or 1e13 here, and dy / l would be 0, or infinite."""
    q, k, v, dy = (0.1 * normal(i, 2, 9, 4).astype(np.float32) for i in range(4))
    q[..., 0], k[..., 0] = math.sqrt(abs(score)), math.copysign(math.sqrt(abs(score)), score)
    dy = np.float32(size) * dy
    options = {"mask": masks.causal(), "scale": 1.0}
    got, saved = passes(q, k, v, dy, (4, 3), **options)
    assert saved.top is None
    doubles = [x.astype(np.float64) for x in (q, k, v, dy)]
    want = passes(*doubles, **options)[0]
    for a, b in zip(got[:4], want[:4], strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-5 * np.abs(b).max())


@pytest.mark.parametrize("which", ["q", "k", "imaginary"])
def test_one_long_vector_is_enough_for_the_maximum(which):
    """A tenth of the heads, or the imaginary part, may not be overlooked."""
    q, k, v, dy = (0.1 * normal(i, 10, 4, 3) for i in range(4))
    assert passes(q, k, v, dy, (2, 3))[1].top is None
    if which == "imaginary":
        q = q + 0j
        q[7, 2, 1] = 2000j
    else:
        (q if which == "q" else k)[7, 2, 1] = 5000
    got, saved = passes(q, k, v, dy, (2, 3))
    assert saved.top is not None
    assert_close(got, passes(q, k, v, dy)[0])


@settings(max_examples=40)
@given(cases(biased=True), st.booleans())
def test_float32_is_close_to_float64(case, plain):
    (q, k, v, dy), options, size, seed = case
    if plain or not isinstance(options["bias"], np.ndarray):
        options["bias"] = None
    bias = options.pop("bias")
    bias = None if bias is None else bias.astype(np.float32)
    singles = [a.astype(np.float32) for a in (q, k, v, dy)]
    got, _ = passes(*singles, size, seed, bias=bias, **options)
    assert all(a is None or a.dtype == np.float32 for a in got)
    bias = None if bias is None else bias.astype(np.float64)
    doubles = [a.astype(np.float64) for a in singles]
    want, _ = passes(*doubles, None, seed, bias=bias, **options)
    for a, b in zip(got, want, strict=True):
        scale = 1e-5 * max(1.0, np.abs(b).max(initial=0.0)) if b is not None else 0
        assert (a is None and b is None) or np.all(np.abs(a - b) <= 10 * scale)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("size", [(1, 3), (2, 2)])
@pytest.mark.parametrize("path", ["no maximum", "bias", "large"])
def test_gradients_of_all_arguments_by_the_complex_step(path, size, dropout):
    arrays = [normal(0, 2, 1, 3, 2), normal(1, 2, 4, 2), normal(2, 2, 1, 1, 4, 2)]
    if path == "bias":
        arrays.append(normal(3, 2, 1, 4))
        arrays[3][:, :, 2] = 0  # the complex step needs a number: -inf is tried elsewhere
    tops = []

    def attend(q, k, v, b=None):
        rng = np.random.default_rng(0)
        options = {"mask": masks.causal() | Parity(), "scale": 30.0 if path == "large" else 0.8}
        y, saved = F.attention(q, k, v, bias=b, **options, dropout=dropout, rng=rng, method="tiled")
        tops.append(saved.top is None)
        return y, saved

    with tiles_of(size):
        dy = normal(4, 2, 2, 2, 3, 2)
        assert_gradients(attend, F.attention_backward, arrays, dy, rtol=1e-9)
    assert set(tops) == {path == "no maximum"}


@pytest.mark.parametrize("at", [None, np.array([3, 4, 7, 8, 20]), np.arange(10).reshape(2, 5) ** 2])
@pytest.mark.parametrize("size", [(1, 2), (2, 3), (9, 9)])
def test_the_gradient_of_a_table_by_the_complex_step(size, at):
    """T5's, for heads that share keys, in tiles and by the textbook."""
    q, k, v, dy = (
        normal(0, 2, 4, 3, 2),
        normal(1, 2, 1, 5, 2),
        normal(2, 1, 5, 2),
        normal(3, 2, 4, 3, 2),
    )

    def attend(q, k, v, table, method="tiled"):
        bias = biases.relative(table, max_distance=6, positions=at)
        return F.attention(q, k, v, bias=bias, mask=masks.sliding_window(4), method=method)

    def textbook(*arrays):
        return attend(*arrays, method="textbook")

    arrays = q, k, v, normal(5, 8, 4)
    with tiles_of(size):
        assert_gradients(attend, F.attention_backward, arrays, dy, rtol=1e-9)
    assert_gradients(textbook, F.attention_backward, arrays, dy, rtol=1e-9)


@pytest.mark.parametrize("method", ["textbook", "tiled"])
def test_a_bias_of_a_user_that_learns(method):
    q, k, v, dy = (normal(i, 2, 3, 5, 2) for i in range(4))

    def attend(a):
        return F.attention(q, k, v, bias=Learned(a), method=method)

    with tiles_of((2, 2)):
        backward = lambda dy, saved: F.attention_backward(dy, saved)[3]  # noqa: E731
        assert_gradients(attend, backward, [np.array([1.5])], dy)


class LearnedInDouble(Learned):
    """Of a float32 number, whose gradient is the sum of so many that it is taken in float64."""

    def tile(self, lead_index, rows, columns):
        return super().tile(lead_index, rows, columns).astype(np.float32)

    def new_gradient(self):
        return np.zeros(1)


@pytest.mark.parametrize("method", ["textbook", "tiled"])
def test_a_bias_may_sum_its_gradient_in_a_wider_dtype(method):
    q, k, v, dy = (normal(i, 2, 3, 5, 2).astype(np.float32) for i in range(4))
    bias = LearnedInDouble(np.array([1.5], np.float32))
    y, saved = F.attention(q, k, v, bias=bias, method=method)
    got = [y, *F.attention_backward(dy, saved)]
    assert [x.dtype for x in got] == [*[np.float32] * 4, np.float64]


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_gradcheck_of_several_tiles(dropout):
    """As the catalogue's examples are checked, whose sequences fit in one tile."""
    q, k, v, bias = (
        normal(0, 2, 2, 5, 3),
        normal(1, 2, 1, 7, 3),
        normal(2, 7, 2),
        normal(3, 2, 1, 7),
    )

    def attend(q, k, v, bias):
        rng = np.random.default_rng(1)
        mask = masks.causal() & masks.padding(np.array([0, 6]))
        return F.attention(q, k, v, bias=bias, mask=mask, dropout=dropout, rng=rng, method="tiled")

    with tiles_of((2, 3)):
        gradcheck((attend, F.attention_backward), q, k, v, bias).assert_ok()
        plain = lambda q, k, v: F.attention(q, k, v, mask=masks.causal(), method="tiled")  # noqa: E731
        gradcheck((plain, F.attention_backward), q, k, v).assert_ok()


def test_long_sequences_by_the_tiles_as_they_are():
    """Several tiles of the real size, where `attention` chooses them by itself."""
    q, k, v, dy = normal(0, 300, 8), normal(1, 600, 8), normal(2, 600, 4), normal(3, 300, 4)
    options = {"mask": masks.causal(), "dropout": 0.1}
    y, saved = F.attention(q, k, v, rng=np.random.default_rng(0), **options)
    assert isinstance(saved, _tiles.TiledSaved)
    assert saved.how.tile == (256, 256)
    got = [y, *F.attention_backward(dy, saved)]
    assert_close(got, passes(q, k, v, dy, None, 0, **options)[0])
    small = F.attention(q[:192], k[:192], v[:192])[1]
    assert isinstance(small, WHOLE.TextbookSaved)


@pytest.mark.parametrize("lead", [(0,), (2, 0)])
def test_an_empty_batch_has_empty_gradients(lead):
    """Then there is no work to share out, and no thread that a gradient would be for."""
    shared, own = normal(0, 1, 7, 2), np.empty((*lead, 7, 2))
    got, _ = passes(own, shared, own, own, (2, 3))
    assert [x.shape for x in got[:4]] == [own.shape, own.shape, shared.shape, own.shape]
    assert not np.any(got[2])


@pytest.mark.parametrize("bias", [biases.alibi(2), Slope()])
def test_a_bias_that_nothing_is_learned_of_leaves_float32_as_it_is(bias):
    """Though its tiles are float64, as they are by themselves."""
    q, k, v, dy = (normal(i, 2, 7, 3).astype(np.float32) for i in range(4))
    got, _ = passes(q, k, v, dy, (2, 3), bias=bias)
    assert [x.dtype for x in got[:4]] == [np.float32] * 4
    assert got[4] is None


def test_a_bias_masks_whatever_its_imaginary_part():
    """Keys of NaN, so that nothing but the bias can say that nobody looks at them."""
    q, k, v, dy = (normal(i, 2, 7, 3) + 0j for i in range(4))
    k[:, 5] = np.nan
    bias = np.zeros((7, 7), complex)
    bias.real[:, 5] = -np.inf
    want, _ = passes(q, k, v, dy, (2, 3), bias=bias)
    assert all(np.all(np.isfinite(x)) for x in want)
    bias.imag[:, 5] = 1.0
    assert_close(passes(q, k, v, dy, (2, 3), bias=bias)[0], want)


# What is masked


@settings(max_examples=60)
@given(cases(biased=True), st.sampled_from([np.nan, np.inf, -np.inf, 1e300]), st.booleans())
def test_what_is_masked_reaches_nothing(case, content, dead_queries):
    """A weight of 0 is exact: whatever stands in a key that nobody looks at, or its value."""
    (q, k, v, dy), options, size, seed = case
    options["scale"] = None
    shape = (*np.broadcast_shapes(q.shape[:-2], k.shape[:-2]), q.shape[-2], k.shape[-2])
    looked = np.ones(shape, bool)
    if options["mask"] is not None:
        looked &= masks.as_mask(options["mask"]).over(shape)
    looked &= biases.as_bias(options["bias"]).over(shape) > -np.inf
    lead = np.broadcast_shapes(shape[:-2], v.shape[:-2])
    looked = np.broadcast_to(looked, (*lead, *shape[-2:]))

    def unseen(array, seen):
        """Where an array (..., n, d) is seen by no one, in any place that it is broadcast to."""
        own = (1,) * (len(lead) - array.ndim + 2) + array.shape[:-2]
        axes = tuple(a for a, n in enumerate(own) if n == 1)
        hidden = ~seen.any(axis=axes, keepdims=True)
        return np.broadcast_to(hidden.reshape(array.shape[:-1])[..., None], array.shape)

    by_query, by_key = looked.any(axis=-1), looked.any(axis=-2)
    hidden = [unseen(q, by_query), unseen(k, by_key), unseen(v, by_key)]
    clean = [np.where(h, 0.0, a) for h, a in zip(hidden, (q, k, v), strict=True)]
    dirty = [np.where(h, content, a) for h, a in zip(hidden, (q, k, v), strict=True)]
    if not dead_queries:
        dirty[0] = clean[0]
    got, _ = passes(*dirty, dy, size, seed, **options)
    assert_close(got, passes(*clean, dy, size, seed, **options)[0])
    for gradient, where in zip(got[1:4], hidden, strict=True):
        np.testing.assert_array_equal(gradient[where], 0)
    np.testing.assert_array_equal(got[0][~by_query], 0)


@pytest.mark.parametrize("content", [np.inf, -np.inf, np.nan])
def test_a_weight_that_fades_to_zero_is_not_looked_at_in_any_order(content):
    """Keys of earlier tiles whose weight is 0 only once the largest score is known."""
    q, k = np.array([[1.0]]), np.array([[0.0], [1e4], [5.0], [1e4 + 1]])
    v, dy = np.array([[content], [1.0], [content], [2.0]]), np.ones((1, 1))
    want, _ = passes(q, k, v, dy, scale=1.0)
    assert np.isfinite(want[0]).all()
    for size in ((1, 1), (1, 2), (1, 3)):
        assert_close(passes(q, k, v, dy, size, scale=1.0)[0], want)
        turned = passes(q, k[::-1], v[::-1], dy, size, scale=1.0)[0]
        assert_close([turned[0], turned[1], turned[2][::-1], turned[3][::-1]], want[:4])


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_dead_rows_are_zero_wherever_they_stand(scale):
    """Rows that see nothing in the first tile, in the last, or in none."""
    q, k, v, dy = normal(0, 5, 3), normal(1, 6, 3), normal(2, 6, 2), normal(3, 5, 2)
    held = np.array(
        [[0] * 6, [1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1], [0, 0, 1, 0, 0, 0], [0] * 6], bool
    )
    got, _ = passes(q, k, v, dy, (2, 2), mask=held, scale=scale)
    np.testing.assert_allclose(got[0], [[0, 0], v[0], v[5], v[2], [0, 0]], rtol=1e-15)
    np.testing.assert_array_equal(got[1][[0, 4]], 0)
    np.testing.assert_array_equal(got[3][[1, 3, 4]], 0)
    np.testing.assert_allclose(got[3][[0, 5, 2]], dy[1:4], rtol=1e-15)


# What is skipped


class Watch(Mask):
    """A mask that tells what it is asked, and may be asked for no tile that coverage knows."""

    def __init__(self, mask):
        self.mask, self.tiles = mask, []

    def holds(self, lead, rows, columns):
        return self.mask.holds(lead, rows, columns)

    def check(self, shape):
        self.mask.check(shape)

    def leaves(self):
        yield self

    def coverage(self, lead_index, rows, columns, width):
        return self.mask.coverage(lead_index, rows, columns, width)

    def tile(self, lead_index, rows, columns):
        width = columns.stop - columns.start
        (code,) = self.coverage(lead_index, rows, columns, width)
        assert code == masks.SOME
        self.tiles.append((lead_index, rows[:2], columns[:2]))
        return self.mask.tile(lead_index, rows, columns)


def visits(mask, n_q, n_k, size):
    """How many tiles of scores are formed, forward and backward, in three heads."""
    seen, formed = [], _tiles._Head.scores

    def counted(head, rows, columns, *rest):
        seen.append((rows[:2], columns[:2]))
        return formed(head, rows, columns, *rest)

    q, k, v, dy = (normal(i, 3, n, 2) for i, n in enumerate((n_q, n_k, n_k, n_q)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_tiles._Head, "scores", counted)
        with tiles_of(size):
            y, saved = F.attention(q, k, v, mask=mask, method="tiled")
        forward = len(seen)
        F.attention_backward(dy, saved)
    assert len(seen) == 2 * forward
    assert sorted(seen[:forward]) == sorted(seen[forward:])
    want, _ = F.attention(q, k, v, mask=mask, method="textbook")
    np.testing.assert_allclose(y, want, atol=1e-13)
    return forward


@pytest.mark.parametrize(("n_q", "n_k"), [(23, 23), (10, 23), (23, 10)])
@pytest.mark.parametrize("size", [(1, 1), (4, 4), (3, 5), (5, 2), (30, 30)])
def test_causal_forms_no_tile_above_the_diagonal(size, n_q, n_k):
    watch = Watch(masks.causal())
    o = n_k - n_q
    ends = [min(start + size[0], n_q) + o for start in range(0, n_q, size[0])]
    blocks = sum(math.ceil(min(max(end, 0), n_k) / size[1]) for end in ends)
    assert visits(watch, n_q, n_k, size) == 3 * blocks


@pytest.mark.parametrize("w", [1, 3, 6])
@pytest.mark.parametrize("size", [(1, 1), (4, 4), (3, 5)])
def test_a_window_forms_no_tile_outside_of_it(size, w):
    n, (rows, columns) = 23, size
    watch = Watch(masks.sliding_window(w))
    expected = 0
    for start in range(0, n, rows):
        low, high = max(0, start - w + 1), min(n, min(start + rows, n) + w - 1)
        expected += (high - 1) // columns - low // columns + 1
    assert visits(watch, n, n, size) == 3 * expected


@given(combinations(7, 8))
def test_no_tile_is_asked_for_whose_coverage_is_known(drawn):
    mask, full = drawn
    watch = Watch(mask)
    q, k, v, dy = (normal(i, 2, 4, n, 2) for i, n in enumerate((7, 8, 8, 7)))
    got, _ = passes(q, k, v, dy, (2, 3), mask=watch)
    assert_close(got, passes(q, k, v, dy, mask=full)[0])


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_a_tile_may_turn_out_empty_or_full_where_nothing_was_known(scale):
    class Unknown(Watch):
        def coverage(self, lead_index, rows, columns, width):
            return np.full(-(-(columns.stop - columns.start) // width), masks.SOME, np.int8)

    q, k, v, dy = normal(0, 7, 3), normal(1, 8, 3), normal(2, 8, 2), normal(3, 7, 2)
    for mask in (masks.causal(), masks.sliding_window(2), ~masks.causal()):
        watch = Unknown(mask)
        got, _ = passes(q, k, v, dy, (2, 3), mask=watch, scale=scale)
        assert len(watch.tiles) == 2 * 4 * 3
        assert_close(got, passes(q, k, v, dy, mask=mask, scale=scale)[0])


@pytest.mark.parametrize("lead", [(1, 2), (2, 1)])
def test_a_mask_is_asked_at_places_that_the_scores_have(lead):
    """Also along axes on which it says that it does not vary."""
    asked = []

    class Asked(Parity):
        def varies(self, axes):
            return (False,) * axes

        def holds(self, lead_index, rows, columns):
            asked.append(lead_index)
            return super().holds(lead_index, rows, columns)

    q = normal(0, *lead, 5, 2)
    got = passes(q, q, q, q, (2, 3), mask=Asked())[0]
    assert set(asked) == set(np.ndindex(lead))
    assert_close(got, passes(q, q, q, q, (2, 3), mask=Parity())[0])


def test_a_mask_that_is_the_same_for_all_heads_is_looked_at_once():
    class Counted(Watch):
        asked = 0

        def varies(self, axes):
            return self.mask.varies(axes)

        def coverage(self, *place):
            Counted.asked += 1
            return super().coverage(*place)

        def tile(self, *place):
            return self.mask.tile(*place)

    q = normal(0, 5, 4, 6, 2)
    passes(q, q, q, q, (2, 2), mask=Counted(masks.causal()))
    assert Counted.asked == 2 * 3  # blocks of queries, in forward and backward
    Counted.asked = 0
    passes(q, q, q, q, (2, 2), mask=Counted(masks.padding(np.arange(5))))
    assert Counted.asked == 2 * 3 * 5


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_in_the_room_for_a_tile_is_not_looked_at(monkeypatch, dtype):
    """Were it, the largest number would overflow, or be seen in what comes out."""
    q, k, v, dy = (normal(i, 2, 7, 3).astype(dtype) for i in range(4))
    options = {"mask": masks.causal(), "bias": biases.alibi(2), "dropout": 0.3}
    want = passes(q, k, v, dy, (2, 3), 0, **options)[0]
    room = _tiles._Case.memory

    def full(case, dtype=None):
        memory = room(case, dtype)
        memory[...] = np.finfo(memory.dtype).max
        return memory

    monkeypatch.setattr(_tiles._Case, "memory", full)
    got = passes(q, k, v, dy, (2, 3), 0, **options)[0]
    for a, b in zip(got, want, strict=True):
        np.testing.assert_array_equal(a, b)


def test_memory_grows_with_n_and_not_its_square(monkeypatch):
    monkeypatch.setattr(threads._switch, "count", 1)

    def peak(n):
        arrays = [normal(i, n, 8) for i in range(4)]
        tracemalloc.start()
        passes(*arrays, (64, 64), 0, mask=masks.causal(), dropout=0.1)
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    peak(64)  # what is imported and kept on first use
    small, large = peak(256), peak(1024)
    assert large < 4.4 * small
    assert large < 1024**2 * 8 / 4  # a quarter of one matrix of scores


# Threads


@pytest.fixture
def spread(monkeypatch):
    """All work is worth spreading, to as many threads as are asked for, without threadpoolctl."""
    limit = types.SimpleNamespace(limit=lambda **_: contextlib.nullcontext())
    module = types.SimpleNamespace(ThreadpoolController=lambda: limit)
    monkeypatch.setitem(sys.modules, "threadpoolctl", module)
    monkeypatch.setattr(_tiles, "_WORTH_SPREADING", 0)
    threads._controller.cache_clear()
    yield lambda count: monkeypatch.setattr(threads._switch, "count", count)
    threads._controller.cache_clear()


class Where(Mask):
    """A mask that holds everywhere, and keeps who asked."""

    def __init__(self):
        self.names = set()

    def holds(self, lead, rows, columns):
        self.names.add(threading.current_thread().name.partition("_")[0])
        return np.ones((1, 1), bool)

    def check(self, shape):
        pass

    def leaves(self):
        yield self


def equal_bits(got, want):
    for a, b in zip(got, want, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_array_equal(a.view(np.uint64), b.view(np.uint64))


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize(
    ("of_q", "of_k", "of_v", "bias"),
    [
        ((2, 4), (2, 4), (2, 4), None),
        ((2, 3, 2), (2, 3, 1), (2, 3, 1), (3, 2, 7, 9)),  # grouped queries
        ((2, 3), (3,), (2, 3), (3, 7, 9)),
        ((3,), (3,), (5, 3), None),
        ((12,), (12,), (12,), (12, 1, 1)),
    ],
)
def test_results_are_the_same_bits_on_any_number_of_threads(
    spread, of_q, of_k, of_v, bias, dropout
):
    q, k, v = normal(0, *of_q, 7, 3), normal(1, *of_k, 9, 3), normal(2, *of_v, 9, 2)
    lead = np.broadcast_shapes(of_q, of_k, of_v)
    bias = None if bias is None else normal(3, *bias)
    options = {"mask": masks.causal(), "bias": bias, "dropout": dropout}
    results = []
    for count in (1, 2, 3):
        spread(count)
        results.append(passes(q, k, v, normal(4, *lead, 7, 2), (2, 3), 0, **options)[0])
    equal_bits(results[1], results[0])
    equal_bits(results[2], results[0])


@pytest.mark.parametrize("bias", [None, "relative", "array"])
def test_blocks_that_are_shared_out_give_the_same_to_rounding(spread, bias):
    """One head, or several that share their keys: threads take turns at the blocks of keys."""
    for of_q, of_k in (((), ()), ((4,), (1,)), ((3, 2), ())):
        q, k, v = normal(0, *of_q, 7, 3), normal(1, *of_k, 9, 3), normal(2, *of_k, 9, 2)
        given = {"relative": biases.relative(normal(5, 6, *of_q[-1:])) if of_q else None}
        options = {"mask": masks.sliding_window(5), "bias": given.get(bias), "dropout": 0.3}
        if bias == "array":
            options["bias"] = normal(6, 7, 1)
        spread(1)
        dy = normal(3, *of_q, 7, 2)
        want, saved = passes(q, k, v, dy, (2, 2), 0, **options)
        assert (saved.top is None) == (options["bias"] is None)
        for count in (2, 3, 8):
            spread(count)
            got, _ = passes(q, k, v, dy, (2, 2), 0, **options)
            assert_close(got, want)
            equal_bits(passes(q, k, v, dy, (2, 2), 0, **options)[0], got)  # and no other tomorrow
            equal_bits(got[:1], want[:1])


@pytest.mark.parametrize("bias", [None, Learned(1.5)])
def test_one_thread_at_a_time_adds_to_what_all_blocks_of_keys_share(spread, monkeypatch, bias):
    """As the gradient of a number or a table: two would overwrite each other's sums."""
    shares = []

    def in_turn(function, works):
        shares.append(Counter(index for work in works for index in work.indices))
        return [function(work) for work in works]

    monkeypatch.setattr(_tiles, "each", in_turn)
    spread(2)
    passes(*(normal(i, 1, 5, 2) for i in range(4)), (5, 1), bias=bias)
    assert shares == [{(0,): 1}, {(0,): 2 if bias is None else 1}]  # forward, backward


@settings(max_examples=100)
@given(st.sampled_from(LEADS), st.data(), st.integers(1, 9))
def test_every_block_is_done_once_and_no_two_groups_share_a_gradient(lead, data, count):
    """What is shared out is what `each` may do at the same time."""
    n_q, n_k = 5, 4
    of_q = data.draw(leading(lead))
    of_k = lead if of_q != lead else data.draw(leading(lead))
    v = np.ones((*data.draw(leading(lead, (2,))), n_k, 2))
    q, k = np.ones((*of_q, n_q, 2)), np.ones((*of_k, n_k, 2))
    bias = data.draw(st.none() | drawn_biases(lead, n_q, n_k))
    bias = None if bias is None else biases.as_bias(bias)
    how = _tiles.How(None, bias, 1.0, 0.0, 0, True, (2, 2))
    case = _tiles._Case(q, k, v, how)
    groups = case.groups()
    assert sorted(itertools.chain(*groups)) == sorted(np.ndindex(case.lead))
    learned = None if bias is None else bias.new_gradient()
    touched = []
    for group in groups:
        sums = [np.zeros(x.shape) for x in (q, k, v)]
        if learned is not None:
            sums.append(np.zeros(learned.shape))
        for index in group:
            for gradient in sums[:3]:
                _tiles._entry(gradient, index)[...] += 1
            if learned is not None:
                at = _tiles._own(index, case.scores_lead)
                ds = np.ones((n_q, n_k))
                bias.add_gradient(sums[3], ds, at, Span(0, n_q, n_q), Span(0, n_k, n_k))
        touched.append([s != 0 for s in sums])
    for a, b in itertools.combinations(touched, 2):
        assert not any((x & y).any() for x, y in zip(a, b, strict=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_tiles, "num_threads", lambda: count)
        for blocks, worth in itertools.product((1, 3), (0, math.inf)):
            patch.setattr(_tiles, "_WORTH_SPREADING", worth)
            works = case.works(groups, blocks)
            done = sorted(
                (index, block)
                for work in works
                for index in work.indices
                for block in range(work.part, blocks, work.parts)
            )
            assert done == sorted(itertools.product(np.ndindex(case.lead), range(blocks)))
            several = worth == 0 and count > 1
            assert len(works) >= (min(count, len(groups) * blocks) if several else 1)
            assert several or len(works) == 1  # which `each` leaves where it is
            if len(groups) >= count:  # then no group is split, and the bits do not depend on it
                assert {(w.part, w.parts) for w in works} == {(0, 1)}
            of_group = [{tuple(i in w.indices for i in group) for w in works} for group in groups]
            assert all(all(len(set(found)) == 1 for found in of) for of in of_group)


def test_groups_are_as_many_as_the_gradients_allow():
    """So that there is something to spread."""

    def count(of_q, of_k, of_v, bias=None):
        arrays = [np.ones((*lead, 2, 2)) for lead in (of_q, of_k, of_v)]
        how = _tiles.How(None, bias, 1.0, 0.0, 0, True, (2, 2))
        return len(_tiles._Case(*arrays, how).groups())

    assert count((3, 4), (3, 4), (3, 4)) == 12
    assert count((3, 4), (3, 1), (3, 1)) == 3
    assert count((3, 4), (3, 4), (4,)) == 4
    assert count((3, 4), (3, 4), (3, 4), biases.as_bias(np.ones((4, 1, 1)))) == 4
    assert count((3, 4), (3, 4), (3, 4), biases.alibi(4)) == 12
    at = np.arange(6).reshape(3, 2)
    for table in (biases.relative(np.ones((4, 4))), biases.relative(np.ones((4, 4)), positions=at)):
        assert count((3, 4), (3, 4), (3, 4), table) == 4
    assert count((3, 4), (3, 4), (3, 4), Learned(1.0)) == 1
    assert count((3, 4), (3, 4), (3, 4), Slope()) == 12


def test_work_is_spread_where_it_is_worth_it_and_else_not(spread, monkeypatch):
    spread(2)
    q = normal(0, 4, 6, 2)
    for worth, names in ((4 * 36, {"npformer"}), (4 * 36 + 1, {"MainThread"})):
        monkeypatch.setattr(_tiles, "_WORTH_SPREADING", worth)
        for of_q in (q, q[0]):  # two heads at a time, or two blocks
            where = Where()
            monkeypatch.setattr(_tiles, "_WORTH_SPREADING", worth if of_q is q else worth - 3 * 36)
            passes(of_q, of_q, of_q, of_q, (2, 2), mask=where)
            assert where.names == names


def test_attention_inside_of_spread_work_stays_where_it_is(spread):
    spread(3)
    q = normal(0, 4, 6, 2)
    want, _ = passes(q, q, q, q, (2, 2))

    def inside(_):
        own = threading.current_thread()
        seen = []

        class Here(Where):
            def holds(self, lead, rows, columns):
                seen.append(threading.current_thread() is own)
                return np.ones((1, 1), bool)

        got, _ = passes(q, q, q, q, (2, 2), mask=Here())
        return got, all(seen)

    with tiles_of((2, 2)):  # which is one setting of the process
        results = threads.each(lambda at: inside(at) if at == 0 else None, range(2))
    got, here = results[0]
    assert here
    equal_bits(got, want)


def test_an_error_in_a_thread_reaches_the_caller_and_leaves_nothing_behind(spread):
    spread(2)

    class Broken(Where):
        def coverage(self, lead_index, rows, columns, width):
            return np.full(-(-(columns.stop - columns.start) // width), masks.SOME, np.int8)

        def tile(self, lead_index, rows, columns):
            if lead_index == (3,):
                raise LookupError("no such tile")
            return masks.FULL

    q = normal(0, 4, 6, 2)
    with pytest.raises(LookupError, match="no such tile"):
        passes(q, q, q, q, (2, 2), mask=Broken())
    assert threads._switch.holders == 0
    assert threads._switch.lift is None
    want = passes(q, q, q, q)[0]
    assert_close(passes(q, q, q, q, (2, 2))[0], want)


def test_the_caller_s_errstate_holds_in_threads(spread):
    spread(2)
    q, v = 100 * normal(0, 4, 6, 2), normal(1, 4, 6, 2)
    with np.errstate(under="ignore"):
        passes(q, q, v, v, (2, 2))
    with np.errstate(under="raise"), pytest.raises(FloatingPointError, match="underflow"):
        passes(q, q, v, v, (2, 2))


@pytest.mark.parametrize("join", [operator.and_, operator.or_])
@pytest.mark.parametrize("groups", [4, 2, 1])
def test_a_layer_in_tiles_and_threads_is_the_layer(spread, monkeypatch, groups, join):
    """MultiHeadAttention with grouped queries, whose heads add to the same keys."""
    layer = MultiHeadAttention(8, 4, groups, rng=np.random.default_rng(0), dtype=np.float64)
    x, dy = normal(0, 2, 9, 8), normal(1, 2, 9, 8)
    options = {"mask": join(masks.causal(), masks.strided(3)), "bias": biases.alibi(4)}
    results = []
    for count, limit in ((1, math.inf), (1, 0), (3, 0)):
        spread(count)
        monkeypatch.setattr(WHOLE, "_TEXTBOOK_UP_TO", limit)
        layer.zero_grad()
        with tiles_of((2, 3)):
            y, saved = layer.forward(x, **options)
            dx, _ = layer.backward(dy, saved)
        results.append([y, dx, *(p.grad.copy() for p in layer.parameters())])
    assert_close(results[1], results[0])
    assert_close(results[2], results[0])
