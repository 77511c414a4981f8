"""What the models learn: to repeat the token some places back, and to write text."""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np

from ..core.arrays import Array
from ..recipes._texts import python_documentation
from ..recipes._vocabulary import Vocabulary

BACK, VOCABULARY = 3, 16  # the token that is asked for, and how many different ones there are


class Task(NamedTuple):
    """Something that is learned.

    Attributes
    ----------
    name : str
    tokens : int
        Different ids.
    draw : callable
        Takes a generator, a number of sequences, their length, and whether they are held-out
        ones, and returns ids and answers, both (batch, length); -100 where there is no answer.
    """

    name: str
    tokens: int
    draw: Callable[[np.random.Generator, int, int, bool], tuple[Array, Array]]


def back() -> Task:
    """Random tokens; the answer at each place is the token `BACK` places before it.

    Nothing but the distance tells which one that is. A guess is right once in `VOCABULARY`.
    """

    def draw(
        rng: np.random.Generator, batch: int, length: int, held_out: bool
    ) -> tuple[Array, Array]:
        ids = rng.integers(0, VOCABULARY, (batch, length))
        targets = np.full_like(ids, -100)
        targets[:, BACK:] = ids[:, :-BACK]
        return ids, targets

    return Task("back", VOCABULARY, draw)


@cache
def text() -> Task:
    """Windows of Python's own documentation; the answer at each place is the next character.

    Nine tenths are trained on, the last is held out.

    Raises
    ------
    InputError
        If this Python comes without its documentation.
    """
    whole = python_documentation()
    vocabulary = Vocabulary(sorted(set(whole)))
    ids = vocabulary.encode(whole)
    cut = len(ids) * 9 // 10

    def draw(
        rng: np.random.Generator, batch: int, length: int, held_out: bool
    ) -> tuple[Array, Array]:
        part = ids[cut:] if held_out else ids[:cut]
        starts = rng.integers(0, len(part) - length, batch)
        windows = part[starts[:, None] + np.arange(length + 1)]
        return windows[:, :-1], windows[:, 1:]

    return Task("text", len(vocabulary), draw)


TASKS: dict[str, Callable[[], Task]] = {"back": back, "text": text}
"""Both by name; a text is read when it is asked for."""
