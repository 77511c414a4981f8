"""Models: a configuration, an assembly of layers, and a loss. No mathematics of their own."""

from ._model import Model
from .bert import BERT, BERTConfig
from .clip import CLIP, CLIPConfig
from .ctc import CTC, CTCConfig
from .gpt import GPT, GPTConfig
from .transformer import Transformer, TransformerConfig
from .whisper import Whisper, WhisperConfig

__all__ = [
    "Model",
    "Transformer",
    "TransformerConfig",
    "GPT",
    "GPTConfig",
    "BERT",
    "BERTConfig",
    "CLIP",
    "CLIPConfig",
    "CTC",
    "CTCConfig",
    "Whisper",
    "WhisperConfig",
]
