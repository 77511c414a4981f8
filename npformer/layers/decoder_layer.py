r"""Decoder layer: causal self-attention, cross-attention to a memory, feed-forward.

Forward, for a memory z
    (1)  h = x + attention(x, causal)       each with its norm and dropout, before or after:
    (2)  u = h + attention(h, z)            _residual.py
    (3)  y = u + feed_forward(u)

Backward, given dy
    (3') du by the third branch's backward
    (2') dh and dz by the second's
    (1') dx by the first's
"""

from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from .. import biases, masks
from ..core.arrays import Array, check_choice
from ..core.layer import Layer
from ..core.run import Run
from ._residual import NORM_POSITIONS, ResidualSaved, make_norm, residual, residual_backward
from .dropout import Dropout
from .feed_forward import FeedForward
from .kv_cache import KVCache, undoable
from .multi_head_attention import MultiHeadAttention


class DecoderLayerSaved(NamedTuple):
    """What `DecoderLayer.backward` needs."""

    self_attention: ResidualSaved
    cross_attention: ResidualSaved
    feed_forward: ResidualSaved


class DecoderLayer(Layer):
    """One block of a decoder that looks at a memory.

    Self-attention is always causal; a mask that is given comes on top.

    Parameters
    ----------
    d_model, num_heads, d_ff, num_kv_heads, dropout, bias, activation, norm, norm_position, \
norm_eps, rotary_base, rotary_interleaved, key_bias, attention_dropout, rng, dtype
        As for `EncoderLayer`. Rotary positions act in self-attention only.

    Attributes
    ----------
    self_attention, cross_attention : MultiHeadAttention
    feed_forward : FeedForward
    self_attention_norm, cross_attention_norm, feed_forward_norm : LayerNorm or RMSNorm

    References
    ----------
    Vaswani et al. (2017), "Attention Is All You Need", section 3.1.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        d_ff: int | None = None,
        *,
        num_kv_heads: int | None = None,
        dropout: float = 0.0,
        bias: bool = True,
        activation: str = "relu",
        norm: str = "layer",
        norm_position: str = "pre",
        norm_eps: float = 1e-5,
        rotary_base: float | None = None,
        rotary_interleaved: bool = False,
        attention_dropout: float | None = None,
        key_bias: bool = True,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        check_choice("DecoderLayer", "norm_position", norm_position, NORM_POSITIONS)
        rng = np.random.default_rng(rng)
        d_ff = 4 * d_model if d_ff is None else d_ff
        self.norm_position = norm_position
        attention_dropout = dropout if attention_dropout is None else attention_dropout
        self.self_attention = MultiHeadAttention(
            d_model,
            num_heads,
            num_kv_heads,
            bias,
            attention_dropout,
            rotary_base=rotary_base,
            rotary_interleaved=rotary_interleaved,
            key_bias=key_bias,
            rng=rng,
            dtype=dtype,
        )
        self.self_attention_norm = make_norm(norm, d_model, norm_eps, bias, dtype)
        self.cross_attention = MultiHeadAttention(
            d_model,
            num_heads,
            num_kv_heads,
            bias,
            attention_dropout,
            key_bias=key_bias,
            rng=rng,
            dtype=dtype,
        )
        self.cross_attention_norm = make_norm(norm, d_model, norm_eps, bias, dtype)
        self.feed_forward = FeedForward(d_model, d_ff, activation, bias, rng=rng, dtype=dtype)
        self.feed_forward_norm = make_norm(norm, d_model, norm_eps, bias, dtype)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        x: Array,
        memory: Array,
        *,
        mask: "masks.Mask | Array | None" = None,
        memory_mask: "masks.Mask | Array | None" = None,
        bias: "biases.Bias | Array | None" = None,
        positions: Array | None = None,
        cache: KVCache | None = None,
        run: Run | None = None,
    ) -> tuple[Array, DecoderLayerSaved | None]:
        """Map x (..., T, d_model), looking at memory (..., S, d_model).

        Parameters
        ----------
        x, memory : ndarrays
        mask : bool ndarray or masks.Mask, optional
            For self-attention, beside the causal mask.
        memory_mask : bool ndarray or masks.Mask, optional
            For cross-attention.
        bias, positions, run
            For self-attention, as in `MultiHeadAttention`.
        cache : KVCache, optional
            For both, as in `MultiHeadAttention`.

        Returns
        -------
        y : (..., T, d_model) ndarray
        saved : DecoderLayerSaved or None
            None with a cache.
        """
        causal = masks.causal() if mask is None else masks.causal() & mask
        attend = partial(
            self.self_attention.forward,
            mask=causal,
            bias=bias,
            positions=positions,
            cache=cache,
            run=run,
        )
        look = partial(
            self.cross_attention.forward, memory=memory, mask=memory_mask, cache=cache, run=run
        )
        feed = partial(self.feed_forward.forward, run=run)
        drop, where = self.dropout, self.norm_position
        h, attend_saved = residual(x, attend, self.self_attention_norm, drop, where, run)  # (1)
        u, look_saved = residual(h, look, self.cross_attention_norm, drop, where, run)  # (2)
        y, feed_saved = residual(u, feed, self.feed_forward_norm, drop, where, run)  # (3)
        if cache is not None:
            return y, None
        return y, DecoderLayerSaved(attend_saved, look_saved, feed_saved)

    def backward(
        self, dy: Array, saved: DecoderLayerSaved | None, run: Run | None = None
    ) -> tuple[Array, Array]:
        """Return dx (..., T, d_model) and dmemory (..., S, d_model)."""
        saved = undoable("DecoderLayer", saved)
        drop, where = self.dropout, self.norm_position
        feed, look, attend = self.feed_forward, self.cross_attention, self.self_attention
        du, _ = residual_backward(
            dy, saved.feed_forward, feed.backward, self.feed_forward_norm, drop, where
        )  # (3')
        dh, dmemory = residual_backward(
            du, saved.cross_attention, look.backward, self.cross_attention_norm, drop, where
        )  # (2')
        dx, _ = residual_backward(
            dh, saved.self_attention, attend.backward, self.self_attention_norm, drop, where
        )  # (1')
        return dx, dmemory
