r"""The model whose parts are exchanged: a small Transformer that gives an answer at every place.

Forward, for ids t (batch, length)
    (1)  x = embed(t) + positions           learned or sinusoidal; else embed(t) alone
    (2)  h = stack(x)                       layers/encoder.py, pre-norm; rotary and ALiBi act here
    (3)  logits = head(h)
    (4)  L = cross_entropy(logits, targets)

A model of several heads without the scale has queries that are sqrt(d_k) times as large:

    (sqrt(d_k) q) . k / sqrt(d_k) = q . k

so that attention itself stays as it is. The factor acts in forward and in backward, at every
step: this is the model without the scale, not one with another start.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike

from .. import biases, masks
from .. import functional as F
from ..core.arrays import Array
from ..core.run import Run
from ..layers import (
    Embedding,
    Encoder,
    LearnedPositionalEncoding,
    Linear,
    SinusoidalPositionalEncoding,
)
from ..models import Model

WIDTH, LAYERS = 32, 2


@dataclass(frozen=True)
class Parts:
    """What a `Reader` is made of.

    Attributes
    ----------
    tokens : int
        Different ids, of questions and of answers.
    length : int
        Number of positions that a learned table has.
    position : "learned", "sinusoidal", "rotary", "alibi" or "none"
    causal : bool
        Whether a place hears what comes before it alone, or all.
    heads : int
        A divisor of `WIDTH`.
    scaled : bool
        Whether scores are divided by sqrt(d_k).
    """

    tokens: int
    length: int
    position: str = "learned"
    causal: bool = True
    heads: int = 4
    scaled: bool = True


class Louder(Linear):
    """A linear map whose output is multiplied by a constant.

    Parameters
    ----------
    linear : Linear
        Whose weight and bias it has.
    factor : float
    """

    def __init__(self, linear: Linear, factor: float) -> None:
        self.weight, self.bias, self.factor = linear.weight, linear.bias, factor

    def forward(self, x: Array, *, run: Run | None = None) -> tuple[Array, Any]:
        """Map the last axis: x (..., d_in) to y (..., d_out)."""
        y, saved = super().forward(x, run=run)
        y *= self.factor
        return y, saved

    def backward(self, dy: Array, saved: Any, run: Run | None = None) -> Array:
        """Return dx (..., d_in); add to the gradients of weight and bias."""
        return super().backward(self.factor * dy, saved)


class Reader(Model):
    """See the module.

    Parameters
    ----------
    config : Parts
    rng : numpy.random.Generator
        Draws the weights: matrices so that they keep a variance of 1, and tables of a deviation
        of 1 for tokens and of sqrt(1/2) for positions, that of sinusoids.
    dtype : float32 or float64, optional
    """

    config_type: ClassVar[type] = Parts

    def __init__(
        self, config: Parts, rng: np.random.Generator, dtype: DTypeLike = np.float32
    ) -> None:
        self.config = config
        self.tokens = Embedding(config.tokens, WIDTH, rng=rng, dtype=dtype)
        self.tokens.weight.value /= float(np.std(self.tokens.weight.value))
        self.positions: LearnedPositionalEncoding | SinusoidalPositionalEncoding | None = None
        if config.position == "learned":
            table = LearnedPositionalEncoding(WIDTH, config.length, rng=rng, dtype=dtype)
            table.weight.value *= math.sqrt(0.5) / float(np.std(table.weight.value))
            self.positions = table
        elif config.position == "sinusoidal":
            self.positions = SinusoidalPositionalEncoding(WIDTH)
        self.stack = Encoder(
            LAYERS,
            WIDTH,
            config.heads,
            rotary_base=10000.0 if config.position == "rotary" else None,
            rng=rng,
            dtype=dtype,
        )
        if not config.scaled:
            for layer in self.stack.layers:
                attention = layer.self_attention
                attention.q_proj = Louder(attention.q_proj, math.sqrt(WIDTH // config.heads))
        self.head = Linear(WIDTH, config.tokens, rng=rng, dtype=dtype)

    def forward(self, ids: Array, *, run: Run | None = None) -> tuple[Array, Any]:
        """Map ids (batch, length) to logits (batch, length, tokens)."""
        x, token = self.tokens.forward(ids)
        position: Any = None
        if self.positions is not None:
            x, position = self.positions.forward(x)  # (1)
        h, stack = self.mix(x, run=run)
        logits, head = self.head.forward(h)  # (3)
        return logits, (token, position, stack, head)

    def mix(self, x: Array, *, run: Run | None = None) -> tuple[Array, Any]:
        """Equation (2): map x (batch, length, WIDTH) to the same shape."""
        config = self.config
        slopes = biases.alibi(config.heads, dtype=x.dtype) if config.position == "alibi" else None
        mask = masks.causal() if config.causal else None
        return self.stack.forward(x, mask=mask, bias=slopes, run=run)  # (2)

    def backward(self, dy: Array, saved: Any, run: Run | None = None) -> None:
        """Add to the gradients of all weights."""
        token, position, stack, head = saved
        dx = self.stack.backward(self.head.backward(dy, head), stack)
        if self.positions is not None:
            dx = self.positions.backward(dx, position)
        self.tokens.backward(dx, token)

    def loss(self, ids: Array, targets: Array, *, run: Run | None = None) -> tuple[Any, Any]:
        """Mean cross-entropy of the answers (batch, length), -100 where there is none."""
        logits, saved = self.forward(ids, run=run)
        loss, kept = F.cross_entropy(logits, targets)  # (4)
        return loss, (kept, saved)

    def loss_backward(self, saved: Any, dloss: float = 1.0) -> None:
        """Add `dloss` times the loss's gradient to every parameter's."""
        kept, forward = saved
        self.backward(F.cross_entropy_backward(dloss, kept), forward)

    def loss_weight(self, ids: Array, targets: Array) -> int:
        """Return the number of answers that are counted."""
        return int(np.count_nonzero(targets != -100))
