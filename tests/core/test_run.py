"""Run: randomness, and what is recorded."""

import numpy as np
import pytest
from support.strategies import normal

from npformer import Layer, Run
from npformer.layers import Encoder, MultiHeadAttention


def test_a_run_is_evaluation_and_records_nothing_unless_told_otherwise():
    run = Run()
    assert run.rng is None
    assert run.recorded == {}
    assert not run.records("attention")


def test_the_generator_is_used_as_it_is():
    rng = np.random.default_rng(0)
    assert Run(rng).rng is rng


@pytest.mark.parametrize("rng", [0, np.random.RandomState(0), np.random, "seed"])
def test_only_a_generator_is_taken(rng):
    with pytest.raises(TypeError, match=r"Run: rng is .*expected a numpy.random.Generator, such"):
        Run(rng)


def test_a_bare_string_is_not_taken_for_its_letters():
    with pytest.raises(TypeError, match=r"record is 'attention'; expected a list, such as \['att"):
        Run(record="attention")


def test_only_what_is_wanted_is_kept():
    run = Run(record=("a", "b"))
    layer = MultiHeadAttention(4, 1)
    for kind, value in (("a", 1), ("other", 2), ("a", 3)):
        run.record(layer, kind, value)
    assert run.recorded == {"a": [(layer, 1), (layer, 3)], "b": []}
    assert run.records("b")
    assert not run.records("other")


def test_what_was_recorded_has_the_names_of_its_layers():
    encoder = Encoder(2, 4, 2)
    run = Run(record=["attention"])
    encoder(normal(0, 3, 4).astype(np.float32), run=run)
    named = run.named(encoder, "attention")
    assert [name for name, _ in named] == ["layers.0.self_attention", "layers.1.self_attention"]
    assert [value.shape for _, value in named] == [(2, 3, 3)] * 2
    assert run.named(encoder.layers[0], "attention")[1][0] == "?"  # not a layer of that model


class Twice(Layer):
    """The same attention, two times over."""

    def __init__(self):
        self.attention = MultiHeadAttention(4, 1)

    def forward(self, x, *, run=None):
        for _ in range(2):
            x = self.attention(x, run=run)
        return x, None

    def backward(self, dy, saved, run=None):
        return dy


def test_a_layer_that_ran_twice_is_recorded_twice_in_order():
    model, run = Twice(), Run(record=["attention"])
    x = normal(0, 3, 4).astype(np.float32)
    model(x, run=run)
    (name, first), (again, second) = run.named(model, "attention")
    assert name == again == "attention"
    alone = Run(record=["attention"])
    model.attention(x, run=alone)
    np.testing.assert_array_equal(first, alone.named(model, "attention")[0][1])
    assert not np.array_equal(first, second)


def test_a_kind_that_is_not_recorded_cannot_be_asked_for():
    with pytest.raises(ValueError, match=r"records \['a', 'b'\], not 'c'; make it with Run\(rec"):
        Run(record=["b", "a"]).named(Twice(), "c")
