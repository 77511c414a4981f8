"""Conv1d layer: `F.conv1d` with a weight and a bias of its own."""

import math

import numpy as np
from numpy.typing import DTypeLike

from .. import functional as F
from ..core.arrays import Array, check_choice, check_size
from ..core.initialize import constant, normal
from ..core.layer import Layer
from ..core.run import Run
from ..functional.conv1d import Conv1dSaved, both_sides


class Conv1d(Layer):
    """Every window of a sequence by the same weights.

    Parameters
    ----------
    channels_in, channels_out : int
        Widths of the input and the output.
    kernel : int
        Positions in a window.
    stride : int, optional
        How many positions a window begins after the one before.
    padding : int, (int, int) or "causal", optional
        How many zeros stand before and after the sequence; an int is both. "causal" is
        ``(kernel - 1, 0)``: with stride 1, no output depends on a later position.
    bias : bool, optional
        Whether there is a bias.
    rng : numpy.random.Generator, optional
        Draws the weight from N(0, 1/(channels_in kernel)), which keeps the variance of the input;
        the bias starts at 0. None draws from fresh entropy.
    dtype : float32 or float64, optional

    Attributes
    ----------
    weight : Parameter (channels_out, channels_in, kernel)
    bias : Parameter (channels_out,) or None

    Raises
    ------
    ValueError, TypeError
        If a size is not a positive int, or the padding none of these.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        stride: int = 1,
        padding: int | tuple[int, int] | str = 0,
        bias: bool = True,
        *,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        check_size("Conv1d", channels_in=channels_in, channels_out=channels_out)
        check_size("Conv1d", kernel=kernel, stride=stride)
        if isinstance(padding, str):
            check_choice("Conv1d", "padding", padding, ("causal",))
            padding = kernel - 1, 0
        self.stride = stride
        self.padding = both_sides("Conv1d", padding)
        std = 1.0 / math.sqrt(channels_in * kernel)
        self.weight = normal((channels_out, channels_in, kernel), std, rng, dtype)
        self.bias = constant((channels_out,), 0.0, dtype) if bias else None

    def forward(self, x: Array, *, run: Run | None = None) -> tuple[Array, Conv1dSaved]:
        """Map x (..., length, channels_in) to y (..., length_out, channels_out)."""
        bias = None if self.bias is None else self.bias.value
        return F.conv1d(x, self.weight.value, bias, self.stride, self.padding)

    def backward(self, dy: Array, saved: Conv1dSaved, run: Run | None = None) -> Array:
        """Return dx (..., length, channels_in); add to the gradients of weight and bias."""
        dx, dweight, dbias = F.conv1d_backward(dy, saved)
        self.weight.add_grad(dweight, fresh=True)
        if self.bias is not None and dbias is not None:
            self.bias.add_grad(dbias)
        return dx
