r"""Position-wise feed-forward layer: two linear maps with a bend in between.

Forward, for each vector x
    (1)  h = W_up x + b_up                  linear.py                         (d_ff,)
    (2)  g = f(h)                           the activation, entry by entry    (d_ff,)
         or, gated:  g = silu(W_gate x + b_gate) * h        swiglu.py
    (3)  g = dropout(g)
    (4)  y = W_down g + b_down                                                (d_model,)

Backward, given dy: the same steps undone in reverse
    (4') dg by linear's backward            dW_down, db_down
    (3') dg by dropout's
    (2') dh = dg f'(h);  gated, also the gradient of the gate's input
    (1') dx by linear's                     dW_up, db_up;  gated, dx is the sum over both maps
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from .. import functional as F
from ..core.arrays import Array, check_choice, check_size
from ..core.layer import Layer
from ..core.run import Run
from ..functional.dropout import DropoutSaved
from ..functional.linear import LinearSaved
from .dropout import Dropout
from .linear import Linear

Activation = tuple[Callable[[Array], tuple[Array, Any]], Callable[[Array, Any], Array]]

ACTIVATIONS: dict[str, Activation] = {
    "relu": (F.relu, F.relu_backward),
    "gelu": (F.gelu, F.gelu_backward),
    "gelu_tanh": (lambda x: F.gelu(x, "tanh"), F.gelu_backward),
    "quick_gelu": (F.quick_gelu, F.quick_gelu_backward),
    "silu": (F.silu, F.silu_backward),
}


class FeedForwardSaved(NamedTuple):
    """What `FeedForward.backward` needs."""

    up: LinearSaved
    gate: LinearSaved | None
    activation: Any
    dropout: DropoutSaved
    down: LinearSaved


class FeedForward(Layer):
    """The feed-forward half of a Transformer block.

    Parameters
    ----------
    d_model, d_ff : int
        Width outside and inside.
    activation : {"relu", "gelu", "gelu_tanh", "quick_gelu", "silu", "swiglu"}, optional
        f in (2). "swiglu" has a third linear map, the gate.
    bias : bool, optional
        Whether the linear maps have biases.
    dropout : float, optional
        Rate of (3).
    rng : numpy.random.Generator, optional
        As for `Linear`.
    dtype : float32 or float64, optional

    Attributes
    ----------
    up, down : Linear
    gate : Linear or None
        Only for "swiglu".

    References
    ----------
    Vaswani et al. (2017), "Attention Is All You Need", equation 2; Shazeer (2020),
    arXiv:2002.05202, for the gated form.
    """

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        activation: str = "relu",
        bias: bool = True,
        dropout: float = 0.0,
        *,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        check_size("FeedForward", d_model=d_model, d_ff=d_ff)
        check_choice("FeedForward", "activation", activation, [*ACTIVATIONS, "swiglu"])
        rng = np.random.default_rng(rng)
        self.activation = activation
        self.up = Linear(d_model, d_ff, bias, rng=rng, dtype=dtype)
        gated = activation == "swiglu"
        self.gate = Linear(d_model, d_ff, bias, rng=rng, dtype=dtype) if gated else None
        self.dropout = Dropout(dropout)
        self.down = Linear(d_ff, d_model, bias, rng=rng, dtype=dtype)

    def forward(self, x: Array, *, run: Run | None = None) -> tuple[Array, FeedForwardSaved]:
        """Map each vector of x (..., d_model)."""
        h, up_saved = self.up.forward(x)  # (1)
        gate_saved: LinearSaved | None = None
        if self.gate is not None:
            a, gate_saved = self.gate.forward(x)
            g, activation_saved = F.swiglu(a, h)  # (2)
        else:
            g, activation_saved = ACTIVATIONS[self.activation][0](h)  # (2)
        g, dropout_saved = self.dropout.forward(g, run=run)  # (3)
        y, down_saved = self.down.forward(g)  # (4)
        saved = FeedForwardSaved(up_saved, gate_saved, activation_saved, dropout_saved, down_saved)
        return y, saved

    def backward(self, dy: Array, saved: FeedForwardSaved, run: Run | None = None) -> Array:
        """Return dx (..., d_model); add to the gradients of the linear maps."""
        dg = self.down.backward(dy, saved.down)  # (4')
        if saved.dropout.keep is not None:
            dg = self.dropout.backward(dg, saved.dropout)  # (3')
        if self.gate is not None and saved.gate is not None:
            da, dh = F.swiglu_backward(dg, saved.activation)  # (2')
            dx = self.up.backward(dh, saved.up)  # (1')
            dx += self.gate.backward(da, saved.gate)  # (1')
            return dx
        dh = ACTIVATIONS[self.activation][1](dg, saved.activation)  # (2')
        return self.up.backward(dh, saved.up)  # (1')
