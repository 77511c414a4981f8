"""What can be checked: pairs, layers, foreign objects, ids, options, randomness, scalars."""

import functools
from types import SimpleNamespace

import numpy as np
import pytest
from support.strategies import normal

import npformer.functional as F
from npformer import Layer, Parameter, Run, gradcheck

X = normal(0, 4, 3)


def dropout_pair():
    def forward(x, run=None):
        keep = 1.0 if run is None else (run.rng.random(x.shape) > 0.4) / 0.6
        return np.tanh(x) * keep, (np.tanh(x), keep)

    return forward, lambda dy, saved: dy * saved[1] * (1 - saved[0] ** 2)


def test_randomness_of_a_run_is_replayed_and_left_as_it_was():
    rng = np.random.default_rng(7)
    before = rng.bit_generator.state
    run = Run(rng, record=["attention"])
    report = gradcheck(dropout_pair(), X, run=run)
    assert report.ok, report
    assert rng.bit_generator.state == before
    assert run.recorded == {"attention": []}


def test_what_a_run_recorded_during_the_check_is_forgotten():
    def forward(x, run=None):
        run.record(None, "value", x)
        return x * x, x

    run = Run(record=["value"])
    run.record(None, "value", "earlier")
    assert gradcheck((forward, lambda dy, x: 2 * dy * x), X, run=run).ok
    assert run.recorded == {"value": [(None, "earlier")]}


def test_generators_among_the_options_are_replayed():
    def forward(x, *, rate, rng):
        keep = (rng.random(x.shape) > rate) / (1 - rate)
        return x * keep, keep

    rng = np.random.default_rng(3)
    report = gradcheck((forward, lambda dy, keep: dy * keep), X, options={"rate": 0.5, "rng": rng})
    assert report.ok, report
    assert rng.random() == np.random.default_rng(3).random()


def test_run_reaches_backward_only_if_it_takes_it():
    seen = []

    def forward(x, run=None):
        return x * x, x

    def takes(dy, x, run=None):
        seen.append(run)
        return 2 * dy * x

    run = Run()
    assert gradcheck((forward, takes), X, run=run).ok
    assert set(seen) == {run}
    assert gradcheck((forward, lambda dy, x: 2 * dy * x), X, run=run).ok
    seen.clear()
    assert gradcheck((forward, takes), X).ok
    assert set(seen) == {None}


def test_a_factor_of_dropout_that_is_forgotten_is_named():
    def forward(x, *, rate, rng):
        keep = (rng.random(x.shape) > rate) / (1 - rate)
        return x * keep, keep

    options = {"rate": 0.3, "rng": np.random.default_rng(3)}
    report = gradcheck((forward, lambda dy, keep: dy * (keep > 0)), X, options=options)
    assert report.families == {"factor"}
    assert "equals 1 - rate" in str(report)


@pytest.mark.parametrize("style", ["floats only", "all arguments", "trailing None"])
def test_ids_are_kept_and_gradients_are_matched(style):
    ids = np.array([[0, 2, 2], [1, 4, 0]])

    def forward(ids, table, shift):
        assert ids.dtype == np.int64
        return table[ids] * shift, (ids, table, shift)

    def backward(dy, saved):
        ids, table, shift = saved
        dtable = np.zeros_like(table)
        np.add.at(dtable, ids, dy * shift)
        dshift = np.sum(dy * table[ids], axis=(0, 1))
        return {
            "floats only": (dtable, dshift),
            "all arguments": (None, dtable, dshift),
            "trailing None": (dtable, dshift, None),
        }[style]

    report = gradcheck((forward, backward), ids, normal(1, 5, 3), normal(2, 3))
    assert report.ok, report
    assert [e.name for e in report.entries] == ["table", "shift"]


def test_arguments_that_are_not_given():
    assert gradcheck((F.layer_norm, F.layer_norm_backward), X, normal(1, 3)).ok
    assert gradcheck((F.layer_norm, F.layer_norm_backward), X, normal(1, 3), None).ok
    assert gradcheck((F.linear, F.linear_backward), X, normal(1, 5, 3), None).ok


def test_a_layer_that_returns_none_for_an_input_that_was_not_given():
    class Sum(Layer):
        def forward(self, x, memory=None, *, run=None):
            return x * x if memory is None else x * memory, (x, memory)

        def backward(self, dy, saved, run=None):
            x, memory = saved
            return (2 * dy * x, None) if memory is None else (dy * memory, dy * x)

    assert gradcheck(Sum(), X).ok
    assert [e.name for e in gradcheck(Sum(), X, X + 1).entries] == ["x", "memory"]


def test_an_array_among_the_options_is_differentiated_if_backward_does():
    def forward(x, *, mask=None, bias=None):
        return np.tanh(x + bias) * mask, np.tanh(x + bias) * mask

    def both(dy, t):
        d = dy * (1 - t * t) * (t != 0)
        return d, np.sum(d, axis=0)

    options = {"mask": X > -0.5, "bias": normal(1, 3)}
    report = gradcheck((forward, both), X, options=options)
    assert report.ok, report
    assert [e.name for e in report.entries] == ["x", "bias"]
    report = gradcheck((forward, lambda dy, t: both(dy, t)[0]), X, options=options)
    assert [e.name for e in report.entries] == ["x"]
    assert report.ok


@pytest.mark.parametrize("kind", [float, np.float64, np.asarray])
def test_a_scalar_output_gets_a_random_number_as_cotangent(kind):
    seen = set()

    def backward(dloss, x):
        seen.add(dloss)
        return 2 * dloss * x

    assert gradcheck((lambda x: (kind(np.sum(x * x)), x), backward), X).ok
    assert all(isinstance(dloss, float) and dloss not in (0.0, 1.0) for dloss in seen)


def test_scalar_inputs():
    def forward(x, log_scale):
        return np.exp(log_scale) * x, (x, log_scale)

    def backward(dy, saved):
        x, log_scale = saved
        return dy * np.exp(log_scale), np.sum(dy * np.exp(log_scale) * x)

    report = gradcheck((forward, backward), X, np.float64(0.5))
    assert report.ok, report
    assert report.entries[1].worst_index == ()


class Foreign:
    """Not a Layer: plain attributes, parameters made on the fly, gradients set to None."""

    def __init__(self):
        self.W, self.dW = normal(1, 3, 5), None

    def forward(self, x):
        return x @ self.W, x

    def backward(self, dy, x):
        dW = x.T @ dy
        self.dW = dW if self.dW is None else self.dW + dW
        return dy @ self.W.T

    def named_parameters(self):
        layer = self

        class View:
            value = property(lambda self: layer.W)
            grad = property(lambda self: layer.dW, lambda self, g: setattr(layer, "dW", g))

        yield "W", View()


def test_a_foreign_object_with_parameters_made_on_the_fly():
    layer = Foreign()
    W, bits = layer.W, layer.W.copy()
    report = gradcheck(layer, X)
    assert report.ok, report
    assert [e.name for e in report.entries] == ["x", "W"]
    assert report.entries[1].method == "central difference"  # value cannot be rebound
    assert layer.W is W
    assert layer.dW is None
    np.testing.assert_array_equal(W, bits)


def test_plain_objects_as_parameters():
    p = SimpleNamespace(value=normal(1, 3), grad=np.full(3, 7.0))

    def backward(dy, x):
        p.grad += np.sum(dy * x, axis=0)
        return dy * p.value

    target = SimpleNamespace(
        forward=lambda x: (x * p.value, x),
        backward=backward,
        named_parameters=lambda: [("p", p), ("again", p)],
    )
    report = gradcheck(target, X)
    assert report.ok, report
    assert [(e.name, e.method) for e in report.entries][1:] == [("p", "complex step")]
    np.testing.assert_array_equal(p.grad, 7.0)


def test_parameters_of_a_pair():
    layer = SimpleNamespace(w=Parameter(normal(3, 3)))

    def backward(dloss, x):
        layer.w.add_grad(dloss * np.sum(x, axis=0))
        return dloss * np.broadcast_to(layer.w.value, x.shape)

    loss = (lambda x: (np.sum(x * layer.w.value), x), backward)
    names = SimpleNamespace(named_parameters=lambda: [("w", layer.w)])
    report = gradcheck(loss, X, parameters=names)
    assert report.ok, report
    assert [e.name for e in report.entries] == ["x", "w"]


def test_tied_weights_are_checked_as_one():
    class Tied(Layer):
        def __init__(self):
            self.a = Parameter(normal(0, 3))
            self.b = self.a

        def forward(self, x, run=None):
            return np.tanh(x * self.a.value) * self.b.value, x

        def backward(self, dy, x, run=None):
            t = np.tanh(x * self.a.value)
            dz = dy * self.b.value * (1 - t * t)
            self.a.add_grad(np.sum(dz * x, axis=0))
            self.b.add_grad(np.sum(dy * t, axis=0))
            return dz * self.a.value

    report = gradcheck(Tied(), X)
    assert report.ok, report
    assert [e.name for e in report.entries] == ["x", "a"]


def test_partial_functions_are_named_after_what_they_hold():
    pair = functools.partial(F.softmax, axis=0), F.softmax_backward
    report = gradcheck(pair, X)
    assert report.ok
    assert report.target == "softmax"


def test_everything_is_put_back_bit_for_bit_even_if_the_target_raises():
    class Raises(Layer):
        def __init__(self):
            self.w = Parameter(np.array([-0.0, np.nextafter(0, 1), 1.0]))
            self.calls = []

        def forward(self, x, run=None):
            self.calls.append(1)
            run.rng.random()
            if len(self.calls) == 9:
                raise RuntimeError("ninth")
            return x * self.w.value, x

        def backward(self, dy, x, run=None):
            self.w.add_grad(np.sum(dy * x, axis=0))
            return dy * self.w.value

    layer, rng = Raises(), np.random.default_rng(0)
    layer.w.grad[...] = [1.0, -0.0, np.nan]
    value, grad, bits = layer.w.value, layer.w.grad, layer.w.value.tobytes()
    grad_bits, state = grad.tobytes(), rng.bit_generator.state
    with pytest.raises(RuntimeError, match="ninth"):
        gradcheck(layer, X, run=Run(rng))
    assert layer.w.value is value
    assert layer.w.grad is grad
    assert value.tobytes() == bits
    assert grad.tobytes() == grad_bits
    assert rng.bit_generator.state == state


def test_read_only_parameters_are_checked_and_left():
    w = Parameter(normal(1, 3))
    w.value.flags.writeable = False
    value = w.value

    def backward(dy, x):
        w.add_grad(np.sum(dy * x, axis=0))
        return dy * w.value

    names = SimpleNamespace(named_parameters=lambda: [("w", w)])
    for method in ("auto", "central"):
        pair = lambda x: (x * w.value, x), backward
        report = gradcheck(pair, X, parameters=names, method=method)
        assert report.ok, report
        assert w.value is value


def test_a_parameter_at_its_initial_value_is_moved():
    class ForgetsWeight(Layer):
        def __init__(self):
            self.weight = Parameter(np.ones(3))

        def forward(self, x, run=None):
            return x * self.weight.value, x

        def backward(self, dy, x, run=None):
            self.weight.add_grad(np.sum(dy * x, axis=0))
            return dy.copy()

    report = gradcheck(ForgetsWeight(), X, move=False)
    assert report.ok  # at 1 it is not seen
    assert any("equal in weight: a factor" in note for note in report.notes)
    report = gradcheck(ForgetsWeight(), X)
    assert report.families == {"missing factor"}
    assert "multiplied by" in str(report) or "divided by weight" in str(report)


def test_views_and_strides_of_inputs_do_not_matter():
    x = np.asfortranarray(normal(0, 3, 4))[:, ::2]
    x.flags.writeable = False
    assert gradcheck((F.softmax, F.softmax_backward), x).ok


def square(x):
    return x * x, x


def square_backward(dy, x):
    return 2 * dy * x


class Cache:
    """The other style: y alone, and backward(dy)."""

    def forward(self, x):
        self.x = x
        return x * x

    def backward(self, dy):
        return 2 * dy * self.x


class Half(Cache):
    def forward(self, x):
        return super().forward(x), None


SQUARE = square, square_backward
TUPLE = r"a pair of functions in a tuple: gradcheck\(\(forward, backward\), x\)"


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (5, "target is an int without a method `forward`"),
        (square, f"target is a function .* {TUPLE}"),
        (list(SQUARE), f"target is a list .* {TUPLE}"),
        ((*SQUARE, 1), rf"tuple of \(a function, a function, an int\); .* {TUPLE}"),
        (Foreign, r"target is the class Foreign; expected an instance: gradcheck\(Foreign\("),
        (
            Cache(),
            r"forward returned float64 \(4, 3\); expected the pair .*StatefulLayer\(layer, W=",
        ),
        (Half(), r"backward takes \(dy\), not \(float64 \(4, 3\), a NoneType\): .*StatefulLayer\("),
        ((square, lambda dy: dy), r"backward takes \(dy\).* dx = backward\(dy, saved\)$"),
        ((lambda x: x * x, square_backward), r"the pair \(y, saved\).* y, saved = forward\(x\)"),
    ],
)
def test_what_is_no_target_is_refused_with_the_way_out(target, words):
    with pytest.raises(TypeError, match=words):
        gradcheck(target, X)


W3 = Parameter(np.ones(3))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"options": [("a", 1)]}, r"options is a list; expected a dict .* \{'mask': mask\}"),
        ({"options": {"nope": 1}}, r"forward takes \(x\), not \(float64 \(4, 3\), nope=\)"),
        ({"options": {"x": X}}, r"multiple values for argument 'x'. Inputs are its positional"),
        ({"run": 5}, r"forward takes \(x\), not \(float64 \(4, 3\), run=\)"),
        (
            {"parameters": 5},
            r"parameters are to come from an int; expected .* parameters=\{'w': w\}",
        ),
        ({"parameters": [W3]}, "parameters are to come from a list; expected"),
        ({"parameters": Layer}, "parameters are to come from the class Layer; expected"),
        ({"options": {"m": np.ma.array(X)}}, "m is a masked array, and its mask would be lost"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_with_the_way_out(arguments, words):
    with pytest.raises(TypeError, match=words):
        gradcheck(SQUARE, X, **arguments)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        ({"W": X}, "check a pair that takes them one by one: forward = lambda x, W, b: f"),
        ([X, X], "check a pair that takes them one by one"),
        ({"rate": 0.5}, r"pass settings by name: options=\{'x': ...\}"),
        (np.ma.array(X), r"x is a masked array, .*x\.filled\(0\.0\)"),
    ],
)
def test_inputs_that_are_no_arrays_are_refused_with_the_way_out(x, words):
    with pytest.raises(TypeError, match=words):
        gradcheck(SQUARE, x)


def test_an_error_of_the_targets_own_is_passed_on():
    def forward(x):
        return x + "a", x

    with pytest.raises(TypeError, match="add"):
        gradcheck((forward, square_backward), X)


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ([("w", 1)], "parameters are to come from a S"),
        (lambda: 5, r"named_parameters\(\) returned an int; expected"),
        (lambda: [W3], r"named_parameters\(\) yields a Parameter; expected pairs"),
        (lambda: [("w", 5)], "yields 'w' as an int without `value`"),
    ],
)
def test_parameters_that_cannot_be_read_are_refused(named, words):
    layer = SimpleNamespace(forward=square, backward=square_backward, named_parameters=named)
    with pytest.raises(TypeError, match=words):
        gradcheck(layer, X)


def test_parameters_in_a_dict():
    w = Parameter(normal(3, 3))

    def backward(dy, x):
        w.add_grad(3.0 * np.sum(dy * x, axis=0))
        return dy * w.value

    pair = (lambda x: (x * w.value, x)), backward
    assert gradcheck(pair, X, parameters={"w": w}).families == {"factor"}
    layer = SimpleNamespace(forward=pair[0], backward=backward, named_parameters=lambda: {"w": w})
    assert gradcheck(layer, X).families == {"factor"}


@pytest.mark.parametrize(
    "settings",
    [
        {"directions": np.int64(2), "mode": "fast"},
        {"tolerance": np.float32(1e-7)},
        {"seed": np.int32(3), "max_entries": np.uint8(4)},
    ],
)
def test_numbers_of_numpy_are_settings(settings):
    report = gradcheck(SQUARE, X, **settings)
    assert report.ok
    assert report.to_json()


@pytest.mark.parametrize(
    "settings", [{"mode": np.array(["full"])}, {"method": ["auto"]}, {"mode": None}]
)
def test_a_choice_is_a_string(settings):
    with pytest.raises(ValueError, match="expected one of auto"):
        gradcheck(SQUARE, X, **settings)
