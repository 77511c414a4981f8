"""The variants of each study, trained once for all studies that ask for them."""

from collections.abc import Callable, Iterable
from typing import Any

from .measures import BEYOND, WITHIN, Trained, mean_and_spread, train
from .model import WIDTH, Parts
from .tasks import TASKS, Task

POSITIONS: dict[str, dict[str, Any]] = {
    "none, both ways": {"position": "none", "causal": False},
    "none": {"position": "none"},
    "learned": {"position": "learned"},
    "sinusoidal": {"position": "sinusoidal"},
    "rotary": {"position": "rotary"},
    "alibi": {"position": "alibi"},
}
"""What is said of a place; causal but for the first, which may not see a text: it holds the
answers."""
HEADS = (1, 2, 4, 8, 16)
SCALES: dict[str, dict[str, Any]] = {
    f"{heads} of width {WIDTH // heads}, {'scaled' if scaled else 'not'}": {
        "heads": heads,
        "scaled": scaled,
    }
    for heads in (1, 4)
    for scaled in (True, False)
}
LEARNED = 1.0  # nats: a loss below it is a token that is being found


class Bench:
    """Trains what it is asked for, several times over, and keeps it.

    Parameters
    ----------
    steps : int
        Of each training.
    seeds : iterable of int
        One training each.

    Attributes
    ----------
    found : dict of (str, Parts) to list of Trained
        By the task's name and the parts, one for each seed.
    """

    def __init__(self, steps: int, seeds: Iterable[int]) -> None:
        self.steps, self.seeds = steps, tuple(seeds)
        self.found: dict[tuple[str, Parts], list[Trained]] = {}
        self._tasks: dict[str, Task] = {}

    def train(self, task: str, **changes: Any) -> list[Trained]:
        """Return models that learned a task, their parts the usual ones but for `changes`."""
        if task not in self._tasks:
            self._tasks[task] = TASKS[task]()
        what = self._tasks[task]
        parts = Parts(what.tokens, WITHIN[1], **changes)
        if (task, parts) not in self.found:
            self.found[task, parts] = [train(what, parts, self.steps, seed) for seed in self.seeds]
        return self.found[task, parts]

    def as_json(self) -> list[dict[str, Any]]:
        """Return all that was found, as what JSON can hold."""
        return [
            {
                "task": task,
                "parts": vars(parts),
                "parameters": parameters(runs),
                "runs": [
                    {
                        "seed": seed,
                        "steps_to_1_nat": run.steps_to(LEARNED),
                        "cpu_milliseconds_a_step": run.milliseconds,
                        "loss_of_steps": run.curve.tolist(),
                        "held_out": [
                            {"places": places, **(judged._asdict() if judged else {})}
                            for places, judged in zip((WITHIN, *BEYOND), run.judged, strict=True)
                        ],
                    }
                    for seed, run in zip(self.seeds, runs, strict=True)
                ],
            }
            for (task, parts), runs in self.found.items()
        ]


def parameters(runs: list[Trained]) -> int:
    """Return how many numbers each of some models has."""
    return sum(parameter.value.size for parameter in runs[0].model.parameters())


def summary(
    runs: list[Trained], what: Callable[[Trained], float | None]
) -> tuple[float, float] | None:
    """Return the mean and spread of a number; None where one of the models has none."""
    numbers = [what(run) for run in runs]
    known = [number for number in numbers if number is not None]
    return mean_and_spread(known) if len(known) == len(numbers) else None
