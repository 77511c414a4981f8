"""conv1d: the definition, gradient, adjointness, causality, refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.oracle import assert_gradients
from support.strategies import leads, normal, seeds

import npformer.functional as F

short = st.integers(1, 4)
sides_of_padding = st.integers(0, 3)


@st.composite
def cases(draw, lead=None):
    """x, weight, bias, stride and padding that fit each other."""
    lead = draw(leads()) if lead is None else lead
    C, out, k, stride = (draw(short) for _ in range(4))
    padding = draw(sides_of_padding), draw(sides_of_padding)
    n = draw(st.integers(max(1, k - sum(padding)), 8))
    seed = draw(seeds)
    shapes = (*lead, n, C), (out, C, k), (out,)
    return *(normal(seed + i, *shape) for i, shape in enumerate(shapes)), stride, padding


def by_definition(x, weight, stride, padding):
    """y_to = sum_j sum_c W_ocj p_(ts+j)c for x (n, C), term by term."""
    p = np.concatenate([np.zeros((padding[0], x.shape[1])), x, np.zeros((padding[1], x.shape[1]))])
    out, C, k = weight.shape
    windows = [p[start : start + k] for start in range(0, len(p) - k + 1, stride)]
    return np.array(
        [
            [
                sum(weight[o, c, j] * window[j, c] for j in range(k) for c in range(C))
                for o in range(out)
            ]
            for window in windows
        ]
    )


def test_value_and_gradient_by_hand():
    """One channel, windows (0, 1), (2, 3), (4, 0) of 1 2 3 4, by the kernel 10 1."""
    x, weight = np.array([[1.0], [2], [3], [4]]), np.array([[[10.0, 1.0]]])
    y, saved = F.conv1d(x, weight, np.array([0.5]), 2, 1)
    np.testing.assert_array_equal(y, [[1.5], [23.5], [40.5]])
    dx, dweight, dbias = F.conv1d_backward(np.array([[1.0], [2], [3]]), saved)
    np.testing.assert_array_equal(dx, [[1], [20], [2], [30]])
    np.testing.assert_array_equal(dweight, [[[2 * 2 + 3 * 4, 1 * 1 + 2 * 3]]])
    np.testing.assert_array_equal(dbias, [6])


@given(cases(lead=()))
def test_is_the_sum_of_its_definition(case):
    x, weight, bias, stride, padding = case
    y, _ = F.conv1d(x, weight, bias, stride, padding)
    want = by_definition(x, weight, stride, padding) + bias
    np.testing.assert_allclose(y, want, rtol=1e-11, atol=1e-12)


@given(cases(), seeds)
def test_gradient(case, seed):
    *arrays, stride, padding = case
    dy = normal(seed, *F.conv1d(*case)[0].shape)

    def op(*arrays):
        return F.conv1d(*arrays, stride=stride, padding=padding)

    assert_gradients(op, F.conv1d_backward, arrays, dy)
    assert_gradients(op, F.conv1d_backward, arrays[:2], dy)


@given(cases(), seeds)
def test_the_adjoint_identities(case, seed):
    """Without a bias y is linear in x and in W alone: dy . y = dx . x = dW . W."""
    x, weight, _, stride, padding = case
    y, saved = F.conv1d(x, weight, None, stride, padding)
    dy = normal(seed, *y.shape)
    dx, dweight, dbias = F.conv1d_backward(dy, saved)
    np.testing.assert_allclose(np.sum(dx * x), np.sum(dy * y), atol=1e-10)
    np.testing.assert_allclose(np.sum(dweight * weight), np.sum(dy * y), atol=1e-10)
    assert dbias is None


@given(cases(), seeds)
def test_a_batch_is_its_sequences(case, seed):
    x, weight, bias, stride, padding = case
    x = np.stack([x, normal(seed, *x.shape)])
    y, saved = F.conv1d(x, weight, bias, stride, padding)
    parts = [F.conv1d(part, weight, bias, stride, padding) for part in x]
    np.testing.assert_allclose(y, [part for part, _ in parts], rtol=1e-12, atol=1e-13)
    dy = normal(seed + 1, *y.shape)
    whole = F.conv1d_backward(dy, saved)
    grads = [F.conv1d_backward(d, saved) for d, (_, saved) in zip(dy, parts, strict=True)]
    np.testing.assert_allclose(whole[0], [g[0] for g in grads], rtol=1e-11, atol=1e-12)
    for i in (1, 2):
        np.testing.assert_allclose(whole[i], grads[0][i] + grads[1][i], rtol=1e-11, atol=1e-12)


@given(leads(), short, short, seeds)
def test_a_kernel_of_one_is_a_linear_map(lead, C, out, seed):
    x, weight, bias = normal(seed, *lead, 5, C), normal(seed + 1, out, C), normal(seed + 2, out)
    y, saved = F.conv1d(x, weight[..., None], bias)
    want, linear = F.linear(x, weight, bias)
    np.testing.assert_allclose(y, want, rtol=1e-12, atol=1e-13)
    dy = normal(seed + 3, *y.shape)
    dx, dweight, dbias = F.conv1d_backward(dy, saved)
    want = F.linear_backward(dy, linear)
    for got, expected in zip((dx, dweight[..., 0], dbias), want, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-13)


@given(short, short, seeds)
def test_a_shift_of_the_input_shifts_the_output(stride, kernel, seed):
    x, weight = normal(seed, 12, 2), normal(seed + 1, 3, 2, kernel)
    y, _ = F.conv1d(x, weight, None, stride)
    later, _ = F.conv1d(x[stride:], weight, None, stride)
    np.testing.assert_allclose(later, y[1:], rtol=1e-12, atol=1e-13)


def test_padding_on_the_left_alone_looks_at_nothing_later():
    x, weight = normal(0, 2, 6, 3), normal(1, 4, 3, 3)
    y, saved = F.conv1d(x, weight, None, 1, (2, 0))
    for t in range(6):
        other = x.copy()
        other[:, t + 1 :] = 9
        np.testing.assert_array_equal(F.conv1d(other, weight, None, 1, (2, 0))[0][:, : t + 1],
                                      y[:, : t + 1])  # fmt: skip
        dy = np.zeros_like(y)
        dy[:, t] = 1
        assert not F.conv1d_backward(dy, saved)[0][:, t + 1 :].any()


def test_an_int_is_padding_on_both_sides():
    x, weight = normal(0, 5, 2), normal(1, 3, 2, 3)
    want, _ = F.conv1d(x, weight, None, 1, (2, 2))
    for padding in (2, np.int64(2), [2, 2]):
        np.testing.assert_array_equal(F.conv1d(x, weight, None, 1, padding)[0], want)


def test_positions_that_no_window_reaches_have_no_gradient():
    """Stride 3 and a kernel of 2 leave out every third position, and here the last one."""
    y, saved = F.conv1d(normal(0, 7, 2), normal(1, 3, 2, 2), None, 3)
    assert y.shape == (2, 3)
    dx, _, _ = F.conv1d_backward(np.ones_like(y), saved)
    np.testing.assert_array_equal(dx.any(axis=1), [True, True, False, True, True, False, False])


def test_padding_may_be_more_than_what_it_is_put_beside():
    arrays = [normal(0, 1, 2), normal(1, 3, 2, 3), normal(2, 3)]
    dy = normal(3, 2, 3)
    assert_gradients(lambda *a: F.conv1d(*a, padding=(0, 3)), F.conv1d_backward, arrays, dy)


def test_an_empty_batch_gives_zero_gradients():
    y, saved = F.conv1d(np.ones((0, 5, 3)), np.ones((2, 3, 3)), np.ones(2), 1, 1)
    assert y.shape == (0, 5, 2)
    dx, dweight, dbias = F.conv1d_backward(y, saved)
    assert dx.shape == (0, 5, 3)
    assert not dweight.any()
    assert not dbias.any()


@pytest.mark.parametrize("which", range(4))
def test_complex_meets_float64_in_any_argument(which):
    arrays = [normal(0, 2, 5, 3), normal(1, 4, 3, 2), normal(2, 4), normal(3, 2, 3, 4)]
    y, saved = F.conv1d(*arrays[:3], 2, (1, 0))
    want = F.conv1d_backward(arrays[3], saved)
    arrays[which] = arrays[which] + 0j
    z, saved = F.conv1d(*arrays[:3], 2, (1, 0))
    np.testing.assert_allclose(z, y, rtol=1e-13)
    for got, expected in zip(F.conv1d_backward(arrays[3], saved), want, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-13)


@pytest.mark.parametrize(
    ("x", "weight", "bias", "said"),
    [
        ((5, 3), (4, 2, 3), None, r"conv1d: x \(5, 3\) does not fit weight \(4, 2, 3\); it wants"),
        ((3,), (4, 3, 3), None, r"x \(3,\) does not fit weight"),
        ((5, 3), (4, 3), None, r"does not fit weight \(4, 3\); .* \(channels_out, channels_in, k"),
        ((5, 3), (4, 3, 0), None, r"weight \(4, 3, 0\); .* none of these 0"),
        ((5, 3), (4, 3, 2), (3,), r"bias \(3,\) does not fit weight .*\(channels_out,\), here \(4"),
        ((5, 3), (4, 3, 2), (1, 4), r"bias \(1, 4\) does not fit"),
        ((5, 3), (4, 3, 6), None, r"with padding \(0, 0\) has 5 positions, and the kernel 6; the"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(x, weight, bias, said):
    with pytest.raises(ValueError, match=said):
        F.conv1d(np.ones(x), np.ones(weight), None if bias is None else np.ones(bias))


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"stride": 0}, ValueError, "conv1d: stride is 0; expected a positive int"),
        ({"stride": 1.5}, TypeError, "conv1d: stride is 1.5; expected a positive int"),
        ({"padding": -1}, ValueError, "conv1d: padding is -1; expected an int, 0 or more"),
        ({"padding": (0, -1)}, ValueError, "conv1d: padding is -1; expected an int, 0 or more"),
        ({"padding": (-1, 0)}, ValueError, "conv1d: padding is -1; expected an int, 0 or more"),
        ({"padding": "same"}, TypeError, "conv1d: padding is 'same'; expected an int"),
        ({"padding": (1, 1, 1)}, ValueError, r"padding is \(1, 1, 1\); expected an int or \(left"),
        ({"padding": None}, TypeError, "conv1d: padding is None; expected an int"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, error, said):
    with pytest.raises(error, match=said):
        F.conv1d(np.ones((5, 3)), np.ones((4, 3, 2)), **options)


def test_dtypes_that_do_not_fit_are_refused():
    with pytest.raises(TypeError, match=r"conv1d: x is float64 but weight is float32; NumPy would"):
        F.conv1d(np.ones((5, 3)), np.ones((4, 3, 2), np.float32))
    with pytest.raises(TypeError, match=r"conv1d: bias is int64 \(4,\); expected float32 or"):
        F.conv1d(np.ones((5, 3)), np.ones((4, 3, 2)), np.ones(4, np.int64))
    _, saved = F.conv1d(np.ones((5, 3)), np.ones((4, 3, 2)))
    with pytest.raises(ValueError, match=r"conv1d_backward: dy is \(5, 4\) but the output was \(4"):
        F.conv1d_backward(np.ones((5, 4)), saved)
