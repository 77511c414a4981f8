"""A trained array and its gradient, as one object with an identity.

Two places of a model that hold the same `Parameter` share one weight: that is all that weight
tying is. Gradients are added, never set, so a weight used twice receives the sum of both.
"""

import numpy as np

from .arrays import Array, describe


class _Box:
    """What a parameter and its replicas share: the value, and whether it is trained."""

    __slots__ = ("array", "trainable")

    def __init__(self, array: Array, trainable: bool) -> None:
        self.array = array
        self.trainable = trainable


class Parameter:
    """An array to be trained, with its gradient.

    Parameters
    ----------
    value : float32 or float64 ndarray
        Used as it is, without a copy; optimizers write into it.
    name : str, optional
        A label for messages. `Layer.named_parameters` gives the names that count.
    trainable : bool, optional
        A frozen parameter is kept in state dicts, its gradient stays zero, and optimizers
        pass it over.

    Attributes
    ----------
    grad : ndarray
        Zero from the start, in `value`'s shape and dtype. Add to it with `add_grad`.

    Raises
    ------
    TypeError
        If `value` is not a float32 or float64 array.
    """

    __slots__ = ("_box", "grad", "name")

    def __init__(self, value: Array, name: str = "", trainable: bool = True) -> None:
        if not isinstance(value, np.ndarray) or value.dtype not in (np.float32, np.float64):
            raise TypeError(
                f"Parameter {name!r} got {describe(value)}; expected a float32 or float64 ndarray"
            )
        self._box = _Box(value, trainable)
        self.grad: Array = np.zeros_like(value)
        self.name = name

    @property
    def value(self) -> Array:
        """The array itself. Write into it (``p.value[...] = x``, ``p.value -= step``)."""
        return self._box.array

    @value.setter
    def value(self, array: Array) -> None:
        if not isinstance(array, np.ndarray):
            raise TypeError(
                f"Parameter {self.name!r} was assigned {describe(array)}; expected an ndarray, "
                f"or write into it with p.value[...] = x"
            )
        if array.shape != self._box.array.shape:
            raise ValueError(
                f"Parameter {self.name!r} has shape {self._box.array.shape} and was assigned "
                f"{array.shape}; a parameter keeps its shape"
            )
        self._box.array = array

    @property
    def trainable(self) -> bool:
        """Whether gradients are collected; of a parameter and all of its replicas."""
        return self._box.trainable

    @trainable.setter
    def trainable(self, trainable: bool) -> None:
        self._box.trainable = trainable

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of `value` and `grad`."""
        return self._box.array.shape

    def add_grad(self, gradient: Array) -> None:
        """Add to `grad`; a frozen parameter ignores it.

        Raises
        ------
        ValueError
            If the shape is not the parameter's own: nothing is broadcast.
        """
        if gradient.shape != self.grad.shape:
            raise ValueError(
                f"Parameter {self.name!r} has shape {self.grad.shape} and was given a gradient of "
                f"{gradient.shape}; sum it over the axes that were broadcast"
            )
        if self.trainable:
            self.grad += gradient

    def zero_grad(self) -> None:
        """Set the gradient to zero, in place."""
        self.grad[...] = 0.0

    def replica(self) -> "Parameter":
        """Return a parameter with this one's value, now and later, and a gradient of its own."""
        twin = Parameter(self._box.array, self.name, self.trainable)
        twin._box = self._box
        return twin

    def __repr__(self) -> str:
        frozen = "" if self.trainable else ", frozen"
        return f"Parameter({self.name!r}, {self.value.dtype} {self.shape}{frozen})"
