"""Linear layer: `F.linear` with a weight and a bias of its own."""

import math

import numpy as np
from numpy.typing import DTypeLike

from .. import functional as F
from ..core.arrays import Array, check_size, describe
from ..core.initialize import constant, normal
from ..core.layer import Layer
from ..core.parameter import Parameter
from ..core.run import Run
from ..functional.linear import LinearSaved


class Linear(Layer):
    """y = x Wᵀ + b.

    Parameters
    ----------
    d_in, d_out : int
        Widths of the input and the output.
    bias : bool, optional
        Whether b exists.
    weight : Parameter, optional
        A parameter (d_out, d_in) to share, as a tied output layer does.
    rng : numpy.random.Generator, optional
        Draws W from N(0, 1/d_in), which keeps the variance of the input (LeCun et al. 1998,
        "Efficient BackProp", section 4.6); b starts at 0. None draws from fresh entropy.
    dtype : float32 or float64, optional

    Attributes
    ----------
    weight : Parameter (d_out, d_in)
    bias : Parameter (d_out,) or None

    Raises
    ------
    ValueError, TypeError
        If a width is not a positive int, or a shared weight is no Parameter or of another shape.
    """

    def __init__(
        self,
        d_in: int,
        d_out: int,
        bias: bool = True,
        *,
        weight: Parameter | None = None,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        check_size("Linear", d_in=d_in, d_out=d_out)
        if weight is not None and not isinstance(weight, Parameter):
            raise TypeError(
                f"Linear: the shared weight is {describe(weight)}; expected a Parameter"
            )
        if weight is not None and weight.shape != (d_out, d_in):
            raise ValueError(
                f"Linear: the shared weight is {weight.shape}; expected {(d_out, d_in)}"
            )
        if weight is None:
            weight = normal((d_out, d_in), 1.0 / math.sqrt(d_in), rng, dtype)
        self.weight = weight
        self.bias = constant((d_out,), 0.0, dtype) if bias else None

    def forward(self, x: Array, *, run: Run | None = None) -> tuple[Array, LinearSaved]:
        """Map the last axis: x (..., d_in) to y (..., d_out)."""
        return F.linear(x, self.weight.value, None if self.bias is None else self.bias.value)

    def backward(self, dy: Array, saved: LinearSaved, run: Run | None = None) -> Array:
        """Return dx (..., d_in); add to the gradients of weight and bias."""
        dx, dweight, dbias = F.linear_backward(dy, saved)
        self.weight.add_grad(dweight, fresh=True)
        if self.bias is not None and dbias is not None:
            self.bias.add_grad(dbias)
        return dx
