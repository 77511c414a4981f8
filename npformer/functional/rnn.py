r"""Recurrent network with tanh: each state from the input and from the state before.

Forward, for a sequence of T vectors x_t, from the state h_0, for t = 1 .. T
    (1)  z_t = W x_t + a + R h_(t-1) + b                                          (H,)
    (2)  h_t = tanh(z_t);  y_t = h_t                                              (H,)

Backward, given dy, for t = T .. 1
    (2') h_t is y_t, and goes into the step after it: dh_t = dy_t + R^T dz_(t+1), where
         dz_(T+1) = 0.  The derivative of tanh(z) is 1 - tanh(z)^2:
         dz_t = dh_t (1 - h_t^2)
    (1') the same W, a, R and b serve every step of every sequence n, so that their gradients
         are sums:  dW = sum_nt dz_nt x_nt^T,  dR = sum_nt dz_nt h_n(t-1)^T,
         da = db = sum_nt dz_nt,  each entry of W meeting one entry of x_t in one of z_t;
         dx_t = W^T dz_t,  and to the state before the first step  dh_0 = R^T dz_1

Saved: y, the states after each step, and x, h_0, W and R, the caller's own arrays.
"""

from typing import NamedTuple

import numpy as np

from ..core.arrays import Array, check_floats, check_gradient


class RNNSaved(NamedTuple):
    """What `rnn_backward` needs, and the final state."""

    x: Array  # (..., T, d_in)  the caller's own array
    h0: Array  # (..., H)        the caller's own array
    weight_ih: Array  # (H, d_in)       the caller's own array
    weight_hh: Array  # (H, H)          the caller's own array
    has_bias_ih: bool
    has_bias_hh: bool
    y: Array  # (..., T, H)     the states after each step
    h_n: Array  # (..., H)        the last of them


def rnn(
    x: Array,
    h0: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias_ih: Array | None = None,
    bias_hh: Array | None = None,
) -> tuple[Array, RNNSaved]:
    """Run a recurrent network over the steps of a sequence.

    Parameters
    ----------
    x : (..., length, d_in) ndarray
        Any number of leading axes, also none.
    h0 : (..., d_hidden) ndarray
        The state before the first step.
    weight_ih : (d_hidden, d_in) ndarray
        W, from the input to the state.
    weight_hh : (d_hidden, d_hidden) ndarray
        R, from the state to the next.
    bias_ih, bias_hh : (d_hidden,) ndarray, optional
        a and b. One would do; PyTorch's weights have two.

    Returns
    -------
    y : (..., length, d_hidden) ndarray
        The state after each step.
    saved : RNNSaved
        For `rnn_backward`; `saved.h_n` is the final state.

    Raises
    ------
    ValueError
        If the shapes do not fit or there are no steps.
    TypeError
        If the dtypes are not float32, float64 or complex128, or do not mix.

    References
    ----------
    Elman (1990), "Finding Structure in Time".
    """
    biases = {"bias_ih": bias_ih, "bias_hh": bias_hh}
    check_floats("rnn", x=x, h0=h0, weight_ih=weight_ih, weight_hh=weight_hh, **biases)
    check_recurrent_shapes("rnn", 1, x, weight_ih, weight_hh, {"h0": h0}, biases)
    T, H = x.shape[-2], weight_hh.shape[1]
    z = from_inputs(x, weight_ih, weight_hh, h0, bias_ih, bias_hh)  # (1) but for R h
    y, h = z, h0.reshape(-1, H)
    for t in range(T):
        z[:, t] += h @ weight_hh.T  # (1)
        h = y[:, t] = np.tanh(z[:, t])  # (2)
    y = y.reshape(*x.shape[:-1], H)
    given = bias_ih is not None, bias_hh is not None
    return y, RNNSaved(x, h0, weight_ih, weight_hh, *given, y, y[..., -1, :])


def rnn_backward(
    dy: Array, saved: RNNSaved
) -> tuple[Array, Array, Array, Array, Array | None, Array | None]:
    """Gradients of all arguments; equations (2') and (1') of the module.

    Parameters
    ----------
    dy : (..., length, d_hidden) ndarray
        Gradient of the loss with respect to `y`. What depends on the final state alone is added
        to its last step.
    saved : RNNSaved
        As returned by `rnn`.

    Returns
    -------
    dx : (..., length, d_in) ndarray
    dh0 : (..., d_hidden) ndarray
    dweight_ih : (d_hidden, d_in) ndarray
    dweight_hh : (d_hidden, d_hidden) ndarray
    dbias_ih, dbias_hh : (d_hidden,) ndarray or None
        None if there was no such bias.

    Raises
    ------
    ValueError, TypeError
        If `dy` does not have the shape and precision of `y`.
    """
    x, h0, weight_ih, weight_hh, has_bias_ih, has_bias_hh, y, _ = saved
    check_gradient("rnn_backward", dy, y.shape, y)
    T, H = y.shape[-2:]
    rows_y, rows_dy = y.reshape(-1, T, H), dy.reshape(-1, T, H)
    dz = np.empty(rows_y.shape, np.result_type(y, dy))
    dh = np.zeros_like(dz[:, 0])  # what comes back from the step after
    for t in reversed(range(T)):
        dh = dh + rows_dy[:, t]  # (2')
        dz[:, t] = dh * (1.0 - rows_y[:, t] * rows_y[:, t])  # (2')
        dh = dz[:, t] @ weight_hh
    dx, dweight_ih, dweight_hh, dbias = of_arguments(dz, x, y, h0, weight_ih)  # (1')
    dbias_ih = dbias if has_bias_ih else None
    dbias_hh = dbias.copy() if has_bias_hh else None
    return dx, dh.reshape(h0.shape), dweight_ih, dweight_hh, dbias_ih, dbias_hh


def check_recurrent_shapes(
    op: str,
    gates: int,
    x: Array,
    weight_ih: Array,
    weight_hh: Array,
    states: dict[str, Array],
    biases: dict[str, Array | None],
) -> None:
    """Refuse shapes that do not fit, for a network of `gates` vectors a step.

    Raises
    ------
    ValueError
        Naming the argument, what it is and what was expected.
    """
    if x.ndim < 2 or 0 in x.shape[-2:]:
        raise ValueError(
            f"{op}: x is {x.shape}; expected (..., length, d_in), with length and d_in at least 1"
        )
    if weight_hh.ndim != 2 or weight_hh.size == 0 or len(weight_hh) != gates * weight_hh.shape[1]:
        rows = f"{gates} d_hidden" if gates > 1 else "d_hidden"
        raise ValueError(f"{op}: weight_hh is {weight_hh.shape}; expected ({rows}, d_hidden)")
    H = weight_hh.shape[1]
    expected = {"weight_ih": (gates * H, x.shape[-1])}
    expected |= dict.fromkeys(states, (*x.shape[:-2], H)) | dict.fromkeys(biases, (gates * H,))
    for name, array in ({"weight_ih": weight_ih} | states | biases).items():
        if array is not None and array.shape != expected[name]:
            raise ValueError(
                f"{op}: {name} {array.shape} does not fit x {x.shape} and weight_hh "
                f"{weight_hh.shape}; it wants {expected[name]}"
            )


def from_inputs(x: Array, weight_ih: Array, *others: Array | None) -> Array:
    """Return W x_t and the biases, the last two of `others`, of all steps.

    Parameters
    ----------
    x : (..., T, d_in) ndarray
    weight_ih : (n, d_in) ndarray
    *others : ndarray or None
        What the steps will add or multiply: the result has room for it, complex if one is.

    Returns
    -------
    (N, T, n) ndarray
        New; N is the product of the leading axes.
    """
    dtype = np.result_type(x, weight_ih, *(a for a in others if a is not None))
    z: Array = (x.reshape(-1, x.shape[-1]) @ weight_ih.T).astype(dtype, copy=False)
    for bias in others[-2:]:
        if bias is not None:
            z += bias
    return z.reshape(-1, x.shape[-2], len(weight_ih))


def of_arguments(
    dz: Array, x: Array, y: Array, h0: Array, weight_ih: Array
) -> tuple[Array, Array, Array, Array]:
    """Return dx, dW, dR and the gradient of a bias from dz (N, T, n) of all steps."""
    n, H = dz.shape[-1], y.shape[-1]
    before = np.concatenate([h0[..., None, :], y[..., :-1, :]], axis=-2)  # h_(t-1)
    rows = dz.reshape(-1, n)
    dx = (rows @ weight_ih).reshape(x.shape)  # (1')
    dweight_ih = rows.T @ x.reshape(-1, x.shape[-1])  # (1')
    dweight_hh = rows.T @ before.reshape(-1, H)  # (1')
    return dx, dweight_ih, dweight_hh, np.sum(rows, axis=0)
