"""The protocol that everything else speaks: arrays, parameters, layers, runs, errors, memory.

Importing this package asks glibc once to keep freed memory; see `npformer.core.memory`.
"""

from .arrays import Array, BoolArray
from .errors import CheckpointError, GradientError, MissingExtraError, NonFiniteError
from .initialize import skeleton
from .layer import Layer
from .memory import keep_freed_memory
from .parameter import Parameter
from .run import Run

keep_freed_memory()

__all__ = [
    "Array",
    "BoolArray",
    "Parameter",
    "Layer",
    "Run",
    "skeleton",
    "keep_freed_memory",
    "GradientError",
    "NonFiniteError",
    "CheckpointError",
    "MissingExtraError",
]
