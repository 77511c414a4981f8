r"""Encoder layer: self-attention, then a feed-forward layer, each beside the stream.

Forward
    (1)  h = x + attention(x)               each with its norm and dropout, before or after:
    (2)  y = h + feed_forward(h)            _residual.py

Backward, given dy
    (2') dh by the second branch's backward
    (1') dx by the first's

A decoder without a memory, as in GPT, is this layer under a causal mask.
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


class EncoderLayerSaved(NamedTuple):
    """What `EncoderLayer.backward` needs."""

    self_attention: ResidualSaved
    feed_forward: ResidualSaved


class EncoderLayer(Layer):
    """One block of an encoder, or of a decoder without a memory.

    Parameters
    ----------
    d_model, num_heads : int
    d_ff : int, optional
        Width inside the feed-forward layer; 4 d_model if not given.
    num_kv_heads : int, optional
        See `MultiHeadAttention`.
    dropout : float, optional
        Rate for attention weights and for the outputs of both branches.
    bias : bool, optional
        Whether linear maps and layer norms have biases.
    activation : str, optional
        See `FeedForward`.
    norm : "layer" or "rms", optional
    norm_position : "pre" or "post", optional
        Before each branch, or after each sum.
    norm_eps : float, optional
    rotary_base : float, optional
    rotary_interleaved : bool, optional
    key_bias : bool, optional
        See `MultiHeadAttention`.
    attention_dropout : float, optional
        Rate for attention weights, if it is not `dropout`.
    rng : numpy.random.Generator, optional
    dtype : float32 or float64, optional

    Attributes
    ----------
    self_attention : MultiHeadAttention
    feed_forward : FeedForward
    self_attention_norm, feed_forward_norm : LayerNorm or RMSNorm

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
        check_choice("EncoderLayer", "norm_position", norm_position, NORM_POSITIONS)
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
        self.feed_forward = FeedForward(d_model, d_ff, activation, bias, rng=rng, dtype=dtype)
        self.feed_forward_norm = make_norm(norm, d_model, norm_eps, bias, dtype)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        x: Array,
        *,
        mask: "masks.Mask | Array | None" = None,
        bias: "biases.Bias | Array | None" = None,
        positions: Array | None = None,
        cache: KVCache | None = None,
        run: Run | None = None,
    ) -> tuple[Array, EncoderLayerSaved | None]:
        """Map x (..., T, d_model); mask, bias, positions and cache as in `MultiHeadAttention`."""
        attend = partial(
            self.self_attention.forward,
            mask=mask,
            bias=bias,
            positions=positions,
            cache=cache,
            run=run,
        )
        feed = partial(self.feed_forward.forward, run=run)
        drop, where = self.dropout, self.norm_position
        h, attend_saved = residual(x, attend, self.self_attention_norm, drop, where, run)  # (1)
        y, feed_saved = residual(h, feed, self.feed_forward_norm, drop, where, run)  # (2)
        if cache is not None:
            return y, None
        return y, EncoderLayerSaved(attend_saved, feed_saved)

    def backward(self, dy: Array, saved: EncoderLayerSaved | None, run: Run | None = None) -> Array:
        """Return dx (..., T, d_model)."""
        saved = undoable("EncoderLayer", saved)
        drop, where = self.dropout, self.norm_position
        feed, attend = self.feed_forward, self.self_attention
        dh, _ = residual_backward(
            dy, saved.feed_forward, feed.backward, self.feed_forward_norm, drop, where
        )  # (2')
        dx, _ = residual_backward(
            dh, saved.self_attention, attend.backward, self.self_attention_norm, drop, where
        )  # (1')
        return dx
