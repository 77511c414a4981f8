"""What is compared: four ways to let the places of a sequence hear of each other, all causal.

Each maps (B, T, D) to (B, T, D), and place t of its output depends on the places 0 to t of its
input. Vaswani et al. (2017), "Attention Is All You Need", arXiv:1706.03762, table 1, gives for
one layer on n places of width d

    =================  ==============  ================  ===================
    layer              operations      sequential steps  longest path
    =================  ==============  ================  ===================
    self-attention     O(n^2 d)        O(1)              O(1)
    recurrent          O(n d^2)        O(n)              O(n)
    convolutional      O(k n d^2)      O(1)              O(n / k) stacked
    =================  ==============  ================  ===================

and leaves out the n d^2 of attention's own four linear maps.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from .. import functional as F
from .. import masks
from ..core.arrays import Array
from ..core.layer import Layer
from ..core.run import Run
from ..layers import LSTM, RNN, Conv1d, MultiHeadAttention

KERNEL, DEPTH = 5, 4  # of the convolutions: a place hears 1 + DEPTH (KERNEL - 1) = 17 places
HEADS = 4


class CausalAttention(Layer):
    """Multi-head attention in which a place attends to itself and to what came before.

    Parameters
    ----------
    width : int
        A multiple of `HEADS`.
    rng : numpy.random.Generator
    dtype : float32 or float64
    """

    def __init__(self, width: int, rng: np.random.Generator, dtype: DTypeLike) -> None:
        self.attention = MultiHeadAttention(width, HEADS, rng=rng, dtype=dtype)

    def forward(self, x: Array, *, run: Run | None = None) -> tuple[Array, Any]:
        """Map (batch, length, width) to the same shape."""
        y, saved = self.attention.forward(x, mask=masks.causal(), run=run)
        return y, saved

    def backward(self, dy: Array, saved: Any, run: Run | None = None) -> Array:
        """Return dx; add to the gradients of the weights."""
        return self.attention.backward(dy, saved)[0]


class Recurrent(Layer):
    """A recurrent layer that begins at a state of zeros.

    Parameters
    ----------
    layer : RNN or LSTM
        From a width to the same width.
    """

    def __init__(self, layer: RNN | LSTM) -> None:
        self.layer = layer

    def forward(self, x: Array, *, run: Run | None = None) -> tuple[Array, Any]:
        """Map (batch, length, width) to the same shape."""
        y, saved = self.layer.forward(x, run=run)
        return y, saved

    def backward(self, dy: Array, saved: Any, run: Run | None = None) -> Array:
        """Return dx; add to the gradients of the weights."""
        return self.layer.backward(dy, saved)[0]


class Convolutions(Layer):
    """`DEPTH` causal convolutions, a ReLU between them.

    Parameters
    ----------
    width : int
    rng : numpy.random.Generator
    dtype : float32 or float64
    """

    def __init__(self, width: int, rng: np.random.Generator, dtype: DTypeLike) -> None:
        self.layers = [
            Conv1d(width, width, KERNEL, padding="causal", rng=rng, dtype=dtype)
            for _ in range(DEPTH)
        ]

    def forward(self, x: Array, *, run: Run | None = None) -> tuple[Array, list[Any]]:
        """Map (batch, length, width) to the same shape."""
        kept: list[Any] = []
        for layer in self.layers:
            if kept:
                x, relu = F.relu(x)
                kept.append(relu)
            x, saved = layer.forward(x, run=run)
            kept.append(saved)
        return x, kept

    def backward(self, dy: Array, saved: list[Any], run: Run | None = None) -> Array:
        """Return dx; add to the gradients of the weights."""
        kept = list(saved)
        for layer in reversed(self.layers):
            dy = layer.backward(dy, kept.pop())
            if kept:
                dy = F.relu_backward(dy, kept.pop())
        return dy


@dataclass(frozen=True)
class Mixer:
    """One of the architectures.

    Attributes
    ----------
    name : str
    build : callable
        Takes a width, a generator and a dtype and returns the layer.
    multiple : int
        What its width is a multiple of.
    growth : str
        How its operations grow with length n, width d, kernel k and depth m, for the table.
    steps : callable
        Takes a length and returns how many products must follow one another.
    reach : callable
        Takes a length and returns how many places the last one can hear, itself among them.
    """

    name: str
    build: Callable[[int, np.random.Generator, DTypeLike], Layer]
    multiple: int
    growth: str
    steps: Callable[[int], int]
    reach: Callable[[int], int]

    def parameters(self, width: int) -> int:
        """Count the parameters at a width."""
        layer = self.build(width, np.random.default_rng(0), np.float32)
        return sum(parameter.value.size for parameter in layer.parameters())

    def width_for(self, parameters: int) -> int:
        """Return the width at which the number of parameters is nearest to one that is given."""
        widths = range(self.multiple, 4 * int(parameters**0.5) + self.multiple, self.multiple)
        return min(widths, key=lambda width: abs(self.parameters(width) - parameters))


MIXERS = {
    mixer.name: mixer
    for mixer in (
        Mixer(
            "attention",
            CausalAttention,
            HEADS,
            "n d^2 + n^2 d",
            lambda n: 3,  # to queries and keys, to scores, to the mixture; the rest beside them
            lambda n: n,
        ),
        Mixer(
            "RNN",
            lambda width, rng, dtype: Recurrent(RNN(width, width, rng=rng, dtype=dtype)),
            1,
            "n d^2",
            lambda n: n,
            lambda n: n,
        ),
        Mixer(
            "LSTM",
            lambda width, rng, dtype: Recurrent(LSTM(width, width, rng=rng, dtype=dtype)),
            1,
            "n d^2",
            lambda n: n,
            lambda n: n,
        ),
        Mixer(
            "convolutions",
            Convolutions,
            1,
            "m k n d^2",
            lambda n: DEPTH,
            lambda n: min(n, 1 + DEPTH * (KERNEL - 1)),
        ),
    )
}
"""Every architecture by its name, in the order of the tables."""
