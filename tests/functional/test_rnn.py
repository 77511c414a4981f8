"""rnn: the formula step by step, gradient, states handed on, refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.oracle import assert_gradients
from support.strategies import leads, normal, seeds

import npformer.functional as F

sizes = st.integers(1, 3)
steps = st.integers(1, 4)


def drawn(lead, T, D, H, seed):
    """x, h0, the weights and biases, and dy."""
    shapes = [(*lead, T, D), (*lead, H), (H, D), (H, H), (H,), (H,), (*lead, T, H)]
    return [normal(seed + i, *shape) for i, shape in enumerate(shapes)]


@given(steps, sizes, sizes, seeds)
def test_the_formula_step_by_step(T, D, H, seed):
    x, h, weight_ih, weight_hh, bias_ih, bias_hh, _ = drawn((), T, D, H, seed)
    y, saved = F.rnn(x, h, weight_ih, weight_hh, bias_ih, bias_hh)
    np.testing.assert_array_equal(saved.h_n, y[-1])
    for x_t, y_t in zip(x, y, strict=True):
        h = np.tanh(weight_ih @ x_t + bias_ih + weight_hh @ h + bias_hh)
        np.testing.assert_allclose(y_t, h, rtol=1e-11, atol=1e-14)


@given(leads(), steps, sizes, sizes, seeds)
def test_gradient(lead, T, D, H, seed):
    *arrays, dy = drawn(lead, T, D, H, seed)
    assert_gradients(F.rnn, F.rnn_backward, arrays, dy, rtol=1e-9)


@given(steps, seeds)
def test_gradient_without_biases(T, seed):
    *arrays, dy = drawn((2,), T, 3, 2, seed)
    assert_gradients(F.rnn, F.rnn_backward, arrays[:4], dy, rtol=1e-9)
    _, saved = F.rnn(*arrays[:5])
    assert F.rnn_backward(dy, saved)[5] is None
    _, saved = F.rnn(*arrays[:4], None, arrays[5])
    *_, first, second = F.rnn_backward(dy, saved)
    assert first is None
    assert second.shape == (2,)


@given(steps, steps, seeds)
def test_a_sequence_may_be_cut_where_its_state_is_handed_on(T, S, seed):
    """Forward, and backward: dh0 of the second part is added to the last step of the first."""
    x, h0, *weights, dy = drawn((2,), T + S, 3, 2, seed)
    whole, saved = F.rnn(x, h0, *weights)
    first, before = F.rnn(x[:, :T], h0, *weights)
    second, after = F.rnn(x[:, T:], before.h_n, *weights)
    np.testing.assert_allclose(np.concatenate([first, second], axis=1), whole, rtol=1e-12)
    want = F.rnn_backward(dy, saved)
    later = F.rnn_backward(dy[:, T:], after)
    d_first = dy[:, :T].copy()
    d_first[:, -1] += later[1]
    sooner = F.rnn_backward(d_first, before)
    np.testing.assert_allclose(np.concatenate([sooner[0], later[0]], axis=1), want[0], rtol=1e-10)
    np.testing.assert_allclose(sooner[1], want[1], rtol=1e-10)
    for a, b, both in zip(sooner[2:], later[2:], want[2:], strict=True):
        np.testing.assert_allclose(a + b, both, rtol=1e-10, atol=1e-13)


@given(steps, seeds)
def test_without_a_way_from_state_to_state_each_step_stands_alone(T, seed):
    x, h0, weight_ih, weight_hh, bias_ih, bias_hh, dy = drawn((2,), T, 3, 2, seed)
    y, saved = F.rnn(x, h0, weight_ih, 0 * weight_hh, bias_ih, bias_hh)
    np.testing.assert_allclose(y, np.tanh(x @ weight_ih.T + bias_ih + bias_hh), rtol=1e-12)
    dx, dh0, *_ = F.rnn_backward(dy, saved)
    np.testing.assert_allclose(dx, (dy * (1 - y**2)) @ weight_ih, rtol=1e-10, atol=1e-14)
    assert not dh0.any()


def test_an_empty_batch_gives_zero_gradients():
    x, h0, *weights, dy = drawn((0,), 4, 3, 2, 0)
    y, saved = F.rnn(x, h0, *weights)
    assert y.shape == (0, 4, 2)
    assert not any(g.any() for g in F.rnn_backward(dy, saved))


@pytest.mark.parametrize("which", range(7))
def test_complex_meets_float64_in_any_argument(which):
    arrays = drawn((2,), 3, 3, 2, 0)
    y, saved = F.rnn(*arrays[:6])
    want = F.rnn_backward(arrays[6], saved)
    arrays[which] = arrays[which] + 0j
    z, saved = F.rnn(*arrays[:6])
    np.testing.assert_allclose(z, y, rtol=1e-13)
    for got, expected in zip(F.rnn_backward(arrays[6], saved), want, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        ("x", (5,), r"rnn: x is \(5,\); expected \(\.\.\., length, d_in\), with length and d_in"),
        ("weight_hh", (3, 2), r"rnn: weight_hh is \(3, 2\); expected \(d_hidden, d_hidden\)"),
        ("weight_ih", (3, 2), r"weight_ih \(3, 2\) does not fit x .*; it wants \(2, 3\)"),
        ("h0", (2,), r"h0 \(2,\) does not fit x \(2, 4, 3\) .*; it wants \(2, 2\)"),
        ("bias_ih", (1,), r"bias_ih \(1,\) does not fit .*; it wants \(2,\)"),
        ("bias_hh", (1, 2), r"bias_hh \(1, 2\) does not fit .*; it wants \(2,\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(name, shape, said):
    names = "x", "h0", "weight_ih", "weight_hh", "bias_ih", "bias_hh"
    arrays = dict(zip(names, drawn((2,), 4, 3, 2, 0), strict=False))
    with pytest.raises(ValueError, match=said):
        F.rnn(**(arrays | {name: np.ones(shape)}))


def test_wrong_dtypes_and_gradients_are_refused():
    *arrays, dy = drawn((2,), 4, 3, 2, 0)
    with pytest.raises(TypeError, match="x is float64 but bias_ih is float32; NumPy would"):
        F.rnn(*arrays[:4], arrays[4].astype(np.float32))
    _, saved = F.rnn(*arrays)
    with pytest.raises(ValueError, match=r"rnn_backward: dy is \(2, 2\) but the output was"):
        F.rnn_backward(dy[:, 0], saved)
