r"""Scaled dot-product attention: each query takes a weighted mean of the values.

Forward, for queries q_i, keys k_j and values v_j (i = 1..n_q, j = 1..n_k)
    (1)  s_ij = c sum_d q_id k_jd + b_ij    scores; c = 1/sqrt(d_k)           (..., n_q, n_k)
    (2)  s_ij = -inf                        where the mask forbids it
    (3)  p_ij = exp(s_ij) / sum_l exp(s_il) weights, each row by softmax      (..., n_q, n_k)
    (4)  a_ij = p_ij m_ij / (1 - rate)      dropout; m_ij is 0 or 1           (..., n_q, n_k)
    (5)  y_ie = sum_j a_ij v_je                                               (..., n_q, d_v)

A row that may attend to nothing has p_ij = 0 throughout, not 0/0.

Why c: if the entries of q and k are independent with variance 1, sum_d q_d k_d has variance
d_k. Divided by its square root the scores keep variance 1 whatever the width, so that softmax
does not saturate and its gradient p (1 - p) does not vanish.

Backward, given dy
    (5') y is linear in a and in v.  a_ij meets v_je in y_ie for every e,
         da_ij = sum_e dy_ie v_je           dA = dY V^T
         and v_je meets a_ij in y_ie for every query i,
         dv_je = sum_i a_ij dy_ie           dV = A^T dY
    (4') dp_ij = da_ij m_ij / (1 - rate):   m is a constant of the pass
    (3') softmax, row by row (derived in softmax.py):
         ds_ij = p_ij (dp_ij - r_i),        r_i = sum_l dp_il p_il
    (2') where the mask forbids, s is a constant. p_ij = 0 makes ds_ij = 0 there by itself
    (1') s is linear in each of q, k and b, and each is summed over the index it does not have:
         db_ij = ds_ij
         dq_id = c sum_j ds_ij k_jd         dQ = c dS K
         dk_jd = c sum_i ds_ij q_id         dK = c dS^T Q

Leading axes (batch, heads) broadcast; where an argument was broadcast, its gradient is the sum
over the copies. So queries of several heads may share keys and values without copying them.

Saved: q, k, v (the caller's own) and p, n_q n_k numbers a head. m is not kept: a seed makes it
again.

This file is the textbook: the matrix S stands there whole.
"""

import math
from typing import Literal, NamedTuple

import numpy as np

from .. import masks
from ..core.arrays import (
    Array,
    check_floats,
    check_generator,
    check_gradient,
    check_rate,
    unbroadcast,
)
from ._random_bits import kept


class AttentionSaved(NamedTuple):
    """What `attention_backward` needs."""

    q: Array  # (..., n_q, d_k)  the caller's own array
    k: Array  # (..., n_k, d_k)  the caller's own array
    v: Array  # (..., n_k, d_v)  the caller's own array
    p: Array  # (..., n_q, n_k)  weights before dropout
    bias: Array | None  # the caller's own array: for its shape
    scale: float
    rate: float  # of dropout; 0 if there was none
    seed: int  # that m is made from
    tame: bool  # q, k and v hold nothing that a weight of 0 would not silence


def attention(
    q: Array,
    k: Array,
    v: Array,
    *,
    mask: "masks.Mask | Array | None" = None,
    bias: Array | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
    rng: np.random.Generator | None = None,
) -> tuple[Array, AttentionSaved]:
    """Mix the values by how well each key answers each query.

    Parameters
    ----------
    q : (..., n_q, d_k) ndarray
        Queries.
    k : (..., n_k, d_k) ndarray
        Keys. Leading axes of q, k and v broadcast.
    v : (..., n_k, d_v) ndarray
        Values.
    mask : bool ndarray or masks.Mask, optional
        Who may attend to whom (True = may); broadcasts to (..., n_q, n_k) from the right.
    bias : ndarray, optional
        Added to the scores; broadcasts to them. -inf masks.
    scale : float, optional
        c in (1); 1/sqrt(d_k) if not given.
    dropout : float, optional
        Probability that a weight is zeroed. Acts only where `rng` is given.
    rng : numpy.random.Generator, optional
        Asked for one seed if there is dropout.

    Returns
    -------
    y : (..., n_q, d_v) ndarray
        0 where a query may attend to nothing.
    saved : AttentionSaved
        For `attention_backward`.

    Raises
    ------
    ValueError
        If shapes do not fit, `bias` holds +inf or NaN, or `dropout` is not in [0, 1).
    TypeError
        If dtypes are not float32, float64 or complex128, or do not mix, the mask is not
        boolean, or `rng` is not a Generator.

    References
    ----------
    Vaswani et al. (2017), "Attention Is All You Need", arXiv:1706.03762, equation 1.

    Notes
    -----
    NaN, infinity and whatever else keys and values hold that a query may not attend to do not
    reach its output or any gradient through it, nor do those of a query that may attend to
    nothing.
    """
    check_floats("attention", q=q, k=k, v=v, bias=bias)
    check_rate("attention", "dropout", dropout)
    check_generator("attention", rng)
    lead = _check_shapes("attention", bias, q=q, k=k, v=v)
    scale = 1.0 / math.sqrt(q.shape[-1]) if scale is None else float(scale)
    tame = _is_tame(q, k, v)
    p = _weights(q, k, mask, bias, scale, (*lead, q.shape[-2], k.shape[-2]), tame)  # (1) - (3)
    rate, seed = 0.0, 0
    if rng is not None and dropout:
        rate, seed = float(dropout), int(rng.integers(2**63))
    a = _drop(p, rate, seed)  # (4)
    y = _mix(a, v, tame)  # (5)
    return y, AttentionSaved(q, k, v, p, bias, scale, rate, seed, tame)


def attention_backward(
    dy: Array, saved: AttentionSaved
) -> tuple[Array, Array, Array, Array | None]:
    """Gradients of `q`, `k`, `v` and `bias`; equations (5') to (1') of the module.

    Parameters
    ----------
    dy : (..., n_q, d_v) ndarray
        Gradient of the loss with respect to `y`.
    saved : AttentionSaved
        As returned by `attention`.

    Returns
    -------
    dq, dk, dv : ndarrays of the shapes of q, k and v
    dbias : ndarray of the shape of bias, or None
        None if there was no bias.

    Raises
    ------
    ValueError, TypeError
        If `dy` does not have the shape and precision of `y`.
    """
    q, k, v, p, bias, scale, rate, seed, tame = saved
    lead = np.broadcast_shapes(p.shape[:-2], v.shape[:-2])
    check_gradient("attention_backward", dy, (*lead, q.shape[-2], v.shape[-1]), p)
    a = _drop(p, rate, seed)
    dv = unbroadcast(a.swapaxes(-1, -2) @ dy, v.shape)  # (5')
    with _reporting(tame):
        da = unbroadcast(dy @ v.swapaxes(-1, -2), p.shape)  # (5')
    if not tame:
        da = np.where(a != 0, da, 0)  # what a weight of 0 met is not looked at
    dp = _drop(da, rate, seed)  # (4')
    r = np.sum(dp * p, axis=-1, keepdims=True)
    ds = p * (dp - r)  # (3'), (2')
    dbias = None if bias is None else unbroadcast(ds, bias.shape)  # (1')
    dq = unbroadcast(scale * _mix(ds, k, tame), q.shape)  # (1')
    dk = unbroadcast(scale * _mix(ds.swapaxes(-1, -2), q, tame), k.shape)  # (1')
    return dq, dk, dv, dbias


def attention_weights(
    q: Array,
    k: Array,
    *,
    mask: "masks.Mask | Array | None" = None,
    bias: Array | None = None,
    scale: float | None = None,
) -> Array:
    """Return the matrix p of equation (3), to look at.

    Parameters
    ----------
    q, k, mask, bias, scale
        As for `attention`.

    Returns
    -------
    p : (..., n_q, n_k) ndarray
        Rows sum to 1, or to 0 where a query may attend to nothing.

    Raises
    ------
    ValueError, TypeError
        As `attention`.
    """
    check_floats("attention_weights", q=q, k=k, bias=bias)
    lead = _check_shapes("attention_weights", bias, q=q, k=k)
    scale = 1.0 / math.sqrt(q.shape[-1]) if scale is None else float(scale)
    shape = (*lead, q.shape[-2], k.shape[-2])
    return _weights(q, k, mask, bias, scale, shape, _is_tame(q, k))


def _weights(
    q: Array,
    k: Array,
    mask: "masks.Mask | Array | None",
    bias: Array | None,
    scale: float,
    shape: tuple[int, ...],
    tame: bool,
) -> Array:
    """Equations (1) to (3)."""
    held = None if mask is None else masks.as_mask(mask).over(shape)
    with _reporting(tame):
        s = (scale * q) @ k.swapaxes(-1, -2)  # (1)
        if bias is not None:
            s = s + bias
    if bias is not None and not tame:  # NaN - inf is NaN, and yet it is masked
        s = np.where(bias.real == -math.inf, -math.inf, s)
    if held is not None:
        s = np.where(held, s, -math.inf)  # (2)
    m = np.max(s.real, axis=-1, keepdims=True, initial=-math.inf)
    m = np.where(m == -math.inf, 0.0, m).astype(s.real.dtype)  # rows that may see nothing
    with _reporting(tame):
        e: Array = np.exp(s - m)
        total = np.sum(e, axis=-1, keepdims=True)
        e /= np.where(total == 0, 1, total)  # (3)
    return e


def _drop(p: Array, rate: float, seed: int) -> Array:
    """Equation (4), and (4'), which is the same."""
    if rate == 0.0:
        return p
    *lead, n_q, n_k = p.shape
    index = np.arange(math.prod(lead), dtype=np.uint64).reshape(lead)
    keep = kept(seed, index, masks.Span(0, n_q, n_q), masks.Span(0, n_k, n_k), rate)
    dropped: Array = p * keep
    dropped *= 1.0 / (1.0 - rate)
    return dropped


def _is_tame(*arrays: Array) -> bool:
    """Say whether no entry is NaN, infinite, or so large that a product would overflow."""
    return all(bool(np.all(np.abs(x) < math.sqrt(float(np.finfo(x.dtype).max)))) for x in arrays)


def _reporting(tame: bool) -> np.errstate:
    """Report what goes wrong in tame numbers; elsewhere it may be under the mask."""
    report: Literal["warn", "ignore"] = "warn" if tame else "ignore"
    return np.errstate(invalid=report, over=report)


def _mix(weights: Array, x: Array, tame: bool) -> Array:
    """Return weights @ x, in which a weight of exactly 0 meets nothing, not even a NaN."""
    if tame:
        return weights @ x
    spoilt = ~np.all(np.isfinite(x), axis=-1, keepdims=True)  # (..., n_k, 1)
    y = weights @ np.where(spoilt, 0, x)
    columns = np.unique(np.nonzero(spoilt)[-2])
    with np.errstate(invalid="ignore"):
        for j in columns:  # each spoilt row of x, for those that look at it
            w = weights[..., :, j, None]
            y = y + np.where((w != 0) & spoilt[..., j, None, :], w * x[..., j, None, :], 0)
    return y


def _check_shapes(
    op: str, bias: Array | None, *, q: Array, k: Array, v: Array | None = None
) -> tuple[int, ...]:
    """Return the leading axes of the scores, or say what does not fit."""
    given = f"q {q.shape}, k {k.shape}" + ("" if v is None else f", v {v.shape}")
    v = k if v is None else v
    if (
        min(q.ndim, k.ndim, v.ndim) < 2
        or q.shape[-1] != k.shape[-1]
        or k.shape[-2] != v.shape[-2]
        or q.shape[-1] == 0
    ):
        raise ValueError(
            f"{op}: {given} do not fit; expected q (..., n_q, d_k), k (..., n_k, d_k) and "
            f"v (..., n_k, d_v), with d_k at least 1"
        )
    try:
        lead = np.broadcast_shapes(q.shape[:-2], k.shape[:-2])
        np.broadcast_shapes(lead, v.shape[:-2])
    except ValueError:
        raise ValueError(
            f"{op}: the leading axes of {given} do not broadcast; from the right, each must be "
            f"1 or equal"
        ) from None
    if bias is not None:
        shape = (*lead, q.shape[-2], k.shape[-2])
        ends = zip(reversed(bias.shape), reversed(shape), strict=False)
        if bias.ndim > len(shape) or any(n not in (1, m) for n, m in ends):
            raise ValueError(
                f"{op}: bias {bias.shape} does not broadcast to the scores {shape}; from the "
                f"right, each of its axes must be 1 or equal"
            )
        if not np.all(bias.real < math.inf):
            raise ValueError(
                f"{op}: bias holds +inf or NaN; expected finite numbers, or -inf to mask"
            )
    return lead
