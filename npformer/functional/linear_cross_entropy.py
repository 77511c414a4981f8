r"""Cross-entropy straight from hidden states: the output layer and its loss in one.

The logits of N tokens over V classes are the largest array of a language model. Only a chunk of
rows of them exists at a time here, and it is written over by all that follows from it.

Forward, for hidden states x_n and targets t_n of the N counted (not ignored) rows
    (1)  s_nv = sum_d x_nd W_vd             logits                              (n, V)
    (2)  e_nv = exp(s_nv - m_n),  m_n = max_v s_nv,  z_n = sum_v e_nv           (n, V), (n, 1)
    (3)  L    = 1/N sum_n [log z_n - r (s_nt - m_n) - eps (mean_v s_nv - m_n)]  ()
         with r = 1 - eps: the cross-entropy of cross_entropy.py, where it is derived

Backward, given dL
    (3') ds_nv = dL/N (p_nv - q_nv),  p_nv = e_nv / z_n,  q_nv = r [v = t_n] + eps / V
         through log z and through s_nt, from cross_entropy.py; m only shifts. Without z_n,
         ds_nv = c_n g_nv,  c_n = dL / (N z_n)
    (2') g_nv = e_nv - z_n q_nv             without dL: forward can form it, in e's place
    (1') as in linear.py, dx = ds W and dW = ds^T x. c_n belongs to a whole row, and may be
         multiplied to what is smaller than ds:
         dx_nd = c_n sum_v g_nv W_vd                                            (n, D)
         dW_vd = sum_n g_nv (c_n x_nd)      summed over the chunks              (V, D)

Saved: x of the counted rows, W, and g and z of the last chunk. The g of the others is formed
again, (1) to (2'), which costs one product more than its two in (1'). A chunk has as many
logits as W has entries (the gradient of W is as large, and has to be held anyway), or 2^20 if
that is more: where one chunk is enough, N <= D, nothing is computed twice. Forming the gradients
in forward instead would need no g at all, but would make a loss that nobody differentiates cost
three products instead of one.
"""

import math
from typing import NamedTuple

import numpy as np

from ..core.arrays import Array, check_floats, check_integers, scalar_gradient
from .cross_entropy import counted_targets, exponentials

_LOGITS = 2**20  # that a chunk may have at least: 4 MiB of float32
_COLUMNS = 8192  # of dW that are added to at a time, so that the summand is never as large as dW


class LinearCrossEntropySaved(NamedTuple):
    """What `linear_cross_entropy_backward` needs."""

    x: Array  # (N, D)   the counted rows; the caller's own array if all are counted
    weight: Array  # (V, D)   the caller's own array
    g: Array  # (n, V)   of the last chunk
    z: Array  # (n, 1)   of the last chunk
    targets: Array  # (N,)     of the counted rows
    counted: Array | None  # (N,)     their numbers among all rows; None if all are counted
    label_smoothing: float
    shape: tuple[int, ...]  # of x as it was given


def linear_cross_entropy(
    x: Array,
    weight: Array,
    targets: Array,
    *,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> tuple[np.floating, LinearCrossEntropySaved]:
    """Mean negative log-probability of the targets, given by hidden states and an output layer.

    The same as `linear` without a bias, followed by `cross_entropy`, in less memory.

    Parameters
    ----------
    x : (..., D) ndarray
        Hidden states.
    weight : (V, D) ndarray
        Of the output layer: the logits are ``x @ weight.T``.
    targets : (...) integer ndarray
        The right class of each, or `ignore_index` where there is none to learn.
    ignore_index : int, optional
        Targets of this value are not counted, and their rows of x not looked at.
    label_smoothing : float, optional
        eps in (3): this share of the wanted probability is spread over all classes.

    Returns
    -------
    loss : scalar of the dtype of the logits, in nats
        The mean over counted targets; 0 if there are none.
    saved : LinearCrossEntropySaved
        For `linear_cross_entropy_backward`.

    Raises
    ------
    ValueError
        If shapes do not fit, a counted target is not a class, or `label_smoothing` is not in
        [0, 1).
    DivergedError
        If logits of a counted row are +inf, or all of them -inf.
    TypeError
        If x and weight are not float32, float64 or complex128, or do not mix, or targets or
        `ignore_index` are not integers.

    Notes
    -----
    A bias b of the classes is a column more: give x an entry 1, and weight the column b.
    """
    check_floats("linear_cross_entropy", x=x, weight=weight)
    check_integers("linear_cross_entropy", "targets", targets)
    if weight.ndim != 2 or x.ndim < 1 or x.shape[-1] != weight.shape[1] or weight.size == 0:
        raise ValueError(
            f"linear_cross_entropy: x {x.shape} does not fit weight {weight.shape}; it wants "
            f"x (..., D) and weight (V, D), with V and D at least 1"
        )
    if targets.shape != x.shape[:-1]:
        raise ValueError(
            f"linear_cross_entropy: targets {targets.shape} do not fit x {x.shape}; expected one "
            f"for each vector, here {x.shape[:-1]}"
        )
    V, D = weight.shape
    label_smoothing = float(label_smoothing)
    is_counted = counted_targets("linear_cross_entropy", targets, V, ignore_index, label_smoothing)
    rows_x, t, counted = x.reshape(-1, D), targets.reshape(-1), None
    if not is_counted.all():
        counted = np.flatnonzero(is_counted)
        rows_x, t = rows_x[counted], t[counted]
    N, dtype = len(t), np.result_type(x, weight)
    chunks = _chunks(N, weight)
    g = np.empty((min(N, _chunk_length(weight)), V), dtype)
    z, nats = np.empty((len(g), 1), dtype), np.empty(N, dtype)
    for rows in chunks:  # the last of them fills g and z
        part = slice(rows.stop - rows.start)
        z[part], nats[rows] = _form(rows_x[rows], weight, t[rows], label_smoothing, g[part])
    loss = dtype.type(np.sum(nats) / max(N, 1))  # (3)
    return loss, LinearCrossEntropySaved(rows_x, weight, g, z, t, counted, label_smoothing, x.shape)


def linear_cross_entropy_backward(dy: float, saved: LinearCrossEntropySaved) -> tuple[Array, Array]:
    """Gradients of `x` and `weight`; equations (3') to (1') of the module.

    Parameters
    ----------
    dy : float
        Gradient of whatever is minimised with respect to the loss; 1.0 if that is the loss.
    saved : LinearCrossEntropySaved
        As returned by `linear_cross_entropy`.

    Returns
    -------
    dx : (..., D) ndarray
        0 where the target was ignored.
    dweight : (V, D) ndarray

    Raises
    ------
    ValueError
        If `dy` is not a number, or a complex one of a real loss.
    """
    x, weight, g, z, targets, counted, label_smoothing, shape = saved
    N, D = x.shape
    dy = scalar_gradient("linear_cross_entropy_backward", dy, g)
    *others, last = _chunks(N, weight) or [slice(0, 0)]
    dx, dweight = np.empty((N, D), g.dtype), np.empty(weight.shape, g.dtype)
    room = np.empty_like(g) if others else g
    for rows in (last, *others):
        if rows is not last:
            g = room[: rows.stop - rows.start]
            z, _ = _form(x[rows], weight, targets[rows], label_smoothing, g)
        c = dy / (max(N, 1) * z)  # (3')
        few = len(weight) < D  # classes: then ds is the smaller of what c may be multiplied to
        ds, cx = (c * g, x[rows]) if few else (g, c * x[rows])
        np.matmul(ds, weight, out=dx[rows])  # (1')
        if not few:
            dx[rows] *= c  # (1')
        if rows is last:
            np.matmul(ds.T, cx, out=dweight)  # (1')
        else:
            for start in range(0, len(weight), _COLUMNS):
                block = slice(start, start + _COLUMNS)
                dweight[block] += ds[:, block].T @ cx  # (1')
    if counted is not None:
        dx_counted, dx = dx, np.zeros((math.prod(shape) // D, D), dx.dtype)
        dx[counted] = dx_counted
    return dx.reshape(shape), dweight


def _chunk_length(weight: Array) -> int:
    """Return how many rows of logits exist at a time."""
    V, D = weight.shape
    length: int = max(D, _LOGITS // V)
    return length


def _chunks(N: int, weight: Array) -> list[slice]:
    """Cut N rows into chunks; the first is what is left over, so that the last, saved, is full."""
    length = _chunk_length(weight)
    stops = range(N, 0, -length)
    return [slice(max(0, stop - length), stop) for stop in reversed(stops)]


def _form(
    x: Array, weight: Array, targets: Array, label_smoothing: float, g: Array
) -> tuple[Array, Array]:
    """Fill in g of a chunk; return its z (n, 1), and what each row adds to N L."""
    s = np.matmul(x, weight.T, out=g)  # (1)
    z, nats = np.empty((len(x), 1), g.dtype), np.empty(len(x), g.dtype)
    for rows, z_of_rows, nats_of_rows in exponentials(
        "linear_cross_entropy", "x @ weight.T", s, targets, label_smoothing, out=g
    ):  # (2)
        z[rows], nats[rows], g_of_rows = z_of_rows, nats_of_rows, g[rows]
        if label_smoothing:
            g_of_rows -= (label_smoothing / len(weight)) * z_of_rows  # (2')
        right = np.arange(len(g_of_rows)), targets[rows]
        g_of_rows[right] -= (1.0 - label_smoothing) * z_of_rows[:, 0]  # (2')
    return z, nats
