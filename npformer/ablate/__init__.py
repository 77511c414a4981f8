"""A small Transformer with parts exchanged or taken away: what ``npformer ablate`` shows."""

from .measures import (
    Judged,
    Order,
    Scores,
    Trained,
    judge,
    mean_and_spread,
    measure_order,
    measure_scores,
    train,
)
from .model import Parts, Reader
from .tasks import TASKS, Task

__all__ = [
    "TASKS",
    "Judged",
    "Order",
    "Parts",
    "Reader",
    "Scores",
    "Task",
    "Trained",
    "judge",
    "mean_and_spread",
    "measure_order",
    "measure_scores",
    "train",
]
