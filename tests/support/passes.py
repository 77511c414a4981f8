"""Whole passes through a layer, for the tests of layers and models."""

import numpy as np


def moved(layer, seed=0, size=0.3):
    """Move every parameter away from its initial value, where a weight of 1 hides mistakes."""
    rng = np.random.default_rng(seed)
    for parameter in layer.parameters():
        parameter.value += rng.normal(0, size, parameter.shape).astype(parameter.value.dtype)
    return layer


def gradients(layer, dy, *inputs, **options):
    """Gradients of the inputs, as a tuple, and of the parameters, by name, of a fresh pass."""
    layer.zero_grad()
    _, saved = layer.forward(*inputs, **options)
    dx = layer.backward(dy, saved)
    return dx if isinstance(dx, tuple) else (dx,), parameter_gradients(layer)


def parameter_gradients(layer):
    return {name: parameter.grad.copy() for name, parameter in layer.named_parameters()}


def assert_equal(got, want):
    np.testing.assert_array_equal(got, want)


def assert_close(got, want, rtol=1e-12, atol=1e-13):
    """Equal up to rounding in float64; arrays, or dicts of arrays with the same keys."""
    if isinstance(want, dict):
        assert got.keys() == want.keys()
        for name in want:
            np.testing.assert_allclose(got[name], want[name], rtol, atol, err_msg=name)
    else:
        np.testing.assert_allclose(got, want, rtol, atol)
