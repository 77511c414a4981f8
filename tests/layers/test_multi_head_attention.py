"""MultiHeadAttention: the formula, its symmetries, what reaches what, groups, rotary, recording."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.passes import assert_close, assert_equal, gradients, moved
from support.strategies import normal, seeds

from npformer import Run, masks
from npformer.layers import MultiHeadAttention

D, H = 8, 4
K = D // H


def attention(num_kv_heads=None, seed=0, **options):
    layer = MultiHeadAttention(D, H, num_kv_heads, **options, rng=np.random.default_rng(seed),
                               dtype=np.float64)  # fmt: skip
    return moved(layer, seed)


def softmax(s):
    e = np.exp(s - s.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def affine(linear, x):
    return x @ linear.weight.value.T + linear.bias.value


def by_hand(layer, x, z, allowed, group=1):
    """Head by head, for x (T, D) and z (S, D)."""
    q, k, v = affine(layer.q_proj, x), affine(layer.k_proj, z), affine(layer.v_proj, z)
    heads = []
    for h in range(H):
        mine, theirs = (slice(i * K, (i + 1) * K) for i in (h, h // group))
        s = q[:, mine] @ k[:, theirs].T / np.sqrt(K)
        heads.append(softmax(np.where(allowed, s, -1e300)) @ v[:, theirs])
    return affine(layer.out_proj, np.concatenate(heads, axis=-1))


@pytest.mark.parametrize("num_kv_heads", [4, 2, 1])
def test_the_formula(num_kv_heads):
    layer, x, z = attention(num_kv_heads), normal(0, 3, D), normal(1, 5, D)
    allowed = np.arange(5) <= np.arange(3)[:, None] + 1
    want = by_hand(layer, x, z, allowed, H // num_kv_heads)
    assert_close(layer(x, z, mask=allowed), want)
    everything = by_hand(layer, x, x, np.full((3, 3), True), H // num_kv_heads)
    assert_close(layer(x), everything)


def test_without_a_bias_of_keys_nothing_else_changes():
    """Since softmax does not see it."""
    whole, layer, x = attention(2), attention(2, key_bias=False), normal(0, 2, 3, D)
    assert set(whole.state_dict()) - set(layer.state_dict()) == {"k_proj.bias"}
    state = whole.state_dict()
    del state["k_proj.bias"]
    layer.load_state_dict(state)
    assert_close(layer(x), whole(x))
    assert layer.q_proj.bias is not None
    none = MultiHeadAttention(D, H, bias=False, key_bias=True)
    assert none.k_proj.bias is None


@given(seeds, st.permutations(range(5)))
def test_without_positions_a_permuted_sequence_gives_the_permuted_output(seed, order):
    layer, x, dy = attention(2), normal(seed, 2, 5, D), normal(seed + 1, 2, 5, D)
    order = np.array(order)
    assert_close(layer(x[:, order]), layer(x)[:, order])
    (dx, _), dp = gradients(layer, dy, x)
    (dx_permuted, _), dp_permuted = gradients(layer, dy[:, order], x[:, order])
    assert_close(dx_permuted, dx[:, order])
    assert_close(dp_permuted, dp)


@given(st.permutations(range(H)))
def test_the_order_of_heads_does_not_matter(order):
    layer, x, dy = attention(), normal(0, 2, 5, D), normal(1, 2, 5, D)
    y = layer(x)
    dx = gradients(layer, dy, x)[0][0]
    rows = np.concatenate([np.arange(h * K, (h + 1) * K) for h in order])
    for linear in (layer.q_proj, layer.k_proj, layer.v_proj):
        linear.weight.value = linear.weight.value[rows]
        linear.bias.value = linear.bias.value[rows]
    layer.out_proj.weight.value = layer.out_proj.weight.value[:, rows]
    assert_close(layer(x), y)
    assert_close(gradients(layer, dy, x)[0][0], dx)


@pytest.mark.parametrize("num_kv_heads", [4, 2])
@pytest.mark.parametrize("rotary_base", [None, 100.0])
def test_causality_is_exact(num_kv_heads, rotary_base):
    layer = attention(num_kv_heads, rotary_base=rotary_base)
    x = normal(0, 2, 6, D)
    for t in range(5):
        other = x.copy()
        other[:, t + 1 :] = 9 * normal(1, 2, 5 - t, D)
        y, changed = (layer(a, mask=masks.causal()) for a in (x, other))
        assert_equal(y[:, : t + 1], changed[:, : t + 1])
        assert not np.array_equal(y[:, t + 1 :], changed[:, t + 1 :])
        dy = np.zeros_like(y)
        dy[:, t] = normal(2, 2, D)
        dx = gradients(layer, dy, x, mask=masks.causal())[0][0]
        assert_equal(dx[:, t + 1 :], 0)
        assert dx[:, : t + 1].all()


@pytest.mark.parametrize("num_kv_heads", [4, 2])
@pytest.mark.parametrize("spoilt", [1e6, np.nan, np.inf])
def test_what_stands_in_padding_reaches_no_output_and_no_input_s_gradient(num_kv_heads, spoilt):
    layer, x, dy = attention(num_kv_heads), normal(0, 2, 3, D), normal(1, 2, 3, D)
    memory = normal(2, 2, 5, D)
    bad = memory.copy()
    bad[0, 2:] = bad[1, 4:] = spoilt
    mask = masks.padding(np.array([2, 4]))
    with np.errstate(invalid="ignore"):  # from 0 times NaN in the weights' own gradients
        y, changed = (layer(x, z, mask=mask) for z in (memory, bad))
        (dx, dz), _ = gradients(layer, dy, x, memory, mask=mask)
        (dx_bad, dz_bad), _ = gradients(layer, dy, x, bad, mask=mask)
    assert_close(changed, y)
    assert_close(dx_bad, dx)
    assert_close(dz_bad, dz)
    assert_equal(dz[0, 2:], 0)
    assert_equal(dz_bad[1, 4:], 0)


def test_padding_is_the_same_as_a_shorter_memory():
    layer, x, dy, z = attention(), normal(0, 3, D), normal(1, 3, D), normal(2, 5, D)
    mask = np.arange(5) < 3
    assert_close(layer(x, z, mask=mask), layer(x, z[:3]))
    padded, shorter = gradients(layer, dy, x, z, mask=mask), gradients(layer, dy, x, z[:3])
    assert_close(padded[0][0], shorter[0][0])
    assert_close(padded[0][1][:3], shorter[0][1])
    assert_close(padded[1], shorter[1])


def test_where_nothing_may_be_attended_to_only_the_output_s_bias_is_left():
    layer, x = attention(), normal(0, 2, 3, D)
    mask = np.array([[True] * 3, [False] * 3, [True] * 3])
    y = layer(x, mask=mask)
    np.testing.assert_array_equal(y[:, 1], np.broadcast_to(layer.out_proj.bias.value, (2, D)))
    dy = np.zeros_like(y)
    dy[:, 1] = 1
    assert not gradients(layer, dy, x, mask=mask)[0][0].any()


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("cross", [False, True])
def test_grouped_queries_are_full_heads_with_repeated_keys_and_values(groups, cross):
    """In a batch of as many as nothing else, so that an exchange of axes is seen."""
    grouped, full = attention(groups, seed=1), attention()
    for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
        for kind in ("weight", "bias"):
            of, to = (getattr(getattr(layer, name), kind) for layer in (grouped, full))
            value = of.value
            if name in ("k_proj", "v_proj"):
                parts = value.reshape(groups, K, -1)
                value = np.repeat(parts, H // groups, axis=0).reshape(to.shape)
            to.value[...] = value
    inputs = (normal(0, 5, 3, D), *([normal(1, 5, 4, D)] if cross else []))
    dy, n_k = normal(2, 5, 3, D), 4 if cross else 3
    allowed = np.random.default_rng(0).random((5, H, 3, n_k)) < 0.7  # for each head its own
    options = {"mask": allowed, "bias": normal(3, H, 3, n_k)}
    assert_close(grouped(*inputs, **options), full(*inputs, **options))
    (dx, dz), dp = gradients(grouped, dy, *inputs, **options)
    (dx_full, dz_full), dp_full = gradients(full, dy, *inputs, **options)
    assert_close(dx, dx_full)
    if cross:
        assert_close(dz, dz_full)
    for name, want in dp_full.items():
        if name.startswith(("k_proj", "v_proj")):
            shared = want.reshape(groups, H // groups, K, -1).sum(1)
            want = shared.reshape(dp[name].shape)
        assert_close(dp[name], want)


def test_self_attention_is_cross_attention_to_itself_and_its_gradient_both_together():
    layer, x, dy = attention(2), normal(0, 2, 3, D), normal(1, 2, 3, D)
    assert_equal(layer(x), layer(x, x.copy()))
    (dx, none), dp = gradients(layer, dy, x)
    (dq, dz), dp_cross = gradients(layer, dy, x, x.copy())
    assert none is None
    assert_close(dx, dq + dz)
    assert_close(dp, dp_cross)


@pytest.mark.parametrize("num_kv_heads", [4, 2])
def test_a_memory_that_is_shared_by_a_batch_receives_the_sum(num_kv_heads):
    layer, dy = attention(num_kv_heads), normal(2, 2, 3, D)
    x, z = normal(0, 2, 3, D), normal(1, 4, D)
    (dx, dz), dp = gradients(layer, dy, x, z)
    (dx_all, dz_all), dp_all = gradients(layer, dy, x, np.stack([z, z]))
    assert_close(dx, dx_all)
    assert_close(dz, dz_all.sum(0))
    assert_close(dp, dp_all)
    (dx, dz), dp = gradients(layer, dy, z[:3], x)  # and queries that are shared
    (dx_all, dz_all), dp_all = gradients(layer, dy, np.stack([z[:3]] * 2), x)
    assert_close(dx, dx_all.sum(0))
    assert_close(dz, dz_all)
    assert_close(dp, dp_all)


@given(seeds, st.integers(-50, 50))
def test_rotary_positions_count_only_by_their_distance(seed, shift):
    layer, x, dy = attention(2, rotary_base=100.0), normal(seed, 2, 4, D), normal(seed, 2, 4, D)
    at = np.arange(4) * 3 + 50
    assert_close(layer(x, positions=at + shift), layer(x, positions=at), atol=1e-11)
    moved_on = gradients(layer, dy, x, positions=at + shift)
    stayed = gradients(layer, dy, x, positions=at)
    assert_close(moved_on[0][0], stayed[0][0], atol=1e-11)
    assert_close(moved_on[1], stayed[1], atol=1e-10)


def test_rotary_positions_are_0_1_2_unless_given_and_matter():
    layer, x = attention(rotary_base=100.0), normal(0, 2, 4, D)
    assert_equal(layer(x), layer(x, positions=np.arange(4)))
    assert_equal(layer(x), layer(x, positions=np.array([range(4)] * 2)))
    assert not np.allclose(layer(x), layer(x, positions=np.array([0, 2, 1, 3])))
    at = np.array([[0, 1, 2, 3], [4, 0, 9, 2]])
    np.testing.assert_array_equal(layer(x, positions=at)[1:], layer(x[1:], positions=at[1]))


@pytest.mark.parametrize("num_kv_heads", [4, 2])
def test_recorded_weights_are_those_that_were_used(num_kv_heads):
    layer, x, z = attention(num_kv_heads), normal(0, 2, 3, D), normal(1, 2, 5, D)
    options = {"mask": masks.padding(np.array([2, 5])), "bias": normal(2, H, 3, 5)}
    run = Run(record=["attention"])
    y = layer(x, z, **options, run=run)
    ((name, weights),) = run.named(layer, "attention")
    assert name == ""
    assert weights.shape == (2, H, 3, 5)
    assert_close(weights.sum(-1), np.ones((2, H, 3)))
    assert_equal(weights[0, ..., 2:], 0)
    values = affine(layer.v_proj, z).reshape(2, 5, num_kv_heads, K).swapaxes(1, 2)
    values = np.repeat(values, H // num_kv_heads, axis=1)
    heads = (weights @ values).swapaxes(1, 2).reshape(2, 3, D)
    assert_close(affine(layer.out_proj, heads), y)


def test_recording_changes_nothing():
    layer, x = attention(dropout=0.5), normal(0, 2, 3, D)
    for rng in (lambda: None, lambda: np.random.default_rng(0)):
        recording = Run(rng(), record=["attention"])
        assert_equal(layer(x, run=recording), layer(x, run=Run(rng())))
        ((_, weights),) = recording.named(layer, "attention")
        assert_close(weights.sum(-1), np.ones((2, H, 3)))  # before dropout


def test_dropout_acts_on_the_weights_and_only_with_a_generator():
    layer, x = attention(dropout=0.5), normal(0, 2, 3, D)
    assert_equal(layer(x), layer(x, run=Run()))
    a, b, c = (layer(x, run=Run(np.random.default_rng(s))) for s in (1, 1, 2))
    assert_equal(a, b)
    assert not np.array_equal(a, c)
    many = np.stack([layer(x, run=Run(np.random.default_rng(s))) for s in range(1000)])
    error = np.abs(many.mean(0) - layer(x))  # dropped weights are right on average
    assert np.all(error < 5 * many.std(0) / np.sqrt(1000))


@pytest.mark.parametrize("shape", [(0, 3, D), (2, 0, D)])
@pytest.mark.parametrize("num_kv_heads", [4, 2])
def test_nothing_in_is_nothing_out(shape, num_kv_heads):
    x = np.empty(shape)
    layer = attention(num_kv_heads)
    assert layer(x).shape == shape
    assert gradients(layer, x, x)[0][0].shape == shape


def test_an_empty_memory_is_nothing_to_attend_to():
    layer, x = attention(2), normal(0, 2, 3, D)
    want = np.broadcast_to(layer.out_proj.bias.value, (2, 3, D))
    assert_equal(layer(x, np.empty((2, 0, D))), want)


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
        (X, {"mask": np.ones((3, 3))}, TypeError, "mask is float64 (3, 3); expected a bool array"),
        (X, {"mask": np.ones((2, 2), bool)}, ValueError,
         "mask (2, 2) does not fit scores (2, 4, 3, 3)"),
        (X, {"mask": np.ones((2, 3, 3), bool)}, ValueError,
         "mask (2, 3, 3) does not fit scores (2, 4, 3, 3); from the right"),
        (X, {"mask": masks.padding(np.array([1, 2, 3]))}, ValueError, "3 lengths do not fit"),
        (X, {"bias": [0.0]}, TypeError, "bias is a list; expected a NumPy array"),
        (X, {"bias": np.zeros((2, 3, 3))}, ValueError,
         "bias (2, 3, 3) does not broadcast to the scores (2, 4, 3, 3), which are (..., num_heads"),
        (X, {"positions": np.arange(3)}, ValueError, "positions were given but have no use"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(num_kv_heads, x, options, error, said):
    """Grouped queries too: a mask of two heads is not one for two groups of heads."""
    with pytest.raises(error, match=re.escape(said)):
        attention(num_kv_heads)(x, **options)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"memory": X}, ValueError, "rotary positions need one sequence, and a memory was given"),
        ({"positions": np.arange(2)}, ValueError, "positions (2,) do not broadcast to (2, 3)"),
        ({"positions": np.array(0)}, ValueError, "positions () do not broadcast to (2, 3)"),
        ({"positions": [0, 1, 2]}, TypeError, "positions is a list; expected a NumPy array of int"),
        ({"positions": np.zeros(3)}, TypeError, "positions is float64 (3,); expected a NumPy arr"),
    ],
)
def test_positions_that_do_not_fit_are_refused(options, error, said):
    with pytest.raises(error, match=re.escape(f"MultiHeadAttention: {said}")):
        attention(rotary_base=10.0)(X, **options)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((8, 3), "d_model 8 is not divisible by num_heads 3; each head takes an equal part"),
        ((8, 4, 3), "num_heads 4 is not divisible by num_kv_heads 3; each key and value head"),
        ((8, 0), "num_heads is 0; expected a positive int"),
        ((8, 4, 0), "num_kv_heads is 0; expected a positive int"),
        ((8, 4, 4, True, 1.0), "dropout is 1.0; expected 0 <= dropout < 1"),
    ],
)
def test_what_cannot_be_built_is_refused(arguments, said):
    with pytest.raises(ValueError, match=f"MultiHeadAttention: {said}"):
        MultiHeadAttention(*arguments)


def test_rotary_heads_of_odd_width_are_refused():
    with pytest.raises(ValueError, match=r"heads are 6 / 2 = 3 wide; rotary positions turn pairs"):
        MultiHeadAttention(6, 2, rotary_base=10.0)
