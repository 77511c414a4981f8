"""Formats: files of named tensors, and of tokenizers. Nothing here knows what they are for."""

from .chat_template import ChatTemplate
from .gguf import GGUFTensors, open_gguf
from .safetensors import open_safetensors, write_safetensors
from .tensors import Tensors
from .tokenizer import TextStream, Tokenizer, open_tokenizer

__all__ = [
    "Tensors",
    "open_safetensors",
    "write_safetensors",
    "GGUFTensors",
    "open_gguf",
    "Tokenizer",
    "TextStream",
    "open_tokenizer",
    "ChatTemplate",
]
