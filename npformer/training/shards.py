"""Parts of a batch: how it is split, and how one part is run."""

import contextlib
import dataclasses
import math
from collections.abc import Iterator
from types import NoneType
from typing import Any, NamedTuple

import numpy as np

from ..core.arrays import Array, describe
from ..core.layer import Layer
from ..core.parameter import Parameter
from ..core.run import Run
from ..models._model import Model

_PLAIN = frozenset({int, float, str, bool, NoneType})
Batch = tuple[Array | None, ...]


class Shard(NamedTuple):
    """A part of a batch: all that is needed to run it."""

    batch: Batch
    share: float  # of the whole batch's targets
    seed: int  # of its dropout
    rows: range  # of the whole batch, for messages; empty where this is all of it


class Replicas:
    """A model's replicas, made anew whenever something on one of its layers has changed.

    To make one takes longer than to look for a change, and its gradients would be new memory.
    An array that is not a parameter counts as changed when another takes its place.
    """

    def __init__(self) -> None:
        self._made: list[Model] = []
        self._state: list[Any] = []

    def of(self, model: Model, number: int) -> list[Model]:
        """Return so many replicas of the model as it is now, their gradients zero."""
        state: list[Any] = []
        _describe(model, state, set())
        if not _same(state, self._state):
            self._made, self._state = [], state
        while len(self._made) < number:
            self._made.append(model.replica())
        for replica in self._made[:number]:
            replica.zero_grad()
        return self._made[:number]


def _describe(item: Any, state: list[Any], seen: set[int]) -> None:
    """Add to `state` an object and all that it holds, as a list of objects in a fixed order."""
    state.append(item)
    if type(item) in _PLAIN or isinstance(item, (Parameter, np.ndarray)) or id(item) in seen:
        return
    if isinstance(item, dict):
        held = item
    elif isinstance(item, (list, tuple, set, frozenset)):
        seen.add(id(item))
        state.append(len(item))
        for child in item:
            _describe(child, state, seen)
        return
    elif isinstance(item, Layer) or dataclasses.is_dataclass(item):
        held = getattr(item, "__dict__", {})
    else:
        return
    seen.add(id(item))
    state.append(len(held))
    for key, child in held.items():
        state.append(key)
        if type(child) in _PLAIN:  # as most are, and told at once
            state.append(child)
        else:
            _describe(child, state, seen)


def _same(state: list[Any], other: list[Any]) -> bool:
    """Say whether two descriptions are of the same objects, plain values being equal."""
    return len(state) == len(other) and all(
        a is b or (type(a) is type(b) and type(a) in _PLAIN and a == b)
        for a, b in zip(state, other, strict=True)
    )


def run_shard(model: Model, shard: Shard) -> float:
    """Return the loss of a shard and add its gradient, times its share, to the model's.

    It touches nothing but `model`'s gradients, so that shards may run on threads, each with a
    replica. Where no target counts, or the loss is not finite, there is no backward pass.
    """
    if shard.share == 0.0:
        return 0.0
    with noted(shard.rows):
        loss, saved = model.loss(*shard.batch, run=Run(np.random.default_rng(shard.seed)))
        value = float(loss)
        if math.isfinite(value):
            model.loss_backward(saved, shard.share)
    return value


@contextlib.contextmanager
def noted(rows: range) -> Iterator[None]:
    """Add to an error which rows of the batch it speaks of; before Python 3.11 it goes without."""
    try:
        yield
    except Exception as error:
        add_note = getattr(error, "add_note", None)
        if add_note is not None and rows:
            last = f" to {rows[-1]}" if len(rows) > 1 else ""
            add_note(f"in row{'s' * bool(last)} {rows.start}{last} of the batch, counted from 0")
        raise


def check_batch(owner: str, batch: Batch) -> int:
    """Return the number of rows of a batch.

    Raises
    ------
    TypeError
        If an entry is neither an ndarray nor None.
    ValueError
        If there are no rows, or the entries disagree on their number.
    """
    lengths: dict[int, int] = {}
    for index, entry in enumerate(batch):
        if entry is None:
            continue
        if not isinstance(entry, np.ndarray):
            raise TypeError(
                f"{owner}: batch[{index}] is {describe(entry)}; expected an ndarray or None, so "
                f"convert it with np.asarray"
            )
        if entry.ndim == 0:
            raise ValueError(
                f"{owner}: batch[{index}] is {describe(entry)}; expected a first axis that counts "
                f"the rows of the batch"
            )
        lengths[index] = entry.shape[0]
    if not lengths or 0 in lengths.values():
        shapes = [None if entry is None else entry.shape for entry in batch]
        raise ValueError(
            f"{owner}: the batch is empty, its shapes are {shapes}; expected at least one row"
        )
    if len(set(lengths.values())) > 1:
        raise ValueError(
            f"{owner}: the first axes of the batch differ, {lengths} by position; expected one "
            f"length, the number of rows (broadcast with np.broadcast_to what all rows share)"
        )
    return next(iter(lengths.values()))


def count_positions(batch: Batch) -> int:
    """Return how many positions a model computes for a batch, from its shapes alone.

    That is the size of the largest array of integers, such as token ids; without one, the
    number of rows.
    """
    present = [entry for entry in batch if entry is not None]
    integers = [entry.size for entry in present if entry.dtype.kind in "iu"]
    return max(integers, default=len(present[0]))


def split(rows: range, parts: int) -> list[range]:
    """Split rows into at most `parts` parts, none empty, of sizes that differ by one at most."""
    parts, size = min(parts, len(rows)), len(rows)
    return [rows[size * part // parts : size * (part + 1) // parts] for part in range(parts)]


def rows_of(batch: Batch, rows: range) -> Batch:
    """Return these rows of every entry, as views."""
    return tuple(None if entry is None else entry[rows.start : rows.stop] for entry in batch)
