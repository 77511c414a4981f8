"""Optimizers: against the textbook written out, dtype, decay, ties, frozen ones, refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import normal, seeds

from npformer import Parameter
from npformer.training import SGD, Adam, AdamW, Lion, Optimizer
from npformer.training import optimizer as optimizer_module

BOTH = pytest.mark.parametrize("dtype", [np.float32, np.float64])
EVERY = pytest.mark.parametrize("kind", [SGD, Adam, AdamW, Lion])


def sgd(p, grads, lr, u, nesterov, w):
    b = np.zeros_like(p)
    for g in grads:
        g = g + w * p
        b = u * b + g
        p = p - lr * (g + u * b if nesterov else b)
    return p


def adam(p, grads, lr, b1, b2, eps, w, decoupled):
    m, v = np.zeros_like(p), np.zeros_like(p)
    for t, g in enumerate(grads, start=1):
        old = p
        if not decoupled:
            g = g + w * p
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        p = p - lr * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
        if decoupled:
            p = p - lr * w * old
    return p


def lion(p, grads, lr, b1, b2, w):
    m = np.zeros_like(p)
    for g in grads:
        p = p - lr * (np.sign(b1 * m + (1 - b1) * g) + w * p)
        m = b2 * m + (1 - b2) * g
    return p


CASES = {
    "sgd": (lambda p: SGD(p, 0.1), lambda p, g, w: sgd(p, g, 0.1, 0, False, 0)),
    "momentum": (
        lambda p: SGD(p, 0.1, 0.9, weight_decay=0.2),
        lambda p, g, w: sgd(p, g, 0.1, 0.9, False, 0.2 * w),
    ),
    "nesterov": (
        lambda p: SGD(p, 0.1, 0.8, nesterov=True),
        lambda p, g, w: sgd(p, g, 0.1, 0.8, True, 0),
    ),
    "adam": (
        lambda p: Adam(p, 0.02, (0.8, 0.95), 1e-3, 0.3),
        lambda p, g, w: adam(p, g, 0.02, 0.8, 0.95, 1e-3, 0.3 * w, False),
    ),
    "adamw": (AdamW, lambda p, g, w: adam(p, g, 1e-3, 0.9, 0.999, 1e-8, 0.01 * w, True)),
    "adamw with much": (
        lambda p: AdamW(p, 0.05, (0.5, 0.7), 1e-4, 0.5),
        lambda p, g, w: adam(p, g, 0.05, 0.5, 0.7, 1e-4, 0.5 * w, True),
    ),
    "lion": (
        lambda p: Lion(p, 0.01, weight_decay=0.4),
        lambda p, g, w: lion(p, g, 0.01, 0.9, 0.99, 0.4 * w),
    ),
}


@BOTH
@pytest.mark.parametrize("name", CASES)
def test_several_steps_are_those_of_the_textbook(name, dtype):
    make, textbook = CASES[name]
    shapes = [(5, 3), (4,), ()]
    values = [normal(i, *shape) for i, shape in enumerate(shapes)]
    parameters = [Parameter(np.array(value, dtype)) for value in values]
    arrays = [p.value for p in parameters]
    grads = [[normal(10 * t + i, *s) for t in range(6)] for i, s in enumerate(shapes)]
    optimizer = make(parameters)
    for t in range(6):
        for parameter, its in zip(parameters, grads, strict=True):
            parameter.grad[...] = its[t]
        before = [p.grad.copy() for p in parameters]
        optimizer.step()
        assert all(np.array_equal(p.grad, g) for p, g in zip(parameters, before, strict=True))
    assert optimizer.steps == 6
    for parameter, array, value, its in zip(parameters, arrays, values, grads, strict=True):
        assert parameter.value is array
        assert parameter.value.dtype == dtype
        want = textbook(value, its, 1.0 if value.ndim >= 2 else 0.0)
        tolerance = 1e-13 if dtype == np.float64 else 2e-6
        np.testing.assert_allclose(parameter.value, want, rtol=tolerance, atol=tolerance)
    for slot in optimizer.state.values():
        assert [a.dtype for a in slot] == [dtype] * 3


@EVERY
@given(seed=seeds, size=st.integers(1, 60))
def test_pieces_and_layout_change_no_bit(kind, seed, size):
    rows = normal(seed, size, 3)
    flat, turned = Parameter(rows.copy()), Parameter(np.asfortranarray(rows))
    grads = [normal(seed + t, size, 3) for t in range(3)]
    for parameter in (flat, turned):
        optimizer = kind([parameter], lr=0.1, weight_decay=0.1)
        whole, optimizer_module._PIECE = optimizer_module._PIECE, 7
        try:
            for grad in grads:
                parameter.grad[...] = grad
                optimizer.step()
        finally:
            optimizer_module._PIECE = whole
    np.testing.assert_array_equal(flat.value, turned.value)


@EVERY
def test_a_numpy_float64_learning_rate_does_not_lift_float32(kind):
    parameter = Parameter(np.ones((2, 2), np.float32))
    optimizer = kind([parameter], lr=np.float64(0.5))
    optimizer.lr = np.float64(0.25)
    assert type(optimizer.lr) is float
    parameter.grad += 1
    optimizer.step()
    assert parameter.value.dtype == np.float32
    assert all(a.dtype == np.float32 for slot in optimizer.state.values() for a in slot)


@EVERY
def test_weight_decay_reaches_matrices_alone_unless_told_otherwise(kind):
    def after(**options):
        parameters = [Parameter(np.full(shape, 2.0)) for shape in [(2, 2), (2,), ()]]
        kind(parameters, lr=0.1, weight_decay=0.5, **options).step()
        return [bool(np.all(p.value < 2.0)) for p in parameters]

    assert after() == [True, False, False]
    assert after(decay=lambda p: p.value.ndim == 1) == [False, True, False]
    assert after(decay=lambda p: True) == [True, True, True]


@EVERY
def test_a_tied_parameter_is_stepped_once(kind):
    once, twice = Parameter(np.ones((2, 2))), Parameter(np.ones((2, 2)))
    for parameter, given_parameters in ((once, [once]), (twice, [twice, twice])):
        parameter.grad += 3.0
        optimizer = kind(given_parameters, lr=0.1)
        optimizer.step()
        assert len(optimizer.parameters) == 1
    np.testing.assert_array_equal(once.value, twice.value)


@EVERY
def test_frozen_parameters_stay(kind):
    moving, frozen, later = (Parameter(np.ones((2, 2))) for _ in range(3))
    frozen.trainable = False
    optimizer = kind([frozen, moving, later], lr=0.1, weight_decay=0.1)
    assert [id(p) for p in optimizer.parameters] == [id(moving), id(later)]
    later.trainable = False
    for parameter in (moving, frozen, later):
        parameter.grad += 1.0
    optimizer.step()
    assert np.all(frozen.value == 1.0)
    assert np.all(later.value == 1.0)
    assert np.all(moving.value < 1.0)


def test_adam_does_not_divide_by_zero_where_there_was_no_gradient():
    parameter = Parameter(np.ones((2, 2), np.float32))
    AdamW([parameter], weight_decay=0.0).step()
    np.testing.assert_array_equal(parameter.value, np.ones((2, 2), np.float32))


def test_the_first_step_of_adam_is_the_learning_rate():
    parameter = Parameter(np.zeros(3))
    parameter.grad[...] = [1e-3, -5.0, 1e6]
    Adam([parameter], lr=0.1).step()
    np.testing.assert_allclose(parameter.value, [-0.1, 0.1, -0.1], rtol=1e-4)


def test_repr_tells_the_settings():
    text = repr(SGD([Parameter(np.ones(1))], 0.5))
    assert text == "SGD(1 parameters, lr=0.5, momentum=0.0, nesterov=False, weight_decay=0.0)"


def test_a_subclass_needs_settings_slots_and_update():
    class Signs(Optimizer):
        def update(self, value, grad, state, weight_decay):
            value -= self.lr * np.sign(grad)

    parameter = Parameter(np.ones(2))
    parameter.grad[...] = [3, -3]
    Signs([parameter], 0.5).step()
    np.testing.assert_array_equal(parameter.value, [0.5, 1.5])


P = [Parameter(np.ones((2, 2), np.float32), "p")]


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: AdamW([]), ValueError, r"AdamW: there are no parameters; expected at least one"),
        (lambda: SGD(P[0]), TypeError, r"SGD: parameters is a Parameter; expected a list"),
        (lambda: SGD(3), TypeError, r"SGD: parameters is an int; expected a list of Parameter"),
        (
            lambda: Lion([P[0], np.ones(2)]),
            TypeError,
            r"Lion: parameters\[1\] is float64 \(2,\); expected a Parameter, so pass model",
        ),
        (
            lambda: Adam([Parameter(np.ones(1), trainable=False)]),
            ValueError,
            "Adam: all of the 1 parameters are frozen; expected .* trainable=True",
        ),
        (lambda: SGD(P, -0.1), ValueError, r"SGD: lr is -0.1; expected 0 <= lr < inf"),
        (lambda: SGD(P, np.nan), ValueError, r"SGD: lr is nan; expected 0 <= lr < inf"),
        (lambda: AdamW(P, np.inf), ValueError, r"AdamW: lr is inf"),
        (lambda: AdamW(P, "1e-3"), TypeError, r"AdamW: lr is '1e-3'; expected a number"),
        (lambda: AdamW(P, True), TypeError, r"AdamW: lr is True; expected a number"),
        (lambda: SGD(P, 0.1, 1.0), ValueError, r"momentum is 1.0; expected 0 <= momentum < 1"),
        (lambda: SGD(P, 0.1, nesterov=True), ValueError, "nesterov=True needs momentum > 0"),
        (lambda: SGD(P, 0.1, 0.9, nesterov=1), TypeError, "nesterov is 1; expected True or False"),
        (lambda: Adam(P, betas=(0.9, 1.0)), ValueError, r"betas\[1\] is 1.0; expected 0 <= betas"),
        (lambda: Lion(P, betas=(-0.1, 0.9)), ValueError, r"Lion: betas\[0\] is -0.1"),
        (lambda: Adam(P, betas=0.9), TypeError, r"betas is 0.9; expected two numbers, such as"),
        (lambda: Adam(P, betas=(0.9,)), TypeError, r"betas is \(0.9,\); expected two numbers"),
        (lambda: Adam(P, eps=0), ValueError, r"Adam: eps is 0.0; expected 0 < eps < inf"),
        (lambda: Adam(P, eps=1e-60), ValueError, r"eps is 1e-60, which is 0 in float32"),
        (lambda: AdamW(P, weight_decay=-1), ValueError, "weight_decay is -1.0; expected 0 <="),
        (lambda: AdamW(P, decay=[P]), TypeError, "decay is a list; expected a function"),
    ],
)
def test_bad_arguments_are_refused_with_the_remedy(make, error, said):
    with pytest.raises(error, match=said):
        make()


@pytest.mark.parametrize(
    ("scale", "error"), [(-1.0, ValueError), (np.nan, ValueError), ("1", TypeError)]
)
def test_a_scale_that_is_none_is_refused_and_changes_nothing(scale, error):
    w = Parameter(np.ones(3))
    w.grad += 1.0
    optimizer = AdamW([w], 0.1)
    with pytest.raises(error, match=r"^AdamW.step: scale is .*; expected 0|with 0 <= scale < inf"):
        optimizer.step(scale)
    assert optimizer.steps == 0
    assert np.all(w.value == 1)
    assert not any(array.any() for arrays in optimizer.state.values() for array in arrays)
