"""Loops around models: optimizers, schedules, clipping, the trainer and its checkpoints.

Read in this order: `optimizer` and `sgd` (what a step is), `adam`, `lion`, `schedules`,
`clipping`, `trainer` (how a batch becomes a step), `checkpoint` and `archive` (the file).
"""

from typing import TYPE_CHECKING

from .._lazy import lazy

if TYPE_CHECKING:
    from . import schedules as schedules
    from .adam import Adam as Adam
    from .adam import AdamW as AdamW
    from .checkpoint import load_model as load_model
    from .clipping import clip_grad_norm as clip_grad_norm
    from .lion import Lion as Lion
    from .optimizer import Optimizer as Optimizer
    from .sgd import SGD as SGD
    from .trainer import Trainer as Trainer

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "Optimizer": "optimizer",
        "SGD": "sgd",
        "Adam": "adam",
        "AdamW": "adam",
        "Lion": "lion",
        "schedules": "",
        "clip_grad_norm": "clipping",
        "Trainer": "trainer",
        "load_model": "checkpoint",
    },
)
