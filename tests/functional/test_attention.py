"""attention: values, gradient, masks, dead rows, symmetries, dropout, extremes, refusals."""

import math
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.oracle import assert_gradients
from support.strategies import leads, normal, seeds

import npformer.functional as F
from npformer import biases, masks
from npformer.functional._random_bits import kept
from npformer.masks import Span

WHOLE = sys.modules["npformer.functional.attention"]
short = st.integers(1, 4)
GARBAGE = [0.0, -7.5, 1e30, 3e38, np.inf, -np.inf, np.nan]


@pytest.fixture(scope="module", params=["textbook", "tiled"], autouse=True)
def method(request):
    """Everything holds for both ways; tiles are so small here that most cases have several."""
    textbook = request.param == "textbook"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WHOLE, "_TEXTBOOK_UP_TO", math.inf if textbook else -1)
        patch.setattr(WHOLE, "TILE", (2, 3))
        yield request.param


def how(saved):
    """Where a pass keeps its seed and other options."""
    return getattr(saved, "how", saved)


def qkv(seed, *lead, n_q=3, n_k=5, d_k=4, d_v=2):
    """q, k, v and dy."""
    shapes = (n_q, d_k), (n_k, d_k), (n_k, d_v), (n_q, d_v)
    return [normal(seed + i, *lead, *shape) for i, shape in enumerate(shapes)]


def pass_of(q, k, v, dy, **options):
    """The output and the gradients of q, k, v and bias."""
    y, saved = F.attention(q, k, v, **options)
    return y, *F.attention_backward(dy, saved)


def assert_same(got, want, **tolerance):
    """Equal bit for bit, unless a tolerance is given.

    Tiles are equal to rounding at the least: whether they look for the maximum of a row goes by
    all that is passed in.
    """
    if not tolerance and WHOLE._TEXTBOOK_UP_TO < 0:
        single = any(a is not None and a.dtype == np.float32 for a in got)
        tolerance = {"rtol": 1e-5, "atol": 1e-5} if single else {"rtol": 1e-11, "atol": 1e-13}
    for a, b in zip(got, want, strict=True):
        if tolerance and a is not None:
            np.testing.assert_allclose(a, b, **tolerance)
        else:
            np.testing.assert_array_equal(a, b)


# Values and gradient


def test_value_by_hand():
    """Scores ln 2 and 0 give the weights 2/3 and 1/3; scores 0 and 0 the mean."""
    q, k = np.array([[math.log(2)], [0.0]]), np.array([[1.0], [0.0]])
    v = np.array([[3.0, 0.0], [6.0, -9.0]])
    np.testing.assert_allclose(F.attention(q, k, v)[0], [[4, -3], [4.5, -4.5]], rtol=1e-14)
    y, _ = F.attention(q, k, v, bias=np.log(np.array([1.0, 2.0])))  # now 2 : 2 and 1 : 2
    np.testing.assert_allclose(y, [[4.5, -4.5], [5, -6]], rtol=1e-14)
    y, _ = F.attention(q, k, v, mask=np.array([False, True]))
    np.testing.assert_array_equal(y, [v[1], v[1]])


@given(seeds, leads(), short, short, short, short)
def test_value_by_loops(seed, lead, n_q, n_k, d_k, d_v):
    q, k, v, _ = qkv(seed, *lead, n_q=n_q, n_k=n_k, d_k=d_k, d_v=d_v)
    held = np.random.default_rng(seed).random((n_q, n_k)) < 0.6
    bias = normal(seed, n_q, n_k)
    y, _ = F.attention(q, k, v, mask=held, bias=bias, scale=0.7)
    for b in np.ndindex(*lead):
        for i in range(n_q):
            who = [j for j in range(n_k) if held[i, j]]
            e = [math.exp(0.7 * (q[b][i] @ k[b][j]) + bias[i, j]) for j in who]
            want = sum((e_j * v[b][j] for e_j, j in zip(e, who, strict=True)), np.zeros(d_v))
            np.testing.assert_allclose(y[b][i], want / (sum(e) or 1), rtol=1e-11, atol=1e-13)


@given(
    seeds,
    leads(),
    *[st.integers(1, 3)] * 4,
    st.sampled_from([None, "causal", "random"]),
    st.sampled_from([0.0, 0.4]),
)
def test_gradient(seed, lead, n_q, n_k, d_k, d_v, masked, dropout):
    q, k, v, dy = qkv(seed, *lead, n_q=n_q, n_k=n_k, d_k=d_k, d_v=d_v)
    random = np.random.default_rng(seed).random((n_q, n_k)) < 0.6
    options = {
        "mask": {None: None, "causal": masks.causal(), "random": random}[masked],
        "dropout": dropout,
    }
    assert_gradients(
        lambda q, k, v, b: F.attention(q, k, v, bias=b, rng=np.random.default_rng(seed), **options),
        F.attention_backward,
        [q, k, v, normal(seed + 4, n_q, n_k)],
        dy,
        rtol=1e-8,
    )


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize(
    ("q", "k", "v", "bias"),
    [
        ((2, 3), (1, 3), (3,), (3, 1, 4)),
        ((3,), (2, 1), (1, 1), (2, 1, 1, 1)),
        ((), (3,), (2, 1), (4,)),
        ((2, 1), (), (5, 2, 3), (2, 1, 1, 4)),
    ],
)
def test_gradient_of_what_is_broadcast_is_summed(q, k, v, bias, dropout):
    arrays = normal(0, *q, 2, 3), normal(1, *k, 4, 3), normal(2, *v, 4, 2), normal(3, *bias)
    y, _ = F.attention(*arrays[:3], bias=arrays[3])
    assert_gradients(
        lambda q, k, v, b: F.attention(
            q, k, v, bias=b, dropout=dropout, rng=np.random.default_rng(0)
        ),
        F.attention_backward,
        arrays,
        normal(4, *y.shape),
        rtol=1e-9,
    )


def test_gradients_follow_the_signature():
    y, dq, dk, dv, dbias = pass_of(*qkv(0))
    assert dbias is None
    assert [g.shape for g in (y, dq, dk, dv)] == [(3, 2), (3, 4), (5, 4), (5, 2)]


@given(seeds)
def test_backward_is_linear_in_dy(seed):
    q, k, v, dy = qkv(seed, 2)
    other, bias = normal(seed + 9, *dy.shape), normal(seed + 8, 3, 5)
    options = {"bias": bias, "mask": masks.causal(), "dropout": 0.3}
    _, saved = F.attention(q, k, v, rng=np.random.default_rng(seed), **options)
    one, two = F.attention_backward(dy, saved), F.attention_backward(other, saved)
    both = F.attention_backward(2 * dy - 3 * other, saved)
    assert_same(both, [2 * a - 3 * b for a, b in zip(one, two, strict=True)], atol=1e-12)


def test_sum_over_a_batch_is_the_batch_of_sums():
    q, k, v, dy = qkv(0, 3, 2)
    whole, parts = pass_of(q, k, v, dy), zip(q, k, v, dy, strict=True)
    for at, part in enumerate(parts):
        assert_same(pass_of(*part)[:4], [a[at] for a in whole[:4]], rtol=1e-13, atol=1e-15)
    shared = pass_of(q, k[0], v[0], dy)  # keys and values in common: gradients are summed
    single = [pass_of(a, k[0], v[0], b) for a, b in zip(q, dy, strict=True)]
    assert_same(shared[2:4], [sum(g[i] for g in single) for i in (2, 3)], rtol=1e-12, atol=1e-14)


# What does not matter


@given(seeds, leads(), short, short)
def test_a_score_common_to_a_row_changes_nothing(seed, lead, n_q, n_k):
    q, k, v, dy = qkv(seed, *lead, n_q=n_q, n_k=n_k)
    bias = normal(seed, n_q, n_k)
    y, *_, dbias = pass_of(q, k, v, dy, bias=bias)
    moved, *_ = pass_of(q, k, v, dy, bias=bias + normal(seed + 1, n_q, 1))
    np.testing.assert_allclose(moved, y, atol=1e-12)
    np.testing.assert_allclose(np.sum(dbias, axis=-1), 0, atol=1e-13)


@given(seeds, leads())
def test_equal_values_are_returned_and_leave_no_gradient_to_the_scores(seed, lead):
    """Weights sum to 1. So a gradient test with equal values, as with one key, tests no scores."""
    q, k, v, dy = qkv(seed, *lead)
    v = np.broadcast_to(v[..., :1, :], v.shape)
    y, dq, dk, dv, _ = pass_of(q, k, v, dy)
    np.testing.assert_allclose(y, np.broadcast_to(v[..., :1, :], y.shape), rtol=1e-13)
    np.testing.assert_allclose(dq, 0, atol=1e-13)
    np.testing.assert_allclose(dk, 0, atol=1e-13)
    np.testing.assert_allclose(np.sum(dv, axis=-2), np.sum(dy, axis=-2), atol=1e-13)


@given(seeds, st.permutations(range(5)), st.permutations(range(3)))
def test_order_of_keys_does_not_matter_and_that_of_queries_passes_through(seed, keys, queries):
    q, k, v, dy = qkv(seed, 2)
    mask, bias = np.random.default_rng(seed).random((3, 5)) < 0.6, normal(seed, 3, 5)
    y, dq, dk, dv, dbias = pass_of(q, k, v, dy, mask=mask, bias=bias)
    moved = pass_of(q, k[:, keys], v[:, keys], dy, mask=mask[:, keys], bias=bias[:, keys])
    assert_same(moved, [y, dq, dk[:, keys], dv[:, keys], dbias[:, keys]], rtol=1e-11, atol=1e-13)
    moved = pass_of(q[:, queries], k, v, dy[:, queries], mask=mask[queries], bias=bias[queries])
    want = [y[:, queries], dq[:, queries], dk, dv, dbias[queries]]
    assert_same(moved, want, rtol=1e-11, atol=1e-13)


@given(seeds, st.permutations(range(4)))
def test_heads_do_not_see_each_other(seed, order):
    """Those of a permuted order are the permuted ones, bit for bit."""
    arrays, bias = qkv(seed, 2, 4), normal(seed, 4, 3, 5)
    want = pass_of(*arrays, bias=bias, mask=masks.causal())
    got = pass_of(*(a[:, order] for a in arrays), bias=bias[order], mask=masks.causal())
    assert_same(got, [*(a[:, order] for a in want[:4]), want[4][order]])


@given(seeds, st.integers(1, 3), st.integers(1, 3), st.sampled_from([0.0, 0.5]))
def test_grouped_queries_equal_repeated_keys(seed, groups, each, dropout):
    """Nothing but the copies differs, dropout's bits included; their gradients are summed."""
    q, _, _, dy = qkv(seed, 2, groups, each)
    _, k, v, _ = qkv(seed, 2, groups, 1)
    bias = normal(seed, groups * each, 3, 5)
    mask = masks.causal() & (np.random.default_rng(seed).random((2, groups * each, 3, 5)) < 0.8)

    def heads(x):
        return np.broadcast_to(x, (2, groups, each, *x.shape[-2:])).reshape(2, -1, *x.shape[-2:])

    y, dq, dk, dv, dbias = pass_of(
        q, k, v, dy,
        mask=mask.grouped(groups), bias=masks.split_heads(bias, groups),
        dropout=dropout, rng=np.random.default_rng(seed),
    )  # fmt: skip
    want = pass_of(
        heads(q), heads(k), heads(v), heads(dy),
        mask=mask, bias=bias, dropout=dropout, rng=np.random.default_rng(seed),
    )  # fmt: skip
    got = heads(y), heads(dq), dk[:, :, 0], dv[:, :, 0], dbias.reshape(bias.shape)
    sums = [x.reshape(2, groups, each, *x.shape[-2:]).sum(2) for x in want[2:4]]
    assert_same(got, [*want[:2], *sums, want[4]], rtol=1e-11, atol=1e-13)


# Masks


@given(seeds, st.booleans(), st.integers(0, 3), st.sampled_from([np.float32, np.float64]))
def test_causality_is_exact(seed, dropped, t, dtype):
    """A later token changes no bit of an earlier output, and gets a gradient of exactly 0."""
    arrays = [a.astype(dtype) for a in qkv(seed, 2, n_q=5, n_k=5)]
    options = {"mask": masks.causal(), "dropout": 0.5 if dropped else 0.0}

    def outputs(q, k, v, dy):
        return pass_of(q, k, v, dy, rng=np.random.default_rng(seed), **options)

    changed = [a.copy() for a in arrays]
    for a, other in zip(changed, qkv(seed + 9, 2, n_q=5, n_k=5), strict=True):
        a[:, t + 1 :] = 100 * other[:, t + 1 :]
    before, after = outputs(*arrays), outputs(*changed)
    assert_same([after[0][:, : t + 1], after[1][:, : t + 1]], [a[:, : t + 1] for a in before[:2]])
    arrays[3][:, t + 1 :] = 0  # the loss looks at tokens up to t alone
    for gradient in outputs(*arrays)[1:4]:
        np.testing.assert_array_equal(gradient[:, t + 1 :], 0)


@pytest.mark.parametrize(("n_q", "n_k"), [(2, 5), (5, 2), (1, 4), (4, 1)])
def test_causal_queries_stand_at_the_last_keys(n_q, n_k):
    q, k, v, _ = qkv(0, n_q=n_q, n_k=n_k)
    p = F.attention_weights(q, k, mask=masks.causal())
    for i in range(n_q):
        seen = max(0, i + 1 + n_k - n_q)
        assert np.all(p[i, :seen] > 0)
        np.testing.assert_array_equal(p[i, seen:], 0)
    whole, _ = F.attention(normal(1, 9, 4), k, v, mask=masks.causal())
    last, _ = F.attention(normal(1, 9, 4)[-2:], k, v, mask=masks.causal())
    np.testing.assert_allclose(last, whole[-2:], rtol=1e-13)  # as when decoding step by step


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("content", GARBAGE)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_padded_keys_may_hold_anything_and_get_no_gradient(dropout, dtype, content, side):
    """Bit for bit, whoever masks them: padding, a boolean array, or a bias of -inf."""
    q, k, v, dy = (a.astype(dtype) for a in qkv(0, 3, 2))
    padding = masks.padding(np.array([5, 2, 0]), side)
    real = padding.dense(3, 5)[:, None]
    bias = np.where(real, 0, -np.inf).astype(dtype)
    spoilt = ~real[:, :, 0, :, None]

    def outputs(*arrays, **options):
        return pass_of(*arrays, dropout=dropout, rng=np.random.default_rng(0), **options)

    clean = outputs(q, np.where(spoilt, 0, k), np.where(spoilt, 0, v), dy, mask=padding)
    dirty_k, dirty_v = (np.where(spoilt, dtype(content), a) for a in (k, v))
    for options in ({"mask": padding}, {"mask": real}, {"bias": bias}):
        got = outputs(q, dirty_k, dirty_v, dy, **options)
        assert_same(got[:4], clean[:4])
        for gradient in got[2:4]:
            np.testing.assert_array_equal(gradient[np.broadcast_to(spoilt, gradient.shape)], 0)
    if not dropout:  # whose bits go by the place: the padding need not be there at all
        alone = pass_of(q[1], *(a[1][:, real[1, 0, 0]] for a in (k, v)), dy[1])
        rtol = 1e-5 if dtype is np.float32 else 1e-12
        assert_same(alone[:2], [a[1] for a in clean[:2]], rtol=rtol)


@pytest.mark.parametrize("which", [1, 2])
def test_nan_reaches_those_who_look_at_it_and_no_one_else(which):
    arrays = qkv(0, n_q=5)[:3]
    want, _ = F.attention(*arrays, mask=masks.causal())
    arrays[which][3, 0] = np.nan
    y, _ = F.attention(*arrays, mask=masks.causal())
    assert_same([y[:3]], [want[:3]])
    assert np.isnan(y[3:]).any(axis=1).all()


@pytest.mark.parametrize("content", [np.nan, np.inf])
def test_who_looks_at_nan_spoils_no_key_that_it_does_not_look_at(content):
    """The first query's output is lost; the second's keys have finite gradients all the same."""
    held = np.array([[True, True, False, False], [False, False, True, True]])
    q, k, v, dy = qkv(0, n_q=2, n_k=4)
    want = pass_of(q[1:], k[2:], v[2:], dy[1:])
    v[1] = content
    y, dq, dk, dv, _ = pass_of(q, k, v, dy, mask=held)
    assert not np.isfinite(y[0]).any()
    assert_same([y[1:], dq[1:], dk[2:], dv[2:], None], want, rtol=1e-12, atol=1e-13)


def test_values_that_are_not_finite_are_summed_as_any_others():
    """Entry by entry, over the keys that are looked at: several in one head, one in several."""
    q, k, v, _ = qkv(0, 7, n_q=5)
    v[0, 3], v[0, 4, 1], v[1, 3, 1], v[6, 1, 0] = (np.nan, 2), np.inf, -np.inf, np.inf
    y, _ = F.attention(q, k, v, mask=masks.causal())
    p = F.attention_weights(q, k, mask=masks.causal())
    for b, i in np.ndindex(7, 5):
        want = sum(p[b, i, j] * v[b, j] for j in range(i + 1))
        np.testing.assert_allclose(y[b, i], want, rtol=1e-12)
    alone, _ = F.attention(q[0], k[0], v[0], mask=masks.causal())
    np.testing.assert_allclose(alone, y[0], rtol=1e-12)


@pytest.mark.parametrize("query", [1.0, 3e38, np.inf, np.nan])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("how", ["mask", "mask object", "bias"])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_dead_rows_give_zero_and_get_and_give_no_gradient(dropout, how, dtype, query):
    q, k, v, dy = (a.astype(dtype) for a in qkv(0, 2))
    held = np.ones((2, 3, 5), bool)
    held[0, 1] = held[1] = False
    options = {
        "mask": {"mask": held},
        "mask object": {"mask": masks.causal() & held | ~masks.causal() & held},
        "bias": {"bias": np.where(held, 0, -np.inf).astype(dtype)},
    }[how]
    dead = ~held.any(axis=-1)

    def outputs(*arrays, **options):
        return pass_of(*arrays, dropout=dropout, rng=np.random.default_rng(0), **options)

    want = outputs(q, k, v, np.where(dead[..., None], 0, dy), mask=held)
    q[dead] = query
    y, dq, dk, dv, dbias = outputs(q, k, v, dy, **options)
    np.testing.assert_array_equal(y[dead], 0)
    np.testing.assert_array_equal(dq[dead], 0)
    if dbias is not None:
        np.testing.assert_array_equal(dbias[~held], 0)
    assert_same([dk, dv], want[2:4])  # as if their dy were 0
    assert not dk[1].any()
    assert not dv[1].any()


@pytest.mark.parametrize("mask", [None, masks.causal(), np.ones((3, 1), bool)])
def test_no_keys_at_all_leave_all_rows_dead(mask):
    y, dq, dk, dv, _ = pass_of(*qkv(0, 2, n_k=0), mask=mask)
    np.testing.assert_array_equal(y, np.zeros((2, 3, 2)))
    np.testing.assert_array_equal(dq, np.zeros((2, 3, 4)))
    assert (dk.shape, dv.shape) == ((2, 0, 4), (2, 0, 2))


def test_no_queries_at_all_leave_keys_without_gradient():
    y, _, dk, dv, _ = pass_of(*qkv(0, 2, n_q=0), mask=masks.causal())
    assert y.shape == (2, 0, 2)
    assert not dk.any()
    assert not dv.any()


@given(seeds, leads(), short, short, st.floats(0, 1))
def test_rows_of_weights_sum_to_one_or_are_zero(seed, lead, n_q, n_k, share):
    q, k, v, _ = qkv(seed, *lead, n_q=n_q, n_k=n_k)
    held = np.random.default_rng(seed).random((*lead, n_q, n_k)) < share
    p = F.attention_weights(q, k, mask=held, bias=normal(seed, n_k))
    np.testing.assert_array_equal(p > 0, held)
    np.testing.assert_allclose(np.sum(p, axis=-1), held.any(axis=-1), rtol=1e-14)
    _, saved = F.attention(q, k, v, mask=held, bias=normal(seed, n_k), method="textbook")
    np.testing.assert_array_equal(saved.p, p)


@pytest.mark.parametrize("scale", [1.0, -1.0])
def test_masked_weights_are_exactly_zero_at_scores_of_ten_thousand(scale):
    """Where the largest score of all is masked, and where what is left is far below it."""
    q, k = np.array([[1e2], [-1e2]], np.float32), np.array([[1e2], [-1e2], [0]], np.float32)
    v = np.array([[1.0], [2.0], [3.0]], np.float32)
    for masked in range(3):
        held = np.arange(3) != masked
        for options in ({"mask": held}, {"bias": np.where(held, 0, -np.inf).astype(np.float32)}):
            p = F.attention_weights(q, k, scale=scale, **options)
            best = np.argmax(np.where(held, scale * q * k.T, -np.inf), axis=1)
            np.testing.assert_array_equal(p, np.eye(3)[best])
            y, *grads = pass_of(q, k, v, np.ones((2, 1), np.float32), scale=scale, **options)
            np.testing.assert_array_equal(y[:, 0], best + 1)
            assert all(np.all(g == 0) for g in (*grads[:2], grads[2][masked]))
            assert all(a.dtype == np.float32 for a in (y, p, *grads[:3]))


# Scale


@pytest.mark.parametrize("d_k", [1, 16, 256])
def test_the_default_scale_keeps_the_variance_of_scores_at_one(d_k):
    """A row's scores are its ln p but for a constant: differences of two have variance 2."""
    q, k = normal(0, 400, 8, d_k), normal(1, 400, 9, d_k)
    p = F.attention_weights(q, k)
    np.testing.assert_array_equal(p, F.attention_weights(q, k, scale=1 / math.sqrt(d_k)))
    differences = np.diff(np.log(p), axis=-1)
    assert abs(np.var(differences) / 2 - 1) < 0.1
    half = np.diff(np.log(F.attention_weights(q, k, scale=0.5 / math.sqrt(d_k))), axis=-1)
    np.testing.assert_allclose(half, differences / 2, atol=1e-12)


def test_without_the_scale_wide_heads_saturate():
    """What it is there for: softmax's slope p (1 - p) does not vanish with the width."""
    for d_k, factor in ((1, 1), (16, 2), (256, 8)):
        q, k = normal(0, 100, 8, d_k), normal(1, 100, 9, d_k)
        p, raw = F.attention_weights(q, k), F.attention_weights(q, k, scale=1.0)
        assert np.mean(p * (1 - p)) >= factor * np.mean(raw * (1 - raw))


# Dropout


def test_dropout_by_the_bits_of_its_seed():
    q, k, v, dy = qkv(0, 2, 3)
    y, saved = F.attention(q, k, v, mask=masks.causal(), dropout=0.4, rng=np.random.default_rng(1))
    lead = np.arange(6, dtype=np.uint64).reshape(2, 3)
    keep = kept(how(saved).seed, lead, Span(0, 3, 3), Span(0, 5, 5), 0.4)
    p = F.attention_weights(q, k, mask=masks.causal())
    np.testing.assert_allclose(y, (p * keep / 0.6) @ v, rtol=1e-13)
    dv = F.attention_backward(dy, saved)[2]
    np.testing.assert_allclose(dv, (p * keep / 0.6).swapaxes(-1, -2) @ dy, rtol=1e-13)


def test_what_is_dropped_is_not_looked_at():
    """A value of NaN reaches neither output nor gradient of a query whose weight for it fell."""
    q, k, v, dy = qkv(0, n_q=20)
    v[3] = 0
    want = pass_of(q, k, v, dy, dropout=0.5, rng=np.random.default_rng(1))
    v[3] = np.nan
    y, saved = F.attention(q, k, v, dropout=0.5, rng=np.random.default_rng(1))
    dropped = ~kept(how(saved).seed, np.zeros((), np.uint64), Span(0, 20, 20), Span(3, 4, 5), 0.5)[
        :, 0
    ]
    assert 0 < dropped.sum() < 20
    got = y, F.attention_backward(dy, saved)[0]
    assert_same([a[dropped] for a in got], [a[dropped] for a in want[:2]])
    assert all(np.isnan(a[~dropped]).all() for a in got)


def test_a_generator_gives_one_seed_a_call_whatever_the_size():
    rng, twin = np.random.default_rng(5), np.random.default_rng(5)
    same = [how(F.attention(*qkv(0)[:3], dropout=0.5, rng=r)[1]).seed for r in (rng, twin)]
    F.attention(*qkv(0, 4, 4)[:3], dropout=0.5, rng=rng)
    F.attention(*qkv(0)[:3], dropout=0.5, rng=twin)
    following = [how(F.attention(*qkv(0)[:3], dropout=0.5, rng=r)[1]).seed for r in (rng, twin)]
    assert same[0] == same[1] != following[0] == following[1]


@pytest.mark.parametrize("rate", [0.5, 0.0])
def test_without_generator_or_rate_nothing_is_dropped(rate):
    rng = None if rate else np.random.default_rng(0)
    q, k, v, dy = qkv(0)
    assert_same(pass_of(q, k, v, dy, dropout=rate, rng=rng)[:4], pass_of(q, k, v, dy)[:4])
    assert rng is None or rng.random() == np.random.default_rng(0).random()


def test_dropout_keeps_the_mean():
    """Over 2,000 heads that are all alike, within five sigma of each output."""
    q, k, v, _ = qkv(0)
    want, _ = F.attention(q, k, v)
    alike = np.broadcast_to(q, (2000, *q.shape))
    y, _ = F.attention(alike, k, v, dropout=0.3, rng=np.random.default_rng(0))
    assert np.all(np.abs(np.mean(y, axis=0) - want) < 5 * np.std(y, axis=0) / math.sqrt(2000))


@pytest.mark.filterwarnings("ignore:invalid value")  # infinity less infinity, what comes of it
def test_what_overflows_in_ordinary_numbers_is_reported():
    q, k, v, dy = qkv(0, n_q=1)
    _, saved = F.attention(1e20 * q, 1e-20 * k, 1e150 * v)
    with pytest.warns(RuntimeWarning, match="overflow encountered in (matmul|multiply)"):
        F.attention_backward(1e150 * dy, saved)  # whose products with v are still finite


def test_a_value_whose_weight_was_dropped_is_not_looked_at():
    q, k, v, dy = qkv(0, 2, n_q=5)
    v[:, 1] = np.nan
    y, dq, *_ = pass_of(q, k, v, dy, dropout=0.4, rng=np.random.default_rng(0))
    looked = np.isnan(y).any(axis=-1)
    assert looked.any()
    assert not looked.all()
    assert np.isfinite(y[~looked]).all()
    assert np.isfinite(dq[~looked]).all()


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("content", [np.nan, np.inf, 1e300])
def test_a_gradient_at_a_dead_row_may_be_anything(content, dropout):
    q, k, v, dy = qkv(0, 2)
    held = np.ones((3, 5), bool)
    held[1] = False

    def outputs():
        rng = np.random.default_rng(0)
        return pass_of(q, k, v, dy, mask=held, bias=normal(4, 3, 5), dropout=dropout, rng=rng)

    dy[:, 1] = 0
    want = outputs()
    dy[:, 1] = content
    assert_same(outputs(), want)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_a_gradient_that_is_not_finite_stays_with_those_who_were_looked_at(dropout):
    q, k, v, dy = qkv(0, 2, n_q=5)
    dy[:, 2] = np.nan
    options = {"mask": masks.causal(), "bias": normal(4, 5, 5), "dropout": dropout}
    _, dq, dk, dv, dbias = pass_of(q, k, v, dy, rng=np.random.default_rng(0), **options)
    np.testing.assert_array_equal(dbias[2, 3:], 0)
    assert np.isfinite(dq[:, [0, 1, 3, 4]]).all()
    assert np.isfinite(dk[:, 3:]).all()
    assert np.isfinite(dv[:, 3:]).all()
    assert np.isnan(dq[:, 2]).all()
    assert dropout or np.isnan(dv[:, :3]).all()


def test_large_masked_numbers_do_not_overflow_on_the_way():
    q, k, v, dy = (x.astype(np.float32) for x in qkv(0, n_q=5, d_k=64, d_v=64))
    held = np.ones((5, 5), bool)
    held[:, 3] = False
    want = pass_of(q, k, v, 1e18 * dy, mask=held)
    k[3] = v[3] = 1e19
    got = pass_of(q, k, v, 1e18 * dy, mask=held)
    for a, b in zip(got[:4], want[:4], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * np.abs(b).max())


@pytest.mark.parametrize("tame", [None, True])
@pytest.mark.parametrize("hide", ["mask", "bias"])
def test_what_only_the_scale_makes_overflow_is_masked_all_the_same(hide, tame):
    """The key itself, 1e18, is nothing that a product would overflow with."""
    q, k, v, dy = (x.astype(np.float32) for x in qkv(0, n_q=5))
    q, k, scale = 1e-3 * q, 1e-20 * k, 1e24
    bias = np.zeros((5, 5), np.float32)
    bias[:, 3] = -np.inf
    hidden = {"bias": bias} if hide == "bias" else {"mask": bias == 0}
    want = pass_of(q, k, v, dy, **hidden, scale=scale)
    p = F.attention_weights(q, k, **hidden, scale=scale)
    k[3] = 1e18
    assert_same(pass_of(q, k, v, dy, **hidden, scale=scale, tame=tame), want, rtol=1e-5)
    np.testing.assert_array_equal(F.attention_weights(q, k, **hidden, scale=scale), p)


@pytest.mark.parametrize("tame", [None, True])
def test_what_only_dropout_makes_overflow_is_masked_all_the_same(tame):
    """What is kept is enlarged a hundredfold, and with it the gradient of a weight of 0."""
    q, k, v, dy = (x.astype(np.float32) for x in qkv(0, 30, n_q=5))
    held = np.arange(5) % 2 == 0

    def outputs():
        rng = np.random.default_rng(0)
        return pass_of(q, k, v, 1e18 * dy, mask=held, dropout=0.99, rng=rng, tame=tame)

    want = outputs()
    v[:, ~held] = 5e18
    assert any(np.any(x) for x in want[1:3])
    for a, b in zip(outputs()[:4], want[:4], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * np.abs(b).max())


@pytest.mark.parametrize(
    ("scale", "error", "said"),
    [
        (math.nan, ValueError, "scale is nan; expected a finite number"),
        (math.inf, ValueError, "scale is inf; expected a finite number"),
        ("a", TypeError, "scale is 'a'; expected a finite number"),
        (True, TypeError, "scale is True; expected"),
        (1j, TypeError, "scale is 1j; expected"),
    ],
)
def test_a_scale_that_is_none_is_refused(scale, error, said):
    q, k, v, _ = qkv(0)
    with pytest.raises(error, match=said):
        F.attention(q, k, v, scale=scale)
    with pytest.raises(error, match=f"attention_weights: {said}"):
        F.attention_weights(q, k, scale=scale)


@pytest.mark.parametrize(("saved", "what"), [(None, "a NoneType"), (1, "an int")])
def test_what_is_not_saved_cannot_be_undone(saved, what):
    said = f"saved is {what}; expected what attention returned beside its output$"
    with pytest.raises(TypeError, match=said):
        F.attention_backward(np.ones((3, 2)), saved)


# Dtypes and refusals


@pytest.mark.parametrize("shape", [(3, 2, 3, 2), (2, 4, 2), (2, 3, 3), (3, 3, 2), (1, 3, 2)])
def test_a_gradient_of_another_shape_is_refused_and_not_broadcast(shape):
    """Neither where it would broadcast, nor along an axis that a product would sum over."""
    _, saved = F.attention(*qkv(0, 2)[:3])
    with pytest.raises(ValueError, match=r"dy is \(.*\) but the output was \(2, 3, 2\)"):
        F.attention_backward(np.ones(shape), saved)


def test_a_table_s_gradient_is_that_of_the_whole_bias_put_together():
    """With fewer queries than keys, so that it counts where they stand; ALiBi's is none."""
    q, k, v, dy = qkv(0, 2, 3, n_q=4, n_k=7)
    relative = biases.relative(normal(5, 6, 3), max_distance=5)
    got = pass_of(q, k, v, dy, bias=relative)
    want = pass_of(q, k, v, dy, bias=relative.over((2, 3, 4, 7)))
    assert_same(got[:4], want[:4], rtol=1e-11, atol=1e-13)
    distance = np.arange(7) - np.arange(3, 7)[:, None]
    table = np.zeros((6, 3))
    np.add.at(table, biases.buckets(distance, 6, True, 5), want[4].sum(axis=0).transpose(1, 2, 0))
    np.testing.assert_allclose(got[4], table, rtol=1e-11, atol=1e-13)
    assert pass_of(q, k, v, dy, bias=biases.alibi(3))[4] is None


def test_float32_stays_float32_and_close():
    singles = [a.astype(np.float32) for a in qkv(0, 2, 3, n_q=8, n_k=9, d_k=16)]
    bias = normal(4, 8, 9).astype(np.float32)
    options = {"mask": masks.causal(), "dropout": 0.2, "scale": np.float64(0.3)}
    got = pass_of(*singles, bias=bias, rng=np.random.default_rng(0), **options)
    doubles, bias = [a.astype(np.float64) for a in singles], bias.astype(np.float64)
    want = pass_of(*doubles, bias=bias, rng=np.random.default_rng(0), **options)
    assert all(a.dtype == np.float32 for a in got)
    assert_same(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("which", "biased"), [*[(i, True) for i in range(5)], *[(i, False) for i in range(4)]]
)
def test_complex_meets_float64_in_any_argument(which, biased):
    arrays = [*qkv(0, 2), normal(4, 3, 5)]
    arrays[4][0] = [-np.inf] * 4 + [1.0]
    arrays[4][1] = -np.inf

    def outputs():
        return pass_of(*arrays[:4], bias=arrays[4] if biased else None, mask=masks.causal())

    want = outputs()
    arrays[which] = arrays[which].astype(complex)
    assert_same(outputs(), want, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    ("q", "k", "v", "said"),
    [
        ((3, 4), (5, 3), (5, 2), r"attention: q \(3, 4\), k \(5, 3\), v \(5, 2\) do not fit; exp"),
        ((3, 4), (5, 4), (6, 2), r"k \(5, 4\), v \(6, 2\) do not fit; .* v \(\.\.\., n_k, d_v\)"),
        ((4,), (5, 4), (5, 2), r"q \(4,\)"),
        ((3, 0), (5, 0), (5, 2), r"with d_k at least 1"),
        ((2, 3, 4), (3, 5, 4), (5, 2), r"leading axes of q \(2, 3, 4\), k \(3, 5, 4\), v \(5, 2\)"),
        ((2, 3, 4), (2, 5, 4), (3, 5, 2), r"v \(3, 5, 2\) do not broadcast; from the right, each"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(q, k, v, said):
    with pytest.raises(ValueError, match=said):
        F.attention(np.ones(q), np.ones(k), np.ones(v))


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"mask": np.ones((3, 5))}, TypeError, r"mask is float64 \(3, 5\); expected a bool array"),
        (
            {"mask": np.ones((3, 5), int)},
            TypeError,
            r"int64 .* np.asarray\(mask, dtype=bool\); pas",
        ),
        ({"mask": [[True]]}, TypeError, "mask is a list; expected a bool array"),
        ({"mask": np.array(True)}, ValueError, r"mask is a single bool; expected an array"),
        (
            {"mask": np.ones((3, 4), bool)},
            ValueError,
            r"mask \(3, 4\) does not fit scores \(2, 3, 5\)",
        ),
        ({"mask": np.ones(4, bool)}, ValueError, r"mask \(4,\) does not fit scores \(2, 3, 5\)"),
        ({"mask": np.ones((1, 2, 3, 5), bool)}, ValueError, r"mask \(1, 2, 3, 5\) does not fit"),
        ({"mask": masks.padding(np.array([1]))}, ValueError, r"1 lengths do not fit scores \(2, 3"),
        ({"mask": masks.padding(np.array([1, 6]))}, ValueError, r"lengths\[1\] is 6 but there are"),
        ({"bias": np.ones((3, 4))}, ValueError, r"bias \(3, 4\) does not broadcast to the scores"),
        ({"bias": np.ones((2, 1, 1, 1))}, ValueError, r"attention: bias \(2, 1, 1, 1\)"),
        (
            {"bias": np.full(5, np.inf)},
            ValueError,
            r"attention: bias holds \+inf or NaN; expected fi",
        ),
        ({"bias": np.full(5, np.nan)}, ValueError, r"bias holds \+inf or NaN"),
        ({"bias": np.ones(5, np.float32)}, TypeError, r"q is float64 but bias is float32"),
        ({"dropout": 1.0}, ValueError, r"attention: dropout is 1.0; expected 0 <= dropout < 1"),
        ({"dropout": None}, TypeError, r"attention: dropout is None; expected a float"),
        (
            {"dropout": 0.5, "rng": 1},
            TypeError,
            r"attention: rng is 1; expected a numpy.random.Gen",
        ),
    ],
)
def test_wrong_options_are_refused(options, error, said):
    q, k, v, _ = qkv(0, 2)
    with pytest.raises(error, match=said):
        F.attention(q, k, v, **options)


def test_attention_weights_refuses_in_its_own_name():
    with pytest.raises(ValueError, match=r"attention_weights: q \(3, 4\), k \(5, 3\) do not fit"):
        F.attention_weights(np.ones((3, 4)), np.ones((5, 3)))
    with pytest.raises(TypeError, match=r"attention_weights: k is int64 \(5, 4\)"):
        F.attention_weights(np.ones((3, 4)), np.ones((5, 4), int))


def test_wrong_dtypes_and_gradients_are_refused():
    q, k, v, dy = qkv(0, 2)
    with pytest.raises(TypeError, match="attention: q is float64 but v is float32; NumPy would"):
        F.attention(q, k, v.astype(np.float32))
    _, saved = F.attention(q, k, v)
    with pytest.raises(ValueError, match=r"attention_backward: dy is \(3, 2\) but the output was"):
        F.attention_backward(dy[0], saved)
    with pytest.raises(TypeError, match="saved is float64 but dy is float32"):
        F.attention_backward(dy.astype(np.float32), saved)
