r"""Stochastic gradient descent, with momentum if wanted.

One step, for every parameter p with gradient dp, learning rate a, momentum u, weight decay w
    (1)  g = dp + w p                   gradient of the loss plus w/2 |p|^2, where p decays
    (2)  b = u b + g                    velocity, from b = 0
    (3)  d = b                          or, by Nesterov, d = g + u b: a look one step ahead
    (4)  p = p - a d

Without momentum (u = 0) there is no velocity, and d = g.

The velocity sums gradients rather than averages them: in the long run of equal gradients it is
g / (1 - u), so that u = 0.9 makes steps ten times as long.
"""

from collections.abc import Callable, Iterable
from typing import ClassVar

from ..core.arrays import Array
from ..core.parameter import Parameter
from .optimizer import Optimizer, real


class SGD(Optimizer):
    """Stochastic gradient descent; equations (1) to (4) of the module.

    Parameters
    ----------
    parameters : iterable of Parameter
        Usually ``model.parameters()``; frozen ones are passed over.
    lr : float
        Learning rate.
    momentum : float, optional
        From 0 (none) to below 1.
    nesterov : bool, optional
        Look ahead along the velocity; needs momentum.
    weight_decay : float, optional
        Strength of the pull to zero, by way of the gradient.
    decay : callable, optional
        Says of a parameter whether it decays; by default those of two or more dimensions do.

    Raises
    ------
    ValueError
        If there is nothing to train, a number is out of range, or `nesterov` has no momentum.
    TypeError
        If something is not a Parameter, a number, or (for `nesterov`) a bool.

    References
    ----------
    Polyak (1964), "Some methods of speeding up the convergence of iteration methods";
    Sutskever, Martens, Dahl and Hinton (2013), "On the importance of initialization and
    momentum in deep learning", section 2, in the form of Nesterov's method that needs the
    gradient at p alone.
    """

    settings: ClassVar[tuple[str, ...]] = ("lr", "momentum", "nesterov", "weight_decay")

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 1e-2,
        momentum: float = 0.0,
        *,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        decay: Callable[[Parameter], bool] | None = None,
    ) -> None:
        self.momentum = real("SGD", "momentum", momentum, below=1.0)
        if not isinstance(nesterov, bool):
            raise TypeError(f"SGD: nesterov is {nesterov!r}; expected True or False")
        if nesterov and not self.momentum:
            raise ValueError("SGD: nesterov=True needs momentum > 0; give one, such as 0.9")
        self.nesterov = nesterov
        slots = ("velocity",) if self.momentum else ()
        super().__init__(parameters, lr, weight_decay=weight_decay, decay=decay, slots=slots)

    def update(self, value: Array, grad: Array, state: list[Array], weight_decay: float) -> None:
        """Write equations (1) to (4) into `value` and the velocity."""
        g = grad + weight_decay * value if weight_decay else grad  # (1)
        d = g
        if self.momentum:
            (b,) = state
            b *= self.momentum
            b += g  # (2)
            d = g + self.momentum * b if self.nesterov else b  # (3)
        value -= self.lr * d  # (4)
