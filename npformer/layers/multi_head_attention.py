r"""Multi-head attention: attention in several subspaces at once.

Forward, for x (T vectors) that attend to a memory z (S vectors; self-attention: z = x)
    (1)  q = x W_q^T + b_q,  k = z W_k^T + b_k,  v = z W_v^T + b_v     linear.py
    (2)  q_hti = q_td  with d = h K + i (h and i from 0), k and v likewise: each is cut into
         heads, (T, H K) -> (H, T, K)                                  no arithmetic
    (3)  q'_ht = R_t q_ht,  k'_gs = R_s k_gs   if built with rotary    rotary.py
    (4)  o_h = attention(q'_h, k'_g(h), v_g(h))                        attention.py
         with as many key and value heads as query heads, g(h) = h; with fewer, each is
         shared by a group of neighbouring query heads (grouped queries)
    (5)  o_td = o_hti  with d = h K + i: heads are put side by side again,
         (H, T, K) -> (T, H K)                                         no arithmetic
    (6)  y = o W_o^T + b_o                                             linear.py

Backward, given dy
    (6') do = dy W_o, and dW_o, db_o, by linear's backward
    (5') do_hti = do_td: cut into heads
    (4') dq'_h, dk'_g, dv_g by attention's backward, which sums dk' and dv over each group
    (3') dq_ht = R_t^T dq'_ht,  dk_gs = R_s^T dk'_gs: the turn back, by rotary's backward
    (2') dq_td = dq_hti: side by side again
    (1') the inputs' gradients by linear's backward, three times. x feeds q, and z feeds k and
         v, so dx = dx_q and dz = dz_k + dz_v; in self-attention x is both, and dx is the sum
         of all three
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from .. import biases, masks
from .. import functional as F
from ..core.arrays import (
    Array,
    check_floats,
    check_integers,
    check_rate,
    describe,
    fits,
)
from ..core.layer import Layer
from ..core.run import Run, rng_of
from ..functional.attention import AttentionSaved
from ..functional.linear import LinearSaved
from ..functional.rotary import RotarySaved
from ._heads import check_heads, check_sequences
from .kv_cache import KVCache, undoable
from .linear import Linear


class MultiHeadAttentionSaved(NamedTuple):
    """What `MultiHeadAttention.backward` needs."""

    q_proj: LinearSaved
    k_proj: LinearSaved
    v_proj: LinearSaved
    rotary: tuple[RotarySaved, RotarySaved] | None  # of q and of k
    attention: AttentionSaved
    out_proj: LinearSaved
    to_itself: bool  # whether memory was x
    learn: Callable[[Array], None] | None  # where the gradient of the bias goes


class MultiHeadAttention(Layer):
    """Self-attention, or cross-attention where a memory is given.

    Parameters
    ----------
    d_model : int
        Width of the vectors.
    num_heads : int
        Number of query heads H; each is d_model / H wide.
    num_kv_heads : int, optional
        Number of key and value heads, a divisor of `num_heads`; as many as there are query
        heads if not given, 1 for multi-query attention.
    bias : bool, optional
        Whether the four linear maps have biases.
    dropout : float, optional
        Rate at which attention weights are dropped.
    rotary_base : float, optional
        If given, queries and keys are turned by their positions with this base.
    rotary_interleaved : bool, optional
        Which coordinates make a pair; see `npformer.functional.rotary`.
    key_bias : bool, optional
        False leaves out the bias of the map to keys, whatever `bias` says. Without rotary it adds
        the same to all of a query's scores, which softmax does not see.
    rng : numpy.random.Generator, optional
        As for `Linear`.
    dtype : float32 or float64, optional

    Attributes
    ----------
    q_proj, k_proj, v_proj, out_proj : Linear

    Raises
    ------
    ValueError
        If heads do not divide, or rotary heads are not of even width.

    References
    ----------
    Vaswani et al. (2017), "Attention Is All You Need", section 3.2.2; Ainslie et al. (2023),
    "GQA", arXiv:2305.13245; Su et al. (2021), "RoFormer", arXiv:2104.09864.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        num_kv_heads: int | None = None,
        bias: bool = True,
        dropout: float = 0.0,
        *,
        rotary_base: float | None = None,
        rotary_interleaved: bool = False,
        key_bias: bool = True,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        num_kv_heads = num_heads if num_kv_heads is None else num_kv_heads
        check_heads("MultiHeadAttention", d_model, num_heads, num_kv_heads)
        check_rate("MultiHeadAttention", "dropout", dropout)
        d_head = d_model // num_heads
        if rotary_base is not None and d_head % 2:
            raise ValueError(
                f"MultiHeadAttention: heads are {d_model} / {num_heads} = {d_head} wide; rotary "
                f"positions turn pairs, so choose num_heads such that this is even"
            )
        rng = np.random.default_rng(rng)
        self.num_heads = num_heads
        self.num_kv_heads = num_kv_heads
        self.dropout = dropout
        self.rotary_base = rotary_base
        self.rotary_interleaved = rotary_interleaved
        self.q_proj = Linear(d_model, d_model, bias, rng=rng, dtype=dtype)
        self.k_proj = Linear(
            d_model, num_kv_heads * d_head, bias and key_bias, rng=rng, dtype=dtype
        )
        self.v_proj = Linear(d_model, num_kv_heads * d_head, bias, rng=rng, dtype=dtype)
        self.out_proj = Linear(d_model, d_model, bias, rng=rng, dtype=dtype)

    def forward(
        self,
        x: Array,
        memory: Array | None = None,
        *,
        mask: "masks.Mask | Array | None" = None,
        bias: "biases.Bias | Array | None" = None,
        positions: Array | None = None,
        cache: KVCache | None = None,
        run: Run | None = None,
    ) -> tuple[Array, MultiHeadAttentionSaved | None]:
        """Attend from x to memory, or from x to itself.

        Parameters
        ----------
        x : (..., T, d_model) ndarray
        memory : (..., S, d_model) ndarray, optional
            What is attended to; `x` if not given.
        mask : bool ndarray or masks.Mask, optional
            Who may attend to whom; broadcasts from the right to (..., num_heads, T, S).
        bias : ndarray or biases.Bias, optional
            Added to the scores, broadcast to (..., num_heads, T, S). An array is a constant
            here; what a `Bias` has to learn goes where its `learn` says.
        positions : integer ndarray, optional
            Of x's vectors, for rotary: broadcasts to (..., T); if not given, they count on
            from 0, or from what the cache holds.
        cache : KVCache, optional
            x (batch, T, d_model) then follows the tokens that the cache holds: it attends to
            these and to itself, so S counts both, and joins them. A memory's keys and values
            are made once.
        run : Run, optional
            With a generator, attention weights are dropped; recording "attention", the
            weights (..., num_heads, T, S) before dropout are handed over.

        Returns
        -------
        y : (..., T, d_model) ndarray
        saved : MultiHeadAttentionSaved or None
            For `backward`. None with a cache: such a pass cannot be undone.

        Raises
        ------
        ValueError
            If shapes do not fit, positions or a memory are given that cannot be used, or the
            cache is of another batch or memory, or full.
        """
        rng = rng_of(run)
        if cache is not None and not isinstance(cache, KVCache):
            raise TypeError(
                f"MultiHeadAttention: cache is {describe(cache)}; expected a KVCache, such as "
                f"KVCache(batch, max_len)"
            )
        z = x if memory is None else memory
        past = 0 if cache is None or memory is not None else cache.seen(self)
        scores = self._check(x, memory, bias, positions, past)
        q, q_saved = self.q_proj.forward(x)  # (1)
        q = self._cut(q, self.num_heads)  # (2)
        recalled = None if cache is None or memory is None else cache.recall(self, memory)
        if recalled is None:
            k, k_saved = self.k_proj.forward(z)  # (1)
            v, v_saved = self.v_proj.forward(z)  # (1)
            k, v = (self._cut(t, self.num_kv_heads) for t in (k, v))  # (2)
        else:
            k, v = recalled
        rotary_saved: tuple[RotarySaved, RotarySaved] | None = None
        if self.rotary_base is not None:
            if positions is None:
                at = np.arange(past, past + x.shape[-2])
            else:
                at = positions[..., None, :]  # the same for all heads
            turn = partial(
                F.rotary, positions=at, base=self.rotary_base, interleaved=self.rotary_interleaved
            )
            q, rq = turn(q)  # (3)
            k, rk = turn(k)
            rotary_saved = rq, rk
        tame: bool | None = None
        if cache is not None:
            if memory is None:
                k, v = cache.extend(self, k, v)
                tame = cache.tame(self)
            elif recalled is None:
                cache.keep(self, memory, k, v)
        learn = bias.learn if isinstance(bias, biases.Bias) else None
        grouped = self.num_kv_heads != self.num_heads
        if mask is not None:
            mask = masks.as_mask(mask)
            mask.check(scores)
        if grouped:  # the heads of a group share k and v by broadcasting
            q, k, v = self._group(q), k[..., :, None, :, :], v[..., :, None, :, :]
            mask = None if mask is None else mask.grouped(self.num_kv_heads)
            bias = None if bias is None else biases.as_bias(bias).grouped(self.num_kv_heads)
        if run is not None and run.records("attention"):
            weights = F.attention_weights(q, k, mask=mask, bias=bias)
            run.record(self, "attention", self._ungroup(weights))
        o, attention_saved = F.attention(
            q, k, v, mask=mask, bias=bias, dropout=self.dropout, rng=rng, tame=tame
        )  # (4)
        y, out_saved = self.out_proj.forward(self._join(self._ungroup(o)))  # (5), (6)
        if cache is not None:
            return y, None
        return y, MultiHeadAttentionSaved(
            q_saved, k_saved, v_saved, rotary_saved, attention_saved, out_saved,
            memory is None, learn,
        )  # fmt: skip

    def backward(
        self, dy: Array, saved: MultiHeadAttentionSaved | None, run: Run | None = None
    ) -> tuple[Array, Array | None]:
        """Undo `forward`.

        Parameters
        ----------
        dy : (..., T, d_model) ndarray
        saved : MultiHeadAttentionSaved

        Returns
        -------
        dx : (..., T, d_model) ndarray
        dmemory : (..., S, d_model) ndarray or None
            None in self-attention, where x's gradient has all of it.

        Raises
        ------
        ValueError
            If forward was run with a cache.
        """
        saved = undoable("MultiHeadAttention", saved)
        do = self._cut(self.out_proj.backward(dy, saved.out_proj), self.num_heads)  # (6'), (5')
        if self.num_kv_heads != self.num_heads:
            do = self._group(do)
        dq, dk, dv, dbias = F.attention_backward(do, saved.attention)  # (4')
        if saved.learn is not None and dbias is not None:
            saved.learn(dbias)
        if self.num_kv_heads != self.num_heads:
            dq, dk, dv = self._ungroup(dq), dk[..., 0, :, :], dv[..., 0, :, :]
        if saved.rotary is not None:
            dq = F.rotary_backward(dq, saved.rotary[0])  # (3')
            dk = F.rotary_backward(dk, saved.rotary[1])
        dx = self.q_proj.backward(self._join(dq), saved.q_proj)  # (2'), (1')
        dz = self.k_proj.backward(self._join(dk), saved.k_proj)  # (2'), (1')
        dz += self.v_proj.backward(self._join(dv), saved.v_proj)  # (2'), (1')
        if saved.to_itself:
            dx += dz
            return dx, None
        return dx, dz

    def _check(
        self,
        x: Array,
        memory: Array | None,
        bias: "biases.Bias | Array | None",
        positions: Array | None,
        past: int,
    ) -> tuple[int, ...]:
        """Refuse what does not fit, and return the shape of the scores (..., H, T, S)."""
        given = None if isinstance(bias, biases.Bias) else bias
        check_floats("MultiHeadAttention", x=x, memory=memory, bias=given)
        lead, length = check_sequences("MultiHeadAttention", self.q_proj.weight.shape[1], x, memory)
        if memory is not None and self.rotary_base is not None:
            raise ValueError(
                "MultiHeadAttention: rotary positions need one sequence, and a memory was given; "
                "build cross-attention without rotary_base"
            )
        if positions is not None and self.rotary_base is None:
            raise ValueError(
                "MultiHeadAttention: positions were given but have no use without rotary; "
                "build it with rotary_base=10000.0, or add positions to x"
            )
        if positions is not None:
            check_integers("MultiHeadAttention", "positions", positions)
            if positions.ndim < 1 or not fits(positions.shape, x.shape[:-1]):
                raise ValueError(
                    f"MultiHeadAttention: positions {positions.shape} do not broadcast to "
                    f"{x.shape[:-1]}, the shape of x without its last axis"
                )
        scores = (*lead, self.num_heads, x.shape[-2], past + length)
        if isinstance(bias, biases.Bias):
            bias.check(scores)
        elif bias is not None and not fits(bias.shape, scores):
            raise ValueError(
                f"MultiHeadAttention: bias {bias.shape} does not broadcast to the scores "
                f"{scores}, which are (..., num_heads, T, S)"
            )
        return scores

    def _cut(self, x: Array, heads: int) -> Array:
        """(..., T, H K) to (..., H, T, K), as a view."""
        cut: Array = x.reshape(*x.shape[:-1], heads, x.shape[-1] // heads).swapaxes(-3, -2)
        return cut

    def _join(self, x: Array) -> Array:
        """(..., H, T, K) to (..., T, H K)."""
        *lead, heads, length, width = x.shape
        joined: Array = x.swapaxes(-3, -2).reshape(*lead, length, heads * width)
        return joined

    def _group(self, x: Array) -> Array:
        """(..., H, T, K) to (..., G, H/G, T, K), as a view."""
        *lead, heads, length, width = x.shape
        return x.reshape(*lead, self.num_kv_heads, heads // self.num_kv_heads, length, width)

    def _ungroup(self, x: Array) -> Array:
        """Undo `_group`, where it was done."""
        if self.num_kv_heads == self.num_heads:
            return x
        *lead, _, _, length, width = x.shape
        return x.reshape(*lead, self.num_heads, length, width)
