"""Embedding layer: `F.embedding` with a table of its own."""

import numpy as np
from numpy.typing import DTypeLike

from .. import functional as F
from ..core.arrays import Array, check_size
from ..core.initialize import normal
from ..core.layer import Layer
from ..core.run import Run
from ..functional.embedding import EmbeddingSaved, embedding_rows_backward


class Embedding(Layer):
    """A learned vector for each id.

    Parameters
    ----------
    num_embeddings : int
        Number of ids, from 0 on.
    d_model : int
        Width of a vector.
    rng : numpy.random.Generator, optional
        Draws the table from N(0, 0.02²). None draws from fresh entropy.
    dtype : float32 or float64, optional

    Attributes
    ----------
    weight : Parameter (num_embeddings, d_model)
    """

    def __init__(
        self,
        num_embeddings: int,
        d_model: int,
        *,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        check_size("Embedding", num_embeddings=num_embeddings, d_model=d_model)
        self.weight = normal((num_embeddings, d_model), 0.02, rng, dtype)

    def forward(self, ids: Array, *, run: Run | None = None) -> tuple[Array, EmbeddingSaved]:
        """Look up ids (...) as vectors (..., d_model)."""
        return F.embedding(ids, self.weight.value)

    def backward(self, dy: Array, saved: EmbeddingSaved, run: Run | None = None) -> None:
        """Add to the table's gradient; ids have none."""
        self.weight.add_grad_at(*embedding_rows_backward(dy, saved))
