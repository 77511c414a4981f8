r"""Attention in tiles: the same function as in attention.py, with memory that grows with n.

The matrix of scores is never whole. It is walked in tiles, a block of queries I against a block
of keys J, and a tile is forgotten when the next one comes. Tiles that the mask leaves empty are
skipped, so that a sparse mask saves the time of what it leaves out.

Forward, for one head and one block of queries; m_i, l_i and u_ie begin at -inf, 0 and 0, and
for each block of keys J in turn
    (1)  s_ij = c sum_d q_id k_jd + b_ij    -inf where the mask forbids it              (I, J)
    (2)  m'_i = max(m_i, max_j s_ij)        the largest score so far                    (I,)
    (3)  e_ij = exp(s_ij - m'_i)                                                        (I, J)
    (4)  l'_i = l_i exp(m_i - m'_i) + sum_j e_ij                                        (I,)
    (5)  u'_ie = u_ie exp(m_i - m'_i) + sum_j e_ij d_ij v_je                            (I, d_v)
         d_ij is dropout's factor: 1 without it, else 0 or 1 / (1 - rate)
    and after the last block
    (6)  y_ie = u_ie / l_i                                                              (I, d_v)

Why this is softmax: exp(s - m) exp(m - m') = exp(s - m'), so the factor in (4) and (5) turns
the sums over earlier blocks into what they would be had m' been known from the start. After the
last block m_i is the maximum M_i of the whole row, l_i = sum_j exp(s_ij - M_i), and
    y_ie = sum_j p_ij d_ij v_je             with p_ij = exp(s_ij - M_i) / l_i, the softmax.
A row that may attend to nothing has l_i = 0 and y_i = 0.

Backward, given dy, with M and l known, so that any tile of e = exp(s - M) can be formed alone
    (6') y = u / l:   du_ie = dy_ie / l_i,  written g_ie below
                      dl_i = - sum_e dy_ie u_ie / l_i^2 = - sum_e g_ie y_ie,  written - r_i
    (5') u_ie meets e_ij v_je for each key:
         dv_je = sum_i e_ij d_ij g_ie       dV = (E o D)^T G
         de_ij = d_ij sum_e g_ie v_je ...   through u
    (4') l_i is the sum of e_ij:
               ... - r_i                    through l; both together are de_ij
    (3') ds_ij = e_ij de_ij                 as d exp(t) / dt = exp(t)
    (2') M_i has no gradient. Raising it by t multiplies every e_ij of the row by exp(-t), hence
         u_i and l_i too, and leaves y_i as it was. In terms of the above,
         dM_i = - sum_j e_ij de_ij = - sum_e g_ie u_ie + r_i l_i = - l_i r_i + r_i l_i = 0
    (1') db_ij = ds_ij
         dq_id = c sum_j ds_ij k_jd         summed over the blocks of keys
         dk_jd = c sum_i ds_ij q_id         summed over the blocks of queries

Where no score can be large, (2) is left out and m_i is 0 throughout: M cancels in y, so that any
other number does in its place, as long as exp(s - m) neither overflows nor vanishes. By Cauchy and
Schwarz |s_ij| <= c |q_i| |k_j|; if the largest of these is below 30, as between layer norms it
mostly is, exp(s) lies within 1e-13 and 1e13. That saves a third of the forward pass's time. In
float32 it leaves room for values v between 1e-25 and 1e18: smaller ones would lose digits, and
larger ones, which are not tame, take the path with a maximum.

But l may then be anything from 1e-13 to 1e19, and dy / l would leave float32's range long before
the gradients do. So there backward divides e instead, which makes it p, and goes on with l = 1:
g = dy, and no number in (6') to (1') is larger or smaller than in the textbook's backward. It
costs a pass over the tile, the one that s - M costs otherwise. With a maximum 1 <= l <= n_k, and
dy / l has room enough.

The textbook's p_ij (dp_ij - sum_l dp_il p_il) is this ds_ij: e = l p, de = (dp - l r) / l, and
l_i r_i = sum_e dy_ie y_ie = sum_e dy_ie sum_j p_ij d_ij v_je = sum_j p_ij dp_ij.

Saved: q, k, v (the caller's own), y, and per row M and l: two numbers, where the textbook keeps
n_k. They are not joined to one, M + log l: at scores of 1e4 one float32 ends at 1e-3, which
would be an error of 1e-3 in every weight. Backward computes the scores again: 5 products of
I x J x d a tile, where the textbook's takes 4.

References
----------
Milakov and Gimelshein (2018), "Online normalizer calculation for softmax", arXiv:1805.02867;
Rabe and Staats (2021), "Self-attention Does Not Need O(n^2) Memory", arXiv:2112.05682; Dao et
al. (2022), "FlashAttention", arXiv:2205.14135, algorithms 1 and 4.
"""

import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..biases import Bias
from ..core.arrays import Array, BoolArray, check_gradient
from ..core.threads import each, num_threads
from ..masks import ALL, EMPTY, FULL, Coverage, Mask, Span
from ._random_bits import kept
from ._silence import is_tame, mix, reporting
from ._sums import row_dot

TILE = (256, 256)  # queries, keys: two such arrays of float32 fill half of an L2 cache of 1 MiB
_WORTH_SPREADING = 2**18  # scores; fewer are done before a thread has woken up
# e^30 times a million keys times the largest tame value, 2e18 in float32, is still a float32.
_SMALL = 30.0

Index = tuple[int, ...]


class TiledSaved(NamedTuple):
    """What `tiled_backward` needs."""

    q: Array  # (..., n_q, d_k)  the caller's own array
    k: Array  # (..., n_k, d_k)  the caller's own array
    v: Array  # (..., n_k, d_v)  the caller's own array
    y: Array  # (..., n_q, d_v)
    top: Array | None  # (..., n_q, 1)  M, real; None if m is 0 throughout
    total: Array  # (..., n_q, 1)  l; 0 for a row that may attend to nothing
    how: "How"


class How(NamedTuple):
    """What there is beside q, k and v."""

    mask: Mask | None
    bias: Bias | None
    scale: float
    rate: float  # of dropout; 0 if there was none
    seed: int  # that d is made from
    tame: bool  # q, k and v hold nothing that a weight of 0 would not silence
    tile: tuple[int, int]  # queries and keys of a tile


def tiled(q: Array, k: Array, v: Array, how: How) -> tuple[Array, TiledSaved]:
    """Equations (1) to (6); arguments as `npformer.functional.attention` has checked them."""
    case = _Case(q, k, v, how)
    shape, dtype = (*case.lead, q.shape[-2]), case.dtype
    y = np.empty_like(q, np.result_type(dtype, v), shape=(*shape, v.shape[-1]))
    real = np.empty(0, dtype).real.dtype
    top = None if _are_small(case) else np.empty((*shape, 1), real)
    total = np.empty((*shape, 1), dtype)

    def attend(work: _Work) -> None:
        for index in work.indices:
            head = _Head(case, index)
            for at in range(work.part, len(case.rows), work.parts):
                rows = case.rows[at]
                I = slice(rows.start, rows.stop)  # noqa: E741 -- the letter of the equations
                m = None if top is None else top[index][I]
                _row_block(head, rows, head.cover[at], y[index][I], m, total[index][I])

    groups = [[index] for index in np.ndindex(case.lead)]
    each(attend, case.works(groups, len(case.rows)))
    return y, TiledSaved(q, k, v, y, top, total, how)


def tiled_backward(dy: Array, saved: TiledSaved) -> tuple[Array, Array, Array, Array | None]:
    """Equations (6') to (1'); see `npformer.functional.attention_backward`."""
    q, k, v, y, _, _, how = saved
    check_gradient("attention_backward", dy, y.shape, y)
    if not is_tame(dy):
        how = how._replace(tame=False)
    case = _Case(q, k, v, how)
    dtype = np.result_type(dy, y)
    learned = None if how.bias is None else how.bias.new_gradient()
    dbias = None if learned is None else learned.astype(np.result_type(learned, dtype))
    works = case.works(case.groups(), len(case.columns) if dbias is None else 1)
    # The parts of a group have blocks of keys of their own, but share its queries: each has a
    # dq to itself, and these are added in their order.
    dqs = [np.zeros_like(q, dtype) for _ in range(max((work.parts for work in works), default=1))]
    dk, dv = np.zeros_like(k, dtype), np.zeros_like(v, dtype)

    def undo(work: _Work) -> None:
        for index in work.indices:
            gradients = dqs[work.part], dk, dv
            _head_backward(dy[index], saved, _Head(case, index), work, gradients, dbias)

    each(undo, works)
    dq = dqs[0]
    for other in dqs[1:]:
        dq += other
    dq *= how.scale  # (1')
    return dq, dk, dv, dbias


def _row_block(
    head: "_Head", rows: Span, cover: Array, u: Array, top: Array | None, total: Array
) -> None:
    """Fill in y, in the place of u, and M and l of a block of queries."""
    v, tame = head.v, head.case.how.tame
    scaled = head.case.how.scale * head.q[rows.start : rows.stop]
    memory = head.case.memory()
    ones = np.ones((head.case.how.tile[1], 1), total.dtype)
    u[...] = total[...] = 0
    if top is not None:
        top[...] = -math.inf
    with reporting(tame):
        for columns, code in _live(head.case.columns, cover):
            s = head.scores(rows, columns, code, scaled, memory)  # (1)
            if s is None:
                continue
            if top is not None:
                higher = np.maximum(top, np.max(s.real, axis=-1, keepdims=True))  # (2)
                # A row that has seen nothing yet has -inf, from which nothing can be taken.
                shift = np.where(higher == -math.inf, 0, higher)
                s -= shift  # (3)
                faded = np.exp(top - shift)
                total *= faded  # (4)
                u *= faded  # (5)
                if not tame:  # what has faded to a weight of 0 is no longer looked at
                    np.copyto(u, 0, where=faded == 0)
                top[...] = higher
            e = np.exp(s, out=s)  # (3)
            total += e @ ones[: e.shape[1]]  # (4), as a product: np.sum takes four times as long
            u += mix(head.drop(e, rows, columns), v[columns.start : columns.stop], tame)  # (5)
        u /= np.where(total == 0, 1, total)  # (6)
    if top is not None:
        top[top == -math.inf] = 0


def _head_backward(
    dy: Array,
    saved: TiledSaved,
    head: "_Head",
    work: "_Work",
    gradients: tuple[Array, Array, Array],
    dbias: Array | None,
) -> None:
    """Add to the gradients, for one leading index; to that of q without the factor c."""
    case, k, v, index = head.case, head.k, head.v, head.index
    scale, tame = case.how.scale, case.how.tame
    y, total = saved.y[index], saved.total[index]
    top = None if saved.top is None else saved.top[index]
    dq, dk, dv = (_entry(gradient, index) for gradient in gradients)
    memory, more = case.memory(), case.memory(np.result_type(dy, y))
    with reporting(tame):
        scaled = scale * head.q
        share = 1 / np.where(total == 0, 1, total)
        g = dy if top is None else dy * share  # (6')
        r = row_dot(g, y)
        for at in range(work.part, len(case.columns), work.parts):
            columns = case.columns[at]
            J = slice(columns.start, columns.stop)
            for rows, code in _live(case.rows, head.cover[:, at]):
                I = slice(rows.start, rows.stop)  # noqa: E741 -- the letter of the equations
                s = head.scores(rows, columns, code, scaled[I], memory)
                if s is None:
                    continue
                if top is not None:
                    s -= top[I]  # (3)
                e = np.exp(s, out=s)  # (3)
                if top is None:
                    e *= share[I]  # p, as l = 1 in (6')
                kept_e = head.drop(e, rows, columns)
                dv[J] += mix(kept_e.T, g[I], tame)  # (5')
                de = np.matmul(g[I], v[J].T, out=_rectangle(more, e.shape))  # (5')
                if not tame:
                    de = np.where(kept_e != 0, de, 0)  # what a weight of 0 met is not looked at
                de = head.drop(de, rows, columns)  # (5')
                de -= r[I]  # (4')
                de *= e  # (3'); (2') is no line of code
                ds = de if tame else np.where(e != 0, de, 0)
                if dbias is not None and case.how.bias is not None:
                    case.how.bias.add_gradient(dbias, ds, head.at, rows, columns)  # (1')
                dq[I] += mix(ds, k[J], tame)  # (1')
                dk[J] += mix(ds.T, scaled[I], tame)  # (1')


class _Work(NamedTuple):
    """What one thread does at a time."""

    indices: list[Index]  # along the leading axes
    part: int  # of each, the blocks part, part + parts, part + 2 parts, ...
    parts: int


class _Case:
    """One call: its tiles, and how they are shared out."""

    def __init__(self, q: Array, k: Array, v: Array, how: How) -> None:
        self.q, self.k, self.v, self.how = q, k, v, how
        self.scores_lead = np.broadcast_shapes(q.shape[:-2], k.shape[:-2])
        self.lead = np.broadcast_shapes(self.scores_lead, v.shape[:-2])
        self.rows = _blocks(q.shape[-2], how.tile[0])
        self.columns = _blocks(k.shape[-2], how.tile[1])
        learned = [how.bias.dtype] if how.bias is not None and how.bias.dtype is not None else []
        self.dtype: np.dtype[Any] = np.result_type(q, k, *learned)  # of scores
        self.cover = self._coverage()

    def memory(self, dtype: "np.dtype[Any] | None" = None) -> Array:
        """Return room for a tile, to be used again and again."""
        return np.empty(math.prod(self.how.tile), self.dtype if dtype is None else dtype)

    def groups(self) -> list[list[Index]]:
        """Leading indices apart that share no gradient, together that do.

        Where an argument is broadcast along an axis, all along it add to one gradient.
        """
        owns = [x.shape[:-2] for x in (self.q, self.k, self.v)]
        if self.how.bias is not None and self.how.bias.dtype is not None:
            owns.append(self.how.bias.gradient_lead(len(self.scores_lead)))
        axes = len(self.lead)
        owns = [(1,) * (axes - len(own)) + own for own in owns]
        free = [all(own[a] == self.lead[a] for own in owns) for a in range(axes)]
        groups: dict[Index, list[Index]] = {}
        for index in np.ndindex(self.lead):
            apart = tuple(i for i, is_free in zip(index, free, strict=True) if is_free)
            groups.setdefault(apart, []).append(index)
        return list(groups.values())

    def works(self, groups: list[list[Index]], blocks: int) -> list[_Work]:
        """Share out groups among the threads; where these are more, a group's blocks too."""
        scores = math.prod(self.lead) * self.q.shape[-2] * self.k.shape[-2]
        threads = num_threads() if scores >= _WORTH_SPREADING else 1
        parts = 1 if not groups else max(1, min(blocks, math.ceil(threads / len(groups))))
        # A few times as many pieces as threads: a thread that is disturbed then does fewer.
        size = max(1, len(groups) // (4 * threads if threads > 1 else 1))
        pieces = [
            [index for group in groups[i : i + size] for index in group]
            for i in range(0, len(groups), size)
        ]
        return [_Work(piece, part, parts) for piece in pieces for part in range(parts)]

    def _coverage(self) -> Callable[[Index], Array]:
        """Return a function from an index of the scores to the codes of its tiles."""
        mask, width = self.how.mask, self.how.tile[1]
        if mask is None:
            full = np.full((len(self.rows), len(self.columns)), ALL, np.int8)
            return lambda index: full
        n_k = self.k.shape[-2]
        varies = mask.varies(len(self.scores_lead))

        @lru_cache(maxsize=64)
        def codes(index: Index) -> Array:
            whole = Span(0, n_k, n_k)
            lines = [mask.coverage(index, rows, whole, width) for rows in self.rows]
            return np.array(lines, np.int8).reshape(len(self.rows), len(self.columns))

        def cover(index: Index) -> Array:
            return codes(tuple(i if v else 0 for i, v in zip(index, varies, strict=True)))

        return cover


class _Head:
    """One leading index of a case: two matrices q and k, and v."""

    def __init__(self, case: _Case, index: Index) -> None:
        self.case, self.index = case, index
        self.q, self.k, self.v = (_entry(x, index) for x in (case.q, case.k, case.v))
        self.at = _own(index, case.scores_lead)  # of the scores, which v's leading axes may exceed
        self.cover = case.cover(self.at)

    def scores(
        self, rows: Span, columns: Span, code: int, scaled: Array, memory: Array
    ) -> Array | None:
        """Equation (1), in `memory`; None where nobody may attend."""
        how = self.case.how
        held: Coverage | BoolArray = FULL
        if code != ALL and how.mask is not None:
            held = how.mask.tile(self.at, rows, columns)
        if held is EMPTY:
            return None
        s = _rectangle(memory, (rows.stop - rows.start, columns.stop - columns.start))
        np.matmul(scaled, self.k[columns.start : columns.stop].T, out=s)
        if how.bias is not None:
            bias = how.bias.tile(self.at, rows, columns)
            s += bias
            if not how.tame:  # NaN - inf is NaN, and yet it is masked
                np.copyto(s, -math.inf, where=bias.real == -math.inf)
        if not isinstance(held, Coverage):
            np.copyto(s, -math.inf, where=~held)
        return s

    def drop(self, x: Array, rows: Span, columns: Span) -> Array:
        """Return d x, in a new array; x itself without dropout."""
        rate = self.case.how.rate
        if rate == 0.0:
            return x
        flat = np.ravel_multi_index(self.at, self.case.scores_lead) if self.at else 0
        keep = kept(self.case.how.seed, np.array(flat, np.uint64), rows, columns, rate)
        dropped = x * keep
        dropped *= 1.0 / (1.0 - rate)
        return dropped


def _are_small(case: _Case) -> bool:
    """Say whether no score can be larger than `_SMALL`, by Cauchy and Schwarz."""
    if case.how.bias is not None or not case.how.tame:
        return False
    longest = (math.sqrt(float(np.max(_squares(x), initial=0))) for x in (case.q, case.k))
    return abs(case.how.scale) * math.prod(longest) <= _SMALL


def _squares(x: Array) -> Array:
    """Return the squared length of each vector."""
    squares: Array = np.einsum("...d,...d->...", x.real, x.real)
    if x.dtype.kind == "c":
        squares = squares + np.einsum("...d,...d->...", x.imag, x.imag)
    return squares


def _blocks(count: int, size: int) -> list[Span]:
    return [Span(start, min(start + size, count), count) for start in range(0, count, size)]


def _live(blocks: list[Span], cover: Array) -> Iterator[tuple[Span, int]]:
    """Yield the blocks that are not known to be empty, with their codes."""
    for at in np.flatnonzero(cover):
        yield blocks[at], int(cover[at])


def _rectangle(memory: Array, shape: tuple[int, int]) -> Array:
    return memory[: shape[0] * shape[1]].reshape(shape)


def _own(index: Index, lead: tuple[int, ...]) -> Index:
    """Return the index of an array whose leading axes, perhaps fewer or 1 long, are `lead`."""
    ends = index[len(index) - len(lead) :]
    return tuple(0 if n == 1 else i for i, n in zip(ends, lead, strict=True))


def _entry(x: Array, index: Index) -> Array:
    """Return the matrix of x at a leading index, as a view."""
    matrix: Array = x[_own(index, x.shape[:-2])]
    return matrix
