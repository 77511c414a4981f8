"""Layers that keep their state on themselves, through the adapter."""

import numpy as np
import pytest
from support.strategies import normal

from npformer import gradcheck
from npformer.verify import StatefulLayer

X = normal(0, 5, 3)


class Dense:
    """y = tanh(x W + b), in the style of attributes."""

    def __init__(self, factor=1.0):
        self.W, self.b, self.factor = normal(1, 3, 4), np.zeros(4), factor

    def forward(self, x):
        self.y = np.tanh(x @ self.W + self.b)
        self.x = x
        return self.y

    def backward(self, dy):
        dz = dy * (1 - self.y**2)
        self.dW, self.db = self.factor * self.x.T @ dz, np.sum(dz, axis=0)
        return dz @ self.W.T


class Adds(Dense):
    """The same, adding to its gradients."""

    def backward(self, dy):
        dz = dy * (1 - self.y**2)
        self.dW += self.x.T @ dz
        self.db += np.sum(dz, axis=0)
        return dz @ self.W.T


class Dicts:
    """Two products, in the style of dicts."""

    def __init__(self):
        self.params = {"W1": normal(1, 3, 4), "W2": normal(2, 4, 2)}
        self.grads = {}

    def forward(self, x):
        self.cache = x, x @ self.params["W1"]
        return self.cache[1] @ self.params["W2"]

    def backward(self, dy):
        x, h = self.cache
        self.grads["W2"] = h.T @ dy
        dh = dy @ self.params["W2"].T
        self.grads["W1"] = x.T @ dh
        return dh @ self.params["W1"].T


@pytest.mark.parametrize("kind", [Dense, Adds])
def test_a_right_one_passes_exactly_with_remarks_on_its_style(kind):
    layer = kind()
    W, bits = layer.W, layer.W.tobytes()
    report = gradcheck(StatefulLayer(layer, W="dW", b="db"), X)
    assert report.ok, report
    assert report.target == kind.__name__
    assert [e.name for e in report.entries] == ["x", "W", "b"]
    assert {e.method for e in report.entries} == {"complex step"}
    assert {f.family for f in report.findings} == {"state"}
    assert layer.W is W
    assert W.tobytes() == bits


def test_a_wrong_one_fails():
    report = gradcheck(StatefulLayer(Dense(2.0), W="dW", b="db"), X)
    assert report.families == {"factor"}


def test_dotted_names_lead_through_dicts_and_attributes():
    names = {f"params.{name}": f"grads.{name}" for name in ("W1", "W2")}
    report = gradcheck(StatefulLayer(Dicts(), **names), X)
    assert report.ok, report
    assert [e.name for e in report.entries] == ["x", *names]
    outer = type("Outer", (), {})()
    outer.dense = Dense()
    outer.forward, outer.backward = outer.dense.forward, outer.dense.backward
    assert gradcheck(StatefulLayer(outer, **{"dense.W": "dense.dW"}), X).ok


def test_what_is_no_layer_is_refused():
    with pytest.raises(TypeError, match="has no method `backward`"):
        StatefulLayer(type("Half", (), {"forward": lambda self, x: x})())


def test_a_class_in_place_of_a_layer_is_refused():
    with pytest.raises(TypeError, match=r"layer is the class Dense; expected an instance: Dense\("):
        StatefulLayer(Dense)


class Flat:
    """One vector of all parameters and one of all gradients, of which the arrays are views."""

    def __init__(self):
        self.theta, self.g = normal(1, 16), normal(2, 16)
        self.W, self.b = self.theta[:12].reshape(3, 4), self.theta[12:]
        self.dW, self.db = self.g[:12].reshape(3, 4), self.g[12:]

    def forward(self, x):
        self.x = x
        return x @ self.theta[:12].reshape(3, 4) + self.theta[12:]

    def backward(self, dy):
        self.g[:] = np.concatenate([(self.x.T @ dy).ravel(), np.sum(dy, axis=0)])
        return dy @ self.theta[:12].reshape(3, 4).T


def test_views_of_flat_vectors_are_read_and_left():
    layer = Flat()
    held = {name: (array, array.tobytes()) for name, array in vars(layer).items()}
    report = gradcheck(StatefulLayer(layer, W="dW", b="db"), X)
    assert report.ok, report
    for name, (array, bits) in held.items():
        assert getattr(layer, name) is array
        assert array.tobytes() == bits
    assert layer.dW.base is layer.g


@pytest.mark.parametrize("kind", [Dense, Adds])
@pytest.mark.parametrize("before", ["array", None, "nothing"])
def test_the_layers_own_gradients_are_put_back(kind, before):
    layer = kind()
    if before != "nothing":
        layer.dW = np.full((3, 4), 5.0) if before == "array" else None
    own = getattr(layer, "dW", None)
    assert gradcheck(StatefulLayer(layer, W="dW", b="db"), X).ok
    assert not hasattr(layer, "db")
    assert hasattr(layer, "dW") == (before != "nothing")
    assert getattr(layer, "dW", None) is own
    if before == "array":
        np.testing.assert_array_equal(own, 5.0)


def test_gradients_are_put_back_if_backward_raises():
    class Raises(Dense):
        def backward(self, dy):
            super().backward(dy)
            raise RuntimeError("at the end")

    layer = Raises()
    layer.dW = own = np.full((3, 4), 5.0)
    with pytest.raises(RuntimeError, match="at the end"):
        gradcheck(StatefulLayer(layer, W="dW", b="db"), X)
    assert layer.dW is own
    np.testing.assert_array_equal(own, 5.0)


def test_a_dict_of_gradients_that_is_replaced_is_followed_and_put_back():
    class Replaces(Dicts):
        def backward(self, dy):
            self.grads = {}
            return super().backward(dy)

    layer = Replaces()
    layer.grads = own = {"W1": None, "other": 1}
    names = {f"params.{name}": f"grads.{name}" for name in ("W1", "W2")}
    report = gradcheck(StatefulLayer(layer, **names), X)
    assert report.ok, report
    assert layer.grads is own
    assert own == {"W1": None, "other": 1}


def test_places_of_lists_and_numbers_as_keys():
    class Numbered:
        def __init__(self):
            self.weights, self.grads = [normal(1, 3, 4)], {}

        def forward(self, x):
            self.x = x
            return x @ self.weights[0]

        def backward(self, dy):
            self.grads[0] = self.x.T @ dy
            return dy @ self.weights[0].T

    layer = Numbered()
    layer.grads[0] = 1.0
    report = gradcheck(StatefulLayer(layer, **{"weights.0": "grads.0"}), X)
    assert report.ok, report
    assert layer.grads == {0: 1.0}
    report = gradcheck(StatefulLayer(layer, **{"weights.0": "grads.1"}), X)
    assert report.families == {"missing"}


@pytest.mark.parametrize(
    ("spoil", "family", "words"),
    [
        (lambda g: np.sum(g, axis=0), "shape", "its gradient is (4,); expected its own shape (3"),
        (lambda g: g.T, "shape", "is it the transpose?"),
        (lambda g: g.astype(np.float32), "dtype", "its gradient is float32"),
        (lambda g: None, "missing", "backward left None in `dW`"),
        (lambda g: [1.0], "missing", "its gradient is a list; expected an array"),
    ],
)
def test_gradients_are_taken_as_the_layer_left_them(spoil, family, words):
    class Spoilt(Dense):
        def backward(self, dy):
            dx = super().backward(dy)
            self.dW = spoil(self.dW)
            return dx

    report = gradcheck(StatefulLayer(Spoilt(), W="dW", b="db"), X)
    assert report.verdict == "fail"
    assert family in report.families
    assert words in str(report)


@pytest.mark.parametrize("before", ["nothing", None])
def test_a_gradient_that_the_layer_never_sets(before):
    layer = Dense()
    if before is None:
        layer.nope = None
    report = gradcheck(StatefulLayer(layer, W="nope", b="db"), X)
    assert report.families == {"missing"}
    assert "W: the layer never set `nope`" in str(report)
    assert vars(layer).get("nope", "nothing") == before


def test_a_gradient_of_zero_that_is_added_is_set():
    class Zero(Adds):
        def forward(self, x):
            self.x, self.y = x, np.zeros(4)
            return np.tanh(x @ self.W) + 0.0 * self.b

        def backward(self, dy):
            self.y = np.tanh(self.x @ self.W)
            dz = dy * (1 - self.y**2)
            self.dW += self.x.T @ dz
            self.db += np.zeros(4)
            return dz @ self.W.T

    report = gradcheck(StatefulLayer(Zero(), W="dW", b="db"), X)
    assert report.ok, report
    assert [e.verdict for e in report.entries] == ["pass", "pass", "zero"]


def test_parameters_that_are_not_named_are_pointed_out():
    report = gradcheck(StatefulLayer(Dicts()), X)
    assert report.ok
    told = [f for f in report.findings if f.family == "constant"]
    assert [f.subject for f in told] == ["params.W1, params.W2"]
    assert "StatefulLayer(layer, W='dW')" in told[0].message


@pytest.mark.parametrize(
    ("names", "error", "words"),
    [
        ({"Q": "dQ"}, AttributeError, r"no `Q`; .* by its attributes \(params, grads\)"),
        ({"params.X": "grads.X"}, AttributeError, r"no `params\.X`"),
        ({"params.W1.0.a": "grads.W1"}, AttributeError, r"no `params\.W1\.0\.a`"),
        ({"params.W1": 3}, TypeError, r"gradient of params\.W1 is given as 3; expected a name"),
        ({"params.W1": "params.W1"}, TypeError, r"are one array; expected the name of the value"),
    ],
)
def test_names_that_lead_nowhere_are_refused(names, error, words):
    with pytest.raises(error, match=words):
        StatefulLayer(Dicts(), **names)
