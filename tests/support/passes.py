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


def assert_gradient_of_the_loss(model, *batch, seed=0, rtol=1e-10, **options):
    """Of each parameter by itself, along a direction that no wrong entry is orthogonal to.

    d loss(theta + t u) / dt is the sum of the gradient times u, and the complex step knows it to
    the last bits; theta is float64. Returns the terms, by name.
    """
    model.zero_grad()
    _, saved = model.loss(*batch, **options)
    model.loss_backward(saved)
    rng, h, terms = np.random.default_rng(seed), 1e-30, {}
    values = {name: parameter.value for name, parameter in model.named_parameters()}
    lifted = [x.astype(np.complex128) if x.dtype == np.float64 else x for x in batch]
    try:
        for parameter in model.parameters():
            parameter.value = parameter.value.astype(np.complex128)
        for name, parameter in model.named_parameters():
            if not parameter.trainable:
                assert not np.any(parameter.grad), name
                continue
            direction = np.asarray(rng.standard_normal(parameter.shape))
            parameter.value = np.asarray(values[name] + 1j * h * direction)
            numeric = model.loss(*lifted, **options)[0].imag / h
            parameter.value = values[name].astype(np.complex128)
            terms[name] = float(np.sum(parameter.grad * direction))
            np.testing.assert_allclose(terms[name], numeric, rtol, atol=1e-13, err_msg=name)
    finally:
        for name, parameter in model.named_parameters():
            parameter.value = values[name]
    return terms
