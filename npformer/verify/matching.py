"""Which gradient belongs to which argument: reading what a backward function returned.

Three habits are understood: one gradient for each floating-point argument; one for each
argument, None at the ids; and one for each that the signature has, None where it was not given.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np


class Misfit(ValueError):
    """The number of gradients fits no way of reading them."""


def as_list(result: Any) -> list[Any]:
    """Return what backward gave as a list: nothing, one gradient, or several."""
    if result is None:
        return []
    if isinstance(result, tuple | list):
        return list(result)
    return [result]


def count_given(result: Any) -> int:
    """Count the gradients in what backward returned."""
    return sum(gradient is not None for gradient in as_list(result))


def match(result: Any, floating: Sequence[bool]) -> list[Any]:
    """Return one gradient (or None) for each floating-point argument.

    Parameters
    ----------
    result : None, ndarray, or tuple of ndarray and None
        What backward returned.
    floating : sequence of bool
        For each argument of forward, in order, whether it is differentiated.

    Raises
    ------
    Misfit
        If there are more or fewer than can be told apart; the message says what was expected.
    """
    gradients = as_list(result)
    due = sum(floating)
    given = [gradient for gradient in gradients if gradient is not None]
    at_ids = [g for g, is_float in zip(gradients, floating, strict=False) if not is_float]
    if len(gradients) == len(floating) and all(gradient is None for gradient in at_ids):
        return [g for g, is_float in zip(gradients, floating, strict=True) if is_float]
    if len(gradients) == due:
        return gradients
    if len(given) == due:
        return given
    if not given:
        return [None] * due
    raise Misfit(
        f"backward returned {_say(gradients)} for {due} floating-point "
        f"argument{'s' if due != 1 else ''}; return one gradient for each, in the order of "
        f"forward's signature"
    )


def _say(gradients: list[Any]) -> str:
    shapes = ", ".join("None" if g is None else str(np.shape(g)) for g in gradients)
    return f"{len(gradients)} gradient{'s' if len(gradients) != 1 else ''} ({shapes})"
