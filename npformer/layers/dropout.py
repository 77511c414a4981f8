"""Dropout layer: `F.dropout` with the randomness of the run."""

import numpy as np
from numpy.typing import DTypeLike

from .. import functional as F
from ..core.arrays import Array, check_rate
from ..core.layer import Layer
from ..core.run import Run, rng_of
from ..functional.dropout import DropoutSaved


class Dropout(Layer):
    """Zeroes entries at random where the run has a generator; does nothing otherwise.

    Parameters
    ----------
    rate : float
        Probability that an entry is zeroed, 0 <= rate < 1.
    rng, dtype : optional
        Not used: there is nothing to draw before the run.
    """

    def __init__(
        self,
        rate: float,
        *,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        check_rate("Dropout", "rate", rate)
        self.rate = rate

    def forward(self, x: Array, *, run: Run | None = None) -> tuple[Array, DropoutSaved]:
        """Drop entries of x, of any shape. Without a generator y is `x` itself."""
        return F.dropout(x, self.rate, rng_of(run))

    def backward(self, dy: Array, saved: DropoutSaved, run: Run | None = None) -> Array:
        """Return dx, of dy's shape."""
        return F.dropout_backward(dy, saved)
