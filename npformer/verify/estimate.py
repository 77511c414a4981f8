"""What a numeric method says of one directional derivative, and how sure it is."""

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ..core.arrays import Array
from .target import Slot


class Estimate(NamedTuple):
    """A derivative of sum(dy y) along a direction."""

    value: float
    bound: float  # the method's own error
    activity: float  # sum of |dy_k dy_k/dx|: how large the terms are that may cancel in `value`
    kink: bool  # the derivatives of both sides differ, so there is none

    def contradicts(self, value: float, activity: float, noise: float) -> bool:
        """Say whether another method's `value` lies outside of all that this one allows for.

        Parameters
        ----------
        value, activity : float
            As the other method found them.
        noise : float
            What rounding alone may make of a derivative that is zero.
        """
        allowed = 2.0 * self.bound + 1e-9 * max(activity, self.activity) + noise
        return not self.kink and not abs(self.value - value) <= allowed

    def resolution(self, activity: float, noise: float) -> float:
        """Return the smallest error of another method that this one sees, relative to its terms."""
        size = max(activity, self.activity)
        return (2.0 * self.bound + noise) / size if size and not self.kink else math.inf


class Method(Protocol):
    """A way to take a directional derivative."""

    @property
    def name(self) -> str:
        """As it stands in the report."""

    def along(self, slot: Slot, direction: Array) -> Estimate:
        """Differentiate along `direction` in one slot."""

    def along_all(self, directions: Sequence[tuple[Slot, Array]]) -> Estimate:
        """Differentiate along a direction in several slots at once."""
