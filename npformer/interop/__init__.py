"""Interop: parameters of other libraries' modules, in layers here and back."""

from .torch import load_torch, torch_gradients, torch_state

__all__ = ["load_torch", "torch_state", "torch_gradients"]
