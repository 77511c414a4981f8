"""linear_attention: value, gradient, chunks, recurrence, masks, underflow, memory, refusals."""

import importlib
import math
import tracemalloc
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.oracle import assert_gradients, complex_step
from support.strategies import leads, normal, seeds

import npformer.functional as F

MODULE = importlib.import_module("npformer.functional.linear_attention")
lengths = st.integers(0, 9)
sizes = st.integers(1, 3)
chunks = st.sampled_from([1, 2, 3, 4, 64])
GARBAGE = [0.0, -7.5, 1e30, 3e38, np.inf, -np.inf, np.nan]


@contextmanager
def chunks_of(size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MODULE, "CHUNK", size)
        yield


def phi(x):
    return np.where(x.real > 0, x + 1, np.exp(np.where(x.real > 0, 0, x)))


def who_sees_whom(n_q, n_k, causal, key_mask):
    """1 or 0, (..., n_q, n_k)."""
    sees = np.tri(n_q, n_k, n_k - n_q) if causal else np.ones((n_q, n_k))
    return sees if key_mask is None else sees * key_mask[..., None, :]


def quadratic(q, k, v, causal=False, key_mask=None):
    """The definition, with the whole matrix of weights."""
    w = phi(q) @ phi(k).swapaxes(-1, -2)
    w = w * who_sees_whom(*w.shape[-2:], causal, key_mask)
    n = np.sum(w, axis=-1, keepdims=True)
    return w / np.where(n == 0, 1, n) @ v


def qkv(seed, *lead, n_q=7, n_k=7, d_k=3, d_v=2):
    """q, k, v and dy."""
    shapes = (n_q, d_k), (n_k, d_k), (n_k, d_v), (n_q, d_v)
    return [normal(seed + i, *lead, *shape) for i, shape in enumerate(shapes)]


def pass_of(q, k, v, dy, **options):
    """The output and the gradients of q, k and v."""
    y, saved = F.linear_attention(q, k, v, **options)
    return y, *F.linear_attention_backward(dy, saved)


def assert_same(got, want, **tolerance):
    for a, b in zip(got, want, strict=True):
        if tolerance:
            np.testing.assert_allclose(a, b, **tolerance)
        else:
            np.testing.assert_array_equal(a, b)


def random_mask(seed, *shape):
    return np.random.default_rng(seed).random(shape) < 0.6


# Values and gradient


def test_value_by_hand():
    """Features 2 and 1 of the keys 1 and 0, 3 of the query: the weights are 2/3 and 1/3."""
    q, k = np.array([[2.0], [2.0]]), np.array([[1.0], [0.0]])
    v = np.array([[3.0, 0.0], [6.0, -9.0]])
    np.testing.assert_allclose(F.linear_attention(q, k, v)[0], [[4, -3]] * 2, rtol=1e-15)
    y, saved = F.linear_attention(q, k, v, causal=True)
    np.testing.assert_allclose(y, [[3, 0], [4, -3]], rtol=1e-15)
    np.testing.assert_allclose(saved.t, [[1 / 6], [1 / 9]], rtol=1e-15)
    y, _ = F.linear_attention(q, k, v, key_mask=np.array([False, True]))
    np.testing.assert_array_equal(y, [v[1], v[1]])


@given(seeds, leads(), lengths, lengths, sizes, sizes, chunks, st.booleans(), st.booleans())
def test_value_and_gradient_of_the_quadratic_form(
    seed, lead, n_q, n_k, d_k, d_v, chunk, causal, masked
):
    """The gradient against the complex step through the definition, not through our forward."""
    q, k, v, dy = qkv(seed, *lead, n_q=n_q, n_k=n_k, d_k=d_k, d_v=d_v)
    options = {"causal": causal, "key_mask": random_mask(seed, n_k) if masked else None}
    with chunks_of(chunk):
        y, *gradients = pass_of(q, k, v, dy, **options)
    np.testing.assert_allclose(y, quadratic(q, k, v, **options), rtol=1e-12, atol=1e-13)
    want = complex_step(lambda *a: quadratic(*a, **options), [q, k, v], dy)
    assert_same(gradients, want, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("n_q", "n_k"), [(200, 200), (70, 200), (200, 70)])
def test_value_and_gradient_of_several_whole_chunks(n_q, n_k, causal):
    q, k, v, dy = qkv(0, 2, n_q=n_q, n_k=n_k, d_k=8, d_v=5)
    mask = random_mask(0, 2, n_k)
    y, dq, dk, dv = pass_of(q, k, v, dy, causal=causal, key_mask=mask)
    np.testing.assert_allclose(y, quadratic(q, k, v, causal, mask), rtol=1e-12, atol=1e-14)
    # The quadratic form's own backward, in the terms of softmax attention's.
    w = phi(q) @ phi(k).swapaxes(-1, -2) * who_sees_whom(n_q, n_k, causal, mask)
    n = np.sum(w, axis=-1, keepdims=True)
    n = np.where(n == 0, 1, n)
    dw = dy @ v.swapaxes(-1, -2) - np.sum(dy * y, axis=-1, keepdims=True)
    dw = dw / n * who_sees_whom(n_q, n_k, causal, mask)
    want = dw @ phi(k), dw.swapaxes(-1, -2) @ phi(q), (w / n).swapaxes(-1, -2) @ dy
    got = dq / np.minimum(phi(q), 1), dk / np.minimum(phi(k), 1), dv
    assert_same(got, want, rtol=1e-11, atol=1e-12)


@given(seeds, leads(), sizes, sizes, sizes, sizes, chunks, st.booleans(), st.booleans())
def test_gradient(seed, lead, n_q, n_k, d_k, d_v, chunk, causal, masked):
    q, k, v, dy = qkv(seed, *lead, n_q=n_q, n_k=n_k, d_k=d_k, d_v=d_v)
    options = {"causal": causal, "key_mask": random_mask(seed, *lead, n_k) if masked else None}
    with chunks_of(chunk):
        assert_gradients(
            lambda *a: F.linear_attention(*a, **options),
            F.linear_attention_backward,
            [q, k, v],
            dy,
            rtol=1e-9,
        )


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    ("q", "k", "v", "mask"),
    [
        ((2, 3), (1, 3), (3,), (2, 1)),
        ((3,), (2, 1), (1, 1), ()),
        ((), (3,), (2, 1), None),
        ((2, 1), (), (5, 2, 3), (5, 1, 1)),
        ((2, 2, 3), (2, 2, 1), (2, 2, 1), (2, 1, 1)),
    ],
)
def test_gradient_of_what_is_broadcast_is_summed(q, k, v, mask, causal):
    """A mask with more axes than the keys too."""
    arrays = normal(0, *q, 4, 3), normal(1, *k, 4, 3), normal(2, *v, 4, 2)
    mask = None if mask is None else random_mask(3, *mask, 4)
    options = {"causal": causal, "key_mask": mask}
    y, _ = F.linear_attention(*arrays, **options)
    np.testing.assert_allclose(y, quadratic(*arrays, **options), rtol=1e-12, atol=1e-14)
    with chunks_of(3):
        assert_gradients(
            lambda *a: F.linear_attention(*a, **options),
            F.linear_attention_backward,
            arrays,
            normal(4, *y.shape),
            rtol=1e-9,
        )


def test_gradients_follow_the_signature():
    got = pass_of(*qkv(0, n_q=4, n_k=5))
    assert [g.shape for g in got] == [(4, 2), (4, 3), (5, 3), (5, 2)]


@pytest.mark.parametrize("x", [0.0, -0.0, 1e-300, -1e-300])
def test_the_two_branches_of_the_feature_map_meet(x):
    q, k, v, dy = qkv(0)
    q[:], k[:] = x, x
    assert_gradients(
        lambda *a: F.linear_attention(*a, causal=True), F.linear_attention_backward, [q, k, v], dy
    )


@given(seeds, st.booleans())
def test_linear_in_v_and_in_dy(seed, causal):
    q, k, v, dy = qkv(seed, 2)
    u, du = normal(seed + 8, *v.shape), normal(seed + 9, *dy.shape)
    options = {"causal": causal, "key_mask": random_mask(seed, 7)}
    with chunks_of(3):
        one, two, both = (F.linear_attention(q, k, x, **options) for x in (v, u, 2 * v - 3 * u))
        np.testing.assert_allclose(both[0], 2 * one[0] - 3 * two[0], atol=1e-13)
        back = [F.linear_attention_backward(d, one[1]) for d in (dy, du, 2 * dy - 3 * du)]
    assert_same(back[2], [2 * a - 3 * b for a, b in zip(*back[:2], strict=True)], atol=1e-12)


@given(seeds, leads(), st.booleans())
def test_weights_sum_to_one(seed, lead, causal):
    """Equal values are returned, and leave no gradient to queries and keys."""
    q, k, v, dy = qkv(seed, *lead)
    v = np.broadcast_to(v[..., :1, :], v.shape)
    with chunks_of(3):
        y, dq, dk, dv = pass_of(q, k, v, dy, causal=causal)
    np.testing.assert_allclose(y, np.broadcast_to(v[..., :1, :], y.shape), rtol=1e-13)
    np.testing.assert_allclose(dq, 0, atol=1e-13)
    np.testing.assert_allclose(dk, 0, atol=1e-13)
    np.testing.assert_allclose(np.sum(dv, axis=-2), np.sum(dy, axis=-2), atol=1e-13)


@given(seeds, leads(), st.booleans())
def test_an_output_lies_between_the_values(seed, lead, causal):
    q, k, v, _ = qkv(seed, *lead)
    y, _ = F.linear_attention(q, k, v, causal=causal)
    assert np.all(y <= np.max(v, axis=-2, keepdims=True) + 1e-12)
    assert np.all(y >= np.min(v, axis=-2, keepdims=True) - 1e-12)


@given(seeds, st.permutations(range(7)), st.permutations(range(7)))
def test_order_of_keys_does_not_matter_and_that_of_queries_passes_through(seed, keys, queries):
    q, k, v, dy = qkv(seed, 2)
    mask = random_mask(seed, 7)
    y, dq, dk, dv = pass_of(q, k, v, dy, key_mask=mask)
    moved = pass_of(q, k[:, keys], v[:, keys], dy, key_mask=mask[keys])
    assert_same(moved, [y, dq, dk[:, keys], dv[:, keys]], rtol=1e-11, atol=1e-13)
    moved = pass_of(q[:, queries], k, v, dy[:, queries], key_mask=mask)
    assert_same(moved, [y[:, queries], dq[:, queries], dk, dv], rtol=1e-11, atol=1e-13)


def test_grouped_queries_equal_repeated_keys():
    q, _, _, dy = qkv(0, 2, 2, 3)
    _, k, v, _ = qkv(0, 2, 2, 1)
    got = pass_of(q, k, v, dy, causal=True)
    want = pass_of(q, *(np.repeat(x, 3, axis=2) for x in (k, v)), dy, causal=True)
    sums = [np.sum(g, axis=2, keepdims=True) for g in want[2:]]
    assert_same(got, [*want[:2], *sums], rtol=1e-11, atol=1e-13)


# The recurrence, chunks and causality


@pytest.mark.parametrize("chunk", [1, 4, 64])
def test_a_causal_pass_is_a_recurrent_network(chunk):
    """Position by position, with a state of d_k x d_v + d_k numbers; equations 16 to 20."""
    q, k, v, _ = qkv(0, n_q=11, n_k=11)
    with chunks_of(chunk):
        y, _ = F.linear_attention(q, k, v, causal=True)
    state, norm = np.zeros((3, 2)), np.zeros(3)
    for i in range(11):
        state += np.outer(phi(k[i]), v[i])
        norm += phi(k[i])
        np.testing.assert_allclose(y[i], phi(q[i]) @ state / (phi(q[i]) @ norm), rtol=1e-12)


@given(seeds, lengths, lengths, st.sampled_from([1, 2, 3, 5]), st.booleans())
def test_the_size_of_chunks_does_not_matter(seed, n_q, n_k, chunk, causal):
    arrays = qkv(seed, 2, n_q=n_q, n_k=n_k)
    want = pass_of(*arrays, causal=causal)
    with chunks_of(chunk):
        assert_same(pass_of(*arrays, causal=causal), want, rtol=1e-10, atol=1e-12)


@given(seeds, st.integers(0, 5), chunks, st.sampled_from([np.float32, np.float64]))
def test_causality_is_exact(seed, t, chunk, dtype):
    """A later token changes no bit of an earlier output, and gets a gradient of exactly 0."""
    arrays = [a.astype(dtype) for a in qkv(seed, 2)]
    changed = [a.copy() for a in arrays]
    for a, other in zip(changed, qkv(seed + 9, 2), strict=True):
        a[:, t + 1 :] = 100 * other[:, t + 1 :]
    with chunks_of(chunk):
        before, after = (pass_of(*a, causal=True) for a in (arrays, changed))
        for a, b in zip(before[:2], after[:2], strict=True):
            np.testing.assert_array_equal(a[:, : t + 1], b[:, : t + 1])
        arrays[3][:, t + 1 :] = 0  # the loss looks at tokens up to t alone
        for gradient in pass_of(*arrays, causal=True)[1:]:
            np.testing.assert_array_equal(gradient[:, t + 1 :], 0)


@pytest.mark.parametrize("chunk", [1, 3, 64])
@pytest.mark.parametrize("which", ["k", "v"])
@pytest.mark.parametrize("content", [np.nan, np.inf, -np.inf, 3e38, -3e38])
def test_wild_numbers_reach_no_query_before_them(content, which, chunk):
    q, k, v, dy = (a.astype(np.float32) for a in qkv(0, 2))
    y, dq, _, _ = pass_of(q, k, v, dy, causal=True)
    bad = {"k": k.copy(), "v": v.copy()}
    bad[which][0, 3, 0] = content
    with chunks_of(chunk), np.errstate(all="ignore"):
        got, dq_got, _, _ = pass_of(q, **bad, dy=dy, causal=True)
    assert_same([got[:, :3], dq_got[:, :3]], [y[:, :3], dq[:, :3]], rtol=2e-5, atol=1e-6)
    assert_same([got[1], dq_got[1]], [y[1], dq[1]], rtol=2e-5, atol=1e-6)  # of another sequence
    if np.isnan(content):
        assert np.isnan(got[0, 3:]).any(axis=1).all()


@pytest.mark.parametrize("chunk", [1, 3, 64])
@pytest.mark.parametrize("which", ["q", "k", "v"])
@pytest.mark.parametrize("part", [np.nan, np.inf, 1e200])
def test_wild_imaginary_parts_reach_no_query_before_them(part, which, chunk):
    """Of a wild query the keys behind it, by their gradients; of keys and values the queries."""
    arrays = [a.astype(complex) for a in qkv(0, 2)]
    want = pass_of(*arrays, causal=True)
    arrays["qkv".index(which)][0, 3, 0] = complex(0, part)
    with chunks_of(chunk), np.errstate(all="ignore"):
        got = pass_of(*arrays, causal=True)
    if which == "q":
        assert_same([a[:, 4:] for a in got[2:]], [a[:, 4:] for a in want[2:]], rtol=1e-11)
    assert_same([a[:, :3] for a in got[:2]], [a[:, :3] for a in want[:2]], rtol=1e-11)
    assert_same([a[1] for a in got], [a[1] for a in want], rtol=1e-11)  # another sequence
    if np.isnan(part):
        assert np.isnan(got[0][0, 3]).any()


def test_a_second_nan_may_reach_queries_that_the_first_had_reached_and_no_others():
    q, k, v, dy = qkv(0)
    v[2, 0], v[5, 1] = np.nan, np.nan
    with np.errstate(all="ignore"):
        y = pass_of(q, k, v, dy, causal=True)[0]
    assert np.isfinite(y[:2]).all()
    assert np.isnan(y[2:, 0]).all()
    assert np.isnan(y[2:, 1]).all()  # as the notes say


@pytest.mark.parametrize("chunk", [1, 3, 64])
@pytest.mark.parametrize("content", [np.nan, np.inf])
def test_wild_queries_reach_no_key_behind_them(content, chunk):
    q, k, v, dy = qkv(0, 2)
    want = pass_of(q, k, v, dy, causal=True)
    q[:, 3] = content
    with chunks_of(chunk):
        got = pass_of(q, k, v, dy, causal=True)
    keep = np.arange(7) != 3
    assert_same([a[:, keep] for a in got[:2]], [a[:, keep] for a in want[:2]], rtol=1e-11)
    assert_same([a[:, 4:] for a in got[2:]], [a[:, 4:] for a in want[2:]], rtol=1e-11)


@pytest.mark.parametrize("which", ["k", "v"])
def test_the_largest_number_is_not_infinite_and_hides_no_nan_behind_it(which):
    q, k, v, _ = (a.astype(np.float32) for a in qkv(0, d_k=1, d_v=1))
    q[:] = k[:] = -1.0  # features of 1 and less, so that no sum of products overflows
    bad = {"k": k, "v": v}
    bad[which][2], bad[which][5] = np.finfo(np.float32).max, np.nan
    y, _ = F.linear_attention(q, **bad, causal=True)
    assert np.isfinite(y[:5]).all()
    assert np.isnan(y[5:]).all()


def test_a_wild_query_reaches_no_key_behind_it_though_a_wild_value_follows():
    """All outputs from the value on are NaN too, so it is not by these that chunks are closed."""
    q, k, v, dy = qkv(0)
    q[1, 0], v[5, 0] = np.inf, np.nan
    y, _, _, dv = pass_of(q, k, v, dy, causal=True)
    assert np.isnan(y[[1, 5, 6], 0]).all()
    assert np.isnan(dv[:2]).all()
    assert np.isfinite(dv[2:]).all()


def test_products_that_would_overflow_reach_no_query_before_them():
    """Each of q and k is below the root of the largest float32, a sum of 64 products is not."""
    q, k, v, dy = (a.astype(np.float32) for a in qkv(0, d_k=64))
    want = [a[[0, 2]] for a in pass_of(q[:3], k[:3], v[:3], dy[:3], causal=True)[:2]]
    q[1], k[3] = q[1] * 1e18, 1.7e19
    y, dq, _, _ = pass_of(q, k, v, dy, causal=True)
    assert_same([y[[0, 2]], dq[[0, 2]]], want, rtol=1e-4, atol=1e-6)
    assert np.isfinite(y).all()


def test_a_query_whose_products_overflow_reaches_no_key_behind_it():
    """Its normaliser is infinite, and 1 / n_i is 0, as if it saw nothing."""
    q, k, v, dy = qkv(0)
    k[0], q[3] = 1e200, -5.0
    want = pass_of(q, k, v, dy, causal=True)
    q[3] = 1e200
    with np.errstate(over="ignore", invalid="ignore"):
        got = pass_of(q, k, v, dy, causal=True)
    assert np.isnan(got[0][3]).all()
    assert_same([a[4:] for a in got[1:]], [a[4:] for a in want[1:]], rtol=1e-11, atol=1e-12)


def starts(q, k, v, mask=None):
    with chunks_of(4):
        return [s.rows.start for s in MODULE._steps(q, k, v, True, mask) if s.rows.stop]


@pytest.mark.parametrize("n", [10, 9, 8, 7])
def test_a_wild_key_opens_a_chunk_and_a_wild_query_closes_one(n):
    q, k, v, _ = qkv(0, n_q=7, n_k=n)
    o = n - 7
    k[o + 2, 1], v[o + 4, 0], q[5, 2] = np.nan, np.inf, 1e200
    assert starts(q, k, v) == [0, 2, 4, 6]
    assert starts(q, k, v, np.arange(n) < o + 2) == [0, 4, 6]
    turned = [np.stack([np.zeros_like(a), a], -1).view(complex)[..., 0] for a in (q, k, v)]
    assert starts(*turned) == [0, 2, 4, 6]  # all of it in imaginary parts


def test_where_all_is_lost_chunks_are_as_long_as_ever():
    """Keys up to the first NaN of their sequence and queries from the last on open chunks."""
    q, k, v, _ = qkv(0, 2, n_q=12, n_k=12)
    assert starts(np.full_like(q, np.nan), np.full_like(k, np.nan), v) == [0, 4, 8]
    k[0, 3], k[0, 5:], k[1, 6:], q[0, 9], q[0, :8] = 1e200, np.nan, np.inf, 1e200, np.nan
    assert starts(q, k, v) == [0, 3, 4, 5, 6, 8, 10]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_what_is_wild_is_found_one_by_one(dtype):
    """Against a loop over sequences, with numbers just below the limit and at it, and NaN."""
    parts = 2 if dtype is np.complex128 else 1
    for seed in range(150):
        rng = np.random.default_rng(seed)
        lead, n, d = tuple(rng.integers(1, 3, rng.integers(0, 3))), *rng.integers(0, (6, 4))
        limit = np.array(math.sqrt(float(np.finfo(dtype).max) / max(parts * d, 1)), dtype).real
        below = np.nextafter(limit, limit.dtype.type(0))
        palette = np.array([0, 1, below, -below, limit, -limit, np.nan, np.inf, -np.inf])
        chances = rng.choice([0.0, 0.02, 0.1]) * (np.arange(9) > 3)
        chances[:4] = (1 - chances.sum()) / 4
        x = np.zeros((*lead, n, d), dtype)
        for part in (x.real, x.imag)[:parts]:
            part[...] = rng.choice(palette, x.shape, p=chances)
        mask = rng.random((*lead, n)) < 0.8 if seed % 2 else None
        want = set()
        for at in np.ndindex(lead):
            for j in range(n):
                entries = np.abs([p[(*at, j)] for p in (x.real, x.imag)])
                if (mask is None or mask[(*at, j)]) and not np.all(entries < limit):
                    want.add(j)
                    if not np.isfinite(entries).all():
                        break
        assert MODULE._wild(x, mask) == sorted(want)


# Masks and queries that see nothing


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("content", GARBAGE)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_masked_keys_may_hold_anything_and_get_no_gradient(dtype, content, causal):
    q, k, v, dy = (a.astype(dtype) for a in qkv(0, 3, 2))
    real = np.arange(7) < np.array([7, 2, 0])[:, None, None]
    real[0, 0, [0, 4]] = False
    spoilt = ~real[..., None]
    options = {"causal": causal, "key_mask": real}
    dirty = (np.where(spoilt, dtype(content), a) for a in (k, v))
    with chunks_of(3):
        got = pass_of(q, *dirty, dy, **options)
        clean = pass_of(q, np.where(spoilt, 0, k), np.where(spoilt, 0, v), dy, **options)
    assert_same(got, clean)
    for gradient in got[2:]:
        np.testing.assert_array_equal(gradient[np.broadcast_to(spoilt, gradient.shape)], 0)


def test_a_gradient_of_nearly_all_that_a_float_holds_meets_no_masked_value():
    """Not even one of 1: a sum over a dy of width 2 would overflow."""
    q, k, v, dy = qkv(0, n_q=1)
    v, dy = 0.01 * v, np.ones_like(dy)
    options = {"causal": True, "key_mask": np.arange(7) % 2 == 1}
    want = pass_of(q, k, v, dy, **options)
    got = pass_of(q, k, v, 1e308 * dy, **options)
    assert_same([1e-308 * a for a in got[1:]], want[1:], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("causal", [False, True])
def test_a_masked_key_need_not_be_there(causal):
    q, k, v, dy = qkv(0, 2, n_q=3)
    real = np.array([True, False, True, True, False, True, True])
    if causal:
        real[-3:] = True  # so that the last queries keep their places
    masked = pass_of(q, k, v, dy, causal=causal, key_mask=real)
    alone = pass_of(q, k[:, real], v[:, real], dy, causal=causal)
    assert_same(masked[:2], alone[:2], rtol=1e-12)
    assert_same([g[:, real] for g in masked[2:]], alone[2:], rtol=1e-12)


@pytest.mark.parametrize("query", [1.0, 3e38, np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("chunk", [2, 64])
def test_queries_that_see_nothing_give_zero_and_get_and_give_no_gradient(chunk, dtype, query):
    q, k, v, dy = (a.astype(dtype) for a in qkv(0, 3, n_q=9))
    mask = np.ones((3, 7), bool)
    mask[0], mask[1, :3] = False, False
    dead = ~who_sees_whom(9, 7, True, mask).any(axis=-1)
    np.testing.assert_array_equal(np.sum(dead, axis=1), [9, 5, 2])
    options = {"causal": True, "key_mask": mask}
    with chunks_of(chunk):
        want = pass_of(q, k, v, np.where(dead[..., None], 0, dy), **options)
        q[dead] = query
        y, dq, dk, dv = pass_of(q, k, v, dy, **options)
    np.testing.assert_array_equal(y[dead], 0)
    np.testing.assert_array_equal(dq[dead], 0)
    tolerance = {"rtol": 2e-5 if dtype is np.float32 else 1e-12, "atol": 1e-6}
    assert_same([y[~dead], dq[~dead]], [g[~dead] for g in want[:2]], **tolerance)
    assert_same([dk, dv], want[2:], **tolerance)
    assert not dk[0].any()
    assert not dv[0].any()


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("mask", [None, np.ones(0, bool)])
def test_no_keys_at_all(causal, mask):
    q, k, v, dy = qkv(0, 2, n_k=0)
    q[0] = np.nan
    y, dq, dk, dv = pass_of(q, k, v, dy, causal=causal, key_mask=mask)
    np.testing.assert_array_equal(y, np.zeros((2, 7, 2)))
    np.testing.assert_array_equal(dq, np.zeros((2, 7, 3)))
    assert (dk.shape, dv.shape) == ((2, 0, 3), (2, 0, 2))


@pytest.mark.parametrize("causal", [False, True])
def test_no_queries_at_all_leave_keys_without_gradient(causal):
    y, dq, dk, dv = pass_of(*qkv(0, 2, n_q=0), causal=causal)
    assert (y.shape, dq.shape) == ((2, 0, 2), (2, 0, 3))
    assert not dk.any()
    assert not dv.any()


# Underflow


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("below", [0.0, 50.0, 120.0, 1e4, 1e30])
@pytest.mark.parametrize("key_mask", [None, np.arange(7) != 5])
def test_a_query_however_far_below_zero_keeps_its_weights(key_mask, below, dtype):
    """phi(q) underflows, but a factor common to a row changes nothing."""
    q, k, v, dy = (a.astype(dtype) for a in qkv(0, 2))
    q = np.trunc(q) - 4  # all below 0, and differences that survive the subtraction
    options = {"causal": True, "key_mask": key_mask}
    want = pass_of(q, k, v, dy, **options)
    if below == 1e30:
        q, want = np.full_like(q, -8), pass_of(np.full_like(q, -4), k, v, dy, **options)
    got = pass_of(q - dtype(below), k, v, dy, **options)
    assert_same(got, want, rtol=1e-4 if dtype is np.float32 else 1e-11, atol=1e-5)


@pytest.mark.parametrize(
    ("dtype", "kept", "lost"), [(np.float32, -69, -74), (np.float64, -670, -675)]
)
@pytest.mark.parametrize("causal", [False, True])
def test_a_normaliser_without_digits_counts_as_nothing_to_attend_to(causal, dtype, kept, lost):
    q, k, v, dy = (a.astype(dtype) for a in qkv(0, 2, n_q=5, n_k=5, d_k=1))
    q = -np.abs(q)  # features of 1 each, after exp(-m)
    k[:] = kept
    y, *gradients = pass_of(q, k, v, dy, causal=causal)
    want = quadratic(np.zeros_like(q), np.zeros_like(k), v, causal)
    np.testing.assert_allclose(y, want, rtol=1e-4)
    assert all(np.isfinite(g).all() for g in gradients)
    for far in (lost, lost - 40, 10 * lost, -1e30):
        k[:] = far
        for out in pass_of(q, k, v, dy, causal=causal):
            np.testing.assert_array_equal(out, 0)


def test_keys_that_underflow_beside_others_weigh_nothing():
    q, k, v, dy = (a.astype(np.float32) for a in qkv(0, 2))
    k[:, [2, 5]] = -200
    got = pass_of(q, k, v, dy)
    want = pass_of(q, k, v, dy, key_mask=~np.isin(np.arange(7), [2, 5]))
    assert_same(got, want, rtol=1e-5, atol=1e-7)


# Time and memory grow with n


def test_memory_grows_with_n():
    """Peaks of a whole pass: no n x n, which would be 64 MB at 4,096 and 256 MB at 8,192."""
    peaks = []
    for n in (4096, 8192):
        arrays = [np.ones((n, 16), np.float32) for _ in range(4)]
        tracemalloc.start()
        pass_of(*arrays, causal=True)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert peaks[-1] < 12 * arrays[0].nbytes
    assert 1.6 < peaks[1] / peaks[0] < 2.2


def test_only_arrays_of_length_n_are_saved():
    q, k, v, _ = qkv(0, 2)
    mask = random_mask(0, 7)
    y, saved = F.linear_attention(q, k, v, causal=True, key_mask=mask)
    assert all(a is b for a, b in zip(saved[:4], (q, k, v, mask), strict=True))
    assert saved.y is y
    assert saved.t.shape == (2, 7, 1)


# Dtypes and refusals


@pytest.mark.parametrize("causal", [False, True])
def test_float32_stays_float32_and_close(causal):
    singles = [a.astype(np.float32) for a in qkv(0, 2, 3, n_q=300, n_k=300, d_k=16, d_v=16)]
    mask = random_mask(0, 300)
    got = pass_of(*singles, causal=causal, key_mask=mask)
    want = pass_of(*(a.astype(np.float64) for a in singles), causal=causal, key_mask=mask)
    assert all(a.dtype == np.float32 for a in got)
    assert_same(got, want, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("which", range(4))
def test_complex_meets_float64_in_any_argument(which):
    arrays, mask = qkv(0, 2), random_mask(0, 7)
    want = pass_of(*arrays, causal=True, key_mask=mask)
    arrays[which] = arrays[which].astype(complex)
    got = pass_of(*arrays, causal=True, key_mask=mask)
    assert_same(got, want, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    ("q", "k", "v", "said"),
    [
        ((3, 4), (5, 3), (5, 2), r"linear_attention: q \(3, 4\), k \(5, 3\), v \(5, 2\) do n"),
        ((3, 4), (5, 4), (6, 2), r"k \(5, 4\), v \(6, 2\) do not fit; .* v \(\.\.\., n_k, d_v\)"),
        ((4,), (5, 4), (5, 2), r"q \(4,\)"),
        ((3, 0), (5, 0), (5, 2), r"with d_k at least 1"),
        ((2, 3, 4), (3, 5, 4), (5, 2), r"leading axes of q \(2, 3, 4\), k \(3, 5, 4\), v \(5, 2\)"),
        ((2, 3, 4), (2, 5, 4), (3, 5, 2), r"v \(3, 5, 2\) do not broadcast; from the right, each"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(q, k, v, said):
    with pytest.raises(ValueError, match=said):
        F.linear_attention(np.ones(q), np.ones(k), np.ones(v))


@pytest.mark.parametrize(
    ("mask", "error", "said"),
    [
        (np.ones(5), TypeError, r"key_mask is float64 \(5,\); expected a bool array of .* use att"),
        ([True] * 5, TypeError, r"linear_attention: key_mask is a list; expected a bool array"),
        (np.True_, TypeError, r"key_mask is bool \(\); expected"),
        (np.array(True), ValueError, r"key_mask \(\) does not fit \(2, 5\)"),
        (np.ones(4, bool), ValueError, r"key_mask \(4,\) does not fit \(2, 5\), the leading axes"),
        (np.ones(1, bool), ValueError, r"key_mask \(1,\) does not fit .* its last axis is n_k"),
        (np.ones((3, 5), bool), ValueError, r"key_mask \(3, 5\) does not fit \(2, 5\)"),
        (np.ones((1, 2, 5), bool), ValueError, r"key_mask \(1, 2, 5\) does not fit \(2, 5\)"),
    ],
)
def test_masks_that_do_not_fit_are_refused(mask, error, said):
    q, k, v, _ = qkv(0, 2, n_q=3, n_k=5)
    with pytest.raises(error, match=said):
        F.linear_attention(q, k, v, key_mask=mask)


@pytest.mark.parametrize(
    ("causal", "given"),
    [("no", "'no'"), (1, "1"), (None, "None"), (np.array([True, False]), r"bool \(2,\)")],
)
def test_causal_is_a_flag(causal, given):
    q, k, v, _ = qkv(0)
    said = f"linear_attention: causal is {given}; expected True or False. .* mask of keys"
    with pytest.raises(TypeError, match=said):
        F.linear_attention(q, k, v, causal=causal)


def test_wrong_dtypes_and_gradients_are_refused():
    q, k, v, dy = qkv(0, 2)
    with pytest.raises(TypeError, match="linear_attention: q is float64 but v is float32; NumPy"):
        F.linear_attention(q, k, v.astype(np.float32))
    _, saved = F.linear_attention(q, k, v)
    with pytest.raises(ValueError, match=r"linear_attention_backward: dy is \(7, 2\) but the outp"):
        F.linear_attention_backward(dy[0], saved)
    with pytest.raises(TypeError, match="saved is float64 but dy is float32"):
        F.linear_attention_backward(dy.astype(np.float32), saved)
