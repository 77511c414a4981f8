"""What every optimizer is: parameters in order, a learning rate, and arrays that it remembers.

A step walks over the parameters in pieces that stay in the processor's cache: an update reads
and writes each of value, gradient and state several times, and the way to main memory costs
more than the arithmetic. An update is element by element, so pieces change no result, whichever
thread does them.

Scalars (learning rate, bias corrections) are Python floats: under NumPy 2 a NumPy float64
scalar would lift a float32 array.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, TypeVar

import numpy as np

from ..core.arrays import Array, describe
from ..core.parameter import Parameter
from ..core.threads import each

Item = TypeVar("Item")
Result = TypeVar("Result")

# Elements. Smaller pieces, of 2^15, would fit the second-level cache, and be no faster on one
# thread; on two they are slower than on one, which wait for Python's lock after every call.
_PIECE = 1 << 18


class Optimizer(ABC):
    """Base of every optimizer.

    A subclass names its constructor's keywords in `settings` (each also an attribute, since a
    checkpoint keeps and restores them) and its state arrays in `slots`, and defines `update`.

    Parameters
    ----------
    parameters : iterable of Parameter
        Usually ``model.parameters()``. Frozen ones are passed over. One that is given twice
        (tied weights) is kept once, and so stepped once.
    lr : float
        Learning rate, 0 or more.
    weight_decay : float, optional
        How strongly values are drawn to zero; what that means is the subclass's.
    decay : callable, optional
        Says of a parameter whether it decays. By default those of two or more dimensions do:
        biases and the scales of norms do not.
    slots : sequence of str, optional
        Names of the state arrays: each parameter gets one of each, of its shape, zero.

    Attributes
    ----------
    parameters : list of Parameter
        The trainable ones, in order, each once.
    steps : int
        Number of steps taken.
    state : dict of str to list of ndarray
        By slot, in the order of `parameters`.
    decayed : list of bool
        Which of `parameters` decay.

    Raises
    ------
    ValueError
        If there is no parameter, all are frozen, or a number is out of range.
    TypeError
        If something is not a Parameter or not a number.
    """

    settings: ClassVar[tuple[str, ...]] = ("lr", "weight_decay")

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float,
        *,
        weight_decay: float = 0.0,
        decay: Callable[[Parameter], bool] | None = None,
        slots: Iterable[str] = (),
    ) -> None:
        owner = type(self).__name__
        given = check_parameters(owner, parameters)
        self.parameters = [parameter for parameter in given if parameter.trainable]
        if not self.parameters:
            raise ValueError(
                f"{owner}: all of the {len(given)} parameters are frozen; expected at least one "
                f"to train, so set trainable=True before making the optimizer"
            )
        self.lr = lr
        self.weight_decay = real(owner, "weight_decay", weight_decay)
        if decay is not None and not callable(decay):
            raise TypeError(
                f"{owner}: decay is {describe(decay)}; expected a function that says of a "
                f"Parameter whether it decays, such as lambda p: p.value.ndim >= 2"
            )
        self.decayed = [bool((decay or is_matrix)(parameter)) for parameter in self.parameters]
        self.steps = 0
        self.state: dict[str, list[Array]] = {
            slot: [np.zeros_like(parameter.value) for parameter in self.parameters]
            for slot in slots
        }

    @property
    def lr(self) -> float:
        """Learning rate of the next step; assign to it to change it."""
        return self._lr

    @lr.setter
    def lr(self, lr: float) -> None:
        self._lr = real(type(self).__name__, "lr", lr)

    def hyperparameters(self) -> dict[str, Any]:
        """Return the constructor's keywords with their present values."""
        return {name: getattr(self, name) for name in self.settings}

    def step(self, scale: float = 1.0) -> None:
        """Move every parameter by its gradient, in place. Gradients stay as they are.

        A parameter that was frozen after the optimizer was made is passed over.

        Parameters
        ----------
        scale : float, optional
            Gradients are taken times this. Clipping is folded in so: a piece is scaled while it
            is in the cache, rather than all gradients in a pass of their own.

        Raises
        ------
        TypeError, ValueError
            If `scale` is not a finite number, 0 or more; nothing is changed.
        """
        factors = factors_of(real(f"{type(self).__name__}.step", "scale", scale))
        work = []
        for index, parameter in enumerate(self.parameters):
            if parameter.trainable:
                weight_decay = self.weight_decay if self.decayed[index] else 0.0
                slots = [arrays[index] for arrays in self.state.values()]
                for piece in pieces(parameter.value, parameter.grad, *slots):
                    work.append((piece, weight_decay))

        def move(part: list[tuple[tuple[Array, ...], float]]) -> None:
            for (value, grad, *state), weight_decay in part:
                for factor in factors:
                    grad = grad * factor
                self.update(value, grad, state, weight_decay)

        self.steps += 1
        spread(move, work, sum(parameter.value.size for parameter in self.parameters))

    @abstractmethod
    def update(self, value: Array, grad: Array, state: list[Array], weight_decay: float) -> None:
        """Write one step into `value` and `state`; `grad` is read.

        The arrays are pieces of one parameter and of its state, in the order of the slots;
        `steps` already counts this step. `weight_decay` is 0 where this parameter does not
        decay.
        """

    def __repr__(self) -> str:
        settings = ", ".join(f"{k}={v}" for k, v in self.hyperparameters().items())
        return f"{type(self).__name__}({len(self.parameters)} parameters, {settings})"


def is_matrix(parameter: Parameter) -> bool:
    """Say whether a parameter has two or more dimensions: these decay by default."""
    return parameter.value.ndim >= 2


def pieces(*arrays: Array) -> Iterator[tuple[Array, ...]]:
    """Yield matching pieces of arrays of one shape, as views, each small enough for the cache."""
    if not all(array.flags.c_contiguous for array in arrays):
        yield arrays  # flattened, they would be copies
        return
    flat = [array.reshape(-1) for array in arrays]
    for start in range(0, flat[0].size, _PIECE):
        yield tuple(array[start : start + _PIECE] for array in flat)


def factors_of(scale: float) -> list[float]:
    """Return what to multiply a gradient by in turn: nothing for 1.

    A factor below float32's normal range has few digits left: its root, taken twice, has all.
    """
    if scale == 1.0:
        return []
    return [scale] if scale == 0.0 or scale > 1e-30 else [math.sqrt(scale)] * 2


def spread(
    function: Callable[[list[Item]], Result], work: list[Item], elements: int
) -> list[Result]:
    """Share work on so many elements out among threads, if they are many; in order.

    The parts do not depend on the number of threads, so that sums over them do not either.
    """
    size = 4 if elements > 4 * _PIECE else max(1, len(work))
    return each(function, [work[start : start + size] for start in range(0, len(work), size)])


def check_parameters(owner: str, parameters: Iterable[Parameter]) -> list[Parameter]:
    """Return the parameters as a list, each once, in order.

    Raises
    ------
    ValueError
        If there is none.
    TypeError
        If something else is among them.
    """
    if isinstance(parameters, Parameter) or not isinstance(parameters, Iterable):
        raise TypeError(
            f"{owner}: parameters is {describe(parameters)}; expected a list of Parameter, such "
            f"as model.parameters()"
        )
    given = list(parameters)
    for index, parameter in enumerate(given):
        if not isinstance(parameter, Parameter):
            raise TypeError(
                f"{owner}: parameters[{index}] is {describe(parameter)}; expected a Parameter, so "
                f"pass model.parameters()"
            )
    if not given:
        raise ValueError(
            f"{owner}: there are no parameters; expected at least one, such as model.parameters() "
            f"of a model with layers (a generator can be walked through only once)"
        )
    return list({id(parameter): parameter for parameter in given}.values())


def real(
    owner: str, name: str, value: Any, *, positive: bool = False, below: float = math.inf
) -> float:
    """Return `value` as a Python float if it is a finite number from 0 up to `below`.

    Raises
    ------
    TypeError
        If it is not a real number.
    ValueError
        If it is out of range, or is 0 and has to be positive.
    """
    wanted = f"0 {'<' if positive else '<='} {name} < {below}"
    if isinstance(value, bool | np.bool_) or not isinstance(
        value, int | float | np.integer | np.floating
    ):
        raise TypeError(f"{owner}: {name} is {value!r}; expected a number with {wanted}")
    number = float(value)
    if not 0.0 <= number < below or (positive and number == 0.0):
        raise ValueError(f"{owner}: {name} is {number}; expected {wanted}")
    return number


def check_betas(owner: str, betas: Any) -> tuple[float, float]:
    """Return two decay rates, each from 0 to below 1, as Python floats."""
    if not isinstance(betas, tuple | list) or len(betas) != 2:
        raise TypeError(f"{owner}: betas is {betas!r}; expected two numbers, such as (0.9, 0.999)")
    first, second = (real(owner, f"betas[{i}]", beta, below=1.0) for i, beta in enumerate(betas))
    return first, second
