"""The protocol of a bias, arrays as biases, and biases of heads for grouped queries."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from ..core.arrays import Array, check_floats, fits, unbroadcast
from ..masks import Span, split_heads

Index: TypeAlias = tuple[int, ...]


class Bias(ABC):
    """Base of all biases. A subclass without numbers to be learned needs the first three methods.

    Attributes
    ----------
    dtype : dtype or None
        That of the numbers to be learned; None if there are none.
    learn : callable or None
        Where a layer that is given this bias is to put its gradient, if anywhere.
    """

    dtype: "np.dtype[Any] | None" = None
    learn: "Callable[[Array], None] | None" = None

    @abstractmethod
    def tile(self, lead_index: Index, rows: Span, columns: Span) -> Array:
        """Return what is added to a rectangle of the scores.

        Parameters
        ----------
        lead_index : tuple of int
            Index along the leading axes of the scores: (batch, head), say.
        rows, columns : Span
            The queries and the keys.

        Returns
        -------
        ndarray
            Broadcasts to (len(rows), len(columns)). Finite, or -inf to mask.
        """

    @abstractmethod
    def check(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError if this bias does not fit scores of `shape` (..., n_q, n_k)."""

    @abstractmethod
    def lead_shape(self, axes: int) -> tuple[int, ...]:
        """Return the leading shape that this bias has over scores with `axes` leading axes.

        An axis on which it does not depend is 1 long.
        """

    def grouped(self, num_groups: int) -> "Bias":
        """Return this bias for scores whose head axis -3 is split in (num_groups, rest)."""
        return self if self.lead_shape(2)[-1] == 1 else _Grouped(self, num_groups)

    def over(self, shape: tuple[int, ...]) -> Array:
        """Return the whole array for scores of `shape`: 1 long where it does not depend on it.

        Raises
        ------
        ValueError
            If the bias does not fit.
        """
        self.check(shape)
        *lead, n_q, n_k = shape
        rows, columns = Span(0, n_q, n_q), Span(0, n_k, n_k)
        own = self.lead_shape(len(lead))
        whole = np.zeros((*own, n_q, n_k), self.dtype or np.float32)
        tiles = [self.tile(index, rows, columns) for index in np.ndindex(own)] if whole.size else []
        if tiles:
            whole = whole.astype(tiles[0].dtype)
        for index, tile in zip(np.ndindex(own), tiles, strict=False):
            whole[index] = tile
        return whole

    def new_gradient(self) -> Array | None:
        """Return zeros for the gradient of what is to be learned; None if nothing is."""
        return None

    def gradient_lead(self, axes: int) -> tuple[int, ...]:
        """Return the leading shape of what is learned, over scores with `axes` leading axes.

        An axis along which two indices add to one number is 1 long, and their order is kept;
        along the others, threads may add at the same time. By itself, no axis is shared out.
        """
        return (1,) * axes

    def add_gradient(
        self, gradient: Array, ds: Array, lead_index: Index, rows: Span, columns: Span
    ) -> None:
        """Add to `gradient` what `ds`, the gradient of a rectangle of scores, makes of it."""
        raise TypeError(
            f"{type(self).__name__} has no add_gradient; a bias whose new_gradient returns an "
            f"array has to define it too"
        )


def as_bias(bias: "Bias | Array") -> Bias:
    """Return `bias` as a `Bias`.

    Raises
    ------
    TypeError
        If it is neither a bias nor a float array.
    """
    if isinstance(bias, Bias):
        return bias
    check_floats("attention", bias=bias)
    return _Dense(bias)


class _Grouped(Bias):
    """A bias of H heads, for scores (..., G, H / G, n_q, n_k): head (g, r) is g H / G + r."""

    def __init__(self, bias: Bias, num_groups: int) -> None:
        self._bias, self._groups = bias, num_groups
        self._rest = bias.lead_shape(2)[-1] // num_groups
        self.dtype, self.learn = bias.dtype, bias.learn

    def tile(self, lead_index: Index, rows: Span, columns: Span) -> Array:
        return self._bias.tile(self._whole(lead_index), rows, columns)

    def check(self, shape: tuple[int, ...]) -> None:
        G, R = self._groups, self._rest
        if len(shape) < 4 or shape[-4:-2] != (G, R):
            raise ValueError(
                f"bias is made for {G * R} heads and does not fit scores {shape}; "
                f"expected (..., {G}, {R}, n_q, n_k)"
            )
        self._bias.check((*shape[:-4], G * R, *shape[-2:]))

    def lead_shape(self, axes: int) -> tuple[int, ...]:
        return (*self._bias.lead_shape(axes - 1)[:-1], self._groups, self._rest)

    def new_gradient(self) -> Array | None:
        return self._bias.new_gradient()

    def gradient_lead(self, axes: int) -> tuple[int, ...]:
        *lead, heads = self._bias.gradient_lead(axes - 1)
        return (*lead, 1, 1) if heads == 1 else (*lead, self._groups, self._rest)

    def add_gradient(
        self, gradient: Array, ds: Array, lead_index: Index, rows: Span, columns: Span
    ) -> None:
        self._bias.add_gradient(gradient, ds, self._whole(lead_index), rows, columns)

    def _whole(self, lead_index: Index) -> Index:
        *lead, g, r = lead_index
        return (*lead, g * self._rest + r)

    def __repr__(self) -> str:
        return repr(self._bias)


class _Dense(Bias):
    """An array (..., n_q or 1, n_k or 1), whose axes align from the right."""

    def __init__(self, array: Array) -> None:
        self._given = array.shape
        self._array = np.atleast_2d(array)
        self.dtype = array.dtype

    def check(self, shape: tuple[int, ...]) -> None:
        if not fits(self._given, shape):
            raise ValueError(
                f"attention: bias {self._given} does not broadcast to the scores {shape}; from "
                f"the right, each of its axes must be 1 or equal"
            )
        if not np.all(self._array.real < math.inf):
            raise ValueError(
                "attention: bias holds +inf or NaN; expected finite numbers, or -inf to mask"
            )

    def lead_shape(self, axes: int) -> tuple[int, ...]:
        own = self._array.shape[:-2]
        return (1,) * (axes - len(own)) + own

    def tile(self, lead_index: Index, rows: Span, columns: Span) -> Array:
        tile: Array = self._array[self._at(lead_index, rows, columns)]
        return tile

    def over(self, shape: tuple[int, ...]) -> Array:
        self.check(shape)
        return self._array

    def grouped(self, num_groups: int) -> Bias:
        return _Dense(split_heads(self._array, num_groups))

    def new_gradient(self) -> Array:
        return np.zeros(self._given, self._array.dtype)

    def gradient_lead(self, axes: int) -> tuple[int, ...]:
        return self.lead_shape(axes)

    def add_gradient(
        self, gradient: Array, ds: Array, lead_index: Index, rows: Span, columns: Span
    ) -> None:
        piece = np.atleast_2d(gradient)[self._at(lead_index, rows, columns)]  # a view
        piece += unbroadcast(ds, piece.shape)

    def _at(self, lead_index: Index, rows: Span, columns: Span) -> tuple[Any, ...]:
        *lead, n_q, n_k = self._array.shape
        own = lead_index[len(lead_index) - len(lead) :]
        row = slice(None) if n_q == 1 else slice(rows.start, rows.stop)
        column = slice(None) if n_k == 1 else slice(columns.start, columns.stop)
        index = (0 if n == 1 else i for n, i in zip(lead, own, strict=True))
        return (*index, row, column)
