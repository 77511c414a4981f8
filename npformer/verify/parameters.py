"""The parameters of a target during a check: read, moved, perturbed, and put back bit for bit.

Real values are written into the arrays in place, so that a layer which holds the array under a
second name sees them, too. Complex and lifted ones need another dtype, so `value` is rebound;
where that does not reach the layer, the imaginary part is lost and the complex step is found
to be of no use there.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from ..core.arrays import Array, describe


class Weight:
    """One parameter, as it was found and as it stands during the check."""

    def __init__(self, name: str, parameter: Any) -> None:
        for attribute in ("value", "grad"):
            if not hasattr(parameter, attribute):
                raise TypeError(
                    f"gradcheck: named_parameters() yields {name!r} as {describe(parameter)} "
                    f"without `{attribute}`; expected an object with value and grad"
                )
        value = parameter.value
        if not isinstance(value, np.ndarray) or value.dtype not in (np.float32, np.float64):
            raise TypeError(
                f"gradcheck: the value of parameter {name!r} is {describe(value)}; expected a "
                f"float32 or float64 ndarray"
            )
        self.name = name
        self.parameter = parameter
        self.trainable = bool(getattr(parameter, "trainable", True))
        self.value: Array = value
        self.point: Array = value.copy()  # where derivatives are taken
        self._bits = value.copy()
        self._grad = parameter.grad
        self._grad_bits = None if self._grad is None else np.array(self._grad)

    def write(self, array: Array) -> None:
        """Give the parameter another real value of its own dtype."""
        if self.value.flags.writeable:
            self.value[...] = array
        else:
            self.parameter.value = array

    def restore(self, parameter: Any) -> None:
        """Put value and gradient back: the arrays that were there, with the bits they had."""
        if self.parameter.value is not self.value:
            self.parameter.value = self.value
        if self.value.flags.writeable:
            self.value[...] = self._bits
        if self.parameter.grad is not self._grad:
            self.parameter.grad = self._grad
        for grad in (self._grad, getattr(parameter, "grad", None)):
            if self._grad_bits is not None and isinstance(grad, np.ndarray):
                grad[...] = self._grad_bits


class Weights:
    """All parameters of a target; of several names of one object, the first counts.

    Parameters
    ----------
    source : object or None
        Something with ``named_parameters()``, or a mapping of names; None for no parameters.

    Raises
    ------
    TypeError
        If it is neither, or does not yield pairs of a name and a parameter.
    """

    def __init__(self, source: Any) -> None:
        self._source = source
        self.all = [Weight(name, parameter) for name, parameter in self._named()]

    def _named(self) -> list[tuple[str, Any]]:
        """Ask for the parameters; each object is taken once, under its first name."""
        named: dict[int, tuple[str, Any]] = {}
        for item in _asked(self._source):
            if not isinstance(item, tuple) or len(item) != 2:
                raise TypeError(
                    f"gradcheck: named_parameters() yields {describe(item)}; expected pairs of a "
                    f"name and an object with value and grad: yield 'w', self.w"
                )
            named.setdefault(id(item[1]), item)
        return list(named.values())

    def fill_gradients(self, values: Mapping[str, Array] | None = None) -> None:
        """Set every gradient in place to the given value, or to zero."""
        for name, parameter in self._named():
            if not isinstance(parameter.grad, np.ndarray):
                parameter.grad = np.zeros_like(parameter.value)
            parameter.grad[...] = 0.0 if values is None else values.get(name, 0.0)

    def gradients(self) -> dict[str, Any]:
        """Read the gradients as they are now (a copy of each).

        The parameters are asked for anew, since a target may make these objects on the fly.
        """
        return {
            name: p.grad.copy() if isinstance(p.grad, np.ndarray) else p.grad
            for name, p in self._named()
        }

    def arrays(self) -> list[Array]:
        """Return the live arrays of values and gradients."""
        named = self._named()
        found = [p.value for _, p in named] + [p.grad for _, p in named]
        found += [getattr(p, "own_grad", None) for _, p in named]
        return [array for array in found if isinstance(array, np.ndarray)]

    def move_to(self, points: Mapping[str, Array]) -> None:
        """Take derivatives at `points` from now on."""
        for weight in self.all:
            if weight.name in points:
                weight.point = points[weight.name]
                weight.write(weight.point)

    @contextlib.contextmanager
    def substituted(self, arrays: Mapping[int, Array]) -> Iterator[None]:
        """Give parameters other values for a while: by their place in `all`, of any dtype."""
        rebound: list[tuple[Any, Array]] = []
        try:
            for place, array in arrays.items():
                weight = self.all[place]
                if array.dtype == weight.value.dtype:
                    weight.write(array)
                else:
                    rebound.append((weight.parameter, weight.parameter.value))
                    weight.parameter.value = array
            yield
        finally:
            for parameter, value in rebound:
                parameter.value = value
            for place in arrays:
                self.all[place].write(self.all[place].point)

    def restore(self) -> None:
        """Put everything back as it was found."""
        now = dict(self._named())
        for weight in self.all:
            weight.restore(now.get(weight.name))


def _asked(source: Any) -> Iterable[Any]:
    """Return the pairs of names and parameters that a source has."""
    if source is None:
        return []
    if isinstance(source, Mapping):
        return source.items()
    method = getattr(source, "named_parameters", None)
    if isinstance(source, type) or not callable(method):
        what = f"the class {source.__name__}" if isinstance(source, type) else describe(source)
        raise TypeError(f"gradcheck: parameters are to come from {what}; {_EXPECTED}")
    named = method()
    if not isinstance(named, Iterable):
        raise TypeError(f"gradcheck: named_parameters() returned {describe(named)}; {_EXPECTED}")
    return named.items() if isinstance(named, Mapping) else named


_EXPECTED = (
    "expected an object whose method named_parameters() yields pairs of a name and an object with "
    "value and grad, or a dict of these: parameters={'w': w}"
)
