"""Which method differentiates which array: the complex step wherever it can be trusted.

Trust is earned along random directions that leave kinks out, where it has to agree with central
differences that are good enough to contradict it. If making one argument complex does not work,
all are made complex; if that does not work either, or there is nothing to compare with, central
differences are left.
"""

import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ..core.arrays import Array
from .central_difference import CentralDifference
from .complex_step import ComplexStep
from .draws import signs_and_sizes
from .estimate import Estimate, Method
from .kinks import Kinks
from .noise import Noise
from .target import Slot, Target

_TRIALS = 2  # directions along which the methods are compared
_ATTEMPTS = 6  # at finding such directions near kinks
_CLEAR, _CLEAR_SINGLE = 0.01, 0.05  # error beyond which a central difference is no evidence

_UNCLEAR = "nothing here is smooth or exact enough to try the complex step on"

Trial = tuple[Array, Estimate]


class Chosen(NamedTuple):
    """The method for one slot, and how that came about."""

    method: Method | None  # None where the complex step was asked for and cannot be trusted
    reason: str  # why it is not the complex step; empty if it is, or was not asked for
    trials: list[Trial]  # central differences along the directions that were tried
    trust: float  # how large an error of the complex step they could not see


class Choice:
    """Chooses a method for each slot.

    Parameters
    ----------
    target : Target
    dy : ndarray
        The cotangent.
    central : CentralDifference
    method : {"auto", "complex", "central"}
        What the caller asked for.
    noise : Noise
        Within which the two methods may differ.
    near : Kinks
        Finds the kinks that are within reach of a central difference.
    rng : numpy.random.Generator
    """

    def __init__(
        self,
        target: Target,
        dy: Any,
        central: CentralDifference,
        method: str,
        noise: Noise,
        near: Kinks,
        rng: np.random.Generator,
    ) -> None:
        self.central = central
        self._asked = method
        self._clear = _CLEAR_SINGLE if noise.single else _CLEAR
        self._noise, self._near, self._rng = noise, near, rng
        self._complex = [ComplexStep(target, dy, everything) for everything in (False, True)]

    def for_slot(self, slot: Slot, smooth: Array) -> Chosen:
        """Choose by trials along directions that are 0 where `smooth` is."""
        if self._asked == "central" or slot.point.size == 0:
            return Chosen(self.central, "", [], 0.0)
        reason, trials = "", list(self._trials(slot, smooth))
        for method in self._complex:
            reason, trust = self._distrust(method, slot, trials)
            if not reason:
                return Chosen(method, "", trials, trust)
        return Chosen(None if self._asked == "complex" else self.central, reason, trials, 0.0)

    def suffices(self, trust: float) -> bool:
        """Say whether a complex step that was tried so well is good for more than a zero."""
        return trust <= self._clear

    def shared(self, names: set[str]) -> Method:
        """Return a method for a direction through all slots, given those that each one uses."""
        return self._complex[-1] if names == {ComplexStep.name} else self.central

    def _trials(self, slot: Slot, smooth: Array) -> Iterator[Trial]:
        """Yield central differences that no kink disturbs, if there are any."""
        found, share = 0, 1.0
        for _ in range(_ATTEMPTS):
            some = self._rng.random(slot.point.shape) < share
            direction = signs_and_sizes(self._rng, slot.point.shape) * smooth * some
            if not np.any(direction):
                continue
            reference = self.central.along(slot, direction)
            coarse = reference.resolution(0.0, 0.0) > self._clear
            flat = reference.activity <= self._noise.of_gradient(slot, 0.0)
            if reference.kink or (coarse and not flat):
                if share == 1.0 and self._noise.single:
                    smooth = smooth * self._near.of(slot)
                share /= 2.0
                continue
            yield direction, reference
            found += 1
            if found == _TRIALS:
                return

    def _distrust(self, method: ComplexStep, slot: Slot, trials: list[Trial]) -> tuple[str, float]:
        """Return why the complex step cannot be used (empty if it can), and the trust in it."""
        directions = [direction for direction, _ in trials] or [np.ones(slot.point.shape)]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", np.exceptions.ComplexWarning)
                found = [method.along(slot, direction) for direction in directions]
        except Exception as error:  # whatever a function does that has never seen complex input
            line = (str(error).splitlines() or [""])[0]
            return f"forward does not take complex numbers ({type(error).__name__}: {line})", 0.0
        trust, zero = np.inf, False
        for own, (_, reference) in zip(found, trials, strict=False):
            noise = self._noise.of_gradient(slot, own.activity)
            if reference.contradicts(own.value, own.activity, noise):
                if own.activity == 0.0:
                    return "forward loses the imaginary part of a complex number", 0.0
                return (
                    f"forward is not analytic in complex numbers (complex step {own.value:.6g}, "
                    f"central difference {reference.value:.6g})"
                ), 0.0
            trust = min(trust, reference.resolution(own.activity, noise))
            zero |= max(own.activity, abs(reference.value)) <= noise
        return ("", trust) if zero or self.suffices(trust) else (_UNCLEAR, 0.0)
