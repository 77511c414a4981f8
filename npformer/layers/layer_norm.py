"""LayerNorm layer: `F.layer_norm` with a scale and a shift of its own."""

import numpy as np
from numpy.typing import DTypeLike

from .. import functional as F
from ..core.arrays import Array, check_positive, check_size
from ..core.initialize import constant
from ..core.layer import Layer
from ..core.run import Run
from ..functional.layer_norm import LayerNormSaved


class LayerNorm(Layer):
    """Every vector to mean 0 and variance 1, then scaled and shifted.

    Parameters
    ----------
    d_model : int
        Width of a vector.
    eps : float, optional
        Added to the variance.
    bias : bool, optional
        Whether there is a shift.
    rng : numpy.random.Generator, optional
        Not used: the scale starts at 1 and the shift at 0.
    dtype : float32 or float64, optional

    Attributes
    ----------
    weight : Parameter (d_model,)
    bias : Parameter (d_model,) or None
    """

    def __init__(
        self,
        d_model: int,
        eps: float = 1e-5,
        bias: bool = True,
        *,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        check_size("LayerNorm", d_model=d_model)
        check_positive("LayerNorm", eps=eps)
        self.eps = eps
        self.weight = constant((d_model,), 1.0, dtype)
        self.bias = constant((d_model,), 0.0, dtype) if bias else None

    def forward(self, x: Array, *, run: Run | None = None) -> tuple[Array, LayerNormSaved]:
        """Normalise the last axis of x (..., d_model)."""
        bias = None if self.bias is None else self.bias.value
        return F.layer_norm(x, self.weight.value, bias, self.eps)

    def backward(self, dy: Array, saved: LayerNormSaved, run: Run | None = None) -> Array:
        """Return dx (..., d_model); add to the gradients of weight and bias."""
        dx, dweight, dbias = F.layer_norm_backward(dy, saved)
        self.weight.add_grad(dweight)
        if self.bias is not None and dbias is not None:
            self.bias.add_grad(dbias)
        return dx
