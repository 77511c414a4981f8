r"""Multi-head linear attention: attention whose time and memory grow with n, not with n^2.

Forward, for x (T vectors) that attend to a memory z (S vectors; self-attention: z = x)
    (1)  q = x W_q^T + b_q,  k = z W_k^T + b_k,  v = z W_v^T + b_v     linear.py
    (2)  q_hti = q_td  with d = h K + i (h and i from 0), k and v likewise: each is cut into
         heads, (T, H K) -> (H, T, K)                                  no arithmetic
    (3)  o_h = linear_attention(q_h, k_g(h), v_g(h))                   linear_attention.py
         with as many key and value heads as query heads, g(h) = h; with fewer, each is
         shared by a group of neighbouring query heads (grouped queries)
    (4)  o_td = o_hti  with d = h K + i: heads are put side by side again,
         (H, T, K) -> (T, H K)                                         no arithmetic
    (5)  y = o W_o^T + b_o                                             linear.py

Backward, given dy
    (5') do = dy W_o, and dW_o, db_o, by linear's backward
    (4') do_hti = do_td: cut into heads
    (3') dq_h, dk_g, dv_g by linear_attention's backward, which sums dk and dv over each group
    (2') dq_td = dq_hti: side by side again
    (1') the inputs' gradients by linear's backward, three times. x feeds q, and z feeds k and
         v, so dx = dx_q and dz = dz_k + dz_v; in self-attention x is both, and dx is the sum
         of all three
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from .. import functional as F
from ..core.arrays import Array, BoolArray, check_flag, describe, fits
from ..core.layer import Layer
from ..core.run import Run
from ..functional.linear import LinearSaved
from ..functional.linear_attention import NO_FLAG, LinearAttentionSaved
from ._heads import check_heads, check_sequences
from .linear import Linear


class LinearAttentionLayerSaved(NamedTuple):
    """What `LinearAttention.backward` needs."""

    q_proj: LinearSaved
    k_proj: LinearSaved
    v_proj: LinearSaved
    attention: LinearAttentionSaved
    out_proj: LinearSaved
    to_itself: bool  # whether memory was x


class LinearAttention(Layer):
    """Self-attention, or cross-attention where a memory is given, with products of features.

    Parameters
    ----------
    d_model : int
        Width of the vectors.
    num_heads : int
        Number of query heads H; each is K = d_model / H wide.
    num_kv_heads : int, optional
        Number of key and value heads, a divisor of `num_heads`; as many as there are query
        heads if not given, 1 for multi-query attention.
    bias : bool, optional
        Whether the four linear maps have biases.
    causal : bool, optional
        Whether position i attends to positions j <= i + S - T alone.
    rng : numpy.random.Generator, optional
        As for `Linear`.
    dtype : float32 or float64, optional

    Attributes
    ----------
    q_proj, k_proj, v_proj, out_proj : Linear

    Raises
    ------
    ValueError
        If heads do not divide.
    TypeError
        If `causal` is not a bool.

    References
    ----------
    Katharopoulos et al. (2020), "Transformers are RNNs: Fast Autoregressive Transformers with
    Linear Attention", arXiv:2006.16236.

    Notes
    -----
    Its parameters have the names and shapes of those of `MultiHeadAttention`, but not their
    meaning: weights trained with one do not serve the other.

    What it gives up. The T x S matrix of weights has rank K at most, and no weight is as sharp
    as softmax's: a weight is a sum of K products, not their exponential, so no key can be
    singled out among many that are like it. All that a query knows of the past is a state of
    K x K + K numbers a head; what has been written to it is not forgotten but blurred. There
    is no mask but causality and a mask of keys, no bias on scores, no dropout of weights, and
    no weights to record, for they are never formed.

    When it pays. A head makes about 2 T S K multiplications forward with softmax. Here it makes
    2 T K (K + c), c = 64 the size of a chunk, and no exponential for each pair. So it pays from
    sequences of a few times K on, the more the longer they are. Below that softmax is as fast,
    and better.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        num_kv_heads: int | None = None,
        bias: bool = True,
        causal: bool = False,
        *,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        num_kv_heads = num_heads if num_kv_heads is None else num_kv_heads
        check_heads("LinearAttention", d_model, num_heads, num_kv_heads)
        check_flag("LinearAttention", "causal", causal, NO_FLAG)
        d_head = d_model // num_heads
        rng = np.random.default_rng(rng)
        self.num_heads = num_heads
        self.num_kv_heads = num_kv_heads
        self.causal = causal
        self.q_proj = Linear(d_model, d_model, bias, rng=rng, dtype=dtype)
        self.k_proj = Linear(d_model, num_kv_heads * d_head, bias, rng=rng, dtype=dtype)
        self.v_proj = Linear(d_model, num_kv_heads * d_head, bias, rng=rng, dtype=dtype)
        self.out_proj = Linear(d_model, d_model, bias, rng=rng, dtype=dtype)

    def forward(
        self,
        x: Array,
        memory: Array | None = None,
        *,
        mask: BoolArray | None = None,
        run: Run | None = None,
    ) -> tuple[Array, LinearAttentionLayerSaved]:
        """Attend from x to memory, or from x to itself.

        Parameters
        ----------
        x : (..., T, d_model) ndarray
        memory : (..., S, d_model) ndarray, optional
            What is attended to; `x` if not given.
        mask : bool ndarray, optional
            Which vectors of the memory are real (True) and which are padding; broadcasts
            from the right to (..., S).
        run : Run, optional
            Nothing here is random, and there are no weights to record.

        Returns
        -------
        y : (..., T, d_model) ndarray
        saved : LinearAttentionLayerSaved
            For `backward`.

        Raises
        ------
        ValueError
            If shapes do not fit.
        TypeError
            If the mask is not a boolean array.
        """
        z = x if memory is None else memory
        self._check(x, memory, mask)
        q, q_saved = self.q_proj.forward(x)  # (1)
        k, k_saved = self.k_proj.forward(z)
        v, v_saved = self.v_proj.forward(z)
        q = self._cut(q, self.num_heads // self.num_kv_heads)  # (2)
        k, v = (self._cut(t, 1) for t in (k, v))
        key_mask = None if mask is None else mask[..., None, None, :]
        o, attention_saved = F.linear_attention(
            q, k, v, causal=self.causal, key_mask=key_mask
        )  # (3)
        y, out_saved = self.out_proj.forward(self._join(o))  # (4), (5)
        saved = LinearAttentionLayerSaved(
            q_saved, k_saved, v_saved, attention_saved, out_saved, memory is None
        )
        return y, saved

    def backward(
        self, dy: Array, saved: LinearAttentionLayerSaved, run: Run | None = None
    ) -> tuple[Array, Array | None]:
        """Undo `forward`.

        Parameters
        ----------
        dy : (..., T, d_model) ndarray
        saved : LinearAttentionLayerSaved

        Returns
        -------
        dx : (..., T, d_model) ndarray
        dmemory : (..., S, d_model) ndarray or None
            None in self-attention, where x's gradient has all of it.
        """
        do = self.out_proj.backward(dy, saved.out_proj)  # (5')
        do = self._cut(do, self.num_heads // self.num_kv_heads)  # (4')
        dq, dk, dv = F.linear_attention_backward(do, saved.attention)  # (3')
        dx = self.q_proj.backward(self._join(dq), saved.q_proj)  # (2'), (1')
        dz = self.k_proj.backward(self._join(dk), saved.k_proj)
        dz += self.v_proj.backward(self._join(dv), saved.v_proj)
        if saved.to_itself:
            dx += dz
            return dx, None
        return dx, dz

    def _check(self, x: Array, memory: Array | None, mask: BoolArray | None) -> None:
        """Refuse what does not fit."""
        lead, length = check_sequences("LinearAttention", self.q_proj.weight.shape[1], x, memory)
        if mask is None:
            return
        if not isinstance(mask, np.ndarray) or mask.dtype != bool:
            raise TypeError(
                f"LinearAttention: mask is {describe(mask)}; expected a bool array of "
                f"(..., {length}), True for real vectors of what is attended to. For "
                f"causality build it with causal=True; for other masks use MultiHeadAttention"
            )
        real = (*lead, length)
        if mask.ndim < 1 or not fits(mask.shape, real) or mask.shape[-1] != real[-1]:
            raise ValueError(
                f"LinearAttention: mask {mask.shape} does not fit {real}; it says which vectors "
                f"of what is attended to are real, without axes for heads or queries"
            )

    def _cut(self, x: Array, group: int) -> Array:
        """(..., T, G R K) to (..., G, R, T, K): G key heads, R = `group` heads for each."""
        *lead, length, width = x.shape
        heads = x.reshape(
            *lead, length, self.num_kv_heads, group, width // (self.num_kv_heads * group)
        )
        return np.moveaxis(heads, -4, -2)

    def _join(self, x: Array) -> Array:
        """Undo `_cut`."""
        *lead, groups, group, length, width = x.shape
        return np.moveaxis(x, -2, -4).reshape(*lead, length, groups * group * width)
