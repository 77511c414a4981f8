"""Positions in whole models: gradients, what a shift changes, how far a window sees."""

import re
import sys

import numpy as np
import pytest
from support.models import SIZES
from support.passes import assert_close, assert_equal, assert_gradient_of_the_loss, moved

import npformer
import npformer.functional as F
from npformer.models import GPT, GPTConfig, Transformer, TransformerConfig

WHOLE = sys.modules["npformer.functional.attention"]
VOCAB = 6
SMALL = {
    "vocab_size": VOCAB,
    "max_len": 24,
    "d_model": 8,
    "num_heads": 2,
    "num_layers": 1,
    "d_ff": 4,
}
KINDS = {
    "learned": {"position": "learned"},
    "sinusoidal": {"position": "sinusoidal"},
    "rotary": {"position": "rotary", "rotary_base": 50.0},
    "rotary interleaved": {"position": "rotary", "rotary_base": 50.0, "rotary_interleaved": True},
    "alibi": {"position": "alibi"},
    "t5": {"position": "t5", "relative_buckets": 6, "relative_distance": 7},
}
RELATIVE = ["rotary", "rotary interleaved", "alibi", "t5"]
every_kind = pytest.mark.parametrize("position", KINDS)
by_distance = pytest.mark.parametrize("position", RELATIVE)


def build(kind, position, **options):
    config = {GPT: GPTConfig, Transformer: TransformerConfig}[kind]
    options = SMALL | {"dropout": 0.0} | KINDS[position] | options
    return moved(kind(config(**options), rng=np.random.default_rng(0), dtype=np.float64))


def ids(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, VOCAB, shape)


def real(*rows):
    return np.array([[c == "x" for c in row] for row in rows])


@pytest.fixture
def tiles(monkeypatch):
    """Attention in several tiles, however short the sequences."""
    monkeypatch.setattr(WHOLE, "_TEXTBOOK_UP_TO", 0)
    monkeypatch.setattr(WHOLE, "TILE", (2, 3))


# Gradients


@every_kind
@pytest.mark.parametrize("window", [None, 2])
def test_the_gradient_of_gpt_s_loss(position, window):
    model = build(GPT, position, window=window, num_kv_heads=1 if window else 2, d_model=4)
    mask = real("xxxxx", ".xxxx")
    targets = ids(2, 5, seed=1)
    targets[1, 0] = -100
    terms = assert_gradient_of_the_loss(model, ids(2, 5), targets, mask)
    assert bool(terms.get("relative.weight")) == (position == "t5")


@every_kind
def test_the_gradient_of_the_transformer_s_loss(position):
    model = build(Transformer, position, num_kv_heads=1, d_model=4, activation="gelu")
    batch = ids(2, 4), ids(2, 3, seed=1), ids(2, 3, seed=2), real("xxxx", ".xxx")
    terms = assert_gradient_of_the_loss(model, *batch)
    tables = {name for name, term in terms.items() if "relative" in name and term}
    want = {"source_relative.weight", "target_relative.weight"} if position == "t5" else set()
    assert tables == want


@by_distance
@pytest.mark.parametrize("kind", [GPT, Transformer])
def test_tiles_give_the_same_loss_and_gradients(kind, position, monkeypatch):
    model = build(kind, position, num_layers=2)
    batch = (ids(2, 7), ids(2, 7, seed=1)) + ((ids(2, 7, seed=2),) if kind is Transformer else ())
    results = []
    for limit in (np.inf, 0):
        monkeypatch.setattr(WHOLE, "_TEXTBOOK_UP_TO", limit)
        monkeypatch.setattr(WHOLE, "TILE", (2, 3))
        model.zero_grad()
        loss, saved = model.loss(*batch)
        model.loss_backward(saved)
        results.append({"loss": loss} | {n: p.grad.copy() for n, p in model.named_parameters()})
    assert_close(*results)


# What positions mean


@by_distance
@pytest.mark.parametrize("shift", [1, 5, 100])
def test_a_shift_of_all_positions_changes_nothing(position, shift):
    model, tokens, at = build(GPT, position, num_layers=2), ids(2, 6), np.array([0, 1, 3, 4, 9, 10])
    want = model(tokens, positions=at)
    assert_close(model(tokens, positions=at + shift), want, atol=1e-11)
    shifts = np.array([[0], [shift]])
    assert_close(model(tokens, positions=at + shifts), want, atol=1e-11)
    assert not np.allclose(model(tokens), want)
    assert not np.allclose(model(tokens, positions=at[::-1].copy()), want)


@pytest.mark.parametrize("position", ["learned", "sinusoidal"])
def test_a_shift_changes_what_is_added_to_tokens(position):
    model, tokens = build(GPT, position), ids(2, 6)
    assert not np.allclose(model(tokens, positions=np.arange(6) + 1), model(tokens))


@every_kind
def test_positions_count_from_0_whatever_stands_on_the_left(position):
    model, tokens = build(GPT, position, num_layers=2), ids(1, 6)
    assert_equal(model(tokens, positions=np.arange(6)), model(tokens, positions=np.arange(6)[None]))
    assert_close(model(tokens, positions=np.arange(6)), model(tokens))
    padded = np.concatenate([ids(1, 3, seed=9), tokens], axis=1)
    assert_close(model(padded, real("...xxxxxx"))[:, 3:], model(tokens))
    after = np.concatenate([tokens, ids(1, 3, seed=9)], axis=1)
    assert_close(model(after, real("xxxxxx..."))[:, :6], model(tokens))
    many = np.concatenate([padded, ids(2, 9, seed=3)])
    assert_close(model(many, real("...xxxxxx", "xxxxxxxxx", ".xxxxxxxx"))[:1, 3:], model(tokens))


@every_kind
def test_padding_of_a_source_changes_nothing(position):
    model, source, target = build(Transformer, position, num_layers=2), ids(1, 5), ids(1, 4, seed=1)
    want = model(source, target)
    for side in (1, -1):
        both = [ids(1, 3, seed=9), source][::side]
        mask = real("...xxxxx") if side == 1 else real("xxxxx...")
        assert_close(model(np.concatenate(both, axis=1), target, mask), want)


@every_kind
def test_the_past_alone_is_read(position):
    """T5's decoder has one table entry for all that comes after; the mask keeps it out."""
    for kind in (GPT, Transformer):
        model, tokens = build(kind, position, num_layers=2), ids(2, 6)
        given = () if kind is GPT else (ids(2, 3, seed=1),)
        other = tokens.copy()
        other[:, 4:] = (tokens[:, 4:] + 1) % VOCAB
        assert_equal(model(*given, other)[:, :4], model(*given, tokens)[:, :4])
        assert not np.isclose(model(*given, other)[:, 4:], model(*given, tokens)[:, 4:]).all()


@every_kind
def test_order_matters(position):
    """The last logits see all tokens, in one order and not another."""
    model, tokens = build(GPT, position), np.array([[0, 1, 2, 3, 4]])
    turned = tokens[:, [2, 1, 0, 3, 4]]
    assert not np.allclose(model(tokens)[:, -1], model(turned)[:, -1])


@pytest.mark.parametrize("heads", [2, 1])
def test_t5_s_bias_is_its_table_by_distance_in_every_layer(heads):
    """With a table of zeros nothing is left but the causal mask: order is not seen."""
    model = build(GPT, "t5", num_layers=2, num_kv_heads=heads)
    tokens = np.array([[0, 1, 2, 3, 4]])
    turned = tokens[:, [2, 1, 0, 3, 4]]
    model.relative.weight.value[...] = 0
    plain = model(tokens)
    one = build(GPT, "t5", num_kv_heads=heads)
    one.relative.weight.value[...] = 0
    assert_close(one(tokens)[:, 3:], one(turned)[:, 3:])
    model.relative.weight.value[...] = np.array([[0.3, -0.2]])  # common to a row: softmax drops it
    assert_close(model(tokens), plain)
    model.relative.weight.value[2:] = -np.inf  # only distances 0 and 1 are looked at: a window
    narrow = build(GPT, "t5", num_layers=2, num_kv_heads=heads, window=2)
    narrow.relative.weight.value[...] = np.array([[0.3, -0.2]])
    assert_close(model(tokens), narrow(tokens))


def test_t5_tables_know_the_directions_that_their_stack_sees():
    model = build(Transformer, "t5")
    assert (model.source_relative.bidirectional, model.target_relative.bidirectional) == (
        True,
        False,
    )
    assert model.source_relative.weight is not model.target_relative.weight
    assert build(GPT, "t5").relative.bidirectional is False
    source, target = ids(1, 5), ids(1, 4)
    want, memory = model(source, target), model.encode(source)[0]
    before = model.source_relative.weight.value.copy()
    model.source_relative.weight.value[3:] += 1  # keys that come after
    assert not np.allclose(model.encode(source)[0], memory)
    model.source_relative.weight.value[...] = before
    model.target_relative.weight.value[1] += 1
    assert_equal(model.encode(source)[0], memory)
    assert not np.allclose(model(source, target), want)


def test_rotary_pairs_are_the_configuration_s():
    """Interleaved pairs are the halves of permuted weights, and nothing else."""
    halves, pairs = build(GPT, "rotary"), build(GPT, "rotary interleaved")
    tokens = ids(2, 5)
    assert not np.allclose(halves(tokens), pairs(tokens))
    width = SMALL["d_model"] // SMALL["num_heads"]
    order = np.arange(width).reshape(2, -1).T.reshape(-1)  # 0, n/2, 1, n/2 + 1, ...
    rows = (np.arange(0, 8, width)[:, None] + order).reshape(-1)
    attention = pairs.decoder.layers[0].self_attention
    for linear in (attention.q_proj, attention.k_proj):
        linear.weight.value[...] = linear.weight.value[rows]
        linear.bias.value[...] = linear.bias.value[rows]
    assert_close(halves(tokens), pairs(tokens))


# Windows


@every_kind
@pytest.mark.parametrize(("layers", "w"), [(1, 1), (1, 3), (2, 3), (3, 2)])
def test_a_window_of_w_sees_w_minus_one_tokens_back_in_each_layer(position, layers, w, tiles):
    model, tokens = build(GPT, position, window=w, num_layers=layers), ids(1, 9)
    want, far = model(tokens), layers * (w - 1)
    for s in range(9):
        other = tokens.copy()
        other[:, s] = (tokens[:, s] + 1) % VOCAB
        changed = np.any(model(other) != want, axis=(0, 2))
        np.testing.assert_array_equal(changed, [s <= t <= s + far for t in range(9)])


def test_a_window_s_gradients_reach_no_further():
    model = build(GPT, "alibi", window=3, tie_embeddings=False)
    tokens = np.array([[0, 1, 2, 3, 4, 5]])
    y, saved = model.forward(tokens)
    dy = np.zeros_like(y)
    dy[:, 4] = 1.0 + np.arange(VOCAB)
    model.backward(dy, saved)
    reached = np.any(model.inputs.token.weight.grad != 0, axis=1)
    np.testing.assert_array_equal(reached, [False, False, True, True, True, False])


@every_kind
def test_a_window_as_long_as_the_sequence_is_none(position):
    tokens, mask = ids(2, 6), real("xxxxxx", "..xxxx")
    assert_equal(build(GPT, position, window=6)(tokens, mask), build(GPT, position)(tokens, mask))
    narrow = build(GPT, position, window=3)
    padded = np.concatenate([ids(1, 3, seed=9), tokens[:1]], axis=1)
    assert_close(narrow(padded, real("...xxxxxx"))[:, 3:], narrow(tokens[:1]))


def test_a_window_is_that_of_the_mask():
    """By hand: one layer's attention, with a boolean mask."""
    model, tokens = build(GPT, "alibi", window=2), ids(1, 5)
    at = np.arange(5)
    held = (at <= at[:, None]) & (at > at[:, None] - 2)
    e = F.embedding(tokens, model.inputs.token.weight.value)[0]
    h = model.decoder(
        e, mask=held, bias=-np.abs(at - at[:, None]) * 2.0 ** -np.array([[[4]], [[8]]])
    )
    assert_close(model(tokens), h @ model.head.weight.value.T)


# Configurations


@pytest.mark.parametrize("config", [GPTConfig, TransformerConfig])
@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"position": "T5"}, ValueError,
         "position is 'T5'; expected one of learned, sinusoidal, rotary, alibi, t5"),
        ({"rotary_interleaved": 1}, TypeError, "rotary_interleaved is 1; expected True or False"),
        ({"rotary_interleaved": None}, TypeError, "rotary_interleaved is None; expected True or F"),
        ({"position": "t5", "relative_buckets": 5}, ValueError,
         "5 buckets; expected at least 4, and an even number, half for each direction"),
        ({"position": "t5", "relative_buckets": 2}, ValueError, "2 buckets; expected at least 4"),
        ({"position": "t5", "relative_buckets": 0}, ValueError,
         "num_buckets is 0; expected a positive int"),
        ({"position": "t5", "relative_buckets": 4.0}, TypeError, "num_buckets is 4.0; expected"),
        ({"position": "t5", "relative_distance": 16}, ValueError,
         "max_distance is 16; expected more than 16, the number of distances that have a bucket"),
        ({"position": "t5", "relative_distance": None}, TypeError, "max_distance is None; exp"),
        ({"position": "rotary", "d_model": 6, "num_heads": 2}, ValueError,
         "rotary positions go in pairs and the width is 3"),
    ],
)  # fmt: skip
def test_positions_that_cannot_be_built_are_refused(config, options, error, said):
    with pytest.raises(error, match=re.escape(f"{config.__name__}: {said}")):
        config(**SIZES | options)


@pytest.mark.parametrize("buckets", [4, 6, 16, 30])
@pytest.mark.parametrize("far", [2, 5, 9, 17])
def test_a_t5_configuration_that_is_taken_can_be_built(buckets, far):
    """Also its one-way table, of which more distances have a bucket of their own."""
    for config, kind in ((GPTConfig, GPT), (TransformerConfig, Transformer)):
        options = {"position": "t5", "relative_buckets": buckets, "relative_distance": far}
        try:
            made = config(**SIZES | options)
        except ValueError as refused:
            assert f"max_distance is {far}" in str(refused)  # noqa: PT017 -- both ways are right
            continue
        model = kind(made)
        given = (ids(1, 5),) if kind is GPT else (ids(1, 5), ids(1, 5))
        assert np.isfinite(model(*given)).all()


@pytest.mark.parametrize(
    ("window", "error"), [(0, ValueError), (-3, ValueError), (2.0, TypeError), (True, TypeError)]
)
def test_a_window_that_is_none_is_refused(window, error):
    said = re.escape(f"GPTConfig: window is {window}; expected a positive int")
    with pytest.raises(error, match=said):
        GPTConfig(**SIZES, window=window)


@pytest.mark.parametrize("position", ["learned", "sinusoidal", "rotary", "alibi", "t5"])
@pytest.mark.parametrize("positions", [np.array([0]), np.zeros((2, 1), int), np.zeros((1, 2), int)])
def test_positions_are_one_for_each_token(position, positions):
    model = GPT(GPTConfig(5, 8, 8, 2, 1, position=position), rng=np.random.default_rng(0))
    ids = np.zeros((2, 3), int)
    for cache in (None, model.new_cache(2, 3)):
        with pytest.raises(ValueError, match=r"GPT: positions are .*; expected \(2, 3\)"):
            model(ids, None, positions, cache)


def test_a_table_that_is_not_finite_is_refused():
    q = np.ones((2, 3, 4))
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match="table of a relative bias holds"):
            F.attention(q, q, q, bias=npformer.biases.relative(np.full((8, 2), bad)))
