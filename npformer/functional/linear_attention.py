r"""Linear attention: weights that are products of features, so that no matrix of them is needed.

Softmax attention weighs key j for query i by exp(c q_i . k_j). Here the weight is
phi(q_i) . phi(k_j), with a positive feature map phi. A product of sums can be summed in
another order: over the keys first, once for all queries. Time and memory grow with n, not n^2.

Forward, for queries q_i, keys k_j and values v_j (i = 1..n_q, j = 1..n_k). J_i holds the keys
that query i may attend to: all, or in causal attention those with j <= i + o, o = n_k - n_q;
of them, those that the key mask keeps.
    (1)  f_id = phi(q_id) exp(-m_i),  g_jd = phi(k_jd)      features     (..., n, d_k) each
         phi(x) = elu(x) + 1:  x + 1 for x > 0, exp(x) otherwise;  m_i = min(0, max_d q_id)
    (2)  S_ide = sum_{j in J_i} g_jd v_je                   state        d_k x d_v numbers
         z_id  = sum_{j in J_i} g_jd                        the same, of values 1
    (3)  n_i  = sum_d f_id z_id                             normaliser   (..., n_q, 1)
    (4)  y_ie = sum_d f_id S_ide / n_i                                   (..., n_q, d_v)

Why exp(-m_i): f stands above and below the line, so a factor common to a row changes nothing.
With this one the largest f of a row is at least 1: no query underflows as a whole.

Backward, given dy. h_id = f_id / n_i and r_i = sum_e dy_ie y_ie are short for what recurs.
    (4') y_ie is linear in f and in S, and n_i divides it for every e:
         dS_ide = dy_ie f_id / n_i = h_id dy_ie
         df_id  = sum_e dy_ie S_ide / n_i
         dn_i   = -sum_e dy_ie (sum_d f_id S_ide) / n_i^2 = -sum_e dy_ie y_ie / n_i = -r_i / n_i
    (3') n_i is linear in f and in z:
         dz_id  = dn_i f_id = -h_id r_i
         df_id gets dn_i z_id too:  df_id = (sum_e dy_ie S_ide - r_i z_id) / n_i
    (2') g_jd and v_je stand in S_i and z_i for every i with j in J_i. Sums over these i:
         R_jde = sum_i h_id dy_ie,   w_jd = sum_i h_id r_i
         dg_jd = sum_i (sum_e dS_ide v_je + dz_id) = sum_e R_jde v_je - w_jd
         dv_je = sum_i sum_d dS_ide g_jd           = sum_d R_jde g_jd
    (1') phi'(x) is 1 for x > 0, and exp(x) = phi(x) otherwise: it is min(phi(x), 1).
         dk_jd = phi'(k_jd) dg_jd = min(g_jd, 1) dg_jd
         dq_id = phi'(q_id) exp(-m_i) df_id = min(f_id, 1) df_id. If any q_id > 0, m_i is 0 and
         f = phi(q); else phi'(q) exp(-m) = exp(q - m) = f, which is 1 or less
         m_i has no gradient: it would get -sum_d f_id df_id, and by (4), (3)
         sum_d f_id df_id = (sum_e dy_ie y_ie n_i - r_i n_i) / n_i = r_i - r_i = 0

In chunks. Query i has the position i + o among the keys. Positions are cut into chunks of c.
With S, z the states of all keys before a chunk, R, w the sums over all queries behind it, and
the products A_ij = f_i . g_j, B_ij = h_i . g_j, E_ij = dy_i . v_j - r_i, which are set to 0
unless j is in J_i, a query or key of the chunk has

         n_i = sum_d f_id z_d + sum_j A_ij,   y_ie = (sum_d f_id S_de + sum_j A_ij v_je) / n_i
         df_id = (sum_e dy_ie S_de - r_i z_d + sum_j E_ij g_jd) / n_i
         dg_jd = sum_e R_de v_je - w_d + sum_i E_ij h_id
         dv_je = sum_d R_de g_jd + sum_i B_ij dy_ie

with i and j in the chunk: (2), (2') put into what uses them, their sums split in two. The
third line's last sum is sum_i h_id (sum_e dy_ie v_je - r_i), the parts of R and w that the
chunk's own queries bring. Forward goes through the chunks from the first to the last, backward
from the last to the first. Attention that is not causal has first chunks of keys without
queries, then chunks of queries without keys: the same lines, with no products.

Leading axes (batch, heads) broadcast; where an argument was broadcast, its gradient is the sum
over the copies. So queries of several heads may share keys and values without copying them.

A query with no key gives y = 0 and gradients 0, not 0/0. So does one whose n_i is below
tiny / epsilon of its dtype (1e-31 in float32, 1e-292 in float64): every feature that it weighs
is then so small in every key, exp(-71) or less in float32, that products underflow and the
digits of n_i are lost. No constant is added to n_i, as this would pull all outputs towards 0.

In (3') the two sums grow with n and their difference with sqrt(n) if the values have a mean
that is not 0: digits cancel. In float32 with standard normal values dq is right to 1e-6 at
65,536 keys; with 1 added to every value it is to 3e-5 at 4,096 keys and to 3e-4 at 65,536.

Saved: q, k, v and the mask (the caller's own), y, and 1 / n_i, one number a query. Backward
computes the states once more: holding one for each chunk takes n_k d_k d_v / c numbers while
it runs, no more than v for c >= d_k. To save f and g would take as much as q and k again.
"""

import math
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from ..core.arrays import (
    Array,
    BoolArray,
    check_flag,
    check_floats,
    check_gradient,
    describe,
    fits,
    unbroadcast,
)
from ._elementwise import bounded
from ._queries_and_keys import check_shapes

# In a chunk the work for each position grows with the chunk, between chunks it does not, but
# small products are slow ones.
CHUNK = 64

# What to say of a `causal` that is no flag.
NO_FLAG = ". Which keys are real is for the mask of keys; other masks need softmax attention"


class LinearAttentionSaved(NamedTuple):
    """What `linear_attention_backward` needs."""

    q: Array  # (..., n_q, d_k)  the caller's own array
    k: Array  # (..., n_k, d_k)  the caller's own array
    v: Array  # (..., n_k, d_v)  the caller's own array
    key_mask: BoolArray | None  # (..., n_k)  the caller's own array
    causal: bool
    y: Array  # (..., n_q, d_v)
    t: Array  # (..., n_q, 1)    1 / n_i; 0 where a query has nothing to attend to


class _Step(NamedTuple):
    """A chunk: some queries, some keys, or as many of both at the same positions."""

    rows: slice
    columns: slice


def linear_attention(
    q: Array,
    k: Array,
    v: Array,
    *,
    causal: bool = False,
    key_mask: BoolArray | None = None,
) -> tuple[Array, LinearAttentionSaved]:
    """Mix the values by products of features of queries and keys, in time linear in n.

    Parameters
    ----------
    q : (..., n_q, d_k) ndarray
        Queries.
    k : (..., n_k, d_k) ndarray
        Keys. Leading axes of q, k and v broadcast.
    v : (..., n_k, d_v) ndarray
        Values.
    causal : bool, optional
        Whether query i attends to keys j <= i + n_k - n_q alone.
    key_mask : bool ndarray, optional
        Which keys there are (True = real); broadcasts to (..., n_k). False leaves a key out
        for every query.

    Returns
    -------
    y : (..., n_q, d_v) ndarray
        0 where a query may attend to nothing.
    saved : LinearAttentionSaved
        For `linear_attention_backward`.

    Raises
    ------
    ValueError
        If shapes do not fit.
    TypeError
        If dtypes are not float32, float64 or complex128, or do not mix, `causal` is not a bool,
        or the mask is not a boolean array.

    References
    ----------
    Katharopoulos et al. (2020), "Transformers are RNNs: Fast Autoregressive Transformers with
    Linear Attention", arXiv:2006.16236, equations 5 to 12.

    Notes
    -----
    There is no mask of who may attend to whom: keys are summed before any query is known, so
    only what is the same for all queries, or grows from one to the next, can be expressed.

    NaN, infinity and whatever else keys and values hold that a query may not attend to do not
    reach its output or any gradient through it, nor do those of a query that may attend to
    nothing.

    There is one exception. Where a key or a value that is NaN or infinite has been met, causal
    attention takes all queries from there on for lost, and looks for no other in that sequence.
    If the first spoils some columns of `v` alone, a second one further on may spoil other columns
    of the lost queries before it as well.
    """
    check_floats("linear_attention", q=q, k=k, v=v)
    check_flag("linear_attention", "causal", causal, NO_FLAG)
    lead = np.broadcast_shapes(check_shapes("linear_attention", q, k, v), v.shape[:-2])
    _check_key_mask(key_mask, (*lead, k.shape[-2]))
    dtype = np.result_type(q, k, v)
    y = np.zeros((*lead, q.shape[-2], v.shape[-1]), dtype)
    t = np.zeros((*_lead_of_weights(q, k, key_mask), q.shape[-2], 1), np.result_type(q, k))
    sees = None if key_mask is None else _sees_a_key(key_mask, q.shape[-2], causal)
    least = float(np.finfo(dtype).tiny / np.finfo(dtype).eps)
    S, z = _empty_states(k, v, key_mask)
    for rows, columns in _steps(q, k, v, causal, key_mask):
        f = _query_features(q[..., rows, :], None if sees is None else sees[..., rows, :])  # (1)
        g, values = _keys_and_values(k, v, key_mask, columns)  # (1)
        a = _causal(f @ _turned(g))
        n = f @ z + np.sum(a, axis=-1, keepdims=True)  # (3)
        lost = n.real < least
        t[..., rows, :] = np.where(lost, 0, 1 / np.where(lost, 1, n))
        y[..., rows, :] = (f @ S + a @ values) * t[..., rows, :]  # (4)
        S, z = _next_states(S, z, g, values)  # (2)
    return y, LinearAttentionSaved(q, k, v, key_mask, causal, y, t)


def linear_attention_backward(dy: Array, saved: LinearAttentionSaved) -> tuple[Array, Array, Array]:
    """Gradients of `q`, `k` and `v`; equations (4') to (1') of the module.

    Parameters
    ----------
    dy : (..., n_q, d_v) ndarray
        Gradient of the loss with respect to `y`.
    saved : LinearAttentionSaved
        As returned by `linear_attention`.

    Returns
    -------
    dq, dk, dv : ndarrays of the shapes of q, k and v

    Raises
    ------
    ValueError, TypeError
        If `dy` does not have the shape and precision of `y`.
    """
    q, k, v, key_mask, causal, y, t = saved
    check_gradient("linear_attention_backward", dy, y.shape, y)
    dtype = np.result_type(y, dy)
    dq, dk, dv = (np.zeros(x.shape, dtype) for x in (q, k, v))
    steps, states = _steps(q, k, v, causal, key_mask), []
    S, z = _empty_states(k, v, key_mask)
    for step in steps:
        states.append((S, z))
        S, z = _next_states(S, z, *_keys_and_values(k, v, key_mask, step.columns))  # (2)
    R, w = np.zeros(S.shape, dtype), np.zeros(z.shape, dtype)
    for (rows, columns), (S, z) in zip(reversed(steps), reversed(states), strict=True):
        t_here, dy_here = t[..., rows, :], dy[..., rows, :]
        f = _query_features(q[..., rows, :], None if key_mask is None else t_here != 0)
        g, values = _keys_and_values(k, v, key_mask, columns)
        h = f * t_here
        r = np.sum(dy_here * y[..., rows, :], axis=-1, keepdims=True)
        b = _causal(h @ _turned(g))
        e = _causal(dy_here @ _turned(values) - r)
        df = (dy_here @ _turned(S) - r * _turned(z) + e @ g) * t_here  # (4'), (3')
        dg = unbroadcast(values @ _turned(R), g.shape) - _turned(w)  # (2')
        dg += unbroadcast(_turned(e) @ h, g.shape)
        dvalues = unbroadcast(g @ R, values.shape)  # (2')
        dvalues += unbroadcast(_turned(b) @ dy_here, values.shape)
        dq[..., rows, :] = unbroadcast(_slope(f) * df, dq[..., rows, :].shape)  # (1')
        dk[..., columns, :] = unbroadcast(_slope(g) * dg, dk[..., columns, :].shape)  # (1')
        dv[..., columns, :] = unbroadcast(dvalues, dv[..., columns, :].shape)
        R += unbroadcast(_turned(h) @ dy_here, R.shape)  # (2')
        w += unbroadcast(_turned(h) @ r, w.shape)
    return dq, dk, dv


def _features(x: Array, m: "Array | float" = 0.0) -> Array:
    """Equation (1)."""
    above = bounded(x, 0.0, math.inf)
    with np.errstate(invalid="ignore"):  # from inf - inf; it may be under the mask
        return above + np.exp(x - above - m)


def _slope(features: Array) -> Array:
    """Equation (1'): min(f, 1) or min(g, 1), which is 0 for what a mask has set to 0."""
    return bounded(features, 0.0, 1.0)


def _query_features(q: Array, alive: BoolArray | None) -> Array:
    """Return f; 0 for queries that are not alive, whatever they hold."""
    lowest = float(np.finfo(q.dtype).min)  # stands for -inf, which m could not be taken from
    m = np.clip(np.max(q.real, axis=-1, keepdims=True), lowest, 0)
    f = _features(q, m)  # (1)
    return f if alive is None else np.where(alive, f, 0)


def _keys_and_values(
    k: Array, v: Array, key_mask: BoolArray | None, columns: slice
) -> tuple[Array, Array]:
    """Return g and the values of a chunk; 0 where the mask leaves a key out."""
    g, values = _features(k[..., columns, :]), v[..., columns, :]  # (1)
    if key_mask is None:
        return g, values
    real = key_mask[..., columns, None]
    return np.where(real, g, 0), np.where(real, values, 0)


def _empty_states(k: Array, v: Array, key_mask: BoolArray | None) -> tuple[Array, Array]:
    """S (..., d_k, d_v) and z (..., d_k, 1) before any key, with the leading axes of theirs."""
    g, values = _keys_and_values(k, v, key_mask, slice(0, 0))
    return _turned(g) @ values, np.sum(_turned(g), axis=-1, keepdims=True)


def _next_states(S: Array, z: Array, g: Array, values: Array) -> tuple[Array, Array]:
    """Equation (2): the states with a chunk's keys added, in new arrays."""
    return S + _turned(g) @ values, z + np.sum(_turned(g), axis=-1, keepdims=True)


def _turned(x: Array) -> Array:
    """Return the transposes of matrices, without the conjugate of complex ones."""
    turned: Array = x.swapaxes(-1, -2)
    return turned


def _causal(products: Array) -> Array:
    """Set to 0, in place, what stands for a key behind its query."""
    products *= np.tri(*products.shape[-2:], dtype=products.dtype)
    return products


def _steps(q: Array, k: Array, v: Array, causal: bool, key_mask: BoolArray | None) -> list[_Step]:
    """Return the chunks, from the first to the last.

    0 times NaN is NaN, so a chunk may hold nothing wild that one of its queries may not attend
    to. A wild key or value opens a chunk, and a wild query, whose own numbers keys behind it
    do not look at, closes one.
    """
    n_q, n_k = q.shape[-2], k.shape[-2]
    nothing = slice(0, 0)
    if n_k == 0:
        return []
    if not causal:
        keys = [_Step(nothing, columns) for columns in _chunks(0, n_k)]
        return keys + [_Step(rows, nothing) for rows in _chunks(0, n_q)]
    o = n_k - n_q
    wild = {j - o for x in (k, v) for j in _wild(x, key_mask)}
    wild |= {n_q - i for i in _wild(q[..., ::-1, :], None)}  # i from the end
    steps = [_Step(nothing, columns) for columns in _chunks(0, o)]  # before the first query
    for rows in _chunks(max(0, -o), n_q, wild):
        steps.append(_Step(rows, slice(rows.start + o, rows.stop + o)))
    return steps


def _chunks(start: int, stop: int, cuts: "set[int] | frozenset[int]" = frozenset()) -> list[slice]:
    """Cut a range into chunks, and also at `cuts`."""
    starts = {*range(start, stop, CHUNK), *(cut for cut in cuts if start < cut < stop)}
    ends = [*sorted(starts), stop]
    return [slice(a, b) for a, b in pairwise(ends)]


def _wild(x: Array, key_mask: BoolArray | None) -> list[int]:
    """Return the positions of what is NaN, infinite, or so large that products would overflow.

    In each sequence they end with the first that is not finite: all queries from there on have
    met it. So a pass in which everything is NaN does not fall into chunks of one position.
    """
    parts = (x.real, x.imag) if x.dtype.kind == "c" else (x,)
    limit = math.sqrt(float(np.finfo(x.dtype).max) / max(len(parts) * x.shape[-1], 1))
    if all(-limit < np.min(p, initial=0.0) and np.max(p, initial=0.0) < limit for p in parts):
        return []
    real = True if key_mask is None else key_mask
    tame = [np.all(np.abs(part) < limit, axis=-1) for part in parts]
    wild = ~np.logical_and.reduce(tame) & real
    lost = ~np.all(np.isfinite(x), axis=-1) & real
    wild &= np.cumsum(lost, axis=-1) <= lost
    return [int(j) for j in np.unique(np.nonzero(wild)[-1])]


def _sees_a_key(key_mask: BoolArray, n_q: int, causal: bool) -> BoolArray:
    """Say which queries have a key to attend to: (..., n_q, 1)."""
    *lead, n_k = key_mask.shape
    among = np.zeros((*lead, n_k + 1), bool)  # whether one of the first 0, 1, ..., n_k is real
    np.logical_or.accumulate(key_mask, axis=-1, out=among[..., 1:])
    how_many = np.arange(1, n_q + 1) + n_k - n_q if causal else np.full(n_q, n_k)
    return among[..., np.maximum(how_many, 0), None]


def _lead_of_weights(q: Array, k: Array, key_mask: BoolArray | None) -> tuple[int, ...]:
    masked = () if key_mask is None else key_mask.shape[:-1]
    return np.broadcast_shapes(q.shape[:-2], k.shape[:-2], masked)


def _check_key_mask(key_mask: Any, shape: tuple[int, ...]) -> None:
    """Refuse what does not say of each key whether it is real."""
    if key_mask is None:
        return
    if not isinstance(key_mask, np.ndarray) or key_mask.dtype != bool:
        raise TypeError(
            f"linear_attention: key_mask is {describe(key_mask)}; expected a bool array of "
            f"(..., n_k), True for real keys. Linear attention takes no other masks but "
            f"causal=True: use attention for those"
        )
    if key_mask.ndim < 1 or not fits(key_mask.shape, shape) or key_mask.shape[-1] != shape[-1]:
        raise ValueError(
            f"linear_attention: key_mask {key_mask.shape} does not fit {shape}, the leading axes "
            f"and n_k; it says which keys are real, so its last axis is n_k and from the right "
            f"each other axis must be 1 or equal"
        )
