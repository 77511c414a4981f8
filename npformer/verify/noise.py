r"""How much of an output is rounding: measured, not guessed.

The inputs are changed by a few units in their last place, several times over, and the largest
change of each output is kept. No method can know the output better than that. Two bounds follow:

    of a difference of two evaluations    4 sqrt(sum_k (dy_k sigma_k)^2)
    of a gradient, by what its terms are  8 (that) / |x|  +  c eps (largest sum of |terms|)

The first term of the second line makes a gradient count as zero that is zero but for rounding,
such as that of the bias of attention keys, or of a sum over normalised vectors.
"""

import math

import numpy as np

from ..core.arrays import Array
from .draws import nudged
from .target import Slot, Target

SAMPLES = 4


class Noise:
    """The rounding noise of a target at its point.

    Parameters
    ----------
    target : Target
    slots : list of Slot
    y : ndarray
        The output at the point.
    dy : ndarray
        The cotangent.
    rng : numpy.random.Generator
    """

    def __init__(
        self, target: Target, slots: list[Slot], y: Array, dy: Array, rng: np.random.Generator
    ) -> None:
        dtypes = [y.dtype, *(slot.point.dtype for slot in slots)]
        self.single = np.dtype(np.float32) in dtypes
        self.eps = float(np.finfo(np.float32 if self.single else np.float64).eps)
        sigma = self.eps * np.abs(y).astype(np.float64)
        for _ in range(SAMPLES):
            changed = {(slot.kind, slot.place): nudged(rng, slot.point) for slot in slots}
            other = np.asarray(target.evaluate(changed)[0])
            with np.errstate(invalid="ignore"):
                sigma = np.fmax(sigma, np.abs(other - y))
        self._weighted = (dy.astype(np.float64) * sigma) ** 2  # (dy_k sigma_k)^2
        self._last_place = (dy.astype(np.float64) * self.eps * np.abs(y)) ** 2
        self.of_output = 4.0 * math.sqrt(float(np.sum(self._weighted)))

    def of_difference(self, changed: Array) -> float:
        """Bound the noise of sum(dy (y1 - y2)), given where y1 and y2 differ at all.

        Outputs that do not differ may still have changed by less than their last place.
        """
        total = np.sum(np.where(changed, self._weighted, self._last_place))
        return 4.0 * math.sqrt(float(total))

    def of_gradient(self, slot: Slot, scale: float) -> float:
        """Bound the noise of one entry of a gradient.

        Parameters
        ----------
        slot : Slot
        scale : float
            Largest sum of the absolute terms that make up an entry.
        """
        return self.of_slope(scale, slot.length)

    def of_slope(self, scale: float, length: float = 1.0) -> float:
        """Bound the noise of a derivative along a direction in which one step is `length`."""
        terms = (256.0 if self.single else 16384.0) * self.eps * scale
        return 8.0 * self.of_output / length + terms
