"""A trained array and its gradient, as one object with an identity.

Two places of a model that hold the same `Parameter` share one weight: that is all that weight
tying is. Gradients are added, never set, so a weight used twice receives the sum of both.
"""

import sys
from typing import Literal

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

    Notes
    -----
    To set a large gradient to zero and then to add another to it takes three passes over memory
    where one would do. So `zero_grad` only notes that it is zero; whoever looks at `grad` finds
    zeros, but a gradient that is added first is copied over it, or takes its place.

    Raises
    ------
    TypeError
        If `value` is not a float32 or float64 array; if `grad` is assigned something else.
    ValueError
        If `value` or `grad` is assigned an array of another shape.
    """

    __slots__ = ("_box", "_grad", "_is_zero", "name")

    def __init__(self, value: Array, name: str = "", trainable: bool = True) -> None:
        if not isinstance(value, np.ndarray) or value.dtype not in (np.float32, np.float64):
            raise TypeError(
                f"Parameter {name!r} got {describe(value)}; expected a float32 or float64 ndarray"
            )
        self._box = _Box(value, trainable)
        order: Literal["C", "F"] = "F" if value.flags.fnc else "C"
        # Not zeros_like, which writes its zeros: these take no memory until a gradient is written.
        self._grad: Array = np.zeros(value.shape, value.dtype, order)
        self._is_zero = False  # whether zeros are still to be written
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
    def grad(self) -> Array:
        """The gradient collected so far. Write into it (``p.grad += g``), or `zero_grad`."""
        if self._is_zero:
            self._grad[...] = 0.0
            self._is_zero = False
        return self._grad

    @grad.setter
    def grad(self, array: Array) -> None:
        dtype = self._box.array.dtype
        if not isinstance(array, np.ndarray) or not np.can_cast(array.dtype, dtype, "same_kind"):
            raise TypeError(
                f"Parameter {self.name!r}: grad was assigned {describe(array)}; expected a {dtype} "
                f"ndarray, and to set it to zero, call zero_grad()"
            )
        if array.shape != self._box.array.shape:
            raise ValueError(
                f"Parameter {self.name!r} has shape {self._box.array.shape} and its grad was "
                f"assigned {array.shape}; expected the parameter's shape, and to set it to zero, "
                f"call zero_grad()"
            )
        self._grad = array
        self._is_zero = False

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

    def add_grad(self, gradient: Array, *, fresh: bool = False) -> None:
        """Add to `grad`; a frozen parameter ignores it.

        Parameters
        ----------
        gradient : ndarray
            Of the parameter's shape.
        fresh : bool, optional
            Whether nobody else has this array: then it may take the place of one that is zero.

        Raises
        ------
        ValueError
            If the shape is not the parameter's own: nothing is broadcast.
        """
        if gradient.shape != self._grad.shape:
            raise ValueError(
                f"Parameter {self.name!r} has shape {self._grad.shape} and was given a gradient of "
                f"{gradient.shape}; sum it over the axes that were broadcast"
            )
        if not self.trainable:
            return
        if not self._is_zero:
            self._grad += gradient
            return
        alike = gradient.dtype == self._grad.dtype and gradient.flags.c_contiguous
        # Two references are this object's own and the call's: nobody holds on to the old array.
        if fresh and alike and sys.getrefcount(self._grad) <= 2:
            self._grad = gradient
        else:
            np.copyto(self._grad, gradient, casting="same_kind")
        self._is_zero = False

    def add_grad_at(self, rows: Array, gradient: Array) -> None:
        """Add to some rows of `grad`, each named once; a frozen parameter ignores it.

        Parameters
        ----------
        rows : (n,) integer ndarray
            Different from each other.
        gradient : (n, ...) ndarray
        """
        if self.trainable:
            self.grad[rows] += gradient

    def zero_grad(self) -> None:
        """Set the gradient to zero."""
        self._is_zero = True

    def replica(self) -> "Parameter":
        """Return a parameter with this one's value, now and later, and a gradient of its own."""
        twin = Parameter(self._box.array, self.name, self.trainable)
        twin._box = self._box
        return twin

    def __repr__(self) -> str:
        frozen = "" if self.trainable else ", frozen"
        return f"Parameter({self.name!r}, {self.value.dtype} {self.shape}{frozen})"
