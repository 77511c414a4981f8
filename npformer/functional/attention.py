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

This file is the textbook: the matrix S stands there whole, and so it is what to study, and what
the rest is tested against. Where S would be large, `attention` goes by _tiles.py instead: the
same function, and the same to rounding, in memory that grows with n.
"""

import math
from typing import NamedTuple, TypeAlias

import numpy as np

from .. import biases, masks
from ..core.arrays import (
    Array,
    check_choice,
    check_floats,
    check_generator,
    check_gradient,
    check_number,
    check_rate,
    describe,
    joint_shape,
    unbroadcast,
)
from ._queries_and_keys import check_shapes
from ._random_bits import kept
from ._silence import is_tame, mix, reporting
from ._sums import row_dot
from ._tiles import TILE, How, TiledSaved, tiled, tiled_backward

METHODS = ("auto", "textbook", "tiled")
_TEXTBOOK_UP_TO = 192 * 192  # scores of one head; tiles are faster from there on


class TextbookSaved(NamedTuple):
    """What `attention_backward` needs of the textbook's way."""

    q: Array  # (..., n_q, d_k)  the caller's own array
    k: Array  # (..., n_k, d_k)  the caller's own array
    v: Array  # (..., n_k, d_v)  the caller's own array
    p: Array  # (..., n_q, n_k)  weights before dropout
    bias: biases.Bias | None
    scale: float
    rate: float  # of dropout; 0 if there was none
    seed: int  # that m is made from
    tame: bool  # q, k and v hold nothing that a weight of 0 would not silence


AttentionSaved: TypeAlias = TextbookSaved | TiledSaved


def attention(
    q: Array,
    k: Array,
    v: Array,
    *,
    mask: "masks.Mask | Array | None" = None,
    bias: "biases.Bias | Array | None" = None,
    scale: float | None = None,
    dropout: float = 0.0,
    rng: np.random.Generator | None = None,
    method: str = "auto",
    tame: bool | None = None,
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
    bias : ndarray or biases.Bias, optional
        Added to the scores; broadcasts to them. -inf masks.
    scale : float, optional
        c in (1); 1/sqrt(d_k) if not given.
    dropout : float, optional
        Probability that a weight is zeroed. Acts only where `rng` is given.
    rng : numpy.random.Generator, optional
        Asked for one seed if there is dropout.
    method : "auto", "textbook" or "tiled", optional
        "textbook" forms the whole matrix of scores, "tiled" a tile of it at a time. By itself
        `attention` takes the one that is faster at the size.
    tame : bool, optional
        Whether k and v are known to hold nothing that a weight of 0 would not silence: no NaN,
        nothing infinite or nearly. If not given, `attention` looks, at every entry; a cache of
        keys and values has looked when it took them in.

    Returns
    -------
    y : (..., n_q, d_v) ndarray
        0 where a query may attend to nothing. It is a part of `saved` where tiles are used, and
        so must not be written to before backward, as q, k and v must not.
    saved : TextbookSaved or TiledSaved
        For `attention_backward`.

    Raises
    ------
    ValueError
        If shapes do not fit, `bias` holds +inf or NaN, `scale` is not finite, or `dropout` is
        not in [0, 1).
    TypeError
        If dtypes are not float32, float64 or complex128, or do not mix, the mask is not
        boolean, or `rng` is not a Generator.

    References
    ----------
    Vaswani et al. (2017), "Attention Is All You Need", arXiv:1706.03762, equation 1.

    Notes
    -----
    Large work is spread over threads: `npformer.set_num_threads`.

    NaN, infinity and whatever else keys and values hold that a query may not attend to do not
    reach its output or any gradient through it, nor do those of a query that may attend to
    nothing.
    """
    check_floats("attention", q=q, k=k, v=v)
    check_rate("attention", "dropout", dropout)
    check_generator("attention", rng)
    check_choice("attention", "method", method, METHODS)
    held, added = _joined("attention", mask, bias, q=q, k=k, v=v)
    scale = _checked_scale("attention", scale, q.shape[-1])
    rate, seed = 0.0, 0
    if rng is not None and dropout:
        rate, seed = float(dropout), int(rng.integers(2**63))
    grown = max(1.0, abs(scale), 1.0 / (1.0 - rate))  # what q k and, in backward, dy v meet
    if tame is None or (tame and grown > 1.0):
        tame = is_tame(q, k, v, times=grown)
    else:
        tame = tame and is_tame(q)
    if method == "auto":
        method = "textbook" if q.shape[-2] * k.shape[-2] <= _TEXTBOOK_UP_TO else "tiled"
    if method == "tiled":
        return tiled(q, k, v, How(held, added, scale, rate, seed, tame, TILE))
    p = _weights(q, k, held, added, scale, tame)  # (1) - (3)
    a = _drop(p, rate, seed)  # (4)
    y = mix(a, v, tame)  # (5)
    return y, TextbookSaved(q, k, v, p, added, scale, rate, seed, tame)


def attention_backward(
    dy: Array, saved: AttentionSaved
) -> tuple[Array, Array, Array, Array | None]:
    """Gradients of `q`, `k`, `v` and `bias`; equations (5') to (1') of the module.

    Parameters
    ----------
    dy : (..., n_q, d_v) ndarray
        Gradient of the loss with respect to `y`.
    saved : TextbookSaved or TiledSaved
        As returned by `attention`.

    Returns
    -------
    dq, dk, dv : ndarrays of the shapes of q, k and v
    dbias : ndarray of the shape of bias, or None
        For a `biases.Bias`, the gradient of what it learns. None if it learns nothing, or there
        was no bias.

    Raises
    ------
    ValueError, TypeError
        If `dy` does not have the shape and precision of `y`.
    """
    if isinstance(saved, TiledSaved):
        return tiled_backward(dy, saved)
    if not isinstance(saved, TextbookSaved):
        raise TypeError(
            f"attention_backward: saved is {describe(saved)}; expected what attention returned "
            f"beside its output"
        )
    q, k, v, p, bias, scale, rate, seed, tame = saved
    lead = np.broadcast_shapes(p.shape[:-2], v.shape[:-2])
    check_gradient("attention_backward", dy, (*lead, q.shape[-2], v.shape[-1]), p)
    tame = tame and is_tame(dy)
    a = _drop(p, rate, seed)
    dv = unbroadcast(mix(a.swapaxes(-1, -2), dy, tame), v.shape)  # (5')
    with reporting(tame):
        da = unbroadcast(dy @ v.swapaxes(-1, -2), p.shape)  # (5')
    if not tame:
        da = np.where(a != 0, da, 0)  # what a weight of 0 met is not looked at
    dp = _drop(da, rate, seed)  # (4')
    r = row_dot(dp, p)
    ds = p * (dp - r)  # (3'), (2')
    if not tame:
        ds = np.where(p != 0, ds, 0)  # nor is r, where it is not finite
    dbias = None if bias is None else _bias_gradient(ds, bias)  # (1')
    dq = unbroadcast(scale * mix(ds, k, tame), q.shape)  # (1')
    dk = unbroadcast(scale * mix(ds.swapaxes(-1, -2), q, tame), k.shape)  # (1')
    return dq, dk, dv, dbias


def attention_weights(
    q: Array,
    k: Array,
    *,
    mask: "masks.Mask | Array | None" = None,
    bias: "biases.Bias | Array | None" = None,
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
    check_floats("attention_weights", q=q, k=k)
    held, added = _joined("attention_weights", mask, bias, q=q, k=k)
    scale = _checked_scale("attention_weights", scale, q.shape[-1])
    return _weights(q, k, held, added, scale, is_tame(q, k, times=max(1.0, abs(scale))))


def _weights(
    q: Array,
    k: Array,
    mask: masks.Mask | None,
    bias: biases.Bias | None,
    scale: float,
    tame: bool,
) -> Array:
    """Equations (1) to (3)."""
    shape = (*joint_shape(q.shape[:-2], k.shape[:-2]), q.shape[-2], k.shape[-2])
    with reporting(tame):
        s: Array = (scale * q) @ k.swapaxes(-1, -2)  # (1)
        if bias is not None:
            b = bias.over(shape)
            if bias.dtype is None:  # a constant adapts
                b = b.astype(s.real.dtype, copy=False)
            s = s + b
            if not tame:  # NaN - inf is NaN, and yet it is masked
                s = np.where(b.real == -math.inf, -math.inf, s)
        if mask is not None:
            np.copyto(s, -math.inf, where=~mask.over(shape))  # (2)
        m = s.real.max(axis=-1, keepdims=True, initial=-math.inf)
        m[m == -math.inf] = 0.0  # rows that may see nothing
        s -= m
        np.exp(s, out=s)
        total = s.sum(axis=-1, keepdims=True)
        total[total == 0] = 1.0
        s /= total  # (3)
    return s


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


def _checked_scale(op: str, scale: float | None, d_k: int) -> float:
    """Return c as a Python float, which lifts no dtype."""
    if scale is None:
        return 1.0 / math.sqrt(d_k)
    expected = "a finite number, or None for 1/sqrt(d_k)"
    c = check_number(op, "scale", scale, expected)
    if not math.isfinite(c):
        raise ValueError(f"{op}: scale is {scale}; expected {expected}")
    return c


def _bias_gradient(ds: Array, bias: biases.Bias) -> Array | None:
    """Equation (1') for b."""
    gradient = bias.new_gradient()
    if gradient is None:
        return None
    gradient = gradient.astype(np.result_type(gradient, ds), copy=False)
    *lead, n_q, n_k = ds.shape
    for index in np.ndindex(*lead):
        bias.add_gradient(
            gradient, ds[index], index, masks.Span(0, n_q, n_q), masks.Span(0, n_k, n_k)
        )
    return gradient


def _joined(
    op: str,
    mask: "masks.Mask | Array | None",
    bias: "biases.Bias | Array | None",
    *,
    q: Array,
    k: Array,
    v: Array | None = None,
) -> tuple[masks.Mask | None, biases.Bias | None]:
    """Return mask and bias as what gives tiles, or say what does not fit."""
    lead = check_shapes(op, q, k, v)
    shape = (*lead, q.shape[-2], k.shape[-2])
    held, added = None, None
    if mask is not None:
        held = masks.as_mask(mask)
        held.check(shape)
    if bias is not None:
        added = biases.as_bias(bias)
        if added.dtype is not None:
            check_floats(op, q=q, bias=np.empty(0, added.dtype))
        added.check(shape)
    return held, added
