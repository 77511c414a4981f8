"""linear: values, gradient, properties, refusals."""

import numpy as np
import pytest
from hypothesis import given
from support.oracle import assert_gradients
from support.strategies import leads, normal, seeds, sides

import npformer.functional as F


def drawn(lead, d_in, d_out, seed):
    """x, weight, bias and dy."""
    shapes = (*lead, d_in), (d_out, d_in), (d_out,), (*lead, d_out)
    return [normal(seed + i, *shape) for i, shape in enumerate(shapes)]


def test_value_by_hand():
    x, weight = np.array([[1.0, 2.0]]), np.array([[3.0, 4.0], [5.0, 6.0], [0.0, -1.0]])
    np.testing.assert_array_equal(F.linear(x, weight)[0], [[11, 17, -2]])
    y, _ = F.linear(x, weight, np.array([0.5, -17.0, 2.0]))
    np.testing.assert_array_equal(y, [[11.5, 0, 0]])


def test_gradient_by_hand():
    """Two vectors and one output: dW = sum_n dy_n x_n, db = sum_n dy_n, dx_n = dy_n W."""
    _, saved = F.linear(np.array([[1.0, 2.0], [3.0, 5.0]]), np.array([[7.0, 11.0]]), np.ones(1))
    dx, dweight, dbias = F.linear_backward(np.array([[10.0], [1.0]]), saved)
    np.testing.assert_array_equal(dx, [[70, 110], [7, 11]])
    np.testing.assert_array_equal(dweight, [[13, 25]])
    np.testing.assert_array_equal(dbias, [11])


@given(leads(), sides, sides, seeds)
def test_gradient(lead, d_in, d_out, seed):
    *arrays, dy = drawn(lead, d_in, d_out, seed)
    assert_gradients(F.linear, F.linear_backward, arrays, dy)
    assert_gradients(F.linear, F.linear_backward, arrays[:2], dy)


@given(leads(), sides, sides, seeds)
def test_is_linear_in_each_of_x_and_weight(lead, d_in, d_out, seed):
    x, weight, _, dy = drawn(lead, d_in, d_out, seed)
    other_x, other_weight, _, other_dy = drawn(lead, d_in, d_out, seed + 9)
    y, saved = F.linear(x, weight)
    moved = F.linear(2 * x - 3 * other_x, weight)[0]
    np.testing.assert_allclose(moved, 2 * y - 3 * F.linear(other_x, weight)[0], atol=1e-12)
    moved = F.linear(x, weight + other_weight)[0]
    np.testing.assert_allclose(moved, y + F.linear(x, other_weight)[0], atol=1e-12)
    for both, one, other in zip(
        F.linear_backward(2 * dy - 3 * other_dy, saved)[:2],
        F.linear_backward(dy, saved)[:2],
        F.linear_backward(other_dy, saved)[:2],
        strict=True,
    ):
        np.testing.assert_allclose(both, 2 * one - 3 * other, atol=1e-12)


@given(leads(), sides, sides, seeds)
def test_the_adjoint_identities(lead, d_in, d_out, seed):
    """Without a bias y is linear in x and in W alone: dy . y = dx . x = dW . W."""
    x, weight, _, dy = drawn(lead, d_in, d_out, seed)
    y, saved = F.linear(x, weight)
    dx, dweight, dbias = F.linear_backward(dy, saved)
    np.testing.assert_allclose(np.sum(dx * x), np.sum(dy * y), atol=1e-11)
    np.testing.assert_allclose(np.sum(dweight * weight), np.sum(dy * y), atol=1e-11)
    assert dbias is None


def test_sum_over_a_batch_is_the_batch_of_sums():
    x, weight, bias, dy = drawn((4, 3), 5, 2, 0)
    y, saved = F.linear(x, weight, bias)
    whole = F.linear_backward(dy, saved)
    parts = [F.linear(row, weight, bias) for row in x]
    np.testing.assert_allclose(y, [part for part, _ in parts], rtol=1e-13)
    grads = [F.linear_backward(d, saved) for d, (_, saved) in zip(dy, parts, strict=True)]
    np.testing.assert_allclose(whole[0], [g[0] for g in grads], rtol=1e-12, atol=1e-14)
    for i in (1, 2):
        np.testing.assert_allclose(whole[i], sum(g[i] for g in grads), rtol=1e-12)


def test_an_empty_batch_gives_zero_gradients():
    y, saved = F.linear(np.ones((0, 3)), np.ones((2, 3)), np.ones(2))
    assert y.shape == (0, 2)
    dx, dweight, dbias = F.linear_backward(y, saved)
    assert dx.shape == (0, 3)
    assert not dweight.any()
    assert not dbias.any()


def test_float32_stays_float32():
    arrays = [a.astype(np.float32) for a in drawn((2, 3), 4, 5, 0)]
    y, saved = F.linear(*arrays[:3])
    assert y.dtype == np.float32
    assert all(g.dtype == np.float32 for g in F.linear_backward(arrays[3], saved))


@pytest.mark.parametrize("which", range(4))
def test_complex_meets_float64_in_any_argument(which):
    arrays = drawn((2, 3), 4, 5, 0)
    want = F.linear_backward(arrays[3], F.linear(*arrays[:3])[1])
    y = F.linear(*arrays[:3])[0]
    arrays[which] = arrays[which] + 0j
    z, saved = F.linear(*arrays[:3])
    np.testing.assert_allclose(z, y, rtol=1e-13)
    for got, expected in zip(F.linear_backward(arrays[3], saved), want, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-13)


@pytest.mark.parametrize(
    ("x", "weight", "bias", "said"),
    [
        ((2, 3), (5, 4), None, r"x \(2, 3\) does not fit weight \(5, 4\); it wants x \(\.\.\., d"),
        ((), (5, 4), None, r"linear: x \(\) does not fit"),
        ((4,), (4,), None, r"x \(4,\) does not fit weight \(4,\); .* and weight \(d_out, d_in\)"),
        ((2, 0), (5, 0), None, r"weight \(5, 0\); .* with d_out and d_in at least 1"),
        ((2, 4), (5, 4), (4,), r"bias \(4,\) does not fit weight \(5, 4\); .* here \(5,\)"),
        ((2, 4), (5, 4), (1, 5), r"bias \(1, 5\) does not fit"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(x, weight, bias, said):
    with pytest.raises(ValueError, match=said):
        F.linear(np.ones(x), np.ones(weight), None if bias is None else np.ones(bias))


def test_dtypes_that_do_not_fit_are_refused():
    x, weight = np.ones((2, 3)), np.ones((4, 3), np.float32)
    with pytest.raises(TypeError, match=r"linear: x is float64 but weight is float32; NumPy would"):
        F.linear(x, weight)
    with pytest.raises(TypeError, match=r"linear: bias is int64 \(4,\); expected float32 or"):
        F.linear(x.astype(np.float32), weight, np.ones(4, np.int64))
    with pytest.raises(TypeError, match=r"x is a list; .* np.asarray\(x, dtype=np.float32\)"):
        F.linear([[1.0]], weight)
    _, saved = F.linear(x, np.ones((4, 3)))
    with pytest.raises(ValueError, match=r"linear_backward: dy is \(4,\) but the output was \(2,"):
        F.linear_backward(np.ones(4), saved)
