"""LSTM layer: `F.lstm` with weights and biases of its own."""

import math

import numpy as np
from numpy.typing import DTypeLike

from .. import functional as F
from ..core.arrays import Array, check_size
from ..core.initialize import constant, normal
from ..core.layer import Layer
from ..core.run import Run
from ..functional.lstm import LSTMSaved
from .rnn import add_gradients, value_of, zeros_before


class LSTM(Layer):
    """A state after each step of a sequence, from the input and from cells that gates guard.

    Parameters
    ----------
    d_in, d_hidden : int
        Widths of the input and the state.
    bias : bool, optional
        Whether there are biases.
    rng : numpy.random.Generator, optional
        Draws the weights, from N(0, 1/d_in) and N(0, 1/d_hidden). Biases start at 0, but for
        `bias_ih` of the gate f, which starts at 1: cells are kept at first (Jozefowicz, Zaremba
        and Sutskever 2015, "An Empirical Exploration of Recurrent Network Architectures",
        section 2.2). None draws from fresh entropy.
    dtype : float32 or float64, optional

    Attributes
    ----------
    weight_ih : Parameter (4 d_hidden, d_in)
        Of the gates i, f, g and o, one below the other.
    weight_hh : Parameter (4 d_hidden, d_hidden)
    bias_ih, bias_hh : Parameter (4 d_hidden,) or None

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
        check_size("LSTM", d_in=d_in, d_hidden=d_hidden)
        rng = np.random.default_rng(rng)
        self.weight_ih = normal((4 * d_hidden, d_in), 1.0 / math.sqrt(d_in), rng, dtype)
        self.weight_hh = normal((4 * d_hidden, d_hidden), 1.0 / math.sqrt(d_hidden), rng, dtype)
        self.bias_ih = constant((4 * d_hidden,), 0.0, dtype) if bias else None
        self.bias_hh = constant((4 * d_hidden,), 0.0, dtype) if bias else None
        if self.bias_ih is not None:
            self.bias_ih.value[d_hidden : 2 * d_hidden] = 1.0

    def forward(
        self,
        x: Array,
        h0: Array | None = None,
        c0: Array | None = None,
        *,
        run: Run | None = None,
    ) -> tuple[Array, tuple[LSTMSaved, bool, bool]]:
        """Run over x (..., length, d_in), from h0 and c0 (..., d_hidden), 0 if not given.

        Returns
        -------
        y : (..., length, d_hidden) ndarray
        saved : (LSTMSaved, bool, bool)
            The first has the final state and cells, `h_n` and `c_n`.
        """
        weights = self.weight_ih.value, self.weight_hh.value
        biases = value_of(self.bias_ih), value_of(self.bias_hh)
        h = zeros_before(x, self.weight_hh) if h0 is None else h0
        c = zeros_before(x, self.weight_hh) if c0 is None else c0
        y, saved = F.lstm(x, h, c, *weights, *biases)
        return y, (saved, h0 is not None, c0 is not None)

    def backward(
        self, dy: Array, saved: tuple[LSTMSaved, bool, bool], run: Run | None = None
    ) -> tuple[Array, Array | None, Array | None]:
        """Return dx, dh0 and dc0, None if not given; add to the gradients of the parameters."""
        of_op, h0_given, c0_given = saved
        dx, dh0, dc0, *gradients = F.lstm_backward(dy, of_op)
        add_gradients([self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh], gradients)
        return dx, dh0 if h0_given else None, dc0 if c0_given else None
