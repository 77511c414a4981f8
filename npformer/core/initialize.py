"""Where the first values of parameters come from.

Layers ask here for their weights. A model that draws all of its weights by one rule, or is
about to be filled from a file, builds its layers inside `skeleton`: then nothing is drawn
twice, and a file that lies about its sizes is caught before memory is taken.
"""

import contextlib
import math
from collections.abc import Iterator
from contextvars import ContextVar

import numpy as np
from numpy.typing import DTypeLike

from .arrays import real_dtype
from .parameter import Parameter


class _Plan:
    """What a skeleton allows: how many more elements may be asked for."""

    def __init__(self, left: float) -> None:
        self.left = left


_plan: ContextVar[_Plan | None] = ContextVar("skeleton", default=None)


@contextlib.contextmanager
def skeleton(limit: float = math.inf) -> Iterator[None]:
    """Build layers without drawing their weights: zeros, which take no memory until written.

    Parameters
    ----------
    limit : float, optional
        The number of elements that may be asked for in all.

    Raises
    ------
    ValueError
        From within, by the layer that asks for one element too many.
    """
    outer = _plan.get()
    token = _plan.set(outer if outer is not None else _Plan(limit))
    try:
        yield
    finally:
        _plan.reset(token)


def _allocate(shape: tuple[int, ...], dtype: DTypeLike) -> Parameter:
    plan = _plan.get()
    if plan is not None:
        plan.left -= math.prod(shape)
        if plan.left < 0:
            raise ValueError(f"more elements are asked for than there are: at a weight of {shape}")
    return Parameter(np.zeros(shape, real_dtype("parameter", dtype)))


def constant(shape: tuple[int, ...], value: float, dtype: DTypeLike) -> Parameter:
    """Return a parameter filled with `value` (inside a `skeleton`, too)."""
    parameter = _allocate(shape, dtype)
    if value:
        parameter.value[...] = value
    return parameter


def normal(
    shape: tuple[int, ...], std: float, rng: np.random.Generator | None, dtype: DTypeLike
) -> Parameter:
    """Return a parameter drawn from N(0, std²).

    Parameters
    ----------
    shape : tuple of int
    std : float
        Standard deviation.
    rng : numpy.random.Generator or None
        None draws from fresh entropy.
    dtype : float32 or float64
    """
    parameter = _allocate(shape, dtype)
    draw_normal(parameter, std, rng)
    return parameter


def draw_normal(parameter: Parameter, std: float, rng: np.random.Generator | None) -> None:
    """Draw a parameter's value anew from N(0, std²), in place; inside a `skeleton`, do nothing."""
    if _plan.get() is None:
        value = parameter.value
        generator = np.random.default_rng(rng)
        generator.standard_normal(out=value, dtype=value.dtype.type)
        value *= std
