"""LinearAttention: the formula, causality, padding, groups, a shared memory, refusals."""

import re

import numpy as np
import pytest
from support.passes import assert_close, assert_equal, gradients, moved
from support.strategies import normal

import npformer.functional as F
from npformer import Run, masks
from npformer.layers import LinearAttention, MultiHeadAttention

D, H = 8, 4
K = D // H


def attention(num_kv_heads=None, seed=0, **options):
    layer = LinearAttention(D, H, num_kv_heads, **options, rng=np.random.default_rng(seed),
                            dtype=np.float64)  # fmt: skip
    return moved(layer, seed)


def phi(x):
    return np.where(x > 0, x + 1, np.exp(x))


def affine(linear, x):
    return x @ linear.weight.value.T + linear.bias.value


def by_hand(layer, x, z, allowed, group=1):
    """Head by head, for x (T, D) and z (S, D)."""
    q, k, v = affine(layer.q_proj, x), affine(layer.k_proj, z), affine(layer.v_proj, z)
    heads = []
    for h in range(H):
        mine, theirs = (slice(i * K, (i + 1) * K) for i in (h, h // group))
        w = phi(q[:, mine]) @ phi(k[:, theirs]).T * allowed
        heads.append(w / w.sum(-1, keepdims=True) @ v[:, theirs])
    return affine(layer.out_proj, np.concatenate(heads, axis=-1))


@pytest.mark.parametrize("num_kv_heads", [4, 2, 1])
def test_the_formula(num_kv_heads):
    x, z, group = normal(0, 3, D), normal(1, 5, D), H // num_kv_heads
    layer, causal = attention(num_kv_heads), attention(num_kv_heads, causal=True)
    assert_close(layer(x, z), by_hand(layer, x, z, np.ones((3, 5)), group))
    assert_close(layer(x), by_hand(layer, x, x, np.ones((3, 3)), group))
    assert_close(causal(x, z), by_hand(layer, x, z, np.tri(3, 5, 2), group))
    real = np.array([True, False, True, True, False])
    assert_close(layer(x, z, mask=real), by_hand(layer, x, z, np.tile(real, (3, 1)), group))


@pytest.mark.parametrize("num_kv_heads", [4, 2])
def test_causality_is_exact(num_kv_heads):
    layer, x = attention(num_kv_heads, causal=True), normal(0, 2, 6, D)
    for t in range(5):
        other = x.copy()
        other[:, t + 1 :] = 9 * normal(1, 2, 5 - t, D)
        y, changed = layer(x), layer(other)
        assert_equal(y[:, : t + 1], changed[:, : t + 1])
        assert not np.array_equal(y[:, t + 1 :], changed[:, t + 1 :])
        dy = np.zeros_like(y)
        dy[:, t] = normal(2, 2, D)
        dx = gradients(layer, dy, x)[0][0]
        assert_equal(dx[:, t + 1 :], 0)
        assert dx[:, : t + 1].all()


@pytest.mark.parametrize("num_kv_heads", [4, 2])
@pytest.mark.parametrize("spoilt", [1e6, np.nan, np.inf])
def test_what_stands_in_padding_reaches_no_output_and_no_input_s_gradient(num_kv_heads, spoilt):
    layer, x, dy = attention(num_kv_heads), normal(0, 2, 3, D), normal(1, 2, 3, D)
    memory, mask = normal(2, 2, 5, D), np.arange(5) < np.array([[2], [4]])
    bad = np.where(mask[..., None], memory, spoilt)
    with np.errstate(invalid="ignore"):  # from 0 times NaN in the weights' own gradients
        y, changed = (layer(x, z, mask=mask) for z in (memory, bad))
        (dx, dz), _ = gradients(layer, dy, x, memory, mask=mask)
        (dx_bad, dz_bad), _ = gradients(layer, dy, x, bad, mask=mask)
    assert_close(changed, y)
    assert_close(dx_bad, dx)
    assert_close(dz_bad, dz)
    assert_equal(dz_bad[~mask], 0)


def test_padding_is_the_same_as_a_shorter_memory():
    layer, x, dy, z = attention(2), normal(0, 3, D), normal(1, 3, D), normal(2, 5, D)
    mask = np.arange(5) < 3
    assert_close(layer(x, z, mask=mask), layer(x, z[:3]))
    padded, shorter = gradients(layer, dy, x, z, mask=mask), gradients(layer, dy, x, z[:3])
    assert_close(padded[0][0], shorter[0][0])
    assert_close(padded[0][1][:3], shorter[0][1])
    assert_close(padded[1], shorter[1])


def test_left_padding_of_a_causal_sequence_is_the_same_as_a_shorter_one():
    layer, x, dy = attention(2, causal=True), normal(0, 5, D), normal(1, 5, D)
    mask = np.arange(5) >= 2
    y = layer(x, mask=mask)
    assert_close(y[2:], layer(x[2:]))
    assert_equal(y[:2], np.broadcast_to(layer.out_proj.bias.value, (2, D)))
    dx = gradients(layer, dy, x, mask=mask)[0][0]
    assert_close(dx[2:], gradients(layer, dy[2:], x[2:])[0][0])
    assert_equal(dx[:2], 0)


def test_an_empty_memory_is_nothing_to_attend_to():
    layer, x = attention(2), normal(0, 2, 3, D)
    want = np.broadcast_to(layer.out_proj.bias.value, (2, 3, D))
    assert_equal(layer(x, np.empty((2, 0, D))), want)


@pytest.mark.parametrize("shape", [(0, 3, D), (2, 0, D)])
@pytest.mark.parametrize("num_kv_heads", [4, 2])
def test_nothing_in_is_nothing_out(shape, num_kv_heads):
    x, layer = np.empty(shape), attention(num_kv_heads)
    assert layer(x).shape == shape
    assert gradients(layer, x, x)[0][0].shape == shape


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("causal", [False, True])
def test_grouped_queries_are_full_heads_with_repeated_keys_and_values(groups, causal):
    grouped, full = attention(groups, seed=1, causal=causal), attention(causal=causal)
    for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
        for kind in ("weight", "bias"):
            of, to = (getattr(getattr(layer, name), kind) for layer in (grouped, full))
            value = of.value
            if name in ("k_proj", "v_proj"):
                parts = value.reshape(groups, K, -1)
                value = np.repeat(parts, H // groups, axis=0).reshape(to.shape)
            to.value[...] = value
    x, dy, options = normal(0, 2, 3, D), normal(2, 2, 3, D), {"mask": np.array([True, False, True])}
    assert_close(grouped(x, **options), full(x, **options))
    (dx, _), dp = gradients(grouped, dy, x, **options)
    (dx_full, _), dp_full = gradients(full, dy, x, **options)
    assert_close(dx, dx_full)
    for name, want in dp_full.items():
        if name.startswith(("k_proj", "v_proj")):
            want = want.reshape(groups, H // groups, K, -1).sum(1).reshape(dp[name].shape)
        assert_close(dp[name], want)


@pytest.mark.parametrize("num_kv_heads", [4, 2])
def test_a_memory_that_is_shared_by_a_batch_receives_the_sum(num_kv_heads):
    layer, dy = attention(num_kv_heads), normal(2, 2, 3, D)
    x, z, mask = normal(0, 2, 3, D), normal(1, 4, D), np.array([[True] * 4, [True, False] * 2])
    (dx, dz), dp = gradients(layer, dy, x, z, mask=mask)  # which each row masks in its own way
    (dx_all, dz_all), dp_all = gradients(layer, dy, x, np.stack([z, z]), mask=mask)
    assert_close(dx, dx_all)
    assert_close(dz, dz_all.sum(0))
    assert_close(dp, dp_all)


def test_self_attention_is_cross_attention_to_itself_and_its_gradient_both_together():
    layer, x, dy = attention(2), normal(0, 2, 3, D), normal(1, 2, 3, D)
    assert_equal(layer(x), layer(x, x.copy()))
    (dx, none), dp = gradients(layer, dy, x)
    (dq, dz), dp_cross = gradients(layer, dy, x, x.copy())
    assert none is None
    assert_close(dx, dq + dz)
    assert_close(dp, dp_cross)


def test_parameters_are_named_and_shaped_as_those_of_softmax_attention():
    ours, theirs = LinearAttention(D, H, 2), MultiHeadAttention(D, H, 2)
    shapes = [{n: p.shape for n, p in layer.named_parameters()} for layer in (ours, theirs)]
    assert shapes[0] == shapes[1]
    assert not [n for n, _ in LinearAttention(D, H, bias=False).named_parameters() if "bias" in n]


def test_a_run_changes_nothing_and_nothing_is_recorded():
    layer, x = attention(), normal(0, 2, 3, D)
    run = Run(np.random.default_rng(0), record=["attention"])
    assert_equal(layer(x, run=run), layer(x))
    assert list(run.named(layer, "attention")) == []


def test_memory_of_a_pass_grows_with_the_length():
    """What is saved: twice the length, twice the numbers."""

    def saved_numbers(n):
        _, saved = attention(causal=True).forward(normal(0, n, D))
        assert isinstance(saved.attention, F.linear_attention(*[np.ones((1, 1))] * 3)[1].__class__)
        return sum(a.size for a in saved.attention if isinstance(a, np.ndarray))

    assert saved_numbers(400) == 2 * saved_numbers(200)


X = np.zeros((2, 3, D))


@pytest.mark.parametrize("num_kv_heads", [4, 2])
@pytest.mark.parametrize(
    ("x", "options", "error", "said"),
    [
        (X[..., 1:], {}, ValueError, "x is (2, 3, 7); expected (..., length, 8), the width d_mod"),
        (X[0, 0], {}, ValueError, "x is (8,); expected (..., length, 8)"),
        (X, {"memory": X[..., 1:]}, ValueError, "memory is (2, 3, 7); expected (..., length, 8)"),
        (X, {"memory": np.zeros((3, 3, D))}, ValueError,
         "the leading axes of x (2, 3, 8) and memory (3, 3, 8) do not broadcast"),
        (X, {"memory": X.tolist()}, TypeError, "memory is a list; expected a NumPy array"),
        (X, {"memory": X.astype(np.float32)}, TypeError, "x is float64 but memory is float32"),
        (X, {"mask": np.ones((2, 3))}, TypeError, "mask is float64 (2, 3); expected a bool array"),
        (X, {"mask": masks.causal()}, TypeError, "For causality build it with causal=True; for"),
        (X, {"mask": np.ones((2, 4), bool)}, ValueError, "mask (2, 4) does not fit (2, 3); it"),
        (X, {"mask": np.ones(1, bool)}, ValueError, "mask (1,) does not fit (2, 3)"),
        (X, {"mask": np.array(True)}, ValueError, "mask () does not fit (2, 3)"),
        (X, {"mask": np.ones((2, 1, 1, 3), bool)}, ValueError,
         "mask (2, 1, 1, 3) does not fit (2, 3); it says which vectors of what is attended to are "
         "real, without axes for heads or queries"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(num_kv_heads, x, options, error, said):
    with pytest.raises(error, match=re.escape(said)):
        attention(num_kv_heads)(x, **options)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((8, 3), "d_model 8 is not divisible by num_heads 3; each head takes an equal part"),
        ((8, 4, 3), "num_heads 4 is not divisible by num_kv_heads 3; each key and value head"),
        ((8, 0), "num_heads is 0; expected a positive int"),
    ],
)
def test_what_cannot_be_built_is_refused(arguments, said):
    with pytest.raises(ValueError, match=f"LinearAttention: {said}"):
        LinearAttention(*arguments)


@pytest.mark.parametrize("causal", ["no", 1, np.array([True, False]), masks.causal()])
def test_causal_is_a_flag(causal):
    with pytest.raises(
        TypeError, match=r"LinearAttention: causal is .*; expected True or False\. "
    ):
        LinearAttention(8, 4, causal=causal)
