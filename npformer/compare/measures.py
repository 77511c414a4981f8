r"""What is measured: time against length, how far a gradient reaches, and what is remembered.

Reach.  With J_t = dy_T / dx_t, the Jacobian (D, D) of the last output by the input d = T - t places
before, the gradient that arrives there is dx_t = J_t^T dy_T. Of random dy_T with entries of +1 or
-1, independent, E[dy dy^T] = 1 and so

    E |J_t^T dy|^2 = E tr(J_t^T dy dy^T J_t) = tr(J_t^T J_t) = |J_t|^2     (Frobenius)

so that the mean over draws of the squared gradient is the squared norm of the Jacobian
(Hutchinson's estimate), and one backward pass a draw gives it for all distances.

Recall.  A sequence of random tokens; the answer, at its last place, is the token d places before.
All others tell nothing about it, so that a model which cannot hear d places back does no better
than a guess, 1 in V.

Of a model that recalls, x_t is what its mixer is given, token and position in one vector, and y_T
what its head is given: the mixer alone is followed, before its training and after. What it is
given are sequences that it has not seen, and the squares are averaged over them, too.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from .. import functional as F
from ..core.arrays import Array
from ..core.layer import Layer
from ..core.run import Run
from ..layers import Embedding, LearnedPositionalEncoding, Linear
from ..training import AdamW, clip_grad_norm
from .mixers import MIXERS, Mixer

VOCABULARY = 16  # tokens of the recall task: a guess is right once in 16
_BATCH = 32
_HELD_OUT = 512  # sequences that a model has not seen
_FOLLOWED = 32  # of them, through which gradients are followed


class Times(NamedTuple):
    """Seconds of one pass forward and backward, for each length."""

    lengths: tuple[int, ...]
    seconds: tuple[float, ...]

    @property
    def exponent(self) -> float:
        """The power of the length that the longer half of them shows."""
        half = min(len(self.lengths) // 2, len(self.lengths) - 2)
        return exponent(self.lengths[half:], self.seconds[half:])


class Reach(NamedTuple):
    """The norm of dy_T / dx_t at each distance T - t, from 0 on."""

    norms: Array  # (length,)

    def at(self, distance: int) -> float:
        """Relative to the norm at distance 0."""
        return float(self.norms[distance] / self.norms[0])


class Recall(NamedTuple):
    """What a model learned of a token at a distance."""

    width: int
    parameters: int
    right: float  # share of held-out answers that are right
    before: Reach  # of its mixer, as drawn
    after: Reach  # of its mixer, trained


def exponent(lengths: Sequence[int], seconds: Sequence[float]) -> float:
    """Fit seconds = c length^a by least squares of logarithms, and return a.

    Parameters
    ----------
    lengths, seconds : sequences of positive numbers, two or more, of the same length

    Raises
    ------
    ValueError
        If there are fewer than two, or not equally many, or one is not positive.
    """
    if len(lengths) != len(seconds) or len(lengths) < 2:
        raise ValueError(
            f"exponent: {len(lengths)} lengths and {len(seconds)} times; expected two or more of "
            f"each, and as many of both"
        )
    if min(*lengths, *seconds) <= 0:
        raise ValueError("exponent: a length or a time is not positive, and has no logarithm")
    slope: float = np.polyfit(np.log(lengths), np.log(seconds), 1)[0]
    return float(slope)


def measure_times(
    mixer: Mixer,
    lengths: Iterable[int],
    width: int,
    *,
    repeats: int = 5,
    rng: np.random.Generator,
    dtype: DTypeLike = np.float32,
) -> Times:
    """Time one pass forward and backward on one sequence of each length.

    Parameters
    ----------
    mixer : Mixer
    lengths : iterable of int
    width : int
    repeats : int, optional
        The least of so many is taken: what disturbs a pass only makes it longer.
    rng : numpy.random.Generator
    dtype : float32 or float64, optional

    Returns
    -------
    Times
    """
    layer, lengths, seconds = mixer.build(width, rng, dtype), tuple(lengths), []
    for length in lengths:
        x = rng.standard_normal((1, length, width)).astype(dtype)
        found = []
        for _ in range(repeats):
            start = time.perf_counter()
            y, saved = layer.forward(x)
            layer.backward(y, saved)
            found.append(time.perf_counter() - start)
        seconds.append(min(found))
    return Times(lengths, tuple(seconds))


def measure_reach(layer: Layer, x: Array, *, rng: np.random.Generator, draws: int = 8) -> Reach:
    """Estimate |dy_T / dx_t| for all t.

    Parameters
    ----------
    layer : Layer
        That a `Mixer` has built, or that was trained since.
    x : (batch, length, width) ndarray
        What it is given. The squared norms are averaged over the batch.
    rng : numpy.random.Generator
        Of the cotangents.
    draws : int, optional
        Cotangents for each sequence, over which the squares are averaged.

    Returns
    -------
    Reach
    """
    y, saved = layer.forward(x)
    squares = np.zeros(x.shape[1])
    for _ in range(draws):
        dy = np.zeros_like(y)
        dy[:, -1] = rng.choice([-1.0, 1.0], dy[:, -1].shape)
        dx: Array = layer.backward(dy, saved)
        squares += np.mean(np.sum(dx.astype(np.float64) ** 2, axis=-1), axis=0)
    return Reach(np.sqrt(squares / draws)[::-1])


class Recaller(Layer):
    """Tokens, with their positions, through a mixer to the classes of the answer.

    Parameters
    ----------
    mixer : Mixer
    width, length : int
    rng : numpy.random.Generator
    dtype : float32 or float64, optional
    """

    def __init__(
        self,
        mixer: Mixer,
        width: int,
        length: int,
        rng: np.random.Generator,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.tokens = Embedding(VOCABULARY, width, rng=rng, dtype=dtype)
        self.positions = LearnedPositionalEncoding(width, length, rng=rng, dtype=dtype)
        for table in (self.tokens.weight, self.positions.weight):
            table.value /= np.std(table.value)  # as large as what a norm would make of them
        self.mixer = mixer.build(width, rng, dtype)
        self.head = Linear(width, VOCABULARY, rng=rng, dtype=dtype)

    def forward(self, ids: Array, *, run: Run | None = None) -> tuple[Array, Any]:
        """Map ids (batch, length) to logits (batch, VOCABULARY) of the last place."""
        x, (tokens, positions) = self.embed(ids)
        h, mixed = self.mixer.forward(x, run=run)
        logits, head = self.head.forward(h[:, -1])
        return logits, (tokens, positions, mixed, head, h.shape)

    def embed(self, ids: Array) -> tuple[Array, tuple[Any, Any]]:
        """Map ids (batch, length) to what the mixer is given (batch, length, width)."""
        e, tokens = self.tokens.forward(ids)
        x, positions = self.positions.forward(e)
        return x, (tokens, positions)

    def reach(self, ids: Array, rng: np.random.Generator) -> Reach:
        """Follow gradients through the mixer, as it is, on ids (batch, length)."""
        return measure_reach(self.mixer, self.embed(ids)[0], rng=rng)

    def backward(self, dy: Array, saved: Any, run: Run | None = None) -> None:
        """Add to the gradients of all weights."""
        tokens, positions, mixed, head, shape = saved
        dh = np.zeros(shape, dy.dtype)
        dh[:, -1] = self.head.backward(dy, head)
        dx = self.mixer.backward(dh, mixed)
        self.tokens.backward(self.positions.backward(dx, positions), tokens)


def measure_recall(
    mixer: Mixer, distance: int, width: int, *, steps: int, rng: np.random.Generator
) -> Recall:
    """Train a `Recaller` on fresh sequences, and test it on others that it has not seen.

    Parameters
    ----------
    mixer : Mixer
    distance : int
        From the last place to the one that is asked for.
    width : int
    steps : int
        Of AdamW, on 32 sequences of `distance` + 1 tokens each.
    rng : numpy.random.Generator

    Returns
    -------
    Recall
    """
    length = distance + 1
    model = Recaller(mixer, width, length, rng)
    optimizer = AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    held_out = rng.integers(0, VOCABULARY, (_HELD_OUT, length))
    before = model.reach(held_out[:_FOLLOWED], rng)
    for _ in range(steps):
        ids = rng.integers(0, VOCABULARY, (_BATCH, length))
        logits, saved = model.forward(ids)
        _, kept = F.cross_entropy(logits, ids[:, 0])
        model.zero_grad()
        model.backward(F.cross_entropy_backward(1.0, kept), saved)
        clip_grad_norm(model.parameters(), 1.0)
        optimizer.step()
    right = float(np.mean(np.argmax(model(held_out), axis=-1) == held_out[:, 0]))
    count = sum(parameter.value.size for parameter in model.mixer.parameters())
    return Recall(width, count, right, before, model.reach(held_out[:_FOLLOWED], rng))


def all_recalls(
    distances: Sequence[int], parameters: int, steps: int, seed: int
) -> Iterator[tuple[str, int, Recall]]:
    """Yield the recall of every mixer at every distance, at about equally many parameters."""
    for mixer in MIXERS.values():
        width = mixer.width_for(parameters)
        for distance in distances:
            rng = np.random.default_rng([seed, distance])
            yield mixer.name, distance, measure_recall(mixer, distance, width, steps=steps, rng=rng)
