"""The cache of keys and values: what is seen through it is what is seen without it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.models import SIZES, VOCAB
from support.passes import moved
from support.strategies import normal, seeds

from npformer import layers, masks
from npformer.core.run import Run
from npformer.layers import KVCache
from npformer.models import GPT, GPTConfig, Transformer, TransformerConfig

POSITIONS = ("learned", "sinusoidal", "rotary", "alibi", "t5")
KINDS = st.sampled_from([GPT, Transformer])


def made(kind, seed=0, dtype=np.float64, **options):
    """A small model, its weights far from the initial ones."""
    config = GPTConfig if kind is GPT else TransformerConfig
    options = SIZES | {"dropout": 0.0, "position": "learned"} | options
    return moved(kind(config(**options), rng=np.random.default_rng(seed), dtype=dtype), seed)


@st.composite
def options(draw, kind):
    """Options of a small model that a cache could mistake."""
    chosen = {
        "position": draw(st.sampled_from(POSITIONS)),
        "num_kv_heads": draw(st.sampled_from([1, 2, 4])),
        "norm_position": draw(st.sampled_from(["pre", "post"])),
        "relative_buckets": 4,
        "relative_distance": 6,
    }
    if kind is GPT:
        chosen["window"] = draw(st.sampled_from([None, 1, 3]))
    return chosen


@st.composite
def chunks(draw, most=8):
    """How many tokens each pass brings; together at most what learned positions know."""
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=6))
    while sum(sizes) > most:
        sizes.pop()
    return sizes


def left_padding(rng, batch, length):
    """Real tokens begin anywhere, in one row at once, and each row has one."""
    first = rng.integers(0, length, (batch, 1))
    first[rng.integers(batch)] = 0
    return np.arange(length) >= first


class Stepped:
    """A model that is fed in pieces, and the same fed whole."""

    def __init__(self, model, seed, batch, length, pad):
        rng = np.random.default_rng(seed)
        self.model = model
        self.ids = rng.integers(0, VOCAB, (batch, length))
        self.encodes = isinstance(model, Transformer)
        width = 4 if self.encodes else length
        self.mask = left_padding(rng, batch, width) if pad else None
        if self.encodes:
            source = rng.integers(0, VOCAB, (batch, width))
            self.memory, _ = model.encode(source, self.mask)

    def piece(self, cache, start, stop):
        """Logits of some tokens, which go through the cache."""
        ids = self.ids[:, start:stop]
        if self.encodes:
            logits, saved = self.model.decode(ids, self.memory, self.mask, cache=cache)
        else:
            mask = None if self.mask is None else self.mask[:, start:stop]
            logits, saved = self.model.forward(ids, mask, cache=cache)
        assert saved is None
        return logits

    def whole(self, stop):
        ids = self.ids[:, :stop]
        if self.encodes:
            return self.model.decode(ids, self.memory, self.mask)[0]
        return self.model(ids, None if self.mask is None else self.mask[:, :stop])

    def real(self, stop):
        """Which logits are of real tokens: those of padding are nobody's concern."""
        if self.encodes or self.mask is None:
            return np.ones((len(self.ids), stop), bool)
        return self.mask[:, :stop]

    def reorder(self, index):
        self.ids = self.ids[index]
        if self.encodes:
            self.memory = self.memory[index]
        self.mask = None if self.mask is None else self.mask[index]


@given(st.data(), KINDS, seeds, st.integers(1, 3), chunks(), st.booleans())
def test_logits_are_the_same_at_every_step(data, kind, seed, batch, sizes, pad):
    model = made(kind, seed=seed, **data.draw(options(kind)))
    stepped = Stepped(model, seed, batch, sum(sizes), pad)
    cache = model.new_cache(batch, sum(sizes))
    seen = 0
    for size in sizes:
        logits = stepped.piece(cache, seen, seen + size)
        whole = stepped.whole(seen + size)[:, seen:]
        real = stepped.real(seen + size)[:, seen:]
        np.testing.assert_allclose(logits[real], whole[real], rtol=1e-12, atol=1e-12)
        seen += size
        assert cache.length == seen


@given(st.data(), KINDS, seeds, st.integers(1, 3), st.booleans())
def test_after_reorder_sequences_go_on_from_what_they_became(data, kind, seed, batch, pad):
    model = made(kind, seed=seed, **data.draw(options(kind)))
    stepped = Stepped(model, seed, batch, 7, pad)
    cache = model.new_cache(batch, 7)
    stepped.piece(cache, 0, 3)
    for start in (3, 5):
        rows = len(stepped.ids)
        index = np.array(data.draw(st.lists(st.integers(0, rows - 1), min_size=1, max_size=4)))
        cache.reorder(index)
        stepped.reorder(index)
        assert (cache.batch, cache.length) == (len(index), start)
        rng = np.random.default_rng(seed + start)
        stepped.ids[:, start:] = rng.integers(0, VOCAB, stepped.ids[:, start:].shape)
        logits = stepped.piece(cache, start, start + 2)
        whole = stepped.whole(start + 2)[:, start:]
        real = stepped.real(start + 2)[:, start:]
        np.testing.assert_allclose(logits[real], whole[real], rtol=1e-12, atol=1e-12)


def break_off(model, which, monkeypatch):
    """Let one of a model's layers fail."""

    def fail(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(model.decoder.layers[which].feed_forward, "forward", fail)


@pytest.mark.parametrize("kind", [GPT, Transformer])
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("seen", [0, 3])
def test_a_pass_that_breaks_off_leaves_the_cache_as_it_was(kind, which, seen, monkeypatch):
    model = made(kind, num_kv_heads=2)
    stepped = Stepped(model, 0, 2, 6, pad=True)
    cache = model.new_cache(2, 6)
    if seen:
        stepped.piece(cache, 0, seen)
    with monkeypatch.context() as patch:
        break_off(model, which, patch)
        with pytest.raises(KeyboardInterrupt):
            stepped.piece(cache, seen, seen + 2)
    assert cache.length == seen
    if kind is Transformer and not seen:
        stepped.memory = stepped.memory + 1.0  # nothing was kept of the other
    logits = stepped.piece(cache, seen, 6)
    real = stepped.real(6)[:, seen:]
    np.testing.assert_allclose(
        logits[real], stepped.whole(6)[:, seen:][real], rtol=1e-12, atol=1e-12
    )


def test_after_reorder_the_memory_has_to_be_reordered_too():
    model = made(Transformer)
    stepped = Stepped(model, 0, 2, 6, pad=False)
    cache = model.new_cache(2, 6)
    stepped.piece(cache, 0, 3)
    cache.reorder(np.array([1, 1]))
    with pytest.raises(ValueError, match="another memory"):
        stepped.piece(cache, 3, 4)
    stepped.reorder(np.array([1, 1]))
    logits = stepped.piece(cache, 3, 6)
    np.testing.assert_allclose(logits, stepped.whole(6)[:, 3:], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", [GPT, Transformer])
@pytest.mark.parametrize("position", POSITIONS)
def test_float32_stays_float32(kind, position):
    model = made(kind, dtype=np.float32, position=position, num_kv_heads=2)
    stepped = Stepped(model, 0, 2, 6, pad=True)
    cache = model.new_cache(2, 6)
    assert stepped.piece(cache, 0, 4).dtype == np.float32
    logits = stepped.piece(cache, 4, 6)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, stepped.whole(6)[:, 4:], rtol=1e-4, atol=1e-6)


def test_positions_may_be_given():
    model = made(GPT, position="rotary")
    ids = np.random.default_rng(0).integers(0, VOCAB, (2, 5))
    at = np.array([0, 2, 3, 5, 6])
    cache = model.new_cache(2, 5)
    model(ids[:, :3], None, at[:3], cache)
    logits = model(ids[:, 3:], None, at[3:], cache)
    np.testing.assert_allclose(logits, model(ids, None, at)[:, 3:], rtol=1e-12, atol=1e-12)


@given(seeds, chunks(12), st.sampled_from([None, 100.0]), st.sampled_from([1, 2, 4]))
def test_an_attention_layer_alone(seed, sizes, rotary_base, num_kv_heads):
    rng = np.random.default_rng(seed)
    layer = layers.MultiHeadAttention(
        8, 4, num_kv_heads, rotary_base=rotary_base, rng=rng, dtype=np.float64
    )
    x = normal(seed, 2, sum(sizes), 8)
    whole = layer(x, mask=masks.causal())
    cache = KVCache(2, sum(sizes))
    seen = 0
    for size in sizes:
        y, saved = layer.forward(x[:, seen : seen + size], mask=masks.causal(), cache=cache)
        assert saved is None
        np.testing.assert_allclose(y, whole[:, seen : seen + size], rtol=1e-12, atol=1e-12)
        seen += size


def test_recorded_weights_are_those_over_all_that_is_kept():
    model = made(GPT)
    ids = np.random.default_rng(0).integers(0, VOCAB, (2, 5))
    runs = [Run(record=["attention"]) for _ in range(2)]
    model.forward(ids, run=runs[0])
    cache = model.new_cache(2, 5)
    model.forward(ids[:, :4], cache=cache)
    model.forward(ids[:, 4:], cache=cache, run=runs[1])
    whole, last = (run.named(model, "attention") for run in runs)
    assert len(last) == 2
    for (name, all_rows), (same, row) in zip(whole, last, strict=True):
        assert name == same
        np.testing.assert_allclose(row, all_rows[..., 4:, :], rtol=1e-12, atol=1e-14)


def test_a_full_cache_is_refused_before_anything_changes():
    model = made(GPT)
    ids = np.random.default_rng(0).integers(0, VOCAB, (2, 6))
    cache = model.new_cache(2, 5)
    model(ids[:, :4], cache=cache)
    with pytest.raises(ValueError, match=r"4 tokens are kept and 2 are to come.*room for 5"):
        model(ids[:, 4:], cache=cache)
    assert cache.length == 4
    logits = model(ids[:, 4:5], cache=cache)
    np.testing.assert_allclose(logits, model(ids[:, :5])[:, 4:], rtol=1e-12, atol=1e-12)


def test_another_batch_is_refused():
    model = made(GPT)
    with pytest.raises(ValueError, match=r"batch of 3 .*new_cache\(2, max_len\)"):
        model(np.zeros((2, 1), int), cache=model.new_cache(3, 4))
    layer = layers.MultiHeadAttention(8, 2)
    with pytest.raises(ValueError, match="made for a batch of 3, and given keys"):
        layer(np.zeros((2, 1, 8), np.float32), cache=KVCache(3, 4))


def test_what_is_no_cache_is_refused():
    with pytest.raises(TypeError, match="expected a KVCache"):
        made(GPT)(np.zeros((2, 1), int), cache={})


def test_another_memory_is_refused():
    model = made(Transformer)
    stepped = Stepped(model, 0, 2, 4, pad=False)
    cache = model.new_cache(2, 4)
    stepped.piece(cache, 0, 2)
    with pytest.raises(ValueError, match="another memory; make a new cache"):
        model.decode(stepped.ids[:, 2:], stepped.memory[:, ::-1], cache=cache)
    assert cache.length == 2
    model.decode(stepped.ids[:, 2:3], stepped.memory.copy(), cache=cache)  # it is what it holds
    cache.reorder(np.array([0]))
    with pytest.raises(ValueError, match="another memory"):  # of another length
        model.decode(stepped.ids[:1, 3:], stepped.memory[:1, 1:], cache=cache)


def test_layers_of_two_models_are_told_apart():
    one, other = made(GPT), made(GPT, seed=1)
    cache = one.new_cache(1, 4)
    one(np.zeros((1, 2), int), cache=cache)
    for count in (1, 2):
        with pytest.raises(ValueError, match="2 tokens that another model has seen; make a cache"):
            other(np.zeros((1, count), int), cache=cache)
    assert cache.length == 2
    one(np.zeros((1, 2), int), cache=cache)


def test_a_cache_belongs_to_no_model_whose_first_pass_broke_off(monkeypatch):
    one, other = made(GPT), made(GPT, seed=1)
    cache = one.new_cache(1, 4)
    with monkeypatch.context() as patch:
        break_off(one, 0, patch)
        with pytest.raises(KeyboardInterrupt):
            one(np.zeros((1, 2), int), cache=cache)
    other(np.zeros((1, 2), int), cache=cache)
    assert cache.length == 2


def test_backward_is_refused_after_a_pass_with_a_cache():
    model = made(GPT)
    cache = model.new_cache(1, 2)
    logits, saved = model.forward(np.zeros((1, 2), int), cache=cache)
    with pytest.raises(ValueError, match=r"GPT.backward: saved is None.*run with a cache"):
        model.backward(logits, saved)


@pytest.mark.parametrize(
    ("index", "error"),
    [
        (np.array([0, 2]), ValueError),
        (np.array([-1]), ValueError),
        (np.array([[0]]), ValueError),
        (np.array([], int), ValueError),
        (np.array([True, False]), TypeError),
        ([0, 1], TypeError),
    ],
)
def test_reorder_refuses_what_is_no_vector_of_sequences(index, error):
    model = made(GPT)
    cache = model.new_cache(2, 4)
    model(np.zeros((2, 3), int), cache=cache)
    with pytest.raises(error, match=r"KVCache\.reorder: index is"):
        cache.reorder(index)
    assert (cache.batch, cache.length) == (2, 3)


@pytest.mark.parametrize(("sizes", "error"), [((0, 4), ValueError), ((2, 1.5), TypeError)])
def test_sizes_are_checked(sizes, error):
    with pytest.raises(error, match="expected a positive int"):
        KVCache(*sizes)


def test_backward_of_each_layer_is_refused_after_a_pass_with_a_cache():
    attention, block = layers.MultiHeadAttention(8, 2), layers.EncoderLayer(8, 2)
    x = np.zeros((1, 2, 8), np.float32)
    for layer in (attention, block, layers.Encoder(1, d_model=8, num_heads=2)):
        y, saved = layer.forward(x, cache=KVCache(1, 2))
        with pytest.raises(ValueError, match=f"{type(layer).__name__}.backward: saved is None"):
            layer.backward(y, saved)
    decoder = made(Transformer).decoder
    x = np.zeros((1, 2, 8))
    for layer in (decoder, decoder.layers[0]):
        y, saved = layer.forward(x, x, cache=KVCache(1, 2))
        with pytest.raises(ValueError, match=f"{type(layer).__name__}.backward: saved is None"):
            layer.backward(y, saved)


def test_after_forget_another_text_goes_on_from_what_is_kept():
    model = made(GPT)
    first, other = np.array([[3, 1, 4, 1, 5]]), np.array([[3, 1, 2, 6]])
    cache = model.new_cache(1, 8)
    model(first, cache=cache)
    cache.forget(2)
    assert cache.length == 2
    np.testing.assert_allclose(
        model(other[:, 2:], cache=cache), model(other)[:, 2:], rtol=1e-10, atol=1e-12
    )
    cache.forget(0)
    np.testing.assert_allclose(model(first, cache=cache), model(first), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("length", "error"), [(4, ValueError), (-1, ValueError), (1.0, TypeError)])
def test_what_has_not_been_seen_cannot_be_kept(length, error):
    model = made(GPT)
    cache = model.new_cache(1, 8)
    model(np.array([[3, 1, 4]]), cache=cache)
    with pytest.raises(error, match=r"KVCache\.forget: length is"):
        cache.forget(length)
    assert cache.length == 3


def test_what_is_kept_is_looked_at_once_for_what_a_mask_would_not_silence():
    layer = layers.MultiHeadAttention(8, 2, rng=np.random.default_rng(0), dtype=np.float64)
    cache = KVCache(1, 6)
    assert cache.tame(layer) is None
    x = normal(1, 1, 4, 8)
    layer(x[:, :2], cache=cache)
    assert cache.tame(layer) is True
    x[0, 2] = np.nan
    with np.errstate(invalid="ignore"):
        layer(x[:, 2:3], cache=cache)
    assert cache.tame(layer) is False
    hidden = np.array([True, True, False, True])
    y = layer(x[:, 3:], mask=hidden, cache=cache)
    np.testing.assert_allclose(y[0, 0], layer(x[:, hidden])[0, -1], rtol=1e-10)
