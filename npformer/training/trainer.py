"""From a batch to a step: shards, their losses and gradients, clipping, learning rate, update.

The batch is split along its first axis into micro-batches, which follow each other (that is
accumulation: less memory, the same gradient), and each of these into shards, which stand side
by side. With w_s the number of targets that count in shard s, and W = sum_s w_s
    (1)  loss = sum_s (w_s / W) loss_s       the mean over all targets, however they are spread
    (2)  dloss_s = w_s / W                   what each shard's backward pass starts from
so that the result does not depend on how the batch was split: a mean of means would weigh a
target in a shard with much padding more than one in a full shard.

Shards run on threads, each with a replica of the model: the same values, gradients of its own.
Every shard has a seed of its own for dropout, and the gradients are added in the order of the
shards: a step is the same to the bit whichever thread runs a shard, and when.
"""

import math
import os
from collections.abc import Callable
from typing import Any, Literal, NoReturn

import numpy as np

from ..core.arrays import Array, check_size, describe
from ..core.errors import DivergedError, NonFiniteError
from ..core.threads import can_spread, each, num_threads
from ..models._model import Model
from .checkpoint import load_trainer, save_trainer
from .clipping import grad_norm
from .optimizer import Optimizer, real
from .shards import (
    Batch,
    Replicas,
    Shard,
    check_batch,
    count_positions,
    noted,
    rows_of,
    run_shard,
    split,
)

# A shard's gradients are written, read and added once more for each parameter, whatever the size
# of the batch; the work that two threads share grows with the batch. With 2,048 targets to 11
# million parameters two shards are faster than one, with 256 to 124 million they are slower.
_PARAMETERS_A_POSITION = 50_000
# Threads cost time of their own, so a micro-batch has to have work to share: here multiply-adds of
# its forward pass, parameters times positions. Of GPTs of 4 layers on two busy cores, two shards
# against one: 9 to 14 ms at 4e6, 64 to 57 at 1.2e7, 73 to 30 at 8e7, and 480 to 220 at 6e8, which
# is nanoGPT's for a CPU (804,096 parameters, 768 positions).
_LEAST_WORK = 3e7


class Trainer:
    """Trains a model step by step, and saves and restores the whole of its state.

    Parameters
    ----------
    model : Model
        Anything with the protocol of `npformer.models.Model`.
    optimizer : Optimizer
        Over parameters of this model; those left out are not trained.
    schedule : callable, optional
        From the number of the step, from 0, to its learning rate. By default the optimizer's
        own `lr` stays as it is.
    clip_norm : float, optional
        Scale gradients down to this common L2 norm.
    accumulate : int, optional
        Split each batch into this many micro-batches, run one after the other.
    workers : int or "auto", optional
        Split each micro-batch into this many shards, side by side on as many threads as there
        are (`npformer.set_num_threads`), each with gradients of its own. "auto" is one a thread
        where the batch is large enough to pay for these gradients, and else one shard, whose
        matrix products BLAS spreads over the threads. It is decided at every step, from the
        shapes of the batch and the size of the model alone.
    rng : numpy.random.Generator, optional
        Where the seeds of dropout come from, one a shard at each step. None draws from fresh
        entropy; dropout acts either way.

    Attributes
    ----------
    model, optimizer
        As given; they stay.
    schedule, clip_norm, accumulate, workers, rng
        As given; they may be changed between steps.
    threads : int or None
        How many threads "auto" counts on: those of its first step, and from then on always, so
        that a resumed run is the same wherever it runs. None before; assign None to count anew.
    steps : int
        Number of steps taken.
    norm : float
        L2 norm of the last step's gradients, before clipping; NaN before the first step.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind.
    ValueError
        If a number is out of range, or the optimizer has a parameter that is not the model's.

    Examples
    --------
    >>> trainer = Trainer(model, AdamW(model.parameters()), clip_norm=1.0)  # doctest: +SKIP
    >>> loss = trainer.step(ids, targets)  # doctest: +SKIP
    """

    def __init__(
        self,
        model: Model,
        optimizer: Optimizer,
        *,
        schedule: Callable[[int], float] | None = None,
        clip_norm: float | None = None,
        accumulate: int = 1,
        workers: int | Literal["auto"] = "auto",
        rng: np.random.Generator | None = None,
    ) -> None:
        for method in ("loss", "loss_backward", "loss_weight", "named_parameters", "replica"):
            if not callable(getattr(model, method, None)):
                raise TypeError(
                    f"Trainer: model is {describe(model)} without the method {method}; expected a "
                    f"Model, so derive it from npformer.models.Model"
                )
        if not isinstance(optimizer, Optimizer):
            raise TypeError(
                f"Trainer: optimizer is {describe(optimizer)}; expected an Optimizer, such as "
                f"AdamW(model.parameters())"
            )
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        for index, parameter in enumerate(optimizer.parameters):
            if id(parameter) not in names:
                raise ValueError(
                    f"Trainer: the optimizer's parameters[{index}] {parameter.shape} is not one of "
                    f"the {type(model).__name__}; make the optimizer from this model's parameters()"
                )
        self.model = model
        self.optimizer = optimizer
        self.schedule = schedule
        self.clip_norm = clip_norm
        self.accumulate = accumulate
        self.workers = workers
        self.rng = np.random.default_rng() if rng is None else rng
        self.threads: int | None = None
        self.steps = 0
        self.norm = math.nan
        self._names = names
        self._replicas = Replicas()
        self._check_settings("Trainer")

    def step(self, *batch: Array | None) -> float:
        """Take one step, and return the loss of the batch before it.

        Parameters
        ----------
        *batch : ndarray or None
            What the model's `loss` takes, all with the same first axis. A batch of fewer rows
            than there are shards is split into fewer.

        Returns
        -------
        float
            The mean over all targets that count; 0 if none does.

        Raises
        ------
        NonFiniteError
            If the loss or the norm of the gradients is infinite or NaN: with the step's
            number. Parameters and optimizer are as before.
        TypeError
            If something in the batch is neither an ndarray nor None, or a setting that was
            assigned is of the wrong kind.
        ValueError
            If the batch is empty, first axes differ, a setting is out of range, the schedule
            gives no learning rate, or the batch was to be split and the model's loss is not a
            mean over parts.
        """
        self._check_settings("Trainer.step")
        rows = check_batch("Trainer.step", batch)
        lr = self.optimizer.lr
        if self.schedule is not None:
            lr = real("Trainer.step", f"schedule({self.steps})", self.schedule(self.steps))
        micro_batches = self._plan(batch, rows)
        self.model.zero_grad()
        for parameter in self.optimizer.parameters:  # one may have left the model since
            parameter.zero_grad()
        loss = 0.0
        for shards in micro_batches:
            try:
                parts = self._run(shards)
            except DivergedError as error:
                self._stop(f"the loss is not defined ({error})", lr)
            for shard, part in zip(shards, parts, strict=True):
                if not math.isfinite(part):
                    self._stop(f"the loss is {part}", lr)
                loss += shard.share * part  # (1)
        try:
            self.norm = grad_norm([(self._names[id(p)], p) for p in self.optimizer.parameters])
        except NonFiniteError as error:
            self._stop(str(error), lr)
        scale = 1.0
        if self.clip_norm is not None and self.norm > self.clip_norm:
            scale = self.clip_norm / self.norm
        self.optimizer.lr = lr
        self.optimizer.step(scale)
        self.steps += 1
        if self.workers == "auto":
            self.threads = self._threads_now()
        return loss

    def evaluate(self, *batch: Array | None) -> float:
        """Return the loss of a batch without dropout; nothing is changed.

        Parameters
        ----------
        *batch : ndarray or None
            As `step` takes it. It is split by `accumulate`, if the model's loss allows.

        Raises
        ------
        TypeError, ValueError
            If the batch is not one, or a setting is wrong, as in `step`.
        """
        self._check_settings("Trainer.evaluate")
        rows = check_batch("Trainer.evaluate", batch)
        pieces = split(range(rows), self.accumulate)
        parts = [rows_of(batch, piece) for piece in pieces]
        weights = [self.model.loss_weight(*part) for part in parts]
        if len(parts) == 1 or None in weights:
            return float(self.model.loss(*batch)[0])
        total = sum(weight or 0 for weight in weights)
        shares = [(weight or 0) / total if total else 0.0 for weight in weights]
        loss = 0.0
        for share, part, piece in zip(shares, parts, pieces, strict=True):
            if share:
                with noted(piece):
                    loss += share * float(self.model.loss(*part)[0])
        return loss

    def save(self, path: str | os.PathLike[str], **metadata: Any) -> None:
        """Write all that a later run needs to go on as if there had been no break.

        That is the model's parameters and configuration, the optimizer's settings and state,
        the generator's state, the number of steps, `workers` and `threads`, `accumulate` and
        `clip_norm`.
        The schedule is a function, and is given again.

        Parameters
        ----------
        path : str or path
            Exactly this file is written, whole or not at all: if saving fails, an older file
            of that name stays. `numpy.load` opens it.
        **metadata
            Anything that JSON can hold; `load` and `load_model` give it back, tuples as lists.

        Raises
        ------
        ValueError
            If metadata is not JSON: with its name.
        OSError
            If the file cannot be written.
        """
        self._check_settings("Trainer.save")
        save_trainer(self, path, metadata)

    def load(self, path: str | os.PathLike[str]) -> dict[str, Any]:
        """Go on where a checkpoint was saved: the next steps are the same to the bit.

        The trainer has to hold a model of the same class, configuration and dtype, an
        optimizer of the same class over the same parameters, and a generator of the same kind.
        Everything else that decides the next step but the schedule is taken from the file, also
        the optimizer's settings, `workers` and `threads`, `accumulate` and `clip_norm`; to
        change one of them, assign to it afterwards.

        Parameters
        ----------
        path : str or path
            As written by `save`.

        Returns
        -------
        dict
            The metadata.

        Raises
        ------
        CheckpointError
            If the file is broken or does not fit, with what was found, what was expected and
            what to do. Nothing is changed.
        OSError
            If it cannot be opened.
        """
        self._check_settings("Trainer.load")
        return load_trainer(self, path)

    def _check_settings(self, owner: str) -> None:
        """Refuse settings that are not what they have to be: they may be assigned at any time."""
        if self.schedule is not None and not callable(self.schedule):
            raise TypeError(
                f"{owner}: schedule is {self.schedule!r}; expected a function from step number to "
                f"learning rate, such as schedules.constant(1e-3)"
            )
        if not isinstance(self.rng, np.random.Generator):
            raise TypeError(
                f"{owner}: rng is {self.rng!r}; expected a numpy.random.Generator, such as "
                f"np.random.default_rng(0)"
            )
        if self.clip_norm is not None:
            self.clip_norm = real(owner, "clip_norm", self.clip_norm, positive=True)
        check_size(owner, accumulate=self.accumulate)
        self.accumulate = int(self.accumulate)
        if self.workers != "auto":
            check_size(owner, workers=self.workers)
            self.workers = int(self.workers)
        if self.threads is not None:
            check_size(owner, threads=self.threads)
            self.threads = int(self.threads)

    def _threads_now(self) -> int:
        """Return how many threads "auto" counts on in the next step."""
        return self.threads or (num_threads() if can_spread() else 1)

    def _shards(self, batch: Batch, rows: int) -> int:
        """Return how many shards each micro-batch is split into: as told, or as is fastest.

        By the positions that are computed, whether or not their targets count: so the same
        shapes always give the same number.
        """
        if self.workers != "auto":
            return self.workers
        threads = self._threads_now()
        if threads == 1 or self.model.loss_weight(*batch) is None:
            return 1
        parameters = sum(parameter.value.size for parameter in self.model.parameters())
        positions = count_positions(batch) / self.accumulate
        enough = positions * parameters >= _LEAST_WORK
        worth = enough and positions * _PARAMETERS_A_POSITION >= parameters
        return min(threads, max(1, rows // self.accumulate)) if worth else 1

    def _plan(self, batch: Batch, rows: int) -> list[list[Shard]]:
        """Split a batch into micro-batches of shards, with shares and seeds; equation (2)."""
        side_by_side = self._shards(batch, rows)
        parts = [
            [(part, rows_of(batch, part)) for part in split(micro, side_by_side)]
            for micro in split(range(rows), self.accumulate)
        ]
        if self.accumulate == side_by_side == 1:
            shares = iter([1.0])
        else:
            weights = [self._weight(part) for shards in parts for _, part in shards]
            total = sum(weights)
            shares = iter([weight / total if total else 0.0 for weight in weights])
        divided = len(parts) > 1 or len(parts[0]) > 1
        return [
            [
                Shard(
                    part,
                    next(shares),
                    int(self.rng.integers(2**63 - 1)),
                    of_batch if divided else range(0),
                )
                for of_batch, part in shards
            ]
            for shards in parts
        ]

    def _weight(self, part: Batch) -> int:
        weight = self.model.loss_weight(*part)
        name = type(self.model).__name__
        if weight is None:
            raise ValueError(
                f"Trainer.step: the loss of {name} is not a mean over parts of the batch, and "
                f"accumulate is {self.accumulate}, workers {self.workers!r}; expected 1 of each, "
                f"so make the batch itself smaller"
            )
        if isinstance(weight, bool) or not isinstance(weight, int | np.integer) or weight < 0:
            raise TypeError(
                f"Trainer.step: {name}.loss_weight returned {weight!r}; expected the number of "
                f"targets that count, an int, or None"
            )
        return int(weight)

    def _run(self, shards: list[Shard]) -> list[float]:
        """Run shards that stand side by side, and add their gradients to the model's, in order."""
        replicas = self._replicas.of(self.model, len(shards) - 1) if len(shards) > 1 else []
        work = zip([self.model, *replicas], shards, strict=True)
        losses = each(lambda part: run_shard(*part), work)
        for replica in replicas:
            for own, twin in zip(self.model.parameters(), replica.parameters(), strict=True):
                own.add_grad(twin.grad)
        return losses

    def _stop(self, what: str, lr: float) -> NoReturn:
        raise NonFiniteError(
            f"step {self.steps}: {what}; the parameters are as they were before this step. Lower "
            f"the learning rate (here {lr:.3g}), clip gradients (clip_norm=1.0), or "
            f"look for bad values in the batch"
        )
