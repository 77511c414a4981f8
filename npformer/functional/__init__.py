"""The mathematics: one operation a file, forward and backward side by side, arrays in and out.

Every operation obeys one rule: ``y, saved = F.op(x, ...)`` and ``grads = F.op_backward(dy,
saved)``. The gradients are those of the floating-point array arguments, in the order of the
signature: a bare array where there is one, else a tuple, with None for what was not given.
"""

from .layer_norm import layer_norm, layer_norm_backward
from .linear import linear, linear_backward
from .softmax import softmax, softmax_backward

__all__ = [
    "linear",
    "linear_backward",
    "softmax",
    "softmax_backward",
    "layer_norm",
    "layer_norm_backward",
]
