"""Layer: names, ties, state dicts, replicas."""

import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support.passes import assert_close, moved, parameter_gradients
from support.strategies import normal

from npformer import Layer, Parameter
from npformer.layers import Linear


class Scale(Layer):
    """y = w x."""

    def __init__(self, n=2, value=1.0, trainable=True):
        self.w = Parameter(np.full(n, value), trainable=trainable)

    def forward(self, x, *, run=None):
        return self.w.value * x, x

    def backward(self, dy, saved, run=None):
        self.w.add_grad((dy * saved).reshape(-1, dy.shape[-1]).sum(0))
        return dy * self.w.value


class Chain(Layer):
    """Layers after one another, with a parameter, a config, and places for more."""

    def __init__(self, *links, **more):
        self.first = Parameter(np.ones(1))
        self.links = links
        self.settings = {"depth": len(links), "names": ["a"]}
        vars(self).update(more)

    def forward(self, x, *, run=None):
        saved = []
        for link in self.links:
            x, s = link.forward(x)
            saved.append(s)
        return x, saved

    def backward(self, dy, saved, run=None):
        for link, s in zip(self.links[::-1], saved[::-1], strict=True):
            dy = link.backward(dy, s)
        return dy


def names(layer):
    return [name for name, _ in layer.named_parameters()]


def test_a_layer_must_define_both_passes():
    with pytest.raises(TypeError, match="abstract"):
        type("Half", (Layer,), {"forward": Scale.forward})()


def test_calling_returns_y_alone():
    np.testing.assert_array_equal(Scale(value=3.0)(np.ones(2)), [3, 3])


def test_names_are_dotted_and_in_the_order_of_the_attributes():
    shared = Scale()
    chain = Chain(
        Scale(),
        Chain(shared),
        a_list=[Scale(), Parameter(np.ones(3))],
        a_dict={"left": Scale(), "right": (Scale(),)},
    )
    assert names(chain) == [
        "first",
        "links.0.w",
        "links.1.first",
        "links.1.links.0.w",
        "a_list.0.w",
        "a_list.1",
        "a_dict.left.w",
        "a_dict.right.0.w",
    ]
    layers = [name for name, _ in chain.named_layers()]
    assert layers == [
        "",
        "links.0",
        "links.1",
        "links.1.links.0",
        "a_list.0",
        "a_dict.left",
        "a_dict.right.0",
    ]
    assert dict(chain.named_layers())["links.1.links.0"] is shared
    assert [p for _, p in chain.named_parameters()] == chain.parameters()


def test_a_tied_parameter_or_layer_is_there_once_under_its_first_name():
    a, b = Scale(), Scale()
    b.w = a.w
    chain = Chain(a, b, a)
    assert names(chain) == ["first", "links.0.w"]
    assert [name for name, _ in chain.named_layers()] == ["", "links.0", "links.1"]
    assert list(chain.state_dict()) == ["first", "links.0.w"]


def test_a_tied_weight_receives_the_sum_of_the_untied_ones():
    x, dy = normal(0, 4, 2), normal(1, 4, 2)
    once, twice = Scale(value=3.0), Scale(value=3.0)
    untied, tied = Chain(once, twice), Chain(once, once)
    _, saved = untied.forward(x)
    untied.backward(dy, saved)
    want = once.w.grad + twice.w.grad
    assert not np.allclose(once.w.grad, want)
    once.zero_grad()
    _, saved = tied.forward(x)
    tied.backward(dy, saved)
    assert_close(once.w.grad, want)


def test_zero_grad_is_in_place():
    chain = Chain(Scale(), Scale())
    grads = [p.grad for p in chain.parameters()]
    for grad in grads:
        grad += 1
    chain.zero_grad()
    assert all(p.grad is g and not g.any() for p, g in zip(chain.parameters(), grads, strict=True))


def test_a_state_dict_holds_copies_of_all_parameters_also_frozen_ones():
    chain = Chain(Scale(trainable=False), Scale())
    state = chain.state_dict()
    assert list(state) == ["first", "links.0.w", "links.1.w"]
    state["links.0.w"][...] = 7
    np.testing.assert_array_equal(chain.links[0].w.value, [1, 1])


def test_loading_writes_in_place_and_frozen_ones_too():
    chain = Chain(Scale(trainable=False), Scale())
    values = [p.value for p in chain.parameters()]
    chain.load_state_dict({name: a + 4 for name, a in chain.state_dict().items()})
    assert all(
        p.value is v and np.all(v == 5) for p, v in zip(chain.parameters(), values, strict=True)
    )


def test_a_state_dict_makes_an_equal_layer():
    one, other = moved(Linear(3, 4), 0), moved(Linear(3, 4), 1)
    other.load_state_dict(one.state_dict())
    x = normal(0, 2, 3).astype(np.float32)
    np.testing.assert_array_equal(one(x), other(x))


def test_a_state_that_does_not_fit_names_everything_and_changes_nothing():
    chain = Chain(Scale(), Scale(), Scale(), Scale())
    state = {name: a + 1 for name, a in chain.state_dict().items()}
    del state["links.0.w"], state["links.3.w"]
    state |= {
        "first": np.ones((1, 1)),
        "links.1.w": np.ones(3),
        "links.9.w": np.ones(2, np.float32),
        "extra": None,
    }
    with pytest.raises(ValueError, match="does not fit Chain") as caught:
        chain.load_state_dict(state)
    assert str(caught.value).splitlines() == [
        "load_state_dict: the state does not fit Chain (nothing was changed; was it built with "
        "the same configuration?)",
        "  missing: links.0.w (2,)",
        "  missing: links.3.w (2,)",
        "  unexpected: links.9.w float32 (2,)",
        "  unexpected: extra a NoneType",
        "  wrong shape: first is (1, 1), expected (1,)",
        "  wrong shape: links.1.w is (3,), expected (2,)",
    ]
    assert all(np.all(p.value == 1) for p in chain.parameters())


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (np.ones(2, int), "links.1.w is int64 (2,); expected a float ndarray"),
        (np.ones(2, complex), "links.1.w is complex128 (2,); expected a float ndarray"),
        ([1.0, 1.0], "links.1.w is a list; expected a float ndarray"),
        (np.ones(2), "float64 and the parameter is float32, which would lose precision"),
    ],
)
def test_entries_that_are_no_floats_or_too_precise_are_refused_and_change_nothing(entry, said):
    chain = Chain(Scale(), Scale())
    for p in chain.parameters():
        p.value = p.value.astype(np.float32)
    state = {name: a + 1 for name, a in chain.state_dict().items()} | {"links.1.w": entry}
    with pytest.raises(TypeError, match=re.escape(said)):
        chain.load_state_dict(state)
    assert all(np.all(p.value == 1) for p in chain.parameters())


def test_float32_may_be_loaded_into_float64():
    scale = Scale()
    scale.load_state_dict({"w": np.full(2, 0.5, np.float32)})
    assert scale.w.value.dtype == np.float64
    np.testing.assert_array_equal(scale.w.value, [0.5, 0.5])


def test_a_replica_shares_values_now_and_later_but_not_gradients():
    chain = Chain(Scale(value=2.0), a_dict={"left": Scale()})
    twin = chain.replica()
    assert type(twin) is Chain
    assert names(twin) == names(chain)
    chain.a_dict["left"].w.value += 5
    chain.links[0].w.value = np.full(2, 4.0)
    for p, q in zip(chain.parameters(), twin.parameters(), strict=True):
        assert p is not q
        assert p.value is q.value
        assert not np.shares_memory(p.grad, q.grad)
    assert twin.settings == chain.settings
    assert twin.settings is not chain.settings


def test_a_replica_of_tied_weights_stays_tied():
    a, b = Scale(), Scale()
    b.w = a.w
    twin = Chain(a, b).replica()
    assert twin.links[0].w is twin.links[1].w
    assert names(twin) == ["first", "links.0.w"]


def test_replicas_in_threads_collect_what_one_pass_over_everything_does():
    chain = moved(Chain(Linear(3, 4, dtype=np.float64), Linear(4, 2, dtype=np.float64)))
    x, dy = normal(0, 8, 3), normal(1, 8, 2)
    _, saved = chain.forward(x)
    chain.backward(dy, saved)
    want = parameter_gradients(chain)

    def work(part):
        twin = chain.replica()
        _, saved = twin.forward(x[part])
        twin.backward(dy[part], saved)
        return parameter_gradients(twin)

    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(work, (slice(i, i + 2) for i in range(0, 8, 2))))
    assert_close({name: sum(part[name] for part in parts) for name in want}, want)
