"""A model small enough to read: two linear maps, tanh, dropout, and a loss over some targets."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

import npformer.functional as F
from npformer import Parameter
from npformer.models import Model


@dataclass(frozen=True)
class SmallConfig:
    d_in: int = 4
    d_hidden: int = 8
    classes: int = 3
    dropout: float = 0.25


class Small(Model):
    """Classifies rows; a target of -1 does not count."""

    config_type: ClassVar[type] = SmallConfig

    def __init__(self, config, *, rng=None, dtype=np.float32):
        rng = np.random.default_rng(rng)
        self.config = config
        shapes = {
            "w1": (config.d_hidden, config.d_in),
            "b1": (config.d_hidden,),
            "w2": (config.classes, config.d_hidden),
        }
        for name, shape in shapes.items():
            setattr(self, name, Parameter(rng.standard_normal(shape).astype(dtype), name))

    def forward(self, x, *, run=None):
        z, first = F.linear(x, self.w1.value, self.b1.value)
        h = np.tanh(z)
        keep = np.ones_like(h)
        if run is not None and run.rng is not None:
            rate = self.config.dropout
            keep = (run.rng.random(h.shape) >= rate).astype(h.dtype) / h.dtype.type(1 - rate)
        y, second = F.linear(h * keep, self.w2.value)
        return y, (first, h, keep, second)

    def backward(self, dy, saved, run=None):
        first, h, keep, second = saved
        dh, dw2, _ = F.linear_backward(dy, second)
        dx, dw1, db1 = F.linear_backward(dh * keep * (1 - h * h), first)
        for parameter, gradient in (self.w2, dw2), (self.w1, dw1), (self.b1, db1):
            parameter.add_grad(gradient)
        return dx

    def loss(self, x, targets, *, run=None):
        logits, saved = self.forward(x, run=run)
        p, _ = F.softmax(logits)
        counted = np.flatnonzero(targets >= 0)
        n = max(len(counted), 1)
        loss = -np.sum(np.log(p[counted, targets[counted]])) / logits.dtype.type(n)
        dlogits = np.zeros_like(p)
        dlogits[counted] = p[counted]
        dlogits[counted, targets[counted]] -= 1
        return loss, (saved, dlogits / logits.dtype.type(n))

    def loss_backward(self, saved, dloss=1.0):
        inner, dlogits = saved
        self.backward(dlogits * dlogits.dtype.type(dloss), inner)

    def loss_weight(self, x, targets):
        return int(np.count_nonzero(targets >= 0))


class Inseparable(Small):
    def loss_weight(self, x, targets):
        return None


def small(seed=0, dtype=np.float32, model=Small, **fields):
    return model(SmallConfig(**fields), rng=np.random.default_rng(seed), dtype=dtype)


def batch(seed=0, rows=12, dtype=np.float32, counted=None):
    """Rows and targets; with `counted`, only that many of the targets count, at the end."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, 4)).astype(dtype)
    targets = rng.integers(0, 3, rows)
    if counted is not None:
        targets[: rows - counted] = -1
    return x, targets


def everything(trainer):
    """All of a trainer's state, as something that can be compared with ==."""
    optimizer = trainer.optimizer
    return (
        {name: value.tobytes() for name, value in trainer.model.state_dict().items()},
        {slot: [a.tobytes() for a in arrays] for slot, arrays in optimizer.state.items()},
        optimizer.hyperparameters(),
        optimizer.steps,
        optimizer.decayed,
        repr(trainer.rng.bit_generator.state),
        (trainer.steps, trainer.workers, trainer.threads, trainer.accumulate, trainer.clip_norm),
    )
