"""The arguments of forward: named by its signature, copied, and refused if they are not arrays."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.arrays import Array, describe


@dataclass
class Argument:
    """One argument of forward: positional, or a floating-point array among the options."""

    name: str
    value: Any
    keyword: bool
    floating: bool


def _argument_names(forward: Callable[..., Any], count: int) -> tuple[list[str], list[str]]:
    """Return names for `count` positional arguments, and all names in the signature's order."""
    try:
        parameters = list(inspect.signature(forward).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    positional = [
        p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    names = [positional[i] if i < len(positional) else f"input {i}" for i in range(count)]
    return names, [p.name for p in parameters]


def arguments_of(
    forward: Callable[..., Any], inputs: tuple[Any, ...], options: Mapping[str, Any]
) -> list[Argument]:
    """List the positional arguments, then the floating-point arrays among the options.

    Raises
    ------
    TypeError
        If a positional argument is neither an array nor None, or has a dtype of no use.
    """
    names, order = _argument_names(forward, len(inputs))
    found = []
    for name, value in zip(names, inputs, strict=True):
        array = _as_input(name, value)
        found.append(Argument(name, array, False, array is not None and array.dtype.kind == "f"))
    keywords = [
        Argument(name, np.array(value), True, True)
        for name, value in options.items()
        if isinstance(value, np.ndarray) and value.dtype in (np.float32, np.float64)
    ]
    rank = {name: place for place, name in enumerate(order)}
    return found + sorted(keywords, key=lambda a: rank.get(a.name, len(rank)))


def _as_input(name: str, value: Any) -> Array | None:
    if value is None:
        return None
    if not isinstance(value, np.ndarray | np.generic):
        raise TypeError(
            f"gradcheck: {name} is {describe(value)}; expected a NumPy array or None. Convert "
            f"data with np.asarray, and pass settings by name: options={{{name!r}: ...}}"
        )
    if value.dtype.kind not in "iub" and value.dtype not in (np.float32, np.float64):
        raise TypeError(
            f"gradcheck: {name} is {describe(value)}; expected float32 or float64 (which are "
            f"differentiated), or integers or booleans (which are not)"
        )
    return np.array(value, order="K")
