"""How a target behaves, apart from its numbers: what it writes to, keeps, adds and repeats.

The analytic gradients are taken here, once, while everything around them is watched.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.arrays import Array
from .arguments import Misfit, as_list, count_given
from .draws import cotangent, moved, signs_and_sizes
from .report import Finding
from .snapshot import Snapshot, same_bits, share_memory
from .target import Slot, Target


@dataclass
class Pass:
    """One forward and backward pass at the point, and what was seen on the way."""

    y: Array
    dy: Any  # an array, or a float where y is a scalar
    inputs: list[Any]  # one for each floating-point argument; None where it is missing
    parameters: dict[str, Any]
    findings: list[Finding]

    def gradient(self, target: Target, slot: Slot) -> Any:
        """Return the analytic gradient of a slot."""
        if slot.kind == "parameter":
            return self.parameters.get(slot.name)
        floating = [i for i, a in enumerate(target.arguments) if a.floating]
        return self.inputs[floating.index(slot.place)]


class Watch:
    """Takes the analytic gradients and collects findings.

    Parameters
    ----------
    target : Target
    rng : numpy.random.Generator
        For the cotangent and the values that gradients are filled with.
    """

    def __init__(self, target: Target, rng: np.random.Generator) -> None:
        self._target = target
        self._rng = rng
        self.findings: list[Finding] = []

    def watch(self) -> Pass:
        """Run everything."""
        target = self._target
        first = self._output(np.array)
        dy = self._cotangent(first)
        state = Snapshot(target.owner, target.weights.arrays())
        arguments = target.copies()
        y, saved = target.evaluate_with(arguments)
        y = np.array(y)
        self._unchanged(arguments, "forward")
        self._repeatable(first, y)

        target.weights.fill_gradients()
        upstream = _hand_out(dy)
        kept = Snapshot(saved, target.weights.arrays())
        result = target.backpropagate(upstream, saved)
        parameters = target.weights.gradients()
        if not np.array_equal(np.asarray(upstream), np.asarray(dy)):
            self._fail("mutated", "dy", "backward writes to it; work on a copy")
        for path in kept.changes():
            self._fail("mutated", f"saved.{path}" if path else "saved", _SAVED_WRITTEN)
        self._unchanged(arguments, "backward")
        self._weights_unchanged()
        self._aliased(result, upstream)

        target.use_arguments(keywords=self._keywords_are_differentiated(result))
        inputs = self._matched(result)
        self._frozen_stay_zero(parameters)
        if not any(finding.family == "not repeatable" for finding in self.findings):
            self._again(dy, saved, result)
            self._accumulates(dy, parameters)
            self._reentrant(dy, result)
        self._stateless(state)
        return Pass(y, dy, inputs, parameters, self.findings)

    def _output(self, convert: Callable[[Any], Array]) -> Array:
        y = self._target.evaluate()[0]
        if isinstance(y, tuple | list) or y is None:
            raise TypeError(
                f"gradcheck: forward returned a {type(y).__name__} as y; expected one array or "
                f"scalar, so check one output at a time"
            )
        array = convert(y)
        if array.dtype not in (np.float32, np.float64):
            raise TypeError(
                f"gradcheck: y is {array.dtype} {array.shape}; expected float32 or float64"
            )
        return array

    def _cotangent(self, y: Array) -> Any:
        dy = cotangent(self._rng, y)
        return float(dy) if y.ndim == 0 else dy

    def _fail(self, family: str, subject: str, message: str) -> None:
        self.findings.append(Finding(family, subject, message, failed=True))

    def _habit(self, family: str, subject: str, message: str) -> None:
        """Something that is forbidden within npformer, and worth a remark elsewhere."""
        self.findings.append(Finding(family, subject, message, failed=self._target.ours))

    def _unchanged(self, arguments: list[Any], who: str) -> None:
        for about, array in zip(self._target.arguments, arguments, strict=True):
            if array is not None and not same_bits(array, about.value):
                self._fail("mutated", about.name, f"{who} writes to it; work on a copy")
                array[...] = about.value

    def _weights_unchanged(self) -> None:
        for weight in self._target.weights.all:
            if not same_bits(weight.value, weight.point) and weight.value.flags.writeable:
                self._fail("mutated", weight.name, "the pass writes to this parameter's value")
                weight.write(weight.point)

    def _repeatable(self, first: Array, second: Array) -> None:
        if not _close(first, second):
            self._fail(
                "not repeatable",
                "",
                "two equal calls of forward differ; draw random numbers from a generator that "
                "gradcheck can rewind: Run(rng=...) as run, or a Generator in options",
            )

    def _aliased(self, result: Any, dy: Any) -> None:
        names = [a.name for a in self._target.arguments]
        for place, gradient in enumerate(as_list(result)):
            if share_memory(gradient, dy):
                name = names[place] if place < len(names) else f"gradient {place}"
                self._habit(
                    "aliased",
                    name,
                    "its gradient shares memory with dy; who writes to one changes the other, "
                    "so return a copy",
                )

    def _keywords_are_differentiated(self, result: Any) -> bool:
        floating = sum(
            a.value is not None and a.value.dtype.kind == "f" for a in self._target.arguments
        )
        has_keywords = any(a.keyword for a in self._target.arguments)
        return has_keywords and count_given(result) == floating

    def _matched(self, result: Any) -> list[Any]:
        try:
            return self._target.matched(result)
        except Misfit as misfit:
            self._fail("missing", "", str(misfit))
            return [None] * sum(a.floating for a in self._target.arguments)

    def _frozen_stay_zero(self, gradients: dict[str, Any]) -> None:
        for weight in self._target.weights.all:
            if not weight.trainable and np.any(np.asarray(gradients.get(weight.name, 0.0))):
                self._fail("frozen", weight.name, "it is frozen, yet backward gives it a gradient")

    def _again(self, dy: Any, saved: Any, result: Any) -> None:
        """Run backward a second time on the same saved state."""
        try:
            second = self._target.backpropagate(_hand_out(dy), saved)
        except Exception as error:
            self._habit(
                "state", "", f"backward cannot be run twice on one saved ({type(error).__name__})"
            )
            return
        if not _all_close(as_list(result), as_list(second)):
            self._fail(
                "mutated",
                "saved",
                "a second backward with the same dy and saved gives other gradients; what the "
                "first needs is consumed or changed by it",
            )

    def _accumulates(self, dy: Any, gradients: dict[str, Any]) -> None:
        """Fill the gradients before a pass: afterwards they have to have grown by the gradient."""
        target = self._target
        filled = {
            name: _fill(self._rng, gradient)
            for name, gradient in gradients.items()
            if isinstance(gradient, np.ndarray)
        }
        trainable = {weight.name for weight in target.weights.all if weight.trainable}
        filled = {name: value for name, value in filled.items() if name in trainable}
        target.weights.fill_gradients(filled)
        _, saved = target.evaluate()
        target.backpropagate(_hand_out(dy), saved)
        after = target.weights.gradients()
        for name, before in filled.items():
            grown = after.get(name)
            if not isinstance(grown, np.ndarray) or grown.shape != before.shape:
                continue
            scale = float(np.max(np.abs(before), initial=0.0))
            if np.any(gradients[name]) and _close(grown, gradients[name]):
                self._fail(
                    "not accumulated",
                    name,
                    "backward overwrites its gradient; add to it (grad += ...), or a parameter "
                    "that is used twice loses one of its gradients",
                )
            elif not _close(grown, before + gradients[name], scale):
                self._fail(
                    "not accumulated",
                    name,
                    "its gradient does not grow by the same amount whatever it was before",
                )

    def _reentrant(self, dy: Any, result: Any) -> None:
        """Run another forward between a forward and its backward."""
        target = self._target
        _, saved = target.evaluate()
        other = {
            ("input", place): moved(self._rng, a.value)
            for place, a in enumerate(target.arguments)
            if a.floating
        }
        if not other:
            return
        try:
            with np.errstate(all="ignore"):
                target.evaluate(other)
        except Exception:  # the other point need not be a valid one
            return
        second = target.backpropagate(_hand_out(dy), saved)
        if not _all_close(as_list(result), as_list(second)):
            self._habit(
                "state",
                "",
                "another forward between forward and backward changes the gradients: state of "
                "the pass is kept outside of saved",
            )

    def _stateless(self, state: Snapshot) -> None:
        if self._target.owner is None:
            return
        changed = state.changes()
        if changed:
            self._habit(
                "state",
                ", ".join(changed[:3]),
                "kept on the object by a pass; such a layer cannot be used twice in one pass "
                "or by two threads, so return it in saved",
            )


_SAVED_WRITTEN = "backward writes to it; a second backward would see the change"


def _hand_out(dy: Any) -> Any:
    return dy.copy() if isinstance(dy, np.ndarray) else dy


def _fill(rng: np.random.Generator, gradient: Array) -> Array:
    scale = float(np.max(np.abs(gradient), initial=0.0))
    if not np.isfinite(scale) or scale == 0.0:
        scale = 1.0
    return (scale * signs_and_sizes(rng, gradient.shape)).astype(gradient.dtype)


def _close(a: Any, b: Any, scale: float = 0.0) -> bool:
    """Say whether two arrays are equal but for the order in which sums are taken."""
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or a.dtype.kind != "f" or b.dtype.kind != "f":
        return a.shape == b.shape and bool(np.all(a == b))
    eps = max(float(np.finfo(a.dtype).eps), float(np.finfo(b.dtype).eps))
    finite = np.abs(a[np.isfinite(a)])
    scale = max(scale, float(np.max(finite, initial=0.0)))
    return bool(np.allclose(a, b, rtol=256 * eps, atol=256 * eps * scale, equal_nan=True))


def _all_close(first: list[Any], second: list[Any]) -> bool:
    return len(first) == len(second) and all(
        (a is None and b is None) or (a is not None and b is not None and _close(a, b))
        for a, b in zip(first, second, strict=True)
    )
