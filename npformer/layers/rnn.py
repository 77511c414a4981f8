"""RNN layer: `F.rnn` with weights and biases of its own."""

import math

import numpy as np
from numpy.typing import DTypeLike

from .. import functional as F
from ..core.arrays import Array, check_size
from ..core.initialize import constant, normal
from ..core.layer import Layer
from ..core.parameter import Parameter
from ..core.run import Run
from ..functional.rnn import RNNSaved


class RNN(Layer):
    """A state after each step of a sequence, from the input and the state before, by tanh.

    Parameters
    ----------
    d_in, d_hidden : int
        Widths of the input and the state.
    bias : bool, optional
        Whether there are biases.
    rng : numpy.random.Generator, optional
        Draws the weights, from N(0, 1/d_in) and N(0, 1/d_hidden); biases start at 0. None draws
        from fresh entropy.
    dtype : float32 or float64, optional

    Attributes
    ----------
    weight_ih : Parameter (d_hidden, d_in)
    weight_hh : Parameter (d_hidden, d_hidden)
    bias_ih, bias_hh : Parameter (d_hidden,) or None

    Raises
    ------
    ValueError, TypeError
        If a width is not a positive int.
    """

    def __init__(
        self,
        d_in: int,
        d_hidden: int,
        bias: bool = True,
        *,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        check_size("RNN", d_in=d_in, d_hidden=d_hidden)
        rng = np.random.default_rng(rng)
        self.weight_ih = normal((d_hidden, d_in), 1.0 / math.sqrt(d_in), rng, dtype)
        self.weight_hh = normal((d_hidden, d_hidden), 1.0 / math.sqrt(d_hidden), rng, dtype)
        self.bias_ih = constant((d_hidden,), 0.0, dtype) if bias else None
        self.bias_hh = constant((d_hidden,), 0.0, dtype) if bias else None

    def forward(
        self, x: Array, h0: Array | None = None, *, run: Run | None = None
    ) -> tuple[Array, tuple[RNNSaved, bool]]:
        """Run over x (..., length, d_in), from h0 (..., d_hidden), which is 0 if not given.

        Returns
        -------
        y : (..., length, d_hidden) ndarray
        saved : (RNNSaved, bool)
            The first has the final state, `h_n`.
        """
        weights = self.weight_ih.value, self.weight_hh.value
        biases = value_of(self.bias_ih), value_of(self.bias_hh)
        state = zeros_before(x, self.weight_hh) if h0 is None else h0
        y, saved = F.rnn(x, state, *weights, *biases)
        return y, (saved, h0 is not None)

    def backward(
        self, dy: Array, saved: tuple[RNNSaved, bool], run: Run | None = None
    ) -> tuple[Array, Array | None]:
        """Return dx and dh0, None if not given; add to the gradients of weights and biases."""
        of_op, given = saved
        dx, dh0, *gradients = F.rnn_backward(dy, of_op)
        add_gradients([self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh], gradients)
        return dx, dh0 if given else None


def value_of(bias: Parameter | None) -> Array | None:
    """Return a bias's value; None if there is none."""
    return None if bias is None else bias.value


def zeros_before(x: Array, weight_hh: Parameter) -> Array:
    """Return the state (..., d_hidden) before the first step where none is given."""
    return np.zeros((*np.shape(x)[:-2], weight_hh.shape[1]), weight_hh.value.dtype)


def add_gradients(parameters: list[Parameter | None], gradients: list[Array | None]) -> None:
    """Add each gradient to the parameter of its place, of those that exist."""
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if parameter is not None and gradient is not None:
            parameter.add_grad(gradient)
