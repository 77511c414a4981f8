r"""Encoder: layers one after another.

Forward, for M layers, from x_0 = x
    (1)  x_l = layer_l(x_(l-1))             l = 1, ..., M
    (2)  y = norm(x_M)                      in a pre-norm stack, whose stream nothing else
                                            normalises, or where asked for; else y = x_M

Backward, given dy
    (2') dx_M by the norm's backward
    (1') dx_l by the backward of layer l + 1, from the last to the first: l = M - 1, ..., 0
"""

from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from .. import biases, masks
from ..core.arrays import Array, check_size
from ..core.layer import Layer
from ..core.run import Run
from ._residual import make_norm
from .checkpoint import checkpoint_backward, checkpoint_forward
from .encoder_layer import EncoderLayer
from .kv_cache import KVCache, undoable


class EncoderSaved(NamedTuple):
    """What `Encoder.backward` needs."""

    layers: tuple[Any, ...]  # of each layer, or of its checkpoint
    norm: Any  # of the last norm; None where there is none


class Encoder(Layer):
    """A stack of `EncoderLayer`.

    Parameters
    ----------
    num_layers : int
        Number of layers.
    d_model, num_heads, d_ff, num_kv_heads, dropout, bias, activation, norm, norm_position, \
norm_eps, rotary_base, rotary_interleaved, key_bias, attention_dropout, rng, dtype
        As for `EncoderLayer`.
    checkpoint : bool, optional
        Keep only each layer's input and run the layer again in backward: less memory, more
        time, the same numbers. See `Checkpoint`.
    final_norm : bool, optional
        Whether a norm follows the last layer; if not given, in a pre-norm stack alone.

    Attributes
    ----------
    layers : tuple of EncoderLayer
    norm : LayerNorm, RMSNorm or None
        After the last layer; None where there is none.
    """

    def __init__(
        self,
        num_layers: int,
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
        checkpoint: bool = False,
        final_norm: bool | None = None,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        check_size("Encoder", num_layers=num_layers)
        rng = np.random.default_rng(rng)
        self.checkpoint = checkpoint
        self.layers = tuple(
            EncoderLayer(
                d_model,
                num_heads,
                d_ff,
                num_kv_heads=num_kv_heads,
                dropout=dropout,
                bias=bias,
                activation=activation,
                norm=norm,
                norm_position=norm_position,
                norm_eps=norm_eps,
                rotary_base=rotary_base,
                rotary_interleaved=rotary_interleaved,
                attention_dropout=attention_dropout,
                key_bias=key_bias,
                rng=rng,
                dtype=dtype,
            )
            for _ in range(num_layers)
        )
        if final_norm is None:
            final_norm = norm_position == "pre"
        self.norm = make_norm(norm, d_model, norm_eps, bias, dtype) if final_norm else None

    def forward(
        self,
        x: Array,
        *,
        mask: "masks.Mask | Array | None" = None,
        bias: "biases.Bias | Array | None" = None,
        positions: Array | None = None,
        cache: KVCache | None = None,
        run: Run | None = None,
    ) -> tuple[Array, EncoderSaved | None]:
        """Map x (..., T, d_model); mask, bias, positions and cache as in `MultiHeadAttention`."""
        layers_saved = []
        for layer in self.layers:
            forward = partial(checkpoint_forward, layer) if self.checkpoint else layer.forward
            x, saved = forward(
                x, mask=mask, bias=bias, positions=positions, cache=cache, run=run
            )  # (1)
            layers_saved.append(saved)
        norm_saved: Any = None
        if self.norm is not None:
            x, norm_saved = self.norm.forward(x)  # (2)
        if cache is not None:
            return x, None
        return x, EncoderSaved(tuple(layers_saved), norm_saved)

    def backward(self, dy: Array, saved: EncoderSaved | None, run: Run | None = None) -> Array:
        """Return dx (..., T, d_model)."""
        saved = undoable("Encoder", saved)
        dx = dy if self.norm is None else self.norm.backward(dy, saved.norm)  # (2')
        for layer, layer_saved in zip(self.layers[::-1], saved.layers[::-1], strict=True):
            undo = partial(checkpoint_backward, layer) if self.checkpoint else layer.backward
            dx = undo(dx, layer_saved)  # (1')
        return dx
