"""RMSNorm layer: `F.rms_norm` with a scale of its own."""

import numpy as np
from numpy.typing import DTypeLike

from .. import functional as F
from ..core.arrays import Array, check_positive, check_size
from ..core.initialize import constant
from ..core.layer import Layer
from ..core.run import Run
from ..functional.rms_norm import RMSNormSaved


class RMSNorm(Layer):
    """Every vector to root mean square 1, then scaled.

    Parameters
    ----------
    d_model : int
        Width of a vector.
    eps : float, optional
        Added to the mean square.
    rng : numpy.random.Generator, optional
        Not used: the scale starts at 1.
    dtype : float32 or float64, optional

    Attributes
    ----------
    weight : Parameter (d_model,)
    """

    def __init__(
        self,
        d_model: int,
        eps: float = 1e-6,
        *,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        check_size("RMSNorm", d_model=d_model)
        check_positive("RMSNorm", eps=eps)
        self.eps = eps
        self.weight = constant((d_model,), 1.0, dtype)

    def forward(self, x: Array, *, run: Run | None = None) -> tuple[Array, RMSNormSaved]:
        """Normalise the last axis of x (..., d_model)."""
        return F.rms_norm(x, self.weight.value, self.eps)

    def backward(self, dy: Array, saved: RMSNormSaved, run: Run | None = None) -> Array:
        """Return dx (..., d_model); add to the gradient of weight."""
        dx, dweight = F.rms_norm_backward(dy, saved)
        self.weight.add_grad(dweight)
        return dx
