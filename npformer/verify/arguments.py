"""The arguments of forward, and which gradient belongs to which of them.

Arguments are named by the signature, copied, and refused if they are not arrays. Of what
backward returns, three habits are understood: one gradient for each floating-point argument;
one for each argument, None at the ids; and one for each that the signature has, None where it
was not given.
"""

import inspect
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.arrays import Array, describe
from .snapshot import leaves


@dataclass
class Argument:
    """One argument of forward: positional, or an array among the options."""

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
    """List the positional arguments, then the arrays among the options.

    Raises
    ------
    TypeError
        If a positional argument is neither an array nor None, or has a dtype of no use, or if
        an array is masked.
    """
    names, order = _argument_names(forward, len(inputs))
    found = []
    for name, value in zip(names, inputs, strict=True):
        array = _as_input(name, value)
        found.append(Argument(name, array, False, array is not None and array.dtype.kind == "f"))
    keywords = [
        Argument(name, _copy(name, value), True, value.dtype in (np.float32, np.float64))
        for name, value in options.items()
        if isinstance(value, np.ndarray)
    ]
    rank = {name: place for place, name in enumerate(order)}
    return found + sorted(keywords, key=lambda a: rank.get(a.name, len(rank)))


def _as_input(name: str, value: Any) -> Array | None:
    if value is None:
        return None
    if not isinstance(value, np.ndarray | np.generic):
        raise TypeError(
            f"gradcheck: {name} is {describe(value)}; expected a NumPy array or None. "
            f"{_remedy(name, value)}"
        )
    if value.dtype.kind not in "iub" and value.dtype not in (np.float32, np.float64):
        raise TypeError(
            f"gradcheck: {name} is {describe(value)}; expected float32 or float64 (which are "
            f"differentiated), or integers or booleans (which are not)"
        )
    return _copy(name, value)


def _remedy(name: str, value: Any) -> str:
    if any(isinstance(item, np.ndarray) for _, item in leaves(value)):
        return (
            f"Only arrays of their own are differentiated, so check a pair that takes them one "
            f"by one: forward = lambda x, W, b: f(x, {{'W': W, 'b': b}}), with a backward that "
            f"returns their gradients in that order (in options={{{name!r}: ...}} they are "
            f"constants)"
        )
    return f"Convert data with np.asarray, and pass settings by name: options={{{name!r}: ...}}"


def _copy(name: str, value: Any) -> Array:
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"gradcheck: {name} is a masked array, and its mask would be lost; pass the numbers "
            f"({name}.filled(0.0)), and the mask as an argument of its own if forward needs it"
        )
    return np.array(value, order="K")


class Misfit(ValueError):
    """What backward returned fits no way of reading it."""


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
        If there are more or fewer than can be told apart, or they are in a dict; the message
        says what was expected.
    """
    gradients = as_list(result)
    if any(isinstance(gradient, Mapping) for gradient in gradients):
        raise Misfit(
            "backward returned a dict; expected arrays, one gradient for each floating-point "
            "argument in the order of forward's signature: return grads['x'], grads['w']"
        )
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


def by_shape(result: Any, shapes: Sequence[tuple[int, ...]]) -> list[Any] | None:
    """Place too few gradients by their shapes, in order; None if that can be done in several ways.

    Parameters
    ----------
    result : None, ndarray, or tuple of ndarray and None
        What backward returned.
    shapes : sequence of tuple of int
        Of the arguments that are differentiated.
    """
    given = [gradient for gradient in as_list(result) if gradient is not None]
    fitting = [
        places
        for places in itertools.combinations(range(len(shapes)), len(given))
        if all(np.shape(g) == shapes[i] for g, i in zip(given, places, strict=True))
    ]
    if len(fitting) != 1:
        return None
    placed = dict(zip(fitting[0], given, strict=True))
    return [placed.get(place) for place in range(len(shapes))]


def _say(gradients: list[Any]) -> str:
    shapes = ", ".join(
        str(g.shape) if isinstance(g, np.ndarray) else "None" if g is None else describe(g)
        for g in gradients
    )
    return f"{len(gradients)} gradient{'s' if len(gradients) != 1 else ''} ({shapes})"
