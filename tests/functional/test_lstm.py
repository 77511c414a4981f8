"""lstm: the formulas step by step, gradient, states handed on, extremes, refusals."""

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
    """x, h0, c0, the weights and biases, and dy."""
    shapes = [(*lead, T, D), (*lead, H), (*lead, H), (4 * H, D), (4 * H, H), (4 * H,), (4 * H,)]
    return [normal(seed + i, *shape) for i, shape in enumerate([*shapes, (*lead, T, H)])]


def sigma(z):
    return 1 / (1 + np.exp(-z))


def by_definition(x, h, c, weight_ih, weight_hh, bias_ih, bias_hh):
    """All states of one sequence x (T, D), and the last cells."""
    y = []
    for x_t in x:
        i, f, g, o = np.split(weight_ih @ x_t + bias_ih + weight_hh @ h + bias_hh, 4)
        c = sigma(f) * c + sigma(i) * np.tanh(g)
        h = sigma(o) * np.tanh(c)
        y.append(h)
    return np.array(y), c


@given(steps, sizes, sizes, seeds)
def test_the_formulas_step_by_step(T, D, H, seed):
    *arrays, _ = drawn((), T, D, H, seed)
    y, saved = F.lstm(*arrays)
    want, cells = by_definition(*arrays)
    np.testing.assert_allclose(y, want, rtol=1e-11, atol=1e-14)
    np.testing.assert_array_equal(saved.h_n, y[-1])
    np.testing.assert_allclose(saved.c_n, cells, rtol=1e-11, atol=1e-14)


@given(leads(), steps, sizes, sizes, seeds)
def test_gradient(lead, T, D, H, seed):
    *arrays, dy = drawn(lead, T, D, H, seed)
    assert_gradients(F.lstm, F.lstm_backward, arrays, dy, rtol=1e-9)


@given(steps, seeds)
def test_gradient_without_biases(T, seed):
    *arrays, dy = drawn((2,), T, 3, 2, seed)
    assert_gradients(F.lstm, F.lstm_backward, arrays[:5], dy, rtol=1e-9)
    _, saved = F.lstm(*arrays[:6])
    assert F.lstm_backward(dy, saved)[6] is None
    _, saved = F.lstm(*arrays[:5], None, arrays[6])
    *_, first, second = F.lstm_backward(dy, saved)
    assert first is None
    assert second.shape == (8,)


@given(steps, steps, seeds)
def test_a_sequence_may_be_cut_where_its_states_are_handed_on(T, S, seed):
    x, h0, c0, *weights = drawn((2,), T + S, 3, 2, seed)[:7]
    whole, saved = F.lstm(x, h0, c0, *weights)
    first, before = F.lstm(x[:, :T], h0, c0, *weights)
    second, after = F.lstm(x[:, T:], before.h_n, before.c_n, *weights)
    np.testing.assert_allclose(np.concatenate([first, second], axis=1), whole, rtol=1e-12)
    np.testing.assert_allclose(after.c_n, saved.c_n, rtol=1e-12)
    np.testing.assert_allclose(after.h_n, saved.h_n, rtol=1e-12)


@given(steps, seeds)
def test_a_batch_is_its_sequences(T, seed):
    x, h0, c0, *weights, dy = drawn((2, 2), T, 3, 2, seed)
    y, saved = F.lstm(x, h0, c0, *weights)
    whole = F.lstm_backward(dy, saved)
    sums = [0.0] * 4
    for at in np.ndindex(2, 2):
        part, saved = F.lstm(x[at], h0[at], c0[at], *weights)
        np.testing.assert_allclose(part, y[at], rtol=1e-12)
        *own, dweight_ih, dweight_hh, dbias_ih, dbias_hh = F.lstm_backward(dy[at], saved)
        for got, want in zip(own, whole, strict=False):
            np.testing.assert_allclose(got, want[at], rtol=1e-10, atol=1e-14)
        both = zip(sums, (dweight_ih, dweight_hh, dbias_ih, dbias_hh), strict=True)
        sums = [a + b for a, b in both]
    for got, want in zip(sums, whole[3:], strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-14)


def test_nothing_depends_on_a_later_step():
    x, *others, _ = drawn((), 5, 3, 2, 0)
    y, saved = F.lstm(x, *others)
    for t in range(5):
        other = x.copy()
        other[t + 1 :] += 1
        np.testing.assert_array_equal(F.lstm(other, *others)[0][: t + 1], y[: t + 1])
        dy = np.zeros_like(y)
        dy[t] = 1
        dx = F.lstm_backward(dy, saved)[0]
        assert not dx[t + 1 :].any()
        assert dx[: t + 1].all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_open_and_shut_gates_keep_the_cells_and_their_gradient(dtype):
    """f = 1 and i = 0: after a hundred steps the cells, and what flows back, are as they were."""
    H, bias = 2, np.repeat(np.array([-1e4, 1e4, 0, 1e4], dtype), 2)
    x, h0, c0 = np.ones((100, 1), dtype), np.zeros(H, dtype), np.array([0.5, -2], dtype)
    y, saved = F.lstm(x, h0, c0, np.ones((4 * H, 1), dtype), np.ones((4 * H, H), dtype), bias)
    np.testing.assert_array_equal(saved.c_n, c0)
    np.testing.assert_allclose(y[-1], np.tanh(c0), rtol=1e-6)
    dy = np.zeros_like(y)
    dy[-1] = 1
    _, _, dc0, *_ = F.lstm_backward(dy, saved)
    np.testing.assert_allclose(dc0, 1 - np.tanh(c0) ** 2, rtol=1e-5)
    assert y.dtype == dc0.dtype == dtype


def test_an_empty_batch_gives_zero_gradients():
    x, h0, c0, *weights, dy = drawn((0,), 4, 3, 2, 0)
    y, saved = F.lstm(x, h0, c0, *weights)
    assert y.shape == (0, 4, 2)
    assert [g.shape for g in F.lstm_backward(dy, saved)[:3]] == [(0, 4, 3), (0, 2), (0, 2)]
    assert not any(g.any() for g in F.lstm_backward(dy, saved))


@pytest.mark.parametrize("which", range(8))
def test_complex_meets_float64_in_any_argument(which):
    arrays = drawn((2,), 3, 3, 2, 0)
    y, saved = F.lstm(*arrays[:7])
    want = F.lstm_backward(arrays[7], saved)
    arrays[which] = arrays[which] + 0j
    z, saved = F.lstm(*arrays[:7])
    np.testing.assert_allclose(z, y, rtol=1e-13)
    for got, expected in zip(F.lstm_backward(arrays[7], saved), want, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        ("x", (5,), r"lstm: x is \(5,\); expected \(\.\.\., length, d_in\), with length and d_in"),
        ("x", (2, 0, 3), r"x is \(2, 0, 3\)"),
        (
            "x",
            (2, 4, 5),
            r"weight_ih \(8, 3\) does not fit x \(2, 4, 5\) and weight_hh \(8, 2\); i",
        ),
        ("weight_hh", (8, 3), r"weight_hh is \(8, 3\); expected \(4 d_hidden, d_hidden\)"),
        ("weight_hh", (0, 0), r"weight_hh is \(0, 0\)"),
        ("weight_hh", (8,), r"weight_hh is \(8,\)"),
        ("weight_ih", (2, 3), r"weight_ih \(2, 3\) does not fit x .*; it wants \(8, 3\)"),
        ("h0", (2,), r"h0 \(2,\) does not fit x \(2, 4, 3\) .*; it wants \(2, 2\)"),
        ("c0", (1, 2), r"c0 \(1, 2\) does not fit x \(2, 4, 3\) .*; it wants \(2, 2\)"),
        ("bias_ih", (2,), r"bias_ih \(2,\) does not fit .*; it wants \(8,\)"),
        ("bias_hh", (1, 8), r"bias_hh \(1, 8\) does not fit .*; it wants \(8,\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(name, shape, said):
    names = "x", "h0", "c0", "weight_ih", "weight_hh", "bias_ih", "bias_hh"
    arrays = dict(zip(names, drawn((2,), 4, 3, 2, 0), strict=False))
    with pytest.raises(ValueError, match=said):
        F.lstm(**(arrays | {name: np.ones(shape)}))


def test_wrong_dtypes_and_gradients_are_refused():
    *arrays, dy = drawn((2,), 4, 3, 2, 0)
    with pytest.raises(TypeError, match="x is float64 but bias_hh is float32; NumPy would"):
        F.lstm(*arrays[:6], arrays[6].astype(np.float32))
    with pytest.raises(TypeError, match="lstm: c0 is a NoneType; expected a NumPy array"):
        F.lstm(*arrays[:2], None, *arrays[3:])
    _, saved = F.lstm(*arrays)
    with pytest.raises(ValueError, match=r"lstm_backward: dy is \(2, 2\) but the output was"):
        F.lstm_backward(dy[:, 0], saved)
