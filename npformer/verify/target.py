"""One view of whatever is to be checked: a layer, or a pair of functions.

    y, saved = target.evaluate({place: array, ...})     other values in chosen places
    result   = target.backpropagate(dy, saved)          what backward returned

Every evaluation gets copies of the inputs and the same randomness, so nothing that the target
does to them reaches the caller or the next evaluation.
"""

import contextlib
import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ..core.arrays import Array, describe
from ..core.layer import Layer
from .arguments import Misfit, arguments_of, by_shape, match
from .draws import length_scale
from .parameters import Weights
from .snapshot import Snapshot
from .stateful import StatefulLayer


@dataclass
class Slot:
    """One array that is differentiated: an argument or a parameter."""

    name: str
    kind: str  # "input" or "parameter"
    place: int  # in target.arguments, or in target.weights.all
    point: Array  # where its derivative is taken
    length: float = field(init=False)  # by which steps are measured

    def __post_init__(self) -> None:
        self.length = length_scale(self.point)


class Target:
    """The uniform view.

    Parameters
    ----------
    target : object or pair of callables
        As for `npformer.gradcheck`.
    inputs : tuple
        Positional arguments of forward.
    options : mapping
        Keyword arguments of forward.
    run : object or None
        Passed on where given.
    parameters : object, mapping or None
        Whose ``named_parameters()`` to check; by default those of `target` itself.

    Raises
    ------
    TypeError
        If `target` is neither, an input is not an array, or parameters cannot be found.
    """

    def __init__(
        self,
        target: Any,
        inputs: tuple[Any, ...],
        options: Mapping[str, Any],
        run: Any = None,
        parameters: Any = None,
    ) -> None:
        self.forward, self.backward, self.owner = _callables(target)
        self.name = _name(target, self.forward)
        self.ours = _is_ours(self.owner, self.forward)
        own = self.owner if hasattr(self.owner, "named_parameters") else None
        self.weights = Weights(own if parameters is None else parameters)
        self.run = run
        self.arguments = arguments_of(self.forward, inputs, options)
        names = {argument.name for argument in self.arguments if argument.keyword}
        self.options = {name: value for name, value in options.items() if name not in names}
        self._backward_takes_run = run is not None and _accepts(self.backward, "run")
        self._generators = _generators(run, options)
        self._nested = Snapshot(self.options)
        self._recorded = {k: len(v) for k, v in getattr(run, "recorded", {}).items()}
        self.evaluations = 0

    def slots(self) -> list[Slot]:
        """List what is to be differentiated, inputs first."""
        found = [
            Slot(argument.name, "input", place, argument.value)
            for place, argument in enumerate(self.arguments)
            if argument.floating
        ]
        found += [
            Slot(weight.name, "parameter", place, weight.point)
            for place, weight in enumerate(self.weights.all)
            if weight.trainable
        ]
        return found

    def evaluate(
        self,
        changed: Mapping[tuple[str, int], Array] | None = None,
        lift: DTypeLike | None = None,
    ) -> tuple[Any, Any]:
        """Run forward.

        Parameters
        ----------
        changed : mapping of (kind, place) to ndarray, optional
            Arrays that take the place of some slots' own.
        lift : dtype, optional
            Convert every other floating-point array to this dtype.

        Returns
        -------
        y : ndarray or scalar
        saved : object
        """
        return self.evaluate_with(self.copies(changed, lift), changed, lift)

    def copies(
        self,
        changed: Mapping[tuple[str, int], Array] | None = None,
        lift: DTypeLike | None = None,
    ) -> list[Any]:
        """Return the arguments of one evaluation, which it may do with as it likes."""
        changed = changed or {}
        arrays = [changed.get(("input", i), a.value) for i, a in enumerate(self.arguments)]
        return [_copy(array, lift) for array in arrays]

    def evaluate_with(
        self,
        arguments: list[Any],
        changed: Mapping[tuple[str, int], Array] | None = None,
        lift: DTypeLike | None = None,
    ) -> tuple[Any, Any]:
        """Run forward on exactly these arguments; see `evaluate`."""
        with self._weights_at(changed, lift):
            return self._call(arguments, lift)

    def gradients_at(
        self, dy: Any, changed: Mapping[tuple[str, int], Array]
    ) -> dict[tuple[str, int], Any]:
        """Run forward and backward with other values in some slots, and return all gradients."""
        self.weights.fill_gradients()
        with self._weights_at(changed, None):
            _, saved = self._call(self.copies(changed), None)
            result = self.backpropagate(dy, saved)
        floating = [place for place, a in enumerate(self.arguments) if a.floating]
        found = dict(zip((("input", i) for i in floating), self.matched(result), strict=True))
        of_weights = self.weights.gradients()
        found |= {
            ("parameter", place): of_weights.get(weight.name)
            for place, weight in enumerate(self.weights.all)
        }
        return found

    def matched(self, result: Any) -> list[Any]:
        """Return one gradient (or None) for each differentiated argument; may raise `Misfit`."""
        arguments = [a for a in self.arguments if a.floating or not a.keyword]
        try:
            return match(result, [a.floating for a in arguments])
        except Misfit:
            placed = by_shape(result, [a.value.shape for a in arguments if a.floating])
            if placed is None:
                raise
            return placed

    def _weights_at(
        self, changed: Mapping[tuple[str, int], Array] | None, lift: DTypeLike | None
    ) -> contextlib.AbstractContextManager[None]:
        substitutes = {place: a for (kind, place), a in (changed or {}).items() if kind != "input"}
        if lift is not None:
            for place, weight in enumerate(self.weights.all):
                substitutes.setdefault(place, weight.point.astype(lift))
        return self.weights.substituted(substitutes)

    def _call(self, arguments: list[Any], lift: DTypeLike | None) -> tuple[Any, Any]:
        self.evaluations += 1
        positional = [
            a for a, about in zip(arguments, self.arguments, strict=True) if not about.keyword
        ]
        keywords = {
            about.name: a
            for a, about in zip(arguments, self.arguments, strict=True)
            if about.keyword
        }
        keywords |= self.options
        if self.run is not None:
            keywords["run"] = self.run
        self.rewind()
        result = _called("forward", self.forward, positional, keywords, _INPUTS)
        if not (isinstance(result, tuple) and len(result) == 2):
            raise TypeError(
                f"gradcheck: forward returned {describe(result)}; expected the pair (y, saved). "
                f"{self._protocol()}"
            )
        return result

    def backpropagate(self, dy: Any, saved: Any) -> Any:
        """Run backward and return what it returns."""
        keywords = {"run": self.run} if self._backward_takes_run else {}
        return _called("backward", self.backward, [dy, saved], keywords, self._protocol())

    def _protocol(self) -> str:
        return _SAVED if self.owner is None else f"{_SAVED}. {_WRAP}"

    def hold_options_fixed(self) -> list[str]:
        """Differentiate the inputs alone, and return which options were to be, too."""
        fixed = [argument for argument in self.arguments if argument.keyword and argument.floating]
        for argument in fixed:
            argument.floating = False
        return [argument.name for argument in fixed]

    def not_finite(self) -> list[str]:
        """Name the arrays that hold a NaN or an infinity at the point."""
        return [slot.name for slot in self.slots() if not np.all(np.isfinite(slot.point))]

    def why_missing(self, slot: Slot) -> str:
        """Say why there is no gradient for a slot."""
        parameter = self.weights.all[slot.place].parameter if slot.kind == "parameter" else None
        return getattr(parameter, "missing", "") or "backward gives no gradient for it"

    def rewind(self) -> None:
        """Set every generator and option back to how the caller left it, and forget recordings."""
        for generator, state in self._generators:
            generator.bit_generator.state = state
        self.undo_writes()
        for kind, length in self._recorded.items():
            del self.run.recorded[kind][length:]

    def undo_writes(self) -> list[str]:
        """Put back the arrays within options that were written to, and return their names."""
        return self._nested.rewrite()

    def restore(self) -> None:
        """Put parameters, gradients, generators and options back as they were found."""
        self.weights.restore()
        self.rewind()


_PAIR = (
    "expected an object with forward and backward, or a pair of functions in a tuple: "
    "gradcheck((forward, backward), x)"
)
_SAVED = (
    "The second value that forward returns, whatever it is, is the second argument of backward: "
    "y, saved = forward(x); dx = backward(dy, saved)"
)
_WRAP = (
    "A layer that keeps on itself what backward needs is wrapped, and told where its values and "
    "gradients are: npformer.verify.StatefulLayer(layer, W='dW')"
)
_INPUTS = (
    "Inputs are its positional arguments, options={'mask': mask} and run= its arguments by name"
)


def _callables(target: Any) -> tuple[Callable[..., Any], Callable[..., Any], Any]:
    if isinstance(target, tuple):
        if len(target) != 2 or not all(callable(f) for f in target):
            held = ", ".join(map(describe, target))
            raise TypeError(f"gradcheck: target is a tuple of ({held}); {_PAIR}")
        return target[0], target[1], None
    if isinstance(target, type):
        name = target.__name__
        raise TypeError(
            f"gradcheck: target is the class {name}; expected an instance: gradcheck({name}(...))"
        )
    for method in ("forward", "backward"):
        if not callable(getattr(target, method, None)):
            raise TypeError(
                f"gradcheck: target is {describe(target)} without a method `{method}`; {_PAIR}"
            )
    return target.forward, target.backward, target


def _called(
    who: str,
    function: Callable[..., Any],
    arguments: list[Any],
    keywords: dict[str, Any],
    remedy: str,
) -> Any:
    """Call a function, and say what it takes if it does not take these arguments."""
    try:
        return function(*arguments, **keywords)
    except TypeError as error:
        why = _misfit(function, arguments, keywords)
        if not why:
            raise
        raise TypeError(f"gradcheck: {who} {why}. {remedy}") from error


def _misfit(function: Callable[..., Any], arguments: list[Any], keywords: dict[str, Any]) -> str:
    """Return how the arguments contradict the signature; empty if they do not."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return ""
    try:
        signature.bind(*arguments, **keywords)
    except TypeError as error:
        given = ", ".join([*map(describe, arguments), *(f"{name}=" for name in keywords)])
        return f"takes ({', '.join(signature.parameters)}), not ({given}): {error}"
    return ""


def _name(target: Any, forward: Callable[..., Any]) -> str:
    if not isinstance(target, tuple):
        return type(target.layer if isinstance(target, StatefulLayer) else target).__name__
    while hasattr(forward, "func"):  # functools.partial
        forward = forward.func
    name = getattr(forward, "__name__", type(forward).__name__)
    return "function" if name == "<lambda>" else name


def _is_ours(owner: Any, forward: Any) -> bool:
    if owner is not None:
        return isinstance(owner, Layer) and type(owner).__module__.startswith("npformer.")
    return str(getattr(forward, "__module__", "")).startswith("npformer.")


def _accepts(function: Callable[..., Any], keyword: str) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(p.name == keyword or p.kind is p.VAR_KEYWORD for p in parameters)


def _generators(
    run: Any, options: Mapping[str, Any]
) -> list[tuple[np.random.Generator, Mapping[str, Any]]]:
    candidates = [getattr(run, "rng", None), *options.values()]
    return [
        (generator, copy.deepcopy(generator.bit_generator.state))
        for generator in candidates
        if isinstance(generator, np.random.Generator)
    ]


def _copy(value: Any, lift: DTypeLike | None) -> Any:
    if value is None:
        return None
    if lift is not None and value.dtype.kind == "f":
        return value.astype(lift)
    return np.array(value, order="K")
