"""What an array argument may be: the dtype rule, and the messages of those who break it.

Every operation takes float32 (to train), float64 (to check) or complex128 (so that the
complex-step method can differentiate it), and gives back what it was given. float32 does
not mix with the others, since NumPy would lift it silently; complex128 may meet float64.
"""

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array: TypeAlias = NDArray[Any]
BoolArray: TypeAlias = NDArray[np.bool_]
Axes: TypeAlias = Sequence[int]

_SINGLE = np.dtype(np.float32)
_OPTIONAL = frozenset({"bias", "bias_ih", "bias_hh", "memory"})
_DOUBLE = (np.dtype(np.float64), np.dtype(np.complex128))


def describe(value: object) -> str:
    """Say in a few words what `value` is, for an error message."""
    if isinstance(value, (np.ndarray, np.generic)):
        return f"{value.dtype} {value.shape}"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIO' else 'a'} {name}"


def check_floats(op: str, **arrays: Array | None) -> None:
    """Refuse arguments that are not float32, float64 or complex128 arrays of one precision.

    Parameters
    ----------
    op : str
        Who is asking, to open the message with.
    **arrays : ndarray or None
        Arguments by name. Biases and `memory` may be None, which means not given.

    Raises
    ------
    TypeError
        Naming the argument, what it is, what was expected, and the remedy.
    """
    first: tuple[str, Any] | None = None
    for name, array in arrays.items():
        if type(array) is np.ndarray and array.dtype is (_SINGLE if first is None else first[1]):
            first = first or (name, array.dtype)  # as nearly always, and told at once
            continue
        if array is None and name in _OPTIONAL:
            continue
        if not isinstance(array, (np.ndarray, np.generic)):
            raise TypeError(
                f"{op}: {name} is {describe(array)}; expected a NumPy array of float32 or "
                f"float64, so convert it with np.asarray({name}, dtype=np.float32)"
            )
        dtype = array.dtype
        if dtype != _SINGLE and dtype not in _DOUBLE:
            raise TypeError(
                f"{op}: {name} is {describe(array)}; expected float32 or float64 (or complex128 "
                f"for complex-step checks), so convert it with {name}.astype(np.float32)"
            )
        if first is None:
            first = name, dtype
        elif (dtype == _SINGLE) != (first[1] == _SINGLE):
            raise TypeError(
                f"{op}: {first[0]} is {first[1]} but {name} is {dtype}; NumPy would silently "
                f"lift float32 to float64, so convert one of them with .astype"
            )


def check_gradient(
    op: str, dy: Array, y_shape: tuple[int, ...], like: "Array | np.dtype[Any]"
) -> None:
    """Refuse an upstream gradient whose shape or precision is not that of the output.

    Parameters
    ----------
    op : str
        The backward function that is asking.
    dy : ndarray
        The gradient that was passed in.
    y_shape : tuple of int
        Shape of the forward output.
    like : ndarray or dtype
        An array of the forward pass, for its dtype, or that dtype.

    Raises
    ------
    ValueError, TypeError
        If `dy` does not fit.
    """
    saved = np.empty(0, like) if isinstance(like, np.dtype) else like
    check_floats(op, saved=saved, dy=dy)
    if dy.shape != y_shape:
        raise ValueError(
            f"{op}: dy is {dy.shape} but the output was {y_shape}; pass the gradient of the "
            f"loss with respect to that output, in its shape"
        )


def scalar_gradient(op: str, dy: Any, like: Array) -> Any:
    """Return the upstream gradient of a scalar output as a scalar of the input's own dtype.

    A Python float, a NumPy scalar and a 0-d array are all right; the result has the dtype of
    `like`, so that a float64 scalar does not lift float32 arrays.

    Raises
    ------
    ValueError
        If `dy` is not a number, or a complex one where `like` is real.
    """
    if np.ndim(dy) != 0 or not np.issubdtype(np.asarray(dy).dtype, np.number):
        raise ValueError(
            f"{op}: dy is {describe(dy)}; the output is a scalar, so pass a number "
            f"(1.0 for the gradient of the loss itself)"
        )
    if np.iscomplexobj(dy) and not np.iscomplexobj(like):
        raise ValueError(
            f"{op}: dy is {describe(dy)} but the output was {like.dtype}; its imaginary part "
            f"would be lost, so pass a real number, or make the inputs complex128"
        )
    return like.dtype.type(dy)


def check_ids(op: str, name: str, ids: Array, size: int, what: str) -> None:
    """Refuse `ids` that are not integers from 0 to size - 1.

    Parameters
    ----------
    op, name : str
        Who is asking, and the argument's name.
    ids : integer ndarray
        The argument.
    size : int
        Number of rows that exist.
    what : str
        What a row is, such as "vocabulary of".

    Raises
    ------
    TypeError
        If the dtype is not an integer one.
    ValueError
        If a value is out of range: with the value, its index and the range. Negative ids are
        refused, for NumPy would take them from the end.
    """
    check_integers(op, name, ids)
    if ids.size and (ids.min() < 0 or ids.max() >= size):
        at = np.unravel_index(int(np.argmax((ids < 0) | (ids >= size))), ids.shape)
        index = tuple(int(i) for i in at)
        raise ValueError(
            f"{op}: {name}{list(index) or ''} is {ids[index]}; expected 0 to {size - 1} "
            f"({what} {size}), so check the tokenizer or enlarge the table"
        )


def check_integers(op: str, name: str, ids: Array) -> None:
    """Refuse `ids` that are not an integer array (bool is not)."""
    if not isinstance(ids, (np.ndarray, np.generic)) or ids.dtype.kind not in "iu":
        raise TypeError(
            f"{op}: {name} is {describe(ids)}; expected a NumPy array of integers, so convert it "
            f"with np.asarray({name}, dtype=np.int64)"
        )


def whole_numbers(given: object) -> Array | None:
    """Return an int, a sequence of ints or an integer array as an array; None for what is none.

    Python's ints keep their values: they come in an array of objects, not of int64, so that one
    that int64 cannot hold is compared like any other. Where there are none, anything will do.
    """
    if isinstance(given, (np.ndarray, np.generic)):
        return np.asarray(given) if given.dtype.kind in "iu" or not given.size else None
    try:
        numbers = np.array(given, dtype=object)
    except ValueError:  # arrays of different shapes
        return None
    whole = all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) for n in numbers.flat)
    return numbers if whole else None


def check_size(owner: str, **sizes: object) -> None:
    """Refuse sizes that are not positive integers.

    Raises
    ------
    TypeError
        If one is not an int.
    ValueError
        If one is below 1.
    """
    _check_ints(owner, 1, "a positive int", sizes)


def check_count(owner: str, **counts: object) -> None:
    """Refuse counts that are not integers from 0 on.

    Raises
    ------
    TypeError
        If one is not an int.
    ValueError
        If one is below 0.
    """
    _check_ints(owner, 0, "an int, 0 or more", counts)


def _check_ints(owner: str, least: int, expected: str, numbers: dict[str, object]) -> None:
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, (int, np.integer)):
            raise TypeError(f"{owner}: {name} is {number!r}; expected {expected}")
        if number < least:
            raise ValueError(f"{owner}: {name} is {number}; expected {expected}")


def check_number(owner: str, name: str, number: object, expected: str) -> float:
    """Return a single real number as a float, or refuse it; `expected` says what would do.

    An int that no float can hold comes back as infinity.
    """
    if isinstance(number, bool) or not isinstance(number, (int, float, np.integer, np.floating)):
        raise TypeError(f"{owner}: {name} is {_shown(number)}; expected {expected}")
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def check_flag(owner: str, name: str, flag: object, remedy: str = "") -> None:
    """Refuse a `flag` that is not True or False; `remedy` says what else was perhaps meant."""
    if not isinstance(flag, bool):
        raise TypeError(f"{owner}: {name} is {_shown(flag)}; expected True or False{remedy}")


def _shown(value: object) -> str:
    """Return a value as it was written, or of an array what it is."""
    return describe(value) if isinstance(value, np.ndarray) else repr(value)


def check_positive(owner: str, **numbers: object) -> None:
    """Refuse what is not a finite number above 0.

    Raises
    ------
    TypeError
        If one is not a number.
    ValueError
        If one is not finite and positive.
    """
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, (int, float, np.floating)):
            raise TypeError(f"{owner}: {name} is {number!r}; expected a positive number")
        if not 0 < number < math.inf:
            raise ValueError(f"{owner}: {name} is {number}; expected a positive number")


def check_rate(owner: str, name: str, rate: float) -> None:
    """Refuse a dropout rate outside of [0, 1)."""
    if isinstance(rate, bool) or not isinstance(rate, (int, float, np.floating)):
        raise TypeError(f"{owner}: {name} is {rate!r}; expected a float in [0, 1)")
    if not 0.0 <= rate < 1.0:
        raise ValueError(
            f"{owner}: {name} is {rate}; expected 0 <= {name} < 1, the share of entries that are "
            f"zeroed (at 1 nothing would be left)"
        )


def check_generator(owner: str, rng: object, none: str | None = "for evaluation") -> None:
    """Refuse an `rng` that is neither a NumPy Generator nor None.

    Parameters
    ----------
    owner : str
        Who is asking.
    rng : object
        The argument.
    none : str or None, optional
        What None stands for, to end the message with; if None, None is refused too.
    """
    if isinstance(rng, np.random.Generator) or (rng is None and none is not None):
        return
    seed = rng if isinstance(rng, int) and not isinstance(rng, bool) and rng >= 0 else 0
    raise TypeError(
        f"{owner}: rng is {_shown(rng)}; expected a numpy.random.Generator, "
        f"such as np.random.default_rng({seed})" + (f", or None {none}" if none else "")
    )


def check_choice(owner: str, name: str, value: object, choices: Sequence[str]) -> None:
    """Refuse a `value` that is not one of `choices`."""
    if value not in choices:
        raise ValueError(f"{owner}: {name} is {value!r}; expected one of {', '.join(choices)}")


def real_dtype(owner: str, dtype: DTypeLike) -> np.dtype[Any]:
    """Return float32 or float64 as a dtype object; anything else is a TypeError."""
    found = np.dtype(dtype)
    if found not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise TypeError(f"{owner}: dtype is {found}; expected float32 or float64")
    return found


def fits(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    """Say whether an array of `shape` broadcasts to the shape `to`."""
    ends = zip(reversed(shape), reversed(to), strict=False)
    return len(shape) <= len(to) and all(n in (1, m) for n, m in ends)


def joint_shape(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape that two broadcast to; a ValueError where they do not.

    `np.broadcast_shapes` makes arrays for that, and takes ten times as long.
    """
    if one == other:
        return one
    if len(one) < len(other):
        one, other = other, one
    extra = len(one) - len(other)
    joint = list(one[:extra])
    for n, m in zip(one[extra:], other, strict=True):
        if n != m and 1 not in (n, m):
            raise ValueError(f"shapes {one} and {other} do not broadcast")
        joint.append(m if n == 1 else n)
    return tuple(joint)


def unbroadcast(gradient: Array, shape: tuple[int, ...]) -> Array:
    """Sum a gradient over the axes along which its argument was broadcast.

    If y = f(x broadcast to a larger shape), each entry of x feeds many entries of y, and by
    the chain rule its gradient is the sum of theirs.

    Parameters
    ----------
    gradient : ndarray
        In the broadcast shape.
    shape : tuple of int
        The argument's own shape.

    Returns
    -------
    ndarray of `shape`
        `gradient` itself where nothing was broadcast.
    """
    if gradient.shape == shape:
        return gradient
    extra = gradient.ndim - len(shape)
    axes = [*range(extra)]
    axes += [extra + i for i, n in enumerate(shape) if n == 1 and gradient.shape[extra + i] != 1]
    summed: Array = np.sum(gradient, axis=tuple(axes), keepdims=True)
    return summed.reshape(shape)
