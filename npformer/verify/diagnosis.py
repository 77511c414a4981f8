"""What is wrong with a gradient, in words: the relation between it and the true one.

Each test looks for one relation and returns its family and a sentence, or None; the first that
holds is the diagnosis. They run from the most telling to the least.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ..core.arrays import Array
from . import jacobian
from .comparison import Comparison
from .draws import as_index
from .jacobian import Diagnosis, Jacobians
from .quantities import Quantities
from .relations import (
    close,
    factor_between,
    parallel_along,
    permutations,
    rows_of,
    scaled_alike,
)
from .target import Slot


@dataclass(frozen=True)
class Known:
    """What a wrong gradient can be compared with.

    Attributes
    ----------
    quantities : Quantities
    truths : mapping of str to ndarray
        The numeric gradients of all tensors that were compared in full.
    arrays : mapping of str to ndarray
        Values by name: inputs, parameters, y and dy.
    pushed : callable
        Returns how the output changes along a direction in a slot.
    jacobians : Jacobians
        Of the target, for what the gradient alone does not show.
    """

    quantities: Quantities
    truths: Mapping[str, Array]
    arrays: Mapping[str, Array]
    pushed: Callable[[Slot, Array], Array]
    jacobians: Jacobians


def diagnose(found: Comparison, known: Known) -> Diagnosis:
    """Say what is wrong with a gradient that failed.

    Parameters
    ----------
    found : Comparison
    known : Known

    Returns
    -------
    family, sentence : str
    """
    case = _Case(found, known)
    tests: list[Callable[[_Case], Diagnosis | None]] = [_not_finite, _zero, _not_zero, _factor]
    tests += [_single_precision]
    if case.whole:
        tests += [_mask]
    if found.places is not None:
        tests += [_few_entries, _permuted]
    if case.whole:
        tests += [_exchanged, _reduced, _pushed_forward, _added_constant, _few_values, _one_slice]
        tests += [_scaled_by_array, _varying_factor, _passed_on, _missing_term]
        tests += [_dependences, _taken_apart]
    for test in tests:
        diagnosis = test(case)
        if diagnosis is not None:
            return diagnosis
    return _unrelated(case)


class _Case:
    """One failing gradient, with what the tests ask for."""

    def __init__(self, found: Comparison, known: Known) -> None:
        self.found = found
        self.known = known
        self.name = found.slot.name
        shape = found.slot.point.shape
        compared = ~found.kink
        self.whole = found.places is not None and found.places.size == found.slot.point.size
        analytic, numeric = (
            np.where(compared, found.analytic, 0),
            np.where(compared, found.numeric, 0),
        )
        self.a = analytic.reshape(shape) if self.whole else analytic
        self.n = numeric.reshape(shape) if self.whole else numeric
        self.failing = found.failing.reshape(shape) if self.whole else found.failing
        self.rest = self.a - self.n
        noise = np.broadcast_to(np.asarray(found.noise), compared.shape)
        self.noise = noise.reshape(shape) if self.whole else noise
        self.precision = 1e-3 if found.tolerance >= 1e-5 else 1e-6

    @functools.cached_property
    def jacobians(self) -> jacobian.Pair | None:
        """Both Jacobians, if the target is small enough."""
        dy = self.known.arrays["dy"]
        return self.known.jacobians.of(self.found.slot, self.a, self.n, dy, self.found.kink)

    def fills_a_slice(self) -> bool:
        """Say whether the failing entries are a whole row, column or the like."""
        if not self.whole or int(np.sum(self.failing)) < 2:
            return False
        for axis in range(self.failing.ndim):
            others = tuple(i for i in range(self.failing.ndim) if i != axis)
            wrong = np.any(self.failing, axis=others)
            if np.array_equal(wrong, np.all(self.failing, axis=others)) and others:
                return True
        return False

    def explained_by(self, prediction: Array) -> bool:
        """Say whether `prediction` is the analytic gradient, far closer than the true one is."""
        return close(self.a, prediction, self.precision) and close(
            self.a - prediction + self.rest, self.rest, 1e-2
        )


def _not_finite(case: _Case) -> Diagnosis | None:
    bad = ~np.isfinite(case.found.analytic)
    if not np.any(bad):
        return None
    return "not finite", f"{int(np.sum(bad))} of {bad.size} entries are NaN or infinite"


def _zero(case: _Case) -> Diagnosis | None:
    if np.any(np.abs(case.a) > case.noise):
        return None
    how = "zero but for rounding" if np.any(case.a) else "exactly zero"
    return "zero", f"backward gives {how}: its gradient is forgotten or written elsewhere"


def _not_zero(case: _Case) -> Diagnosis | None:
    largest = float(np.max(np.abs(case.a)))
    if np.any(np.abs(case.n) > np.minimum(case.noise, 1e-9 * largest)):
        return None
    return "not zero", "it should be zero: the output does not depend on it here"


def _factor(case: _Case) -> Diagnosis | None:
    factor = factor_between(case.a, case.n)
    if factor is None:
        return None
    if abs(factor + 1) <= case.precision:
        return "sign", "the sign is wrong: it is the negative of the true gradient"
    dy = case.known.arrays["dy"]
    if dy.ndim == 0 and abs(factor * float(dy) - 1) <= case.precision:
        return "missing factor", f"multiplied by dy = {float(dy):.4g} it would be right: dy is lost"
    if abs(factor - 1) < 1e-3:
        return "factor", f"it is 1 {factor - 1:+.3g} times the true gradient"
    sign = "-" if factor < 0 else ""
    what = case.known.quantities.explain(abs(factor), case.precision)
    equals = f", which equals {sign}{what}" if what else ""
    return "factor", f"it is {factor:.7g} times the true gradient{equals}"


def _few_entries(case: _Case) -> Diagnosis | None:
    found, wrong = case.found, np.flatnonzero(case.found.failing)
    assert found.places is not None
    if not 0 < wrong.size <= 3 or case.failing.size < 4 * wrong.size - 2 or case.fills_a_slice():
        return None
    shape = found.slot.point.shape
    indices = [str(list(as_index(int(found.places[at]), shape))) for at in wrong]
    a, n = found.analytic[wrong], found.numeric[wrong]
    if np.all(np.abs(n) > 1e-9 * np.abs(a)):
        off = ", ".join(f"{x:+.2g}" for x in a / n - 1.0)
        by = f"by {off} of {'itself' if wrong.size == 1 else 'themselves'}"
    else:
        by = " and ".join(f"{x:.4g} for {y:.4g}" for x, y in zip(a, n, strict=True))
    if wrong.size == 1:
        only = "only the entry" if case.whole else f"of {case.failing.size} sampled, the entry"
        return "one index", f"{only} at {indices[0]} is wrong ({by})"
    only = "only the entries" if case.whole else f"of {case.failing.size} sampled, the entries"
    return "few entries", f"{only} at {' and '.join(indices)} are wrong ({by})"


def _permuted(case: _Case) -> Diagnosis | None:
    if not case.whole:
        return _permuted_sample(case)
    for family, what, permuted in permutations(case.n):
        for sign, negative in ((1.0, ""), (-1.0, "the negative of ")):
            if case.explained_by(sign * permuted):
                return family, f"it is {negative}the true gradient {what}"
    return None


def _permuted_sample(case: _Case) -> Diagnosis | None:
    """Undo each rearrangement on the whole gradient, and look at the entries that are known."""
    places = case.found.places
    assert places is not None
    for family, what, permuted in permutations(np.asarray(case.found.gradient, np.float64)):
        if close(permuted.flat[places], case.n, case.precision):
            return family, f"it would be right {what}"
    return None


def _pushed_forward(case: _Case) -> Diagnosis | None:
    dy = case.known.arrays["dy"]
    if dy.shape != case.a.shape or not dy.ndim:
        return None
    if not case.explained_by(case.known.pushed(case.found.slot, dy)):
        return None
    return "transposed", (
        "it is the derivative of forward applied to dy, where the transposed one is due: a matrix "
        "is not transposed, or a cumulative sum not reversed"
    )


def _passed_on(case: _Case) -> Diagnosis | None:
    for name, array in case.known.arrays.items():
        if array.ndim and array.shape == case.a.shape:
            factor = factor_between(case.a, array)
            if close(case.a, array, case.precision) or factor is not None:
                times = "" if factor is None else f"{factor:.6g} times "
                return "missing term", f"it is {times}{name}, handed on: all else is missing"
    return None


def _exchanged(case: _Case) -> Diagnosis | None:
    for name, truth in case.known.truths.items():
        if name == case.name or truth.shape != case.a.shape or not np.any(truth):
            continue
        factor = factor_between(case.a, truth)
        if case.explained_by(truth) or factor is not None:
            times = "" if factor is None else f"{factor:.6g} times "
            return "exchanged", f"it is {times}the true gradient of {name}: are they exchanged?"
    return None


def _reduced(case: _Case) -> Diagnosis | None:
    for axis in range(case.n.ndim):
        total = np.sum(case.n, axis=axis, keepdims=True)
        for sum_of, what in ((total, "sum"), (total / case.n.shape[axis], "mean")):
            if case.n.shape[axis] > 1 and case.explained_by(np.broadcast_to(sum_of, case.a.shape)):
                why = f"it is the {what} over axis {axis} of the true gradient, repeated along it"
                return "reduction", why
    return None


def _mask(case: _Case) -> Diagnosis | None:
    """Zero where it should not be, or the other way round, and right elsewhere."""
    absent, due = case.a == 0, np.abs(case.n) > case.noise
    if (
        int(np.sum(case.failing)) < 2
        or np.any(case.failing & due & ~absent)
        or not np.any(due & ~case.failing)
    ):
        return None
    for axis in range(case.failing.ndim):  # whole slices are better called so
        others = tuple(i for i in range(case.failing.ndim) if i != axis)
        if np.all(np.any(case.failing, others) == np.all(case.failing | ~due, others)):
            return None
    extra, lost = int(np.sum(case.failing & ~due)), int(np.sum(case.failing & due))
    return "mask", (
        f"it is right but for {extra} entries that should be zero and {lost} that should not: a "
        f"mask or gate is missing, or is not the one of the forward pass"
    )


def _one_slice(case: _Case) -> Diagnosis | None:
    relevant = case.failing | (np.abs(case.n) > case.noise)
    if np.all(case.failing[relevant]):
        return None
    for axis in range(case.failing.ndim):
        others = tuple(i for i in range(case.failing.ndim) if i != axis)
        wrong = np.any(case.failing, axis=others)
        right = ~wrong & np.any(relevant, axis=others)
        if np.any(right):
            where = ", ".join(str(int(i)) for i in np.flatnonzero(wrong)[:5])
            more = ", ..." if np.sum(wrong) > 5 else ""
            only = f"it is wrong only at {where}{more} of axis {axis}"
            apart = _dependences(case)
            if apart:
                return apart[0], f"{only}: {apart[1]}"
            some = None if case.jacobians is None else jacobian.some_alone(case.jacobians)
            return "one slice", f"{only}: {some[1]}" if some else only
    return None


def _added_constant(case: _Case) -> Diagnosis | None:
    typical = float(np.mean(case.rest))
    if case.rest.size < 3 or not close(case.rest, np.full(case.rest.shape, typical), 1e-4):
        return None
    return "added constant", f"a constant is added to it: {typical:+.4g} at every entry"


def _scaled_by_array(case: _Case) -> Diagnosis | None:
    for name, array in case.known.arrays.items():
        if array.ndim == 0 or array.size < 2 or not _broadcasts(array, case.a.shape):
            continue
        with np.errstate(all="ignore"):
            if not np.any(array == 0) and case.explained_by(case.n / array):
                return "missing factor", f"multiplied by {name} it would be right"
            if case.explained_by(case.n * array):
                return "missing factor", f"divided by {name} it would be right"
    return None


def _varying_factor(case: _Case) -> Diagnosis | None:
    for axis in range(case.a.ndim):
        others = tuple(i for i in range(case.a.ndim) if i != axis)
        for axes, how in ((others, "varies along axis"), ((axis,), "is constant along axis")):
            scaled = scaled_alike(axes, case.a, case.n) if axes else None
            if scaled is not None and case.explained_by(scaled):
                why = f"it is the true gradient times a factor that {how} {axis} alone"
                return "missing factor", why
    return None


def _missing_term(case: _Case) -> Diagnosis | None:
    rest = case.rest
    dy = case.known.arrays["dy"]
    if dy.shape == rest.shape and dy.ndim:
        factor = factor_between(rest, dy)
        if factor is not None or close(rest, dy, case.precision):
            times = 1.0 if factor is None else factor
            return "missing term", f"what is too much is {times:.6g} dy: a direct path"
    for axis in range(rest.ndim):
        for name, array in _profiles(case, axis):
            if array.shape == rest.shape and parallel_along(axis, rest, array, case.precision):
                why = f"what is too much is a multiple of {name} along axis {axis}"
                return "missing term", f"{why}: the projection onto it is missing or wrong"
    for name, array in case.known.arrays.items():
        if array.ndim == 2 and name != case.name and rows_of(array, rest, case.precision):
            why = f"what is too much is, at each place, a multiple of a row of {name}"
            return "missing term", f"{why}: the part of one index, such as the target's, is wrong"
    return None


def _few_values(case: _Case) -> Diagnosis | None:
    """Off by one constant at some entries, and by nothing or another at the rest."""
    rest, size = case.rest, float(np.max(np.abs(case.rest)))
    rounded = np.round(rest / size, 4)
    values = np.unique(rounded)
    if rest.size < 8 or values.size > 2 + (0.0 in values) or np.sum(case.failing) < 2:
        return None
    if not close(rounded * size, rest, 1e-3):
        return None
    which = ", ".join(
        f"{value * size:+.4g} at {int(np.sum(rounded == value))}" for value in values if value
    )
    return "missing term", (
        f"what is too much takes few values, {which} of {rest.size} entries: a constant term (a "
        f"target, a smoothing) is missing or wrong"
    )


def _dependences(case: _Case) -> Diagnosis | None:
    return None if case.jacobians is None else jacobian.dependences(case.jacobians)


def _taken_apart(case: _Case) -> Diagnosis | None:
    pair = case.jacobians
    if pair is None or not np.any(pair.wrong):
        return None
    found = jacobian.slope(pair) or jacobian.another_order(pair)
    found = found or jacobian.factors(pair, case.known.arrays) or jacobian.some_alone(pair)
    return found or jacobian.low_rank(pair)


def _profiles(case: _Case, axis: int) -> Iterator[tuple[str, Array]]:
    """Arrays that a missing projection is usually parallel to."""
    yield "ones", np.ones(case.a.shape)
    for name, array in case.known.arrays.items():
        if array.shape == case.a.shape:
            yield name, array
            yield f"{name} - mean", array - np.mean(array, axis=axis, keepdims=True)
            if case.known.arrays["dy"].shape in ((), array.shape):
                yield f"{name} * dy", array * case.known.arrays["dy"]


def _single_precision(case: _Case) -> Diagnosis | None:
    if case.found.tolerance >= 1e-5:
        return None
    size = float(np.linalg.norm(case.n)) or 1.0
    off = float(np.linalg.norm(case.a - case.n)) / size
    if off >= 1e-5:
        return None
    if case.found.gradient.dtype != np.float64:
        return "precision", "it has the digits of float32"
    rounded = np.asarray(case.a, np.float64).astype(np.float32).astype(np.float64)
    if np.array_equal(rounded, case.a):
        return "precision", "its values are float32 numbers: a part of backward is in float32"
    if off > 1e-10 and 2 * int(np.sum(case.failing)) > case.failing.size and not _related(case):
        return "precision", f"it is off by {off:.1g}, as after a computation in float32"
    return None


def _related(case: _Case) -> bool:
    """Say whether a small difference has a pattern, so that it is no rounding."""
    return bool(case.whole and (_added_constant(case) or _missing_term(case)))


def _unrelated(case: _Case) -> Diagnosis:
    wrong, size = int(np.sum(case.failing)), case.failing.size
    if case.found.places is None:
        return "unrelated", f"it is wrong along {wrong} of {size} random directions"
    some = "" if case.whole else f" (sampled from {case.found.slot.point.size})"
    lengths = float(np.linalg.norm(case.a)) * float(np.linalg.norm(case.n))
    if size < 3 or lengths == 0.0:
        return "unrelated", f"{wrong} of {size} entries{some} are wrong"
    cosine = float(np.sum(case.a * case.n)) / lengths
    return "unrelated", (
        f"{wrong} of {size} entries{some} are wrong, and no simple relation to the true gradient "
        f"is known (cosine {cosine:.3f})"
    )


def _broadcasts(array: Array, shape: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(array.shape, shape) == shape
    except ValueError:
        return False
