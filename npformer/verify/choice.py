"""Which method differentiates which array: the complex step wherever it can be trusted.

Trust is earned on one random direction, where it has to agree with a central difference. If
making one argument complex does not work, all are made complex; if that does not work either,
central differences are left.
"""

import warnings
from typing import Any

import numpy as np

from ..core.arrays import Array
from .central_difference import CentralDifference
from .complex_step import ComplexStep
from .draws import signs_and_sizes
from .estimate import Estimate, Method
from .target import Slot, Target


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
    rng : numpy.random.Generator
    """

    def __init__(
        self,
        target: Target,
        dy: Any,
        central: CentralDifference,
        method: str,
        rng: np.random.Generator,
    ) -> None:
        self.central = central
        self._asked = method
        self._rng = rng
        self._complex = [ComplexStep(target, dy, everything) for everything in (False, True)]

    def for_slot(self, slot: Slot) -> tuple[Method | None, str]:
        """Return the method, and why it is not the complex step where it is not.

        The method is None where the complex step was asked for and cannot be trusted.
        """
        if self._asked == "central" or slot.point.size == 0:
            return self.central, ""
        direction = signs_and_sizes(self._rng, slot.point.shape)
        reference = self.central.along(slot, direction)
        reason = ""
        for method in self._complex:
            reason = self._distrust(method, slot, direction, reference)
            if not reason:
                return method, ""
        return (None if self._asked == "complex" else self.central), reason

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
        if reference.kink:  # nothing to compare with; single entries decide
            return ""
        allowed = 10.0 * reference.bound + 1e-9 * max(found.activity, reference.activity)
        if abs(found.value - reference.value) <= allowed:
            return ""
        if found.activity == 0.0:
            return "forward loses the imaginary part of a complex number"
        return (
            f"forward is not analytic in complex numbers (complex step {found.value:.6g}, "
            f"central difference {reference.value:.6g})"
        )
