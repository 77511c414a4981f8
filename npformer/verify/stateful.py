"""Layers in the common other style, which keep their state and gradients on themselves.

y = layer.forward(x)        leaves what backward needs on the layer
dx = layer.backward(dy)     leaves the parameters' gradients there, set or added
"""

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..core.arrays import Array, describe


class StatefulLayer:
    """Such a layer, as `npformer.gradcheck` takes it.

    What the check says of state kept on the object is true of the layer, and a remark only.
    Gradients are read off after each backward, so whether the layer sets or adds them is not
    looked at. Values are put back after the check; the layer's own gradients and cache are
    those of its last pass.

    Parameters
    ----------
    layer : object
        With ``forward(*inputs) -> y`` and ``backward(dy) -> dx`` (a tuple for several inputs).
    **parameters : str
        For each parameter, where its value is, and as which its gradient: ``W="dW"`` for
        ``layer.W`` and ``layer.dW``. A dotted name leads through attributes or the keys of
        dicts: ``**{"params.W1": "grads.W1"}``.

    Raises
    ------
    TypeError
        If the layer has no forward or backward.

    Examples
    --------
    >>> import numpy as np, npformer
    >>> class Scale:
    ...     def __init__(self):
    ...         self.w, self.dw = np.array([1.0, 2.0, 3.0]), None
    ...     def forward(self, x):
    ...         self.x = x
    ...         return self.w * x
    ...     def backward(self, dy):
    ...         self.dw = np.sum(dy * self.x, axis=0)
    ...         return dy * self.w
    >>> x = np.random.default_rng(0).standard_normal((4, 3))
    >>> npformer.gradcheck(StatefulLayer(Scale(), w="dw"), x).ok
    True
    """

    def __init__(self, layer: Any, **parameters: str) -> None:
        for method in ("forward", "backward"):
            if not callable(getattr(layer, method, None)):
                raise TypeError(f"StatefulLayer: {describe(layer)} has no method `{method}`")

        @functools.wraps(layer.forward)  # so that a report names the inputs as the layer does
        def forward(*inputs: Any, **options: Any) -> tuple[Any, None]:
            return layer.forward(*inputs, **options), None

        self.layer = layer
        self.forward = forward
        self._parameters = {
            value: _Attribute(layer, value, grad) for value, grad in parameters.items()
        }

    def named_parameters(self) -> Iterator[tuple[str, "_Attribute"]]:
        """Yield the parameters by the names that were given."""
        yield from self._parameters.items()

    def backward(self, dy: Any, saved: None) -> Any:
        """Run the layer's backward, and add the gradients that it left."""
        for parameter in self._parameters.values():
            parameter.clear()
        result = self.layer.backward(dy)
        for parameter in self._parameters.values():
            parameter.collect()
        return result


class _Attribute:
    """A parameter whose value and gradient are attributes or dict entries of a layer."""

    def __init__(self, layer: Any, value: str, grad: str) -> None:
        self._value, self._own_grad = _Place(layer, value), _Place(layer, grad)
        self.grad: Array = np.zeros_like(self.value)

    @property
    def value(self) -> Any:
        """The layer's own array."""
        return self._value.read()

    @value.setter
    def value(self, array: Array) -> None:
        self._value.write(array)

    def clear(self) -> None:
        """Let the layer set its gradient, or add to it."""
        self._own_grad.write(np.zeros_like(self.value))

    def collect(self) -> None:
        """Add the gradient that the layer has left."""
        self.grad += self._own_grad.read()


class _Place:
    """Where an array is kept: the end of a dotted path through attributes and dicts."""

    def __init__(self, owner: Any, path: str) -> None:
        *way, self._name = path.split(".")
        for step in way:
            owner = owner[step] if isinstance(owner, dict) else getattr(owner, step)
        self._owner = owner

    def read(self) -> Any:
        if isinstance(self._owner, dict):
            return self._owner[self._name]
        return getattr(self._owner, self._name)

    def write(self, array: Array) -> None:
        if isinstance(self._owner, dict):
            self._owner[self._name] = array
        else:
            setattr(self._owner, self._name, array)
