"""Layers: parameters, and calls into `npformer.functional`, forward and backward as siblings."""

from .decoder import Decoder
from .decoder_layer import DecoderLayer
from .dropout import Dropout
from .embedding import Embedding
from .encoder import Encoder
from .encoder_layer import EncoderLayer
from .feed_forward import FeedForward
from .layer_norm import LayerNorm
from .learned_positional_encoding import LearnedPositionalEncoding
from .linear import Linear
from .multi_head_attention import MultiHeadAttention
from .rms_norm import RMSNorm
from .sinusoidal_positional_encoding import SinusoidalPositionalEncoding

__all__ = [
    "Linear",
    "Embedding",
    "LayerNorm",
    "RMSNorm",
    "Dropout",
    "MultiHeadAttention",
    "FeedForward",
    "SinusoidalPositionalEncoding",
    "LearnedPositionalEncoding",
    "EncoderLayer",
    "DecoderLayer",
    "Encoder",
    "Decoder",
]
