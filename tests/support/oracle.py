"""Exact derivatives by the complex step, in the fewest lines that can be believed.

This is on purpose not `npformer.verify`: the tests of an operation should not rest on the
checker that ships with it.
"""

import numpy as np

H = 1e-30


def complex_step(forward, arrays, dy):
    """Gradient of sum(dy * forward(*arrays)) with respect to each float64 array of `arrays`.

    An analytic f has f(x + ih) = f(x) + ih f'(x) + O(h^2): the imaginary part over h is the
    derivative, with nothing subtracted and so nothing lost.
    """
    gradients = []
    for which, array in enumerate(arrays):
        gradient = np.zeros(array.shape)
        for index in np.ndindex(array.shape):
            z = array.astype(np.complex128)
            z[index] += 1j * H
            y = forward(*arrays[:which], z, *arrays[which + 1 :])
            gradient[index] = np.sum(dy * y.imag) / H
        gradients.append(gradient)
    return gradients


def assert_gradients(op, op_backward, arrays, dy, *, rtol=1e-10, atol=1e-12):
    """Check `op_backward` against the complex step in every entry of every array."""
    grads = op_backward(dy, op(*arrays)[1])
    grads = [g for g in (grads if isinstance(grads, tuple) else (grads,)) if g is not None]
    exact = complex_step(lambda *a: op(*a)[0], arrays, dy)
    assert len(grads) == len(exact)
    for got, want in zip(grads, exact, strict=True):
        assert got.shape == want.shape
        np.testing.assert_allclose(
            got, want, rtol=rtol, atol=atol * max(1.0, np.abs(want).max(initial=0))
        )
