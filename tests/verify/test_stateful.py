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
