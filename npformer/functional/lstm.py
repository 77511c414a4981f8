r"""Long short-term memory: a recurrent network whose memory cells are kept, and written, by gates.

Forward, for a sequence of T vectors x_t, from the states h_0 and c_0, for t = 1 .. T; a product
of two vectors is entry by entry, and sigma is the logistic function
    (1)  z_t = W x_t + a + R h_(t-1) + b      four parts, of the gates i, f, g, o     (4H,)
    (2)  i = sigma(z^i), f = sigma(z^f), g = tanh(z^g), o = sigma(z^o)                each (H,)
         what is written, kept, new, and shown
    (3)  c_t = f c_(t-1) + i g                the cells                               (H,)
    (4)  h_t = o tanh(c_t);  y_t = h_t        the state                               (H,)

Backward, given dy, for t = T .. 1
    (4') h_t is y_t, and goes into the step after it: dh_t = dy_t + R^T dz_(t+1).  c_t goes into
         h_t, and into the step after it by (3'), where f is that step's:
         do = dh_t tanh(c_t),   dc_t = f_(t+1) dc_(t+1) + dh_t o (1 - tanh(c_t)^2)
         with dz and dc of step T + 1 being 0
    (3') di = dc_t g,  dg = dc_t i,  df = dc_t c_(t-1),  and to c_(t-1) goes dc_t f
    (2') the derivative of sigma is sigma (1 - sigma), that of tanh 1 - tanh^2:
         dz^i = di i (1 - i),  dz^f = df f (1 - f),  dz^g = dg (1 - g^2),  dz^o = do o (1 - o)
    (1') the same W, a, R and b serve every step of every sequence n, so that their gradients
         are sums:  dW = sum_nt dz_nt x_nt^T,  dR = sum_nt dz_nt h_n(t-1)^T,
         da = db = sum_nt dz_nt;   dx_t = W^T dz_t,  and to what was before the first step
         dh_0 = R^T dz_1,  dc_0 = f_1 dc_1

From c_t to c_(t-1) the gradient is multiplied by f alone, which can be 1: so it outlives many
steps, as it does not in `rnn`, where each multiplies it by R^T and 1 - h^2.

Saved: y, the four gates and the cells of every step, six numbers for each of y, and x, h_0, c_0,
W and R, the caller's own arrays. tanh(c) is computed again.
"""

from typing import NamedTuple

import numpy as np

from ..core.arrays import Array, check_floats, check_gradient
from ._elementwise import logistic
from .rnn import check_recurrent_shapes, from_inputs, of_arguments


class LSTMSaved(NamedTuple):
    """What `lstm_backward` needs, and the final states."""

    x: Array  # (..., T, d_in)  the caller's own array
    h0: Array  # (..., H)        the caller's own array
    c0: Array  # (..., H)        the caller's own array
    weight_ih: Array  # (4H, d_in)      the caller's own array
    weight_hh: Array  # (4H, H)         the caller's own array
    has_bias_ih: bool
    has_bias_hh: bool
    y: Array  # (..., T, H)     the states after each step
    gates: Array  # (N, T, 4H)      i, f, g and o
    cells: Array  # (N, T, H)       c
    h_n: Array  # (..., H)        the last state
    c_n: Array  # (..., H)        the last cells


def lstm(
    x: Array,
    h0: Array,
    c0: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias_ih: Array | None = None,
    bias_hh: Array | None = None,
) -> tuple[Array, LSTMSaved]:
    """Run a long short-term memory over the steps of a sequence.

    Parameters
    ----------
    x : (..., length, d_in) ndarray
        Any number of leading axes, also none.
    h0, c0 : (..., d_hidden) ndarray
        State and cells before the first step.
    weight_ih : (4 d_hidden, d_in) ndarray
        W, from the input to the gates, in the order i, f, g, o, which is PyTorch's.
    weight_hh : (4 d_hidden, d_hidden) ndarray
        R, from the state to the gates.
    bias_ih, bias_hh : (4 d_hidden,) ndarray, optional
        a and b. One would do; PyTorch's weights have two.

    Returns
    -------
    y : (..., length, d_hidden) ndarray
        The state after each step.
    saved : LSTMSaved
        For `lstm_backward`; `saved.h_n` and `saved.c_n` are the final state and cells.

    Raises
    ------
    ValueError
        If the shapes do not fit or there are no steps.
    TypeError
        If the dtypes are not float32, float64 or complex128, or do not mix.

    References
    ----------
    Hochreiter and Schmidhuber (1997), "Long Short-Term Memory"; the gate f is from Gers,
    Schmidhuber and Cummins (2000), "Learning to Forget", equations 3 and 4.
    """
    biases = {"bias_ih": bias_ih, "bias_hh": bias_hh}
    check_floats("lstm", x=x, h0=h0, c0=c0, weight_ih=weight_ih, weight_hh=weight_hh, **biases)
    check_recurrent_shapes("lstm", 4, x, weight_ih, weight_hh, {"h0": h0, "c0": c0}, biases)
    T, H = x.shape[-2], weight_hh.shape[1]
    gates = from_inputs(x, weight_ih, weight_hh, h0, c0, bias_ih, bias_hh)  # (1) but for R h
    N = len(gates)
    y, cells = np.empty((2, N, T, H), gates.dtype)
    h, c = h0.reshape(-1, H), c0.reshape(-1, H)
    with np.errstate(over="ignore"):  # in a gate that is shut
        for t in range(T):
            z = gates[:, t] + h @ weight_hh.T  # (1)
            gates[:, t] = logistic(z)  # (2)
            gates[:, t, 2 * H : 3 * H] = np.tanh(z[:, 2 * H : 3 * H])  # (2)
            i, f, g, o = np.split(gates[:, t], 4, axis=-1)
            c = cells[:, t] = f * c + i * g  # (3)
            h = y[:, t] = o * np.tanh(c)  # (4)
    y = y.reshape(*x.shape[:-1], H)
    given = bias_ih is not None, bias_hh is not None
    final = y[..., -1, :], cells[:, -1].reshape(c0.shape)
    return y, LSTMSaved(x, h0, c0, weight_ih, weight_hh, *given, y, gates, cells, *final)


def lstm_backward(
    dy: Array, saved: LSTMSaved
) -> tuple[Array, Array, Array, Array, Array, Array | None, Array | None]:
    """Gradients of all arguments; equations (4') to (1') of the module.

    Parameters
    ----------
    dy : (..., length, d_hidden) ndarray
        Gradient of the loss with respect to `y`. What depends on the final state alone is added
        to its last step.
    saved : LSTMSaved
        As returned by `lstm`.

    Returns
    -------
    dx : (..., length, d_in) ndarray
    dh0, dc0 : (..., d_hidden) ndarray
    dweight_ih : (4 d_hidden, d_in) ndarray
    dweight_hh : (4 d_hidden, d_hidden) ndarray
    dbias_ih, dbias_hh : (4 d_hidden,) ndarray or None
        None if there was no such bias.

    Raises
    ------
    ValueError, TypeError
        If `dy` does not have the shape and precision of `y`.
    """
    x, h0, c0, weight_ih, weight_hh, has_bias_ih, has_bias_hh, y, gates, cells, *_ = saved
    check_gradient("lstm_backward", dy, y.shape, y)
    T, H = y.shape[-2:]
    rows_dy, tanh_c = dy.reshape(-1, T, H), np.tanh(cells)
    first = c0.reshape(-1, H)
    dz = np.empty(gates.shape, np.result_type(gates, dy))
    dh = dc = np.zeros_like(first)  # what the step after hands back
    for t in reversed(range(T)):
        i, f, g, o = np.split(gates[:, t], 4, axis=-1)
        dh = dh + rows_dy[:, t]  # (4')
        do = dh * tanh_c[:, t]  # (4')
        dc = dc + dh * o * (1.0 - tanh_c[:, t] * tanh_c[:, t])  # (4')
        di, dg = dc * g, dc * i  # (3')
        df = dc * (cells[:, t - 1] if t else first)  # (3')
        of_gates = di * i * (1.0 - i), df * f * (1.0 - f), dg * (1.0 - g * g), do * o * (1.0 - o)
        dz[:, t] = np.concatenate(of_gates, axis=-1)  # (2')
        dc = dc * f  # (3')
        dh = dz[:, t] @ weight_hh
    dx, dweight_ih, dweight_hh, dbias = of_arguments(dz, x, y, h0, weight_ih)  # (1')
    dbias_ih = dbias if has_bias_ih else None
    dbias_hh = dbias.copy() if has_bias_hh else None
    dh0, dc0 = dh.reshape(h0.shape), dc.reshape(c0.shape)
    return dx, dh0, dc0, dweight_ih, dweight_hh, dbias_ih, dbias_hh
