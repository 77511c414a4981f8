r"""What is measured: models trained alike, what an order is to one, and what a scale is to scores.

Order.  With a permutation P of the places, f is equivariant if f(P x) = P f(x): it answers about
each token what it would answer anywhere, so that it knows no order. What is measured is the
largest entry of f(P x) - P f(x), beside the largest of f(x): 0, but for rounding, or not.

Scale.  Of q and k with independent entries of mean 0 and variance 1, s = q . k has the variance
d_k. Softmax of a row s, with weights a, has the Jacobian

    J = diag(a) - a a^T                                          (functional/softmax.py)

and the gradient that arrives at the scores is J^T da. Its size is that of J: the Frobenius norm
is 0 where one weight is 1, and at n equal weights it is sqrt(n - 1) / n.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from .. import functional as F
from ..core.arrays import Array
from ..training import AdamW, Trainer
from .model import Parts, Reader
from .tasks import Task

LENGTH = 32  # places that models are trained on
WITHIN = (0, LENGTH)
BEYOND = ((LENGTH, LENGTH * 3 // 2), (LENGTH * 3 // 2, 2 * LENGTH), (2 * LENGTH, 4 * LENGTH))
_BATCH, _RATE = 16, 4e-3
_HELD_OUT = 128  # sequences
_RUN = 10  # steps that a running mean of the loss is over


class Judged(NamedTuple):
    """What a model does on held-out sequences, at some of their places."""

    loss: float  # nats an answer
    right: float  # share of answers that are right


class Trained(NamedTuple):
    """A model, and what its training and held-out sequences said of it."""

    model: Reader
    curve: Array  # (steps,)  the loss of each step
    milliseconds: float  # of the processor, a step
    judged: tuple[Judged | None, ...]  # places within, and beyond; None where it refuses

    def steps_to(self, loss: float) -> int | None:
        """Return after how many steps the mean loss of ten of them is below `loss`."""
        window = min(_RUN, len(self.curve))
        means = np.convolve(self.curve, np.full(window, 1 / window), "valid")
        below = np.flatnonzero(means < loss)
        return int(below[0]) + window if len(below) else None


class Order(NamedTuple):
    """How far f(P x) is from P f(x), beside the size of f(x)."""

    both_ways: float
    causal: float


class Scores(NamedTuple):
    """Of scores q . k, divided by a number or not, and their softmax."""

    variance: float
    entropy: float  # nats, mean over rows
    median: float  # over rows, of the Frobenius norm of softmax's Jacobian
    mean: float  # of the same


def train(task: Task, parts: Parts, steps: int, seed: int) -> Trained:
    """Train a `Reader` on `LENGTH` places, and judge it within them and beyond.

    Parameters
    ----------
    task : Task
    parts : Parts
    steps : int
        Of AdamW, on 16 sequences each; the rate rises for a tenth of them, and falls to 0 over
        the second half.
    seed : int
        Of weights and sequences: models of one seed are trained on the same ones. All are judged
        on the same ones, whatever the seed.

    Returns
    -------
    Trained
    """
    weights, sequences = (np.random.default_rng([seed, part]) for part in range(2))
    model = Reader(parts, weights)
    trainer = Trainer(
        model,
        AdamW(model.parameters(), lr=_RATE, weight_decay=0.0),
        schedule=lambda step: _RATE * min(1, 10 * (step + 1) / steps, 2 * (1 - step / steps)),
        clip_norm=1.0,
        workers=1,
        rng=weights,
    )
    start = time.process_time()
    curve = [trainer.step(*task.draw(sequences, _BATCH, LENGTH, False)) for _ in range(steps)]
    milliseconds = 1e3 * (time.process_time() - start) / steps
    ids, targets = task.draw(np.random.default_rng(0), _HELD_OUT, BEYOND[-1][-1], True)
    judged = [judge(model, ids, targets, places) for places in (WITHIN, *BEYOND)]
    return Trained(model, np.array(curve), milliseconds, tuple(judged))


def judge(model: Reader, ids: Array, targets: Array, places: tuple[int, int]) -> Judged | None:
    """Let a model answer at places `first` to `last - 1`, having heard those up to `last - 1`.

    Parameters
    ----------
    model : Reader
    ids, targets : (batch, length) integer ndarray
    places : (int, int)
        first and last.

    Returns
    -------
    Judged or None
        None where the positions of the model end before the sequence.
    """
    first, last = places
    if model.config.position == "learned" and last > model.config.length:
        return None
    logits = model(ids[:, :last])[:, first:]
    targets = targets[:, first:last]
    loss, _ = F.cross_entropy(logits, targets)
    counted = targets != -100
    right = (np.argmax(logits, axis=-1) == targets)[counted]
    return Judged(float(loss), float(np.mean(right)))


def measure_order(position: str, *, rng: np.random.Generator) -> Order:
    """Measure f(P x) - P f(x) of a `Reader` with some positions, in float64, weights as drawn."""
    ids, permutation = rng.integers(0, 8, (4, LENGTH)), rng.permutation(LENGTH)
    found = []
    for causal in (False, True):
        parts = replace(Parts(8, LENGTH, position), causal=causal)
        model = Reader(parts, rng, np.float64)
        y = model(ids)
        difference = model(ids[:, permutation]) - y[:, permutation]
        found.append(float(np.abs(difference).max() / np.abs(y).max()))
    return Order(*found)


def measure_scores(
    d_k: int, divisor: float, *, rng: np.random.Generator, rows: int = 500, keys: int = 64
) -> Scores:
    """Draw queries and keys of variance 1, and measure q . k / divisor and its softmax."""
    q, k = rng.standard_normal((rows, d_k)), rng.standard_normal((keys, d_k))
    scores = q @ k.T / divisor
    a, _ = F.softmax(scores)
    entropy = -np.sum(a * np.log(np.maximum(a, 1e-300)), axis=-1)
    # |diag(a) - a a^T|^2 = sum a_i^2 - 2 sum a_i^3 + (sum a_i^2)^2
    squares = np.sum(a**2, axis=-1)
    norms = np.sqrt(np.maximum(squares - 2 * np.sum(a**3, axis=-1) + squares**2, 0.0))
    return Scores(
        float(scores.var()), float(entropy.mean()), float(np.median(norms)), float(norms.mean())
    )


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean, and half the distance from the least to the largest."""
    return math.fsum(values) / len(values), (max(values) - min(values)) / 2
