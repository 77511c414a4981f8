"""What a target does besides its numbers: writing, keeping, overwriting, not repeating itself."""

from types import SimpleNamespace

import numpy as np
import pytest
from support.strategies import normal

import npformer.functional as F
from npformer import Layer, Parameter, gradcheck


class Scale(Layer):
    """y = w x: right, with places to go wrong in subclasses."""

    def __init__(self, n=3):
        self.weight = Parameter(normal(5, n))

    def forward(self, x, run=None):
        return self.weight.value * x, x

    def backward(self, dy, saved, run=None):
        self.weight.add_grad(np.sum(dy * saved, axis=0))
        return dy * self.weight.value


X = normal(0, 4, 3)


def findings(report):
    return {(f.family, f.subject, f.failed) for f in report.findings}


def test_the_right_one_passes_without_a_remark():
    report = gradcheck(Scale(), X)
    assert report.ok
    assert not report.findings
    assert [(e.name, e.kind) for e in report.entries] == [("x", "input"), ("weight", "parameter")]


def test_a_parameter_gradient_that_is_overwritten():
    class Overwrites(Scale):
        def backward(self, dy, saved, run=None):
            self.weight.grad[...] = np.sum(dy * saved, axis=0)
            return dy * self.weight.value

    report = gradcheck(Overwrites(), X)
    assert report.verdict == "fail"
    assert ("not accumulated", "weight", True) in findings(report)
    assert "overwrites its gradient" in str(report)


def test_a_gradient_object_that_is_replaced():
    class Replaces(Scale):
        def backward(self, dy, saved, run=None):
            self.weight.grad = np.sum(dy * saved, axis=0)
            return dy * self.weight.value

    layer = Replaces()
    grad = layer.weight.grad
    assert gradcheck(layer, X).families == {"not accumulated"}
    assert layer.weight.grad is grad
    assert not np.any(grad)


def test_a_gradient_that_grows_twice():
    class Twice(Scale):
        def backward(self, dy, saved, run=None):
            self.weight.grad += self.weight.grad + np.sum(dy * saved, axis=0)
            return dy * self.weight.value

    assert ("not accumulated", "weight", True) in findings(gradcheck(Twice(), X))


def test_a_frozen_parameter_is_not_checked_but_stays_zero():
    frozen = Scale()
    frozen.weight.trainable = False
    report = gradcheck(frozen, X)
    assert report.ok
    assert [e.name for e in report.entries] == ["x"]

    class Careless(Scale):
        def backward(self, dy, saved, run=None):
            self.weight.grad += np.sum(dy * saved, axis=0)
            return dy * self.weight.value

    careless = Careless()
    careless.weight.trainable = False
    assert ("frozen", "weight", True) in findings(gradcheck(careless, X))


def writes_dy(dy, x):
    dx = 2 * dy * x
    dy *= 2
    return dx


def writes_saved(dy, x):
    dx = 2 * dy * x
    x += 1
    return dx


def square(x):
    return x * x, x


def square_of_a_copy(x):
    return x * x, x.copy()


def writes_input(x):
    before = x.copy()
    x += 1
    return before * before, before


def writes_gradient_into_saved(dy, x):
    x *= 2 * dy
    return x


@pytest.mark.parametrize(
    ("forward", "backward", "subject"),
    [
        (square, writes_dy, "dy"),
        (square_of_a_copy, writes_saved, "saved"),
        (square, writes_saved, "x"),
        (writes_input, lambda dy, x: 2 * dy * x, "x"),
        (square_of_a_copy, writes_gradient_into_saved, "saved"),
    ],
)
def test_whatever_is_written_to_is_named(forward, backward, subject):
    report = gradcheck((forward, backward), X)
    assert report.verdict == "fail"
    assert ("mutated", subject, True) in findings(report)


def test_the_callers_arrays_are_never_written_to():
    x = X.copy()
    gradcheck((writes_input, lambda dy, x: 2 * dy * x), x)
    np.testing.assert_array_equal(x, X)


def test_nested_saved_state_is_named_by_its_path():
    def forward(x):
        return x * x, {"kept": [SimpleNamespace(x=x.copy())]}

    def backward(dy, saved):
        x = saved["kept"][0].x
        dx = 2 * dy * x
        x[0] = 0
        return dx

    assert ("mutated", "saved.kept.0.x", True) in findings(gradcheck((forward, backward), X))


def test_a_parameter_value_that_is_written_to():
    class Updates(Scale):
        def backward(self, dy, saved, run=None):
            dx = super().backward(dy, saved)
            self.weight.value -= 0.1
            return dx

    layer = Updates()
    value = layer.weight.value.copy()
    assert ("mutated", "weight", True) in findings(gradcheck(layer, X))
    np.testing.assert_array_equal(layer.weight.value, value)


def identity(x):
    return x.copy(), None


def hands_dy_on(dy, saved):
    return dy


def test_aliasing_is_a_remark_for_others_and_a_failure_for_ours(monkeypatch):
    report = gradcheck((identity, hands_dy_on), X)
    assert report.ok
    assert ("aliased", "x", False) in findings(report)
    monkeypatch.setattr(identity, "__module__", "npformer.functional.identity")
    report = gradcheck((identity, hands_dy_on), X)
    assert report.families == {"aliased"}


class Cached:
    """A layer in the common style: what backward needs is kept on self."""

    def forward(self, x):
        self.cache = x
        return x * x, None

    def backward(self, dy, saved):
        return 2 * dy * self.cache


def test_state_on_self_is_a_remark_for_others_and_a_failure_for_ours(monkeypatch):
    report = gradcheck(Cached(), X)
    assert report.ok, report
    assert {(f.family, f.failed) for f in report.findings} == {("state", False)}
    assert "cache" in str(report)

    class Ours(Layer):
        forward = Cached.forward
        backward = Cached.backward

    Ours.__module__ = "npformer.layers.ours"
    assert gradcheck(Ours(), X, run=None).families == {"state"}


def test_state_that_backward_consumes():
    class Pops(Cached):
        def backward(self, dy, saved):
            x, self.cache = self.cache, None
            return 2 * dy * x

    report = gradcheck(Pops(), X)
    assert report.ok, report
    assert any("cannot be run twice" in f.message for f in report.findings)


def test_state_in_a_module_is_found_by_an_interleaved_forward():
    kept = {}

    def forward(x):
        kept["x"] = x
        return x * x, None

    report = gradcheck((forward, lambda dy, saved: 2 * dy * kept["x"]), X)
    assert any("another forward" in f.message for f in report.findings)


def test_a_forward_that_does_not_repeat_itself():
    rng = np.random.default_rng(0)

    def noisy(x):
        return x * rng.standard_normal(x.shape), x

    report = gradcheck((noisy, lambda dy, x: dy), X)
    assert report.families == {"not repeatable"}
    assert "Run(rng=...)" in str(report)


def test_shape_dtype_and_presence_of_gradients():
    def check(backward):
        return gradcheck((F.linear, backward), normal(0, 4, 3), normal(1, 5, 3), normal(2, 5))

    def wrong(place, f):
        def backward(dy, saved):
            grads = list(F.linear_backward(dy, saved))
            grads[place] = f(grads[place])
            return tuple(grads)

        return backward

    report = check(wrong(1, lambda g: g.T))
    assert report.families == {"shape"}
    assert "is it the transpose?" in str(report)
    assert check(wrong(2, lambda g: g.astype(np.float32))).families >= {"dtype"}
    assert check(wrong(2, lambda g: None)).families == {"missing"}
    assert check(wrong(2, lambda g: "gradient")).families == {"missing"}
    assert check(lambda dy, saved: None).families == {"missing"}
    few = check(lambda dy, saved: F.linear_backward(dy, saved)[:2])
    assert few.families == {"missing"}
    assert "2 gradients ((4, 3), (5, 3)) for 3 floating-point arguments" in str(few)
