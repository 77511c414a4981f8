r"""Learned positions added to embeddings: a table with a row for each position.

Forward, for the vector at place s of sequence b, whose position is t_bs
    (1)  p_bs = W_{t_bs}                    embedding.py
    (2)  y_bs = x_bs + p_bs

Backward, given dy
    (2') dx_bs = dy_bs,  dp_bs = dy_bs. Where positions are the same for all sequences, p_s is
         broadcast over b, and its gradient is the sum over b
    (1') dW_v = sum of dp_bs over all b, s with t_bs = v, by embedding's backward
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from .. import functional as F
from ..core.arrays import (
    Array,
    check_floats,
    check_gradient,
    check_integers,
    check_size,
    unbroadcast,
)
from ..core.initialize import normal
from ..core.layer import Layer
from ..core.run import Run
from ..functional.embedding import EmbeddingSaved


class LearnedPositionalEncodingSaved(NamedTuple):
    """What `LearnedPositionalEncoding.backward` needs."""

    shape: tuple[int, ...]  # of x
    dtype: np.dtype[Any]
    embedding: EmbeddingSaved


class LearnedPositionalEncoding(Layer):
    """Adds to each vector the learned vector of its position.

    Parameters
    ----------
    d_model : int
        Width of a vector.
    max_len : int
        Number of positions; a longer sequence is refused.
    rng : numpy.random.Generator, optional
        Draws the table from N(0, 0.02²). None draws from fresh entropy.
    dtype : float32 or float64, optional

    Attributes
    ----------
    weight : Parameter (max_len, d_model)
    """

    def __init__(
        self,
        d_model: int,
        max_len: int,
        *,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        check_size("LearnedPositionalEncoding", d_model=d_model, max_len=max_len)
        self.weight = normal((max_len, d_model), 0.02, rng, dtype)

    def forward(
        self, x: Array, positions: Array | None = None, *, run: Run | None = None
    ) -> tuple[Array, LearnedPositionalEncodingSaved]:
        """Add positions to x (..., length, d_model).

        `positions` are integers that broadcast to (..., length); 0, 1, 2, ... if not given.
        """
        check_floats("LearnedPositionalEncoding", x=x, weight=self.weight.value)
        max_len, d_model = self.weight.shape
        if x.ndim < 2 or x.shape[-1] != d_model:
            raise ValueError(
                f"LearnedPositionalEncoding: x is {x.shape}; expected (..., length, {d_model})"
            )
        if positions is None:
            positions = np.arange(x.shape[-2])
        check_integers("LearnedPositionalEncoding", "positions", positions)
        if positions.size and not 0 <= positions.min() <= positions.max() < max_len:
            raise ValueError(
                f"LearnedPositionalEncoding: positions run from {positions.min()} to "
                f"{positions.max()} but only 0 to {max_len - 1} were made (max_len={max_len}); "
                f"shorten the sequence, or build the model with a larger max_len"
            )
        p, saved = F.embedding(positions, self.weight.value)  # (1)
        try:
            y = x + p  # (2)
        except ValueError:
            y = None
        if y is None or y.shape != x.shape:
            raise ValueError(
                f"LearnedPositionalEncoding: positions {positions.shape} do not broadcast to "
                f"{x.shape[:-1]}, the shape of x without its last axis"
            )
        return y, LearnedPositionalEncodingSaved(x.shape, x.dtype, saved)

    def backward(
        self, dy: Array, saved: LearnedPositionalEncodingSaved, run: Run | None = None
    ) -> Array:
        """Return dx, equal to dy; add to the table's gradient."""
        check_gradient("LearnedPositionalEncoding.backward", dy, saved.shape, saved.dtype)
        dp = unbroadcast(dy, (*saved.embedding.ids.shape, dy.shape[-1]))  # (2')
        self.weight.add_grad(F.embedding_backward(dp, saved.embedding))  # (1')
        dx: Array = dy.copy()  # (2')
        return dx
