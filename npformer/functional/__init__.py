"""The mathematics: one operation a file, forward and backward side by side, arrays in and out.

Every operation obeys one rule: ``y, saved = F.op(x, ...)`` and ``grads = F.op_backward(dy,
saved)``. The gradients are those of the floating-point array arguments, in the order of the
signature: a bare array where there is one, else a tuple, with None for what was not given.
"""

from .attention import attention, attention_backward, attention_weights
from .contrastive_loss import contrastive_loss, contrastive_loss_backward
from .conv1d import conv1d, conv1d_backward
from .cross_entropy import cross_entropy, cross_entropy_backward
from .ctc_loss import ctc_loss, ctc_loss_backward
from .dropout import dropout, dropout_backward
from .embedding import embedding, embedding_backward
from .gelu import gelu, gelu_backward
from .l2_normalize import l2_normalize, l2_normalize_backward
from .layer_norm import layer_norm, layer_norm_backward
from .linear import linear, linear_backward
from .linear_attention import linear_attention, linear_attention_backward
from .linear_cross_entropy import linear_cross_entropy, linear_cross_entropy_backward
from .log_softmax import log_softmax, log_softmax_backward
from .lstm import lstm, lstm_backward
from .quick_gelu import quick_gelu, quick_gelu_backward
from .relu import relu, relu_backward
from .rms_norm import rms_norm, rms_norm_backward
from .rnn import rnn, rnn_backward
from .rotary import rotary, rotary_backward
from .sigmoid import sigmoid, sigmoid_backward
from .silu import silu, silu_backward
from .sinusoidal import sinusoidal, sinusoidal_backward
from .softmax import softmax, softmax_backward
from .swiglu import swiglu, swiglu_backward
from .tanh import tanh, tanh_backward

__all__ = [
    "linear",
    "linear_backward",
    "conv1d",
    "conv1d_backward",
    "softmax",
    "softmax_backward",
    "log_softmax",
    "log_softmax_backward",
    "layer_norm",
    "layer_norm_backward",
    "rms_norm",
    "rms_norm_backward",
    "l2_normalize",
    "l2_normalize_backward",
    "relu",
    "relu_backward",
    "gelu",
    "gelu_backward",
    "quick_gelu",
    "quick_gelu_backward",
    "silu",
    "silu_backward",
    "swiglu",
    "swiglu_backward",
    "sigmoid",
    "sigmoid_backward",
    "tanh",
    "tanh_backward",
    "embedding",
    "embedding_backward",
    "sinusoidal",
    "sinusoidal_backward",
    "rotary",
    "rotary_backward",
    "dropout",
    "dropout_backward",
    "attention",
    "attention_backward",
    "attention_weights",
    "linear_attention",
    "linear_attention_backward",
    "rnn",
    "rnn_backward",
    "lstm",
    "lstm_backward",
    "cross_entropy",
    "cross_entropy_backward",
    "linear_cross_entropy",
    "linear_cross_entropy_backward",
    "contrastive_loss",
    "contrastive_loss_backward",
    "ctc_loss",
    "ctc_loss_backward",
]
