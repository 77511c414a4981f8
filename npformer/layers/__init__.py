"""Layers: parameters, and calls into `npformer.functional`, forward and backward as siblings."""

from .checkpoint import Checkpoint
from .conv1d import Conv1d
from .decoder import Decoder
from .decoder_layer import DecoderLayer
from .dropout import Dropout
from .embedding import Embedding
from .encoder import Encoder
from .encoder_layer import EncoderLayer
from .feed_forward import FeedForward
from .kv_cache import KVCache
from .layer_norm import LayerNorm
from .learned_positional_encoding import LearnedPositionalEncoding
from .linear import Linear
from .linear_attention import LinearAttention
from .lstm import LSTM
from .multi_head_attention import MultiHeadAttention
from .relative_position_bias import RelativePositionBias
from .rms_norm import RMSNorm
from .rnn import RNN
from .sinusoidal_positional_encoding import SinusoidalPositionalEncoding

__all__ = [
    "Linear",
    "Conv1d",
    "Embedding",
    "LayerNorm",
    "RMSNorm",
    "Dropout",
    "MultiHeadAttention",
    "LinearAttention",
    "RNN",
    "LSTM",
    "FeedForward",
    "SinusoidalPositionalEncoding",
    "LearnedPositionalEncoding",
    "RelativePositionBias",
    "EncoderLayer",
    "DecoderLayer",
    "Encoder",
    "Decoder",
    "Checkpoint",
    "KVCache",
]
