"""Formats: files of named tensors, and arrays by name. Nothing here knows what they are for."""

from .gguf import GGUFTensors, open_gguf
from .safetensors import open_safetensors, write_safetensors
from .tensors import Tensors

__all__ = ["Tensors", "open_safetensors", "write_safetensors", "GGUFTensors", "open_gguf"]
