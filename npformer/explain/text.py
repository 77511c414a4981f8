"""An explanation as text for a terminal."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from .trace import Explanation, Step, gradient_of

_ENTRIES, _EDGE = 60, 3  # of a larger array, so many are shown at each end of each axis


def as_text(found: Explanation) -> str:
    """Write an explanation as lines of text.

    Parameters
    ----------
    found : Explanation

    Returns
    -------
    str
        The equation, the line of code, and the values that it made, for each step; then every
        gradient beside its exact derivative.
    """
    return "\n".join(_lines(found))


def _lines(found: Explanation) -> Iterator[str]:
    yield f"{found.example.name}, defined in npformer/functional/{found.module.name}"
    for name, value in found.inputs.items():
        yield ""
        yield from shown(name, value)
    for backward in (False, True):
        yield ""
        if backward:
            yield "Backward: the same from the end, with a random gradient of the output"
            yield from shown("dy", found.dy)
        else:
            yield "Forward"
        for step in found.steps:
            if step.backward == backward:
                yield ""
                yield from _step(step, found)
        if not backward:
            yield ""
            yield from shown("y", found.y)
    yield ""
    yield "Every entry of every gradient against an exact derivative"
    for name, verdict in verdicts(found):
        yield f"  d{name:8} {verdict}"


def _step(step: Step, found: Explanation) -> Iterator[str]:
    for tag in step.tags:
        yield from equation(tag, found)
    yield f"  {step.function}, line {step.line}:  {step.source}"
    for name, value in step.made.items():
        yield from ("  " + line for line in shown(name, value))
        yield from ("  " + line for line in shapes(name, value, found))


def equation(tag: str, found: Explanation) -> list[str]:
    """Return an equation of the module's, with its tag, as lines."""
    first, *more = found.equations.get(tag, "").split("\n")
    return [f"({tag}) {first}".rstrip(), *("     " + line for line in more)]


def shapes(name: str, value: Any, found: Explanation) -> list[str]:
    """Say whether a gradient has the shape of what it is the gradient of, if that was seen."""
    of = gradient_of(name, found.steps) if name.startswith("d") and len(name) > 1 else None
    if of is None or not isinstance(value, np.ndarray):
        return []
    if of.shape == value.shape:
        return [f"  the shape of {name[1:]}, as it should be"]
    return [f"  {name[1:]} is {of.shape}: not yet summed over what was copied, or in parts"]


def shown(name: str, value: Any) -> list[str]:
    """Return a value with its shape and numbers, as lines."""
    if not isinstance(value, np.ndarray) or not value.ndim:
        return [f"{name} = {float(value):.6g}" if np.ndim(value) == 0 else f"{name} = {value}"]
    numbers = np.array2string(
        value,
        precision=4,
        suppress_small=True,
        threshold=_ENTRIES,
        edgeitems=_EDGE,
        max_line_width=88,
    )
    lines = [line for line in numbers.splitlines() if line.strip()]
    return [f"{name} {value.shape} {value.dtype}", *("  " + line for line in lines)]


def verdicts(found: Explanation) -> list[tuple[str, str]]:
    """Return each gradient's name, and what came of comparing it."""
    words = {"pass": "agrees", "zero": "is zero, as it should be", "fail": "IS WRONG"}
    return [
        (
            entry.name,
            f"{words.get(entry.verdict, entry.verdict)} (relative error {entry.worst_error:.0e}, "
            f"by the {entry.method})",
        )
        for entry in found.report.entries
    ]
