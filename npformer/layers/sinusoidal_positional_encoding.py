"""Sinusoidal positions added to embeddings: `F.sinusoidal`, without anything to learn."""

import numpy as np
from numpy.typing import DTypeLike

from .. import functional as F
from ..core.arrays import Array, check_choice, check_floats, check_size
from ..core.layer import Layer
from ..core.run import Run
from ..functional.sinusoidal import LAYOUTS, SinusoidalSaved


class SinusoidalPositionalEncoding(Layer):
    """Adds to each vector the waves of its position; there is no longest sequence.

    Parameters
    ----------
    d_model : int
        Width of a vector, even.
    layout : "interleaved" or "halves", optional
        Sines and cosines in turn, as in the paper, or all sines first.
    rng, dtype : optional
        Not used: there are no parameters.
    """

    def __init__(
        self,
        d_model: int,
        layout: str = "interleaved",
        *,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        check_size("SinusoidalPositionalEncoding", d_model=d_model)
        check_choice("SinusoidalPositionalEncoding", "layout", layout, LAYOUTS)
        if d_model % 2:
            raise ValueError(
                f"SinusoidalPositionalEncoding: d_model is {d_model}; expected an even number, "
                f"a sine and a cosine for each wavelength"
            )
        self.d_model = d_model
        self.layout = layout

    def forward(
        self, x: Array, positions: Array | None = None, *, run: Run | None = None
    ) -> tuple[Array, SinusoidalSaved]:
        """Add positions to x (..., length, d_model).

        `positions` are integers that broadcast to (..., length); 0, 1, 2, ... if not given.
        """
        check_floats("SinusoidalPositionalEncoding", x=x)
        if x.ndim < 2 or x.shape[-1] != self.d_model:
            raise ValueError(
                f"SinusoidalPositionalEncoding: x is {x.shape}; expected "
                f"(..., length, {self.d_model})"
            )
        if positions is None:
            positions = np.arange(x.shape[-2])
        return F.sinusoidal(x, positions, self.layout)

    def backward(self, dy: Array, saved: SinusoidalSaved, run: Run | None = None) -> Array:
        """Return dx, equal to dy."""
        return F.sinusoidal_backward(dy, saved)
