"""Checkpoint: the same numbers to the bit, from less memory."""

import copy
import pickle
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.models import batch, build
from support.passes import assert_close, assert_equal, moved, parameter_gradients
from support.strategies import leads, normal, seeds

from npformer import Layer, Parameter, Run, catalogue, masks
from npformer.layers import (
    Checkpoint,
    Decoder,
    DecoderLayer,
    Dropout,
    Encoder,
    EncoderLayer,
    FeedForward,
    KVCache,
    LayerNorm,
    MultiHeadAttention,
)
from npformer.models import GPT, Transformer
from npformer.training import AdamW, Trainer

D = 8
LAYERS = [e.name for e in catalogue.examples() if isinstance(e.target, Layer)]


def passed(layer, inputs, options=(), seed=1):
    """y, gradients of inputs and parameters, and where the generator stands, before and after."""
    layer.zero_grad()
    rng = None if seed is None else np.random.default_rng(seed)
    y, saved = layer.forward(*inputs, **dict(options), run=Run(rng=rng))
    before = copy.deepcopy(rng)
    dx = layer.backward(normal(7, *y.shape), saved)
    assert rng is None or rng.bit_generator.state == before.bit_generator.state
    grads = parameter_gradients(layer)
    return [y, *(dx if isinstance(dx, tuple) else (dx,))], grads, rng and rng.random()


def assert_same(got, want):
    for a, b in zip(got[0], want[0], strict=True):
        assert (a is None) == (b is None)
        assert a is None or np.array_equal(a, b)
    assert list(got[1]) == list(want[1])  # the names, and their order
    for name, gradient in got[1].items():
        np.testing.assert_array_equal(gradient, want[1][name], err_msg=name)
    assert got[2] == want[2]


@pytest.mark.parametrize("seed", [None, 1])
@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_gives_the_same_to_the_bit(name, seed):
    example = next(e for e in catalogue.examples() if e.name == name)
    layer = moved(example.target)
    want = passed(layer, example.inputs, example.options, seed)
    assert_same(passed(Checkpoint(layer), example.inputs, example.options, seed), want)


@given(
    seed=seeds,
    lead=leads(),
    kind=st.sampled_from([Encoder, Decoder]),
    num_layers=st.integers(1, 3),
    where=st.sampled_from(["pre", "post"]),
    dropout=st.sampled_from([0.0, 0.3, 0.9]),
    rotary_base=st.sampled_from([None, 100.0]),
    depth=st.integers(0, 2),
    random=st.booleans(),
)
@settings(max_examples=40)
def test_every_stack_gives_the_same_to_the_bit(
    seed, lead, kind, num_layers, where, dropout, rotary_base, depth, random
):
    plain, kept = (
        kind(
            num_layers,
            D,
            2,
            12,
            norm_position=where,
            dropout=dropout,
            rotary_base=rotary_base,
            checkpoint=checkpoint,
            rng=np.random.default_rng(seed),
            dtype=np.float64,
        )
        for checkpoint in (False, True)
    )
    for _ in range(depth):
        kept = Checkpoint(kept)
    inputs = [normal(seed, *lead, 4, D), normal(seed + 1, *lead, 3, D)][: 1 + (kind is Decoder)]
    options = {"bias": normal(seed + 2, 4, 4), "mask": masks.sliding_window(3)}
    if rotary_base is not None:
        options["positions"] = np.arange(4) + 5
    how = options, seed if random else None
    assert_same(passed(kept, inputs, *how), passed(plain, inputs, *how))


@pytest.mark.parametrize("bits", ["MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"])
def test_every_kind_of_generator_is_replayed(bits):
    class Draws(Layer):
        """Scales by numbers from a generator, half a word of it at a time, and from its child."""

        def forward(self, x, *, run=None):
            m = run.rng.random(x.shape, dtype=np.float32) + run.rng.spawn(1)[0].random(x.shape)
            return x * m, m

        def backward(self, dy, saved, run=None):
            return dy * saved

    x, results = normal(0, 3, 5), []
    for layer in (Draws(), Checkpoint(Draws())):
        rng = np.random.Generator(getattr(np.random, bits)(3))
        rng.random(1, dtype=np.float32)  # the other half of a word is still to come
        y, saved = layer.forward(x, run=Run(rng=rng))
        results.append([y, layer.backward(x, saved), rng.random(3), rng.spawn(1)[0].random()])
    for got, want in zip(*results, strict=True):
        assert_equal(got, want)


def test_backward_may_be_run_twice():
    layer = moved(Checkpoint(EncoderLayer(D, 2, dropout=0.4, dtype=np.float64)))
    y, saved = layer.forward(normal(0, 4, D), run=Run(rng=np.random.default_rng(1)))
    dy = normal(1, *y.shape)
    first = layer.backward(dy, saved)
    once = parameter_gradients(layer)
    assert_equal(layer.backward(dy, saved), first)
    assert_close(parameter_gradients(layer), {name: 2 * g for name, g in once.items()}, 1e-13)


def test_only_what_was_given_is_kept():
    layer = Checkpoint(MultiHeadAttention(D, 2))
    x, mask = np.ones((3, D), np.float32), np.eye(3) > 0
    _, saved = layer.forward(x, mask=mask, run=Run(rng=np.random.default_rng(1)))
    assert saved.inputs == (x,)
    assert saved.options == {"mask": mask}
    assert layer.forward(x)[1].rng is None


def test_names_are_those_of_the_layer():
    layer = EncoderLayer(D, 2)
    kept = Checkpoint(Checkpoint(layer))
    assert list(kept.state_dict()) == list(layer.state_dict())
    assert all(a is b for a, b in zip(kept.parameters(), layer.parameters(), strict=True))
    kept.load_state_dict(moved(EncoderLayer(D, 2)).state_dict())
    names = [name for name, _ in layer.named_layers()]
    wrappers = ["checkpointed", "checkpointed.checkpointed"]
    assert [name for name, _ in kept.named_layers()] == names + wrappers


@pytest.mark.parametrize("depth", [1, 2])
def test_assigning_to_an_attribute_assigns_to_the_layer_s(depth):
    norm, drop, x = LayerNorm(D), Dropout(0.5), np.ones((3, D), np.float32)
    kept, kept_drop = norm, drop
    for _ in range(depth):
        kept, kept_drop = Checkpoint(kept), Checkpoint(kept_drop)
    kept.bias = new = Parameter(np.full(D, 7, np.float32))
    assert norm.bias is kept.bias is new
    assert_equal(kept(x), norm(x))
    assert_equal(kept(x), np.full((3, D), 7, np.float32))
    assert [p is new for p in kept.parameters()].count(True) == 1
    assert list(kept.state_dict()) == ["weight", "bias"]
    norm.weight = newer = Parameter(np.zeros(D, np.float32))  # by the layer itself: no old copy
    assert [p is newer for p in kept.parameters()] == [True, False]
    kept_drop.rate = 0.0
    assert_equal(kept_drop(x, run=Run(rng=np.random.default_rng(0))), x)
    del kept.weight
    assert not hasattr(norm, "weight")
    with pytest.raises(AttributeError, match="'LayerNorm' object has no attribute 'weight'"):
        _ = kept.weight


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_copies_have_the_layer_s_attributes(again):
    kept = Checkpoint(Checkpoint(LayerNorm(D)))
    twin = again(kept)
    assert list(twin.state_dict()) == list(kept.state_dict())
    assert twin.weight is twin.checkpointed.weight is twin.checkpointed.checkpointed.weight
    assert (twin.weight is kept.weight) is (again is copy.copy)
    assert list(vars(twin)) == ["checkpointed"]


def test_names_within_another_layer_stay_too():
    class Two(Layer):
        def __init__(self, wrap):
            self.layers = [wrap(FeedForward(D, 4)), wrap(LayerNorm(D))]

        def forward(self, x, run=None):
            return x, None

        def backward(self, dy, saved, run=None):
            return dy

    assert list(Two(Checkpoint).state_dict()) == list(Two(lambda layer: layer).state_dict())


def test_attention_is_recorded_once_and_has_its_name():
    x, run = np.ones((2, 3, D), np.float32), Run(record=["attention"])
    for layer, name in (
        (Checkpoint(MultiHeadAttention(D, 2)), "checkpointed"),
        (Checkpoint(EncoderLayer(D, 2)), "self_attention"),
        (Encoder(1, D, 2, checkpoint=True), "layers.0.self_attention"),
    ):
        run = Run(record=["attention"])
        y, saved = layer.forward(x, run=run)
        layer.backward(y, saved, run=run)
        assert [found for found, _ in run.named(layer, "attention")] == [name]


@pytest.mark.parametrize("wrap", [Checkpoint, lambda layer: layer])
def test_with_a_cache_there_is_nothing_to_undo(wrap):
    options = {"dtype": np.float64, "rng": np.random.default_rng(0)}
    x = normal(0, 2, 5, D)
    plain = Encoder(2, D, 2, **options)
    options["rng"] = np.random.default_rng(0)
    layer = wrap(Encoder(2, D, 2, checkpoint=True, **options))
    cache = KVCache(2, 5)
    parts = [layer.forward(x[:, i : i + 1], mask=masks.causal(), cache=cache) for i in range(5)]
    assert all(saved is None for _, saved in parts)
    assert_close(np.concatenate([y for y, _ in parts], axis=1), plain(x, mask=masks.causal()))
    said = rf"^{type(layer).__name__}\.backward: saved is None, as forward"
    with pytest.raises(ValueError, match=said):
        layer.backward(x, None)


def test_what_is_no_layer_is_refused():
    with pytest.raises(TypeError, match=r"Checkpoint: layer is .*; expected a Layer"):
        Checkpoint(lambda x: x)
    with pytest.raises(TypeError, match=r"expected an npformer\.Run"):
        Checkpoint(Dropout(0.5)).forward(np.ones(3), run=np.random.default_rng(0))


@pytest.mark.parametrize("position", ["learned", "rotary", "alibi", "t5"])
@pytest.mark.parametrize("kind", [GPT, Transformer])
def test_models_are_trained_to_the_same_bits(kind, position):
    runs = []
    for checkpoint in (False, True):
        config = build(kind, "rotary" if position == "rotary" else "learned").config
        config = replace(config, position=position, dropout=0.2, checkpoint=checkpoint)
        model = kind(config, rng=np.random.default_rng(0))
        trainer = Trainer(
            model, AdamW(model.parameters(), 0.01), accumulate=2, rng=np.random.default_rng(3)
        )
        losses = [trainer.step(*batch(kind, seed)) for seed in range(3)]
        runs.append((losses, model.state_dict(), trainer.rng.random()))
    (losses, values, drawn), (again, values_again, drawn_again) = runs
    assert losses == again
    assert drawn == drawn_again
    assert list(values) == list(values_again)
    for name, value in values.items():
        np.testing.assert_array_equal(value, values_again[name], err_msg=name)


@pytest.mark.parametrize("kind", [GPT, Transformer])
def test_a_configuration_says_true_or_false(kind):
    with pytest.raises(TypeError, match="checkpoint is 1; expected True or False"):
        build(kind, checkpoint=1)


def memory(layer, *inputs):
    """What is held after forward, and the most that is in use at a time, in floats."""
    tracemalloc.start()
    try:
        y, saved = layer.forward(*inputs)
        held = tracemalloc.get_traced_memory()[0] - y.nbytes
        layer.backward(y, saved)
        return held / 4, tracemalloc.get_traced_memory()[1] / 4
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("kind", "layer_kind"), [(Encoder, EncoderLayer), (Decoder, DecoderLayer)])
def test_a_stack_holds_the_inputs_of_its_layers_alone(kind, layer_kind):
    layers, inputs = 8, [np.ones((4, 32, 32), np.float32)] * (1 + (kind is Decoder))
    size = inputs[0].size
    one_held, one_peak = memory(layer_kind(32, 2, dropout=0.1), *inputs)
    held, peak = memory(kind(layers, 32, 2), *inputs)
    kept, less = memory(kind(layers, 32, 2, checkpoint=True), *inputs)
    assert one_held > 8 * size  # A is many N
    assert held > (layers - 1) * one_held  # L A
    assert kept < (layers + 2) * size  # L N, and the last norm's
    assert less < (layers + 6) * size + one_peak  # L N + A, and what backward takes
    assert less < 0.5 * peak
