r"""The complex step: derivatives to the last digit, with nothing subtracted.

An analytic f has  f(x + ih v) = f(x) + ih J v - h^2/2 ... ,  so

    J v = Im f(x + ih v) / h        with an error of h^2: none at all at h = 1e-30.

The price is that forward must be analytic in each of its steps and keep complex numbers: an
`abs`, a comparison of complex numbers or a cast to float loses the imaginary part silently.
`npformer.verify.choice` finds that out.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.arrays import Array
from .estimate import Estimate
from .target import Slot, Target

H = 2.0**-100


class ComplexStep:
    """Directional derivatives of sum(dy y) by the complex step.

    Parameters
    ----------
    target : Target
    dy : ndarray or float
        The cotangent.
    everything : bool
        Whether all floating-point arguments become complex, or only the one perturbed.
    """

    name = "complex step"

    def __init__(self, target: Target, dy: Any, everything: bool) -> None:
        self._target = target
        self._dy = np.asarray(dy, np.float64)
        self._everything = everything
        self._lift = np.complex128 if everything else np.float64

    def under(self, dy: Any) -> "ComplexStep":
        """Return the same method under another cotangent."""
        return ComplexStep(self._target, dy, self._everything)

    def along(self, slot: Slot, direction: Array) -> Estimate:
        """Differentiate along `direction` in one slot."""
        return self.along_all([(slot, direction)])

    def along_all(self, directions: Sequence[tuple[Slot, Array]]) -> Estimate:
        """Differentiate along a direction in several slots at once."""
        # In units of the direction, so that tiny entries along a tiny one do not underflow.
        step = H * min(slot.length / _largest(direction) for slot, direction in directions)
        changed = {
            (slot.kind, slot.place): slot.point + 1j * (step * direction)
            for slot, direction in directions
        }
        y = np.asarray(self._target.evaluate(changed, self._lift)[0])
        terms = self._dy * (y.imag / step)
        return Estimate(float(np.sum(terms)), 0.0, float(np.sum(np.abs(terms))), kink=False)


def _largest(direction: Array) -> float:
    return float(np.max(np.abs(direction), initial=0.0)) or 1.0
