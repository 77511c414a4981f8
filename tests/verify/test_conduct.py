"""What a target does besides its numbers: writing, keeping, overwriting, not repeating itself."""

from types import SimpleNamespace

import numpy as np
import pytest
from support.strategies import normal

import npformer.functional as F
from npformer import Layer, Parameter, gradcheck
from npformer.catalogue import examples


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
    many = check(lambda dy, saved: (*F.linear_backward(dy, saved), dy.copy()))
    assert many.families == {"missing"}
    assert "4 gradients ((4, 3), (5, 3), (5,), (4, 5)) for 3 floating-point arguments" in str(many)


def test_complex_gradients_are_refused_without_a_warning():
    assert gradcheck((square, lambda dy, x: 2 * dy * x + 0j), X).families == {"dtype"}


@pytest.mark.parametrize("wrap", [lambda dx: {"x": dx}, lambda dx: (dx, {"w": dx})])
def test_gradients_in_a_dict_are_refused_with_the_way_to_return_them(wrap):
    report = gradcheck((square, lambda dy, x: wrap(2 * dy * x)), X)
    assert report.families == {"missing"}
    assert "returned a dict" in str(report)
    assert "return grads['x'], grads['w']" in str(report)


def limits_dy(dy, x):
    return 2 * np.clip(dy, -1.5, 1.5) * x  # the cotangent of a check is no larger


def limits_its_gradient(dy, x):
    return np.clip(2 * dy * x, -50.0, 50.0)


def drops_large_dy(dy, x):
    return np.where(np.abs(dy) < 100, 2 * dy * x, 0.0)


@pytest.mark.parametrize("backward", [limits_dy, limits_its_gradient, drops_large_dy])
def test_a_backward_that_is_not_linear_in_dy(backward):
    report = gradcheck((square, backward), X)
    assert report.families == {"not linear"}
    assert findings(report) == {("not linear", "x", True)}
    assert "x: its gradient is not linear in dy: 1.04858e+06 times dy gives " in " ".join(
        str(report).split()
    )


@pytest.mark.parametrize("limit", [(-9.0, np.inf), (-np.inf, 9.0)])
def test_a_limit_on_one_side_of_a_loss(limit):
    def backward(dy, x):
        return 2 * np.clip(dy, *limit) * x

    assert "not linear" in gradcheck((lambda x: (np.sum(x * x), x), backward), X).families


def test_a_parameter_gradient_that_is_not_linear_in_dy():
    class Limits(Scale):
        def backward(self, dy, saved, run=None):
            self.weight.add_grad(np.clip(np.sum(dy * saved, axis=0), -20, 20))
            return dy * self.weight.value

    assert findings(gradcheck(Limits(), X)) == {("not linear", "weight", True)}


def test_a_parameter_may_have_the_name_of_an_input():
    w = Parameter(normal(5, 3))

    def backward(dy, x):
        w.add_grad(np.sum(dy * x, axis=0))
        return dy * w.value

    assert gradcheck((lambda x: (x * w.value, x), backward), X, parameters={"x": w}).ok


def test_linear_gradients_are_linear_in_float32_too_and_where_they_are_zero_but_for_rounding():
    def sums(x):
        y, saved = F.softmax(x)
        return np.sum(y, axis=-1), saved

    def sums_backward(dy, saved):
        return F.softmax_backward(np.repeat(dy[:, None], 5, axis=1), saved)

    x = normal(0, 6, 5)
    assert gradcheck((F.softmax, F.softmax_backward), x.astype(np.float32)).ok
    assert gradcheck((sums, sums_backward), x).families == {"vacuous"}


def test_the_two_calls_for_linearity_cost_two_evaluations():
    calls = []

    def backward(dy, x):
        calls.append(np.max(np.abs(dy)))
        return 2 * dy * x

    assert gradcheck((square, backward), X).ok
    assert sum(largest > 2.0 for largest in calls) == 2


def selects(x, mask):
    return np.where(mask, x, 0.0), mask.copy()


def test_options_that_are_written_to():
    def writes_forward(x, mask):
        y, saved = selects(x, mask)
        mask[...] = False
        return y, saved

    def keeps(x, mask):
        return np.where(mask, x, 0.0), mask

    def writes_backward(dy, mask):
        dx = dy * mask
        mask[...] = False
        return dx

    mask = X > 0
    before = mask.copy()
    right = gradcheck((selects, lambda dy, kept: dy * kept), X, options={"mask": mask})
    assert right.ok
    assert not right.findings
    for pair in [(writes_forward, lambda dy, kept: dy * kept), (keeps, writes_backward)]:
        report = gradcheck(pair, X, options={"mask": mask})
        assert ("mutated", "mask", True) in findings(report)
        np.testing.assert_array_equal(mask, before)


def test_arrays_within_an_option_that_are_written_to_are_put_back():
    def forward(x, params):
        y = x * params["w"]
        saved = params["w"].copy()
        params["w"] *= 0.5
        return y, saved

    params = {"w": np.ones(3)}
    report = gradcheck((forward, lambda dy, w: dy * w), X, options={"params": params})
    assert ("mutated", "params.w", True) in findings(report)
    np.testing.assert_array_equal(params["w"], 1.0)


def test_results_in_memory_that_the_next_call_overwrites(monkeypatch):
    buffer = np.zeros(X.shape)

    def returns_buffer(dy, x):
        return np.multiply(2 * dy, x, out=buffer)

    def writes_buffer(x):
        if np.iscomplexobj(x):
            return square(x)
        return np.multiply(x, x, out=buffer), x

    report = gradcheck((square, returns_buffer), X)
    assert report.ok
    assert findings(report) == {("state", "x", False)}
    assert "same memory on every call" in str(report)
    report = gradcheck((writes_buffer, lambda dy, x: 2 * dy * x), X)
    assert report.ok
    assert findings(report) == {("state", "y", False)}
    monkeypatch.setattr(square, "__module__", "npformer.functional.square")
    assert gradcheck((square, returns_buffer), X).families == {"state"}


def test_one_array_as_the_gradient_of_two_inputs():
    def backward(dy, s):
        g = dy * np.cos(s)
        return g, g

    report = gradcheck((lambda a, b: (np.sin(a + b), a + b), backward), X, X + 1)
    assert report.ok
    assert findings(report) == {("aliased", "b", False)}
    assert "shares memory with the gradient of a" in str(report)


def test_an_output_that_is_the_input():
    report = gradcheck((lambda x: (x, None), lambda dy, saved: dy.copy()), X)
    assert report.ok
    assert findings(report) == {("aliased", "y", False)}
    assert "y: it shares memory with x" in str(report)


def test_options_that_are_not_differentiated_are_named():
    def forward(x, w=None, params=None):
        w = params["w"] if w is None else w
        return x @ w, w

    pair = forward, lambda dy, w: dy @ w.T
    for options, subject in [
        ({"w": normal(1, 3, 2)}, "w"),
        ({"params": {"w": normal(1, 3, 2)}}, "params.w"),
    ]:
        report = gradcheck(pair, X, options=options)
        assert report.ok
        assert findings(report) == {("constant", subject, False)}
        assert "pass it as an array of its own" in " ".join(str(report).split())


def test_arrays_on_the_object_that_are_no_parameters_are_named():
    class Plain:
        def __init__(self):
            self.w, self.table = normal(5, 3), {"ids": np.arange(3)}

        def forward(self, x):
            return self.w * x, x

        def backward(self, dy, x):
            return dy * self.w

    report = gradcheck(Plain(), X)
    assert report.ok
    assert findings(report) == {("constant", "w", False)}
    layer = Plain()
    pair = layer.forward, layer.backward
    assert ("constant", "w", False) in findings(gradcheck(pair, X))
    w = SimpleNamespace(value=layer.w, grad=np.zeros(3))

    def backward(dy, x):
        w.grad += np.sum(dy * x, axis=0)
        return dy * w.value

    report = gradcheck((layer.forward, backward), X, parameters={"w": w})
    assert report.ok
    assert not report.findings
    assert [e.name for e in report.entries] == ["x", "w"]


def test_what_is_not_finite_or_empty_is_named():
    x = X.copy()
    x[1, 2] = np.nan
    report = gradcheck((square, lambda dy, x: 2 * dy * x), x)
    assert report.families == {"not finite"}
    assert "Neither is x: give finite numbers" in " ".join(str(report).split())
    report = gradcheck((square, lambda dy, x: 2 * dy * x), np.zeros((0, 3)))
    assert report.families == {"vacuous"}
    assert "there are no entries to compare: x is (0, 3)" in str(report)


@pytest.mark.parametrize(
    "slope",
    [
        lambda dy: np.where(np.abs(dy) < 0.3, 0.0, dy),
        lambda dy: np.where(np.abs(dy) < 0.1 * np.abs(dy).max(), 0.0, dy),
        lambda dy: dy * dy / dy,
        lambda dy: np.where(np.abs(dy) < 1e-3, 0.0, dy),
    ],
    ids=["below a limit", "beside the largest", "divided by itself", "below 1e-3"],
)
def test_small_and_zero_entries_of_dy_have_their_share(slope):
    x = np.random.default_rng(0).standard_normal((3, 4))
    report = gradcheck((lambda x: (x * x, x), lambda dy, x: 2 * slope(dy) * x), x)
    assert report.families == {"not linear"}


class OnceOnly(Layer):
    """y = x W^T, whose backward adds to dW only where `again` lets it."""

    def __init__(self, again):
        self.W = Parameter(np.random.default_rng(1).standard_normal((5, 4)))
        self.again, self.x = again, None

    def forward(self, x, run=None):
        self.x = x
        return x @ self.W.value.T, [x]

    def backward(self, dy, saved, run=None):
        x = self.again(self, saved)
        if x is not None:
            self.W.grad += dy.T @ x
        return dy @ self.W.value


def test_a_second_backward_has_to_give_the_parameters_gradients_too():
    x = np.random.default_rng(0).standard_normal((3, 4))
    opaque = OnceOnly(lambda layer, saved: saved and next(saved[0], None))
    right = opaque.forward
    opaque.forward = lambda x, run=None: (right(x)[0], [iter([x])])
    report = gradcheck(opaque, x)
    assert report.verdict == "fail"
    assert "mutated" in report.families
    assert gradcheck(OnceOnly(lambda layer, saved: saved[0]), x).ok


def test_another_forward_must_not_change_the_parameters_gradients_either():
    x = np.random.default_rng(0).standard_normal((3, 4))
    report = gradcheck(OnceOnly(lambda layer, saved: layer.x), x)
    assert any("another forward between" in finding.message for finding in report.findings)


def test_random_numbers_are_blamed_once():
    rng = np.random.default_rng(0)

    def forward(x):
        kept = rng.random(x.shape) < 0.5
        return x * kept, kept

    report = gradcheck((forward, lambda dy, kept: dy * kept), np.ones((4, 5)))
    assert [f.family for f in report.findings if f.failed] == ["not repeatable"]


def test_a_gradient_of_nothing_but_rounding_need_not_add_up():
    # With one key the output is its value, whatever query and key are.
    for example in (
        e for e in examples(50) if e.name == "linear_attention [no leading axes, one key]"
    ):
        assert gradcheck(example.target, *example.inputs, seed=50).ok
