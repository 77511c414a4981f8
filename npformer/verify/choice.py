"""Which method differentiates which array: the complex step wherever it can be trusted.

Trust is earned on one random direction, where it has to agree with a central difference. If
making one argument complex does not work, all are made complex; if that does not work either,
central differences are left.
"""

import warnings
from typing import Any, NamedTuple

import numpy as np

from ..core.arrays import Array
from .central_difference import CentralDifference
from .complex_step import ComplexStep
from .estimate import Estimate, Method
from .noise import Noise
from .target import Slot, Target


class Chosen(NamedTuple):
    """The method for one slot, and how that came about."""

    method: Method | None  # None where the complex step was asked for and cannot be trusted
    reason: str  # why it is not the complex step; empty if it is, or was not asked for
    reference: Estimate | None  # the central difference along the direction of the trial


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
    """

    def __init__(
        self, target: Target, dy: Any, central: CentralDifference, method: str, noise: Noise
    ) -> None:
        self.central = central
        self._asked = method
        self._noise = noise
        self._complex = [ComplexStep(target, dy, everything) for everything in (False, True)]

    def for_slot(self, slot: Slot, direction: Array) -> Chosen:
        """Choose by a trial along `direction`."""
        if self._asked == "central" or slot.point.size == 0:
            return Chosen(self.central, "", None)
        reference = self.central.along(slot, direction)
        reason = ""
        for method in self._complex:
            reason = self._distrust(method, slot, direction, reference)
            if not reason:
                return Chosen(method, "", reference)
        return Chosen(None if self._asked == "complex" else self.central, reason, reference)

    def shared(self, names: set[str]) -> Method:
        """Return a method for a direction through all slots, given those that each one uses."""
        return self._complex[-1] if names == {ComplexStep.name} else self.central

    def _distrust(
        self, method: ComplexStep, slot: Slot, direction: Array, reference: Estimate
    ) -> str:
        """Return why the complex step cannot be used; empty if it can."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", np.exceptions.ComplexWarning)
                found = method.along(slot, direction)
        except Exception as error:  # whatever a function does that has never seen complex input
            line = (str(error).splitlines() or [""])[0]
            return f"forward does not take complex numbers ({type(error).__name__}: {line})"
        noise = self._noise.of_gradient(slot, found.activity)
        if not reference.contradicts(found.value, found.activity, noise):
            return ""  # at a kink there is nothing to compare with; single entries decide
        if found.activity == 0.0:
            return "forward loses the imaginary part of a complex number"
        return (
            f"forward is not analytic in complex numbers (complex step {found.value:.6g}, "
            f"central difference {reference.value:.6g})"
        )
