"""How a target behaves, apart from its numbers: what it writes to, keeps, adds and repeats.

The analytic gradients are taken here, once, while everything around them is watched.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.arrays import Array, describe
from .arguments import Misfit, as_list, count_given
from .draws import as_index, cotangent, moved, signs_and_sizes
from .report import Finding
from .snapshot import Snapshot, leaves, same_bits, share_memory
from .stateful import StatefulLayer
from .target import Slot, Target

Name = tuple[str, str]  # kind and name of what is differentiated
Both = tuple[Any, dict[str, Any]]  # what backward returned, and the gradients of parameters


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
        constants = _arrays_of(target)
        state = Snapshot(target.owner, target.weights.arrays())
        earlier = target.evaluate()[0]
        first = self._output(earlier)
        dy = self._cotangent(first)
        arguments = target.copies()
        output, saved = target.evaluate_with(arguments)
        y = np.array(output)
        given = self._unchanged(arguments, target.copies(), "forward")
        self._repeatable(first, y)
        self._fresh("y", earlier, output)

        target.weights.fill_gradients()
        upstream = _hand_out(dy)
        kept = Snapshot(saved, target.weights.arrays())
        returned = target.backpropagate(upstream, saved)
        result = _copies(returned)
        parameters = target.weights.gradients()
        if not np.array_equal(np.asarray(upstream), np.asarray(dy)):
            self._fail("mutated", "dy", "backward writes to it; work on a copy")
        for path in kept.changes():
            self._fail("mutated", f"saved.{path}" if path else "saved", _SAVED_WRITTEN)
        self._unchanged(arguments, given, "backward")
        self._weights_unchanged()
        self._aliased(output, as_list(returned), arguments, upstream)

        fixed = [] if self._options_are_differentiated(result) else target.hold_options_fixed()
        inputs = self._matched(result)
        self._constant(fixed, constants)
        self._frozen_stay_zero(parameters)
        both = result, parameters
        if not self._has_failed("not repeatable"):
            self._backward_repeats(dy, both)
        if not self._has_failed("not repeatable"):
            self._again(dy, saved, both)
            self._accumulates(dy, returned, parameters)
            if not self._has_failed("mutated"):
                self._linear(dy, inputs, parameters)
            self._reentrant(dy, both)  # last, so that what the other forward keeps is seen
        self._stateless(state)
        return Pass(y, dy, inputs, parameters, self.findings)

    def _output(self, y: Any) -> Array:
        if isinstance(y, tuple | list) or y is None:
            raise TypeError(
                f"gradcheck: forward returned {describe(y)} as y; expected one array or scalar, "
                f"so check one output at a time"
            )
        array = np.array(y)
        if array.dtype not in (np.float32, np.float64):
            raise TypeError(
                f"gradcheck: y is {array.dtype} {array.shape}; expected float32 or float64, so "
                f"let forward return an output that has a gradient"
            )
        return array

    def _cotangent(self, y: Array) -> Any:
        dy = cotangent(self._rng, y)
        return float(dy) if y.ndim == 0 else dy

    def _pass(self, dy: Any, gradients: Mapping[str, Array] | None = None) -> tuple[Any, Any]:
        """Run forward and backward once more, and return what backward did."""
        target = self._target
        target.weights.fill_gradients(gradients)
        _, saved = target.evaluate()
        return target.backpropagate(_hand_out(dy), saved), target.weights.gradients()

    def _fail(self, family: str, subject: str, message: str) -> None:
        self.findings.append(Finding(family, subject, message, failed=True))

    def _has_failed(self, family: str) -> bool:
        return any(finding.family == family for finding in self.findings)

    def _habit(self, family: str, subject: str, message: str) -> None:
        """Add what is forbidden within npformer, and worth a remark elsewhere."""
        self.findings.append(Finding(family, subject, message, failed=self._target.ours))

    def _remark(self, family: str, subject: str, message: str) -> None:
        self.findings.append(Finding(family, subject, message, failed=False))

    def _unchanged(self, arguments: list[Any], given: list[Any], who: str) -> list[Any]:
        """Compare arguments with what was given, and return a copy of what they are now."""
        for about, array, before in zip(self._target.arguments, arguments, given, strict=True):
            if array is not None and not same_bits(array, before):
                self._fail("mutated", about.name, f"{who} writes to it; work on a copy")
        for path in self._target.undo_writes():
            self._fail("mutated", path, f"{who} writes to this option; work on a copy")
        return [None if array is None else array.copy() for array in arguments]

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

    def _names(self, count: int) -> list[str]:
        """Name so many gradients that backward returned."""
        names = [a.name for a in self._target.arguments if a.floating]
        if count != len(names):
            names = [a.name for a in self._target.arguments]
        return [*names, *(f"gradient {place}" for place in range(len(names), count))][:count]

    def _aliased(self, y: Any, gradients: list[Any], arguments: list[Any], dy: Any) -> None:
        """Look for results that share memory with what the caller holds, or with each other."""
        held = [(about.name, a) for about, a in zip(self._target.arguments, arguments, strict=True)]
        shared = _sharing(y, held)
        if shared:  # npformer, too, hands x on where there is nothing to do
            self._remark("aliased", "y", f"it {shared}")
        held.append(("dy", dy))
        for name, gradient in zip(self._names(len(gradients)), gradients, strict=True):
            shared = _sharing(gradient, held)
            if shared:
                self._habit("aliased", name, f"its gradient {shared}")
            held.append((f"the gradient of {name}", gradient))

    def _fresh(self, name: str, first: Any, second: Any) -> None:
        """Compare what two passes returned."""
        if share_memory(first, second):
            what = "forward" if name == "y" else "backward"
            self._habit(
                "state",
                name,
                f"{what} returns the same memory on every call, so a result is overwritten by "
                f"the next one; return a new array",
            )

    def _options_are_differentiated(self, result: Any) -> bool:
        floating = sum(a.floating for a in self._target.arguments)
        return count_given(result) == floating

    def _matched(self, result: Any) -> list[Any]:
        try:
            return self._target.matched(result)
        except Misfit as misfit:
            self._fail("missing", "", str(misfit))
            return [None] * sum(a.floating for a in self._target.arguments)

    def _constant(self, fixed: list[str], constants: dict[str, Array]) -> None:
        """Name the floating-point arrays that nothing is said of."""
        fixed += [path for path, a in leaves(self._target.options) if _is_floating(a)]
        if fixed:
            self._remark(
                "constant",
                ", ".join(fixed),
                "no gradient is returned for this option, so it is not checked; to have it "
                "checked, pass it as an array of its own and return its gradient",
            )
        now = _arrays_of(self._target)
        known = self._target.weights.arrays()
        held = [
            path
            for path, array in constants.items()
            if now.get(path) is array and not any(share_memory(array, other) for other in known)
        ]
        if held and not self._target.ours:
            more = f", ... ({len(held)} in all)" if len(held) > _NAMED else ""
            self._remark(
                "constant",
                ", ".join(held[:_NAMED]) + more,
                "kept on the object and no parameter, so it is not checked; if it is one, yield it "
                "from named_parameters(), or name it: StatefulLayer(layer, W='dW')",
            )

    def _frozen_stay_zero(self, gradients: dict[str, Any]) -> None:
        for weight in self._target.weights.all:
            if not weight.trainable and np.any(np.asarray(gradients.get(weight.name, 0.0))):
                self._fail("frozen", weight.name, "it is frozen, yet backward gives it a gradient")

    def _backward_repeats(self, dy: Any, before: Both) -> None:
        if not _same(before, self._pass(dy)):
            self._fail(
                "not repeatable",
                "",
                "two equal passes give different gradients: backward does not repeat itself; "
                "let it draw no random numbers, but use what forward has saved",
            )

    def _again(self, dy: Any, saved: Any, before: Both) -> None:
        """Run backward a second time on the same saved state."""
        self._target.weights.fill_gradients()
        try:
            second = self._target.backpropagate(_hand_out(dy), saved)
        except Exception as error:
            self._habit(
                "state", "", f"backward cannot be run twice on one saved ({type(error).__name__})"
            )
            return
        if not _same(before, (second, self._target.weights.gradients())):
            self._fail(
                "mutated",
                "saved",
                "a second backward with the same dy and saved gives other gradients; what the "
                "first needs is consumed or changed by it",
            )

    def _accumulates(self, dy: Any, returned: Any, gradients: dict[str, Any]) -> None:
        """Fill the gradients before a pass: afterwards they have to have grown by the gradient."""
        trainable = {weight.name for weight in self._target.weights.all if weight.trainable}
        filled = {
            name: _fill(self._rng, gradient)
            for name, gradient in gradients.items()
            if isinstance(gradient, np.ndarray) and name in trainable
        }
        second, after = self._pass(dy, filled)
        first, second = as_list(returned), as_list(second)
        for name, *pair in zip(self._names(len(first)), first, second, strict=False):
            self._fresh(name, *pair)
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

    def _reentrant(self, dy: Any, before: Both) -> None:
        """Run another forward between a forward and its backward."""
        target = self._target
        target.weights.fill_gradients()
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
        if not _same(before, (second, target.weights.gradients())):
            self._habit(
                "state",
                "",
                "another forward between forward and backward changes the gradients: state of "
                "the pass is kept outside of saved",
            )

    def _linear(self, dy: Any, inputs: list[Any], parameters: dict[str, Any]) -> None:
        """Multiply dy, and split it: the gradients have to follow."""
        whole = self._by_name(inputs, parameters)
        sizes = [np.max(np.abs(g), initial=0.0) for g in _finite([*inputs, *parameters.values()])]
        scale = float(max(sizes, default=0.0))
        wrong: dict[Name, str] = {}
        for factor in _FACTORS:
            if abs(factor) * scale < _LOST:  # what is due would lose digits to underflow
                continue
            found = self._gradients_under(factor * dy)
            for name, once in whole.items():
                if not _finite([once]) or name not in found:
                    continue
                if not _close(found[name], factor * once, abs(factor) * scale):
                    wrong.setdefault(name, _nonlinearity(factor, once, found[name]))
        if np.size(dy) > 1:
            self._additive(dy, whole, scale, wrong)
        for (_, subject), why in wrong.items():
            self._fail("not linear", subject, why)

    def _additive(
        self, dy: Array, whole: dict[Name, Any], scale: float, wrong: dict[Name, str]
    ) -> None:
        """Split dy in two, with zeros as of padding and small entries: gradients have to add up."""
        share = self._rng.permutation(np.resize(_SHARES, dy.size)).reshape(dy.shape)
        last_places = 1.0 + 4.0 * np.finfo(dy.dtype).eps * signs_and_sizes(self._rng, dy.shape)
        passes = [
            self._gradients_under((part * dy).astype(dy.dtype))
            for part in (share, 1.0 - share, last_places)
        ]
        for name, once in whole.items():
            g, h, near = (np.asarray(found.get(name, np.nan)) for found in passes)
            if len(_finite([once, near])) < 2 or not once.shape == g.shape == h.shape:
                continue
            size = max(
                float(np.max(np.abs(part), initial=0.0)) for part in (once, *_finite([g, h]))
            )
            rounding = float(np.max(np.abs(near - once), initial=0.0))
            digits = math.sqrt(np.finfo(once.dtype).eps)
            allowed = max(_SPLIT, digits) * size + 64.0 * rounding + digits * scale
            if not np.all(np.abs(g + h - once) <= allowed):
                wrong.setdefault(name, _NOT_ADDITIVE)

    def _gradients_under(self, dy: Any) -> dict[Name, Any]:
        """Run a pass under another cotangent."""
        with np.errstate(all="ignore"):
            result, parameters = self._pass(dy)
        missing = self._has_failed("missing")
        return self._by_name([] if missing else self._target.matched(_copies(result)), parameters)

    def _by_name(self, inputs: list[Any], parameters: dict[str, Any]) -> dict[Name, Any]:
        """Name gradients by what they are of; an input and a parameter may be called alike."""
        floating = [("input", a.name) for a in self._target.arguments if a.floating]
        if self._has_failed("missing"):
            floating, inputs = [], []
        found = dict(zip(floating, inputs, strict=True))
        return found | {("parameter", name): g for name, g in parameters.items()}

    def _stateless(self, state: Snapshot) -> None:
        if self._target.owner is None:
            return
        changed = state.changes()
        if changed:
            self._habit(
                "state",
                ", ".join(changed[:_NAMED]),
                "kept on the object by a pass; such a layer cannot be used twice in one pass "
                "or by two threads, so return it in saved",
            )


_LOST = 1e-30
_SAVED_WRITTEN = "backward writes to it; a second backward would see the change"
_NAMED = 3  # of several arrays or attributes, in a finding
# For dy: exact, and far beyond the limits that are usual, on either side.
_FACTORS = (2.0**20, -(2.0**20), 2.0**-20)
_SPLIT = 1e-5  # of the largest entry; what is less is a matter of precision, not of kind
_SHARES = (0.0, 1.0, 2.0**-12)  # of the entries of dy, in one of two parts
_NOT_ADDITIVE = (
    "its gradient is not linear in dy: dy is split into two that sum to it, with zeros and small "
    "entries in both, and their gradients do not add up to the whole; multiply by dy once, divide "
    "by nothing that is made of it, and leave no small entries of it out"
)


def _nonlinearity(factor: float, before: Array, after: Any) -> str:
    due, found = factor * before, np.broadcast_to(after, before.shape)
    at = as_index(int(np.argmax(np.abs(found - due))), due.shape)
    return (
        f"its gradient is not linear in dy: {factor:g} times dy gives {found[at]:.4g} at "
        f"{list(at)}, where {due[at]:.4g} is due; multiply by dy once, and let nothing in "
        f"backward depend on its size or sign (no limit, no normalisation)"
    )


def _sharing(result: Any, held: list[tuple[str, Any]]) -> str:
    shared = [name for name, array in held if share_memory(result, array)]
    if not shared:
        return ""
    return (
        f"shares memory with {' and '.join(shared)}; who writes to one changes the other, so "
        f"return a copy"
    )


def _arrays_of(target: Target) -> dict[str, Array]:
    """Return the floating-point arrays that the object of a target holds, by their paths."""
    bound_to = getattr(target.forward, "__self__", None)
    holder = bound_to if target.owner is None else target.owner
    holder = holder.layer if isinstance(holder, StatefulLayer) else holder
    return {path: item for path, item in leaves(holder) if _is_floating(item)}


def _is_floating(item: Any) -> bool:
    return isinstance(item, np.ndarray) and item.dtype.kind == "f"


def _finite(gradients: list[Any]) -> list[Array]:
    return [g for g in gradients if _is_floating(g) and np.all(np.isfinite(g))]


def _copies(result: Any) -> list[Any]:
    return [g.copy() if isinstance(g, np.ndarray) else g for g in as_list(result)]


def _hand_out(dy: Any) -> Any:
    return dy.copy() if isinstance(dy, np.ndarray) else dy


def _fill(rng: np.random.Generator, gradient: Array) -> Array:
    scale = float(np.max(np.abs(gradient), initial=0.0))
    if not np.isfinite(scale) or scale == 0.0:
        scale = 1.0
    return (scale * signs_and_sizes(rng, gradient.shape)).astype(gradient.dtype)


def _close(a: Any, b: Any, scale: float = 0.0) -> bool:
    """Say whether two arrays are equal but for the order in which sums are taken."""
    if not all(isinstance(item, np.ndarray | np.generic | float) for item in (a, b)):
        return type(a) is type(b)
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or a.dtype.kind != "f" or b.dtype.kind != "f":
        return a.shape == b.shape and bool(np.all(a == b))
    eps = max(float(np.finfo(a.dtype).eps), float(np.finfo(b.dtype).eps))
    finite = np.abs(a[np.isfinite(a)])
    scale = max(scale, float(np.max(finite, initial=0.0)))
    return bool(np.allclose(a, b, rtol=256 * eps, atol=256 * eps * scale, equal_nan=True))


def _same(first: Both, second: Both) -> bool:
    """Say whether two passes gave the same gradients, of inputs and of parameters."""
    returned = as_list(first[0]), as_list(second[0])
    if len(returned[0]) != len(returned[1]) or not all(map(_close, *returned)):
        return False
    return all(_close(g, second[1].get(name)) for name, g in first[1].items())
