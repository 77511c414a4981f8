"""Which quantity a wrong constant factor equals: the batch, a width, its square root, ...

Candidates are the lengths of all axes, and the integers and fractions found on the object and
among the options (a number of heads, a rate, an eps).
"""

import math
from collections.abc import Iterator

import numpy as np

from .snapshot import leaves
from .target import Target


class Quantities:
    """Names for numbers that a target could have multiplied or divided by.

    Parameters
    ----------
    target : Target
    y_shape : tuple of int
    """

    def __init__(self, target: Target, y_shape: tuple[int, ...]) -> None:
        self._labels: dict[float, list[str]] = {2.0: ["2"]}
        self._fractions: dict[float, list[str]] = {}
        for name, shape in _shapes(target, y_shape):
            for axis, length in enumerate(shape):
                self._add(length, f"{name}.shape[{axis}]")
            self._add(math.prod(shape), f"{name}.size")
            if len(shape) > 2:
                self._add(math.prod(shape[:-1]), f"{name}.size / {name}.shape[-1]")
        for name, value in _numbers(target):
            self._add(value, name)

    def _add(self, value: float, label: str) -> None:
        whole = float(value).is_integer()
        labels = (self._labels if whole else self._fractions).setdefault(float(value), [])
        if label not in labels and len(labels) < 3:
            labels.append(label)

    def explain(self, factor: float, precision: float) -> str:
        """Return what a positive `factor` may be, or an empty string."""
        for value, text in self._candidates():
            if abs(factor - value) <= precision * value:
                return text
        return ""

    def _candidates(self) -> Iterator[tuple[float, str]]:
        whole = {v: _either(labels) for v, labels in self._labels.items() if v > 1}
        for value, text in whole.items():
            yield value, text
            yield 1.0 / value, f"1 / {_group(text)}"
        for value, text in whole.items():
            yield math.sqrt(value), f"sqrt({text})"
            yield 1.0 / math.sqrt(value), f"1 / sqrt({text})"
        for value, text in whole.items():
            yield value / (value - 1), f"n / (n - 1) with n = {text}"
            yield (value - 1) / value, f"(n - 1) / n with n = {text}"
            yield math.sqrt(value / (value - 1)), f"sqrt(n / (n - 1)) with n = {text}"
            yield math.sqrt((value - 1) / value), f"sqrt((n - 1) / n) with n = {text}"
        for value, labels in self._fractions.items():
            if 0 < value < 1:
                yield value, labels[0]
                yield 1 / value, f"1 / {labels[0]}"
                yield 1 - value, f"1 - {labels[0]}"
                yield 1 / (1 - value), f"1 / (1 - {labels[0]})"
        yield from _products(whole)


def _products(whole: dict[float, str]) -> Iterator[tuple[float, str]]:
    items = list(whole.items())
    for i, (v, v_text) in enumerate(items):
        yield v * v, f"({v_text})^2"
        yield 1 / (v * v), f"1 / ({v_text})^2"
        for w, w_text in items[i + 1 :]:
            pair = f"{_group(v_text)} * {_group(w_text)}"
            yield v * w, pair
            yield 1 / (v * w), f"1 / ({pair})"
            yield v / w, f"{_group(v_text)} / {_group(w_text)}"
            yield w / v, f"{_group(w_text)} / {_group(v_text)}"


def _either(labels: list[str]) -> str:
    """Name a number that several lengths have; more than two names are no help."""
    return " or ".join(labels) if len(labels) < 3 else f"{labels[0]} or another such length"


def _group(text: str) -> str:
    return f"({text})" if " " in text else text


def _shapes(target: Target, y_shape: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...]]]:
    for argument in target.arguments:
        if argument.value is not None:
            yield argument.name, argument.value.shape
    yield "y", y_shape
    for weight in target.weights.all:
        yield weight.name, weight.point.shape


def _numbers(target: Target) -> Iterator[tuple[str, float]]:
    for path, value in leaves([target.owner, dict(target.options)]):
        if isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value):
            yield path.split(".", 1)[1], float(value)
