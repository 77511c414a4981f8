r"""Adam: each entry's step is its mean gradient over the root of its mean square.

Step t = 1, 2, ..., for every parameter p with gradient dp, learning rate a, rates b1, b2
    (1)  g  = dp + w p                  Adam: weight decay through the gradient, where p decays
    (1w) p  = p - a w p,  g = dp        AdamW: weight decay on its own, not scaled by (5)
    (2)  m  = b1 m + (1 - b1) g         running mean, from m = 0
    (3)  v  = b2 v + (1 - b2) g^2       running mean square, from v = 0
    (4)  mh = m / (1 - b1^t)            what starting from 0 left out: for a constant g,
         vh = v / (1 - b2^t)            m = (1 - b1^t) g and v = (1 - b2^t) g^2
    (5)  p  = p - a mh / (sqrt(vh) + eps)

A step is at most about a in every entry, whatever the scale of the loss. With (1) the decay of
an entry is divided by sqrt(vh) like the gradient, so that entries with large gradients hardly
decay; (1w) repairs that.

In (5), sqrt(vh) = sqrt(v) / c with the number c = sqrt(1 - b2^t), so that
     a mh / (sqrt(v) / c + eps) = (a c / (1 - b1^t)) m / (sqrt(v) + eps c)
takes no pass over an array for either correction.
"""

import math
from collections.abc import Callable, Iterable
from typing import ClassVar

import numpy as np

from ..core.arrays import Array
from ..core.parameter import Parameter
from .optimizer import Optimizer, check_betas, real


class Adam(Optimizer):
    """Adam; equations (1) to (5) of the module.

    Parameters
    ----------
    parameters : iterable of Parameter
        Usually ``model.parameters()``; frozen ones are passed over.
    lr : float, optional
        Learning rate.
    betas : (float, float), optional
        Rates of the two running means, each from 0 to below 1.
    eps : float, optional
        Keeps the division finite where the gradient has always been 0; positive.
    weight_decay : float, optional
        Strength of the pull to zero, by way of the gradient.
    decay : callable, optional
        Says of a parameter whether it decays; by default those of two or more dimensions do.

    Raises
    ------
    ValueError
        If there is nothing to train, or a number is out of range: also an `eps` that is 0 in
        the parameters' dtype.
    TypeError
        If something is not a Parameter or not a number.

    References
    ----------
    Kingma and Ba (2015), "Adam: A Method for Stochastic Optimization", arXiv:1412.6980,
    algorithm 1.
    """

    settings: ClassVar[tuple[str, ...]] = ("lr", "betas", "eps", "weight_decay")
    decoupled: ClassVar[bool] = False  # (1), or (1w)

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        decay: Callable[[Parameter], bool] | None = None,
    ) -> None:
        owner = type(self).__name__
        self.betas = check_betas(owner, betas)
        self.eps = real(owner, "eps", eps, positive=True)
        super().__init__(parameters, lr, weight_decay=weight_decay, decay=decay, slots=("m", "v"))
        first = self.eps * math.sqrt(1.0 - self.betas[1])  # eps c of the first step, the smallest
        for parameter in self.parameters:
            if parameter.value.dtype.type(first) == 0:
                raise ValueError(
                    f"{owner}: eps is {self.eps}, which is 0 in {parameter.value.dtype}; expected "
                    f"a larger one, such as 1e-8"
                )

    def update(self, value: Array, grad: Array, state: list[Array], weight_decay: float) -> None:
        """Write equations (1) to (5) into `value`, `m` and `v`."""
        m, v = state
        (b1, b2), t = self.betas, self.steps
        c = math.sqrt(1.0 - b2**t)
        g = grad
        if weight_decay and self.decoupled:
            value *= 1.0 - self.lr * weight_decay  # (1w)
        elif weight_decay:
            g = grad + weight_decay * value  # (1)
        m *= b1
        m += (1.0 - b1) * g  # (2)
        v *= b2
        square = g * g
        square *= 1.0 - b2
        v += square  # (3)
        root = np.sqrt(v, out=square)
        root += self.eps * c  # (4)
        move = np.divide(m, root, out=root)
        move *= self.lr * c / (1.0 - b1**t)  # (4)
        value -= move  # (5)


class AdamW(Adam):
    """Adam with decoupled weight decay; equations (1w) to (5) of the module.

    Parameters
    ----------
    parameters : iterable of Parameter
        Usually ``model.parameters()``; frozen ones are passed over.
    lr : float, optional
        Learning rate; it scales the decay too.
    betas : (float, float), optional
        Rates of the two running means, each from 0 to below 1.
    eps : float, optional
        Keeps the division finite where the gradient has always been 0; positive.
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
    Loshchilov and Hutter (2019), "Decoupled Weight Decay Regularization", arXiv:1711.05101,
    algorithm 2, with the schedule's factor and the learning rate taken as one number.
    """

    decoupled: ClassVar[bool] = True

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        *,
        decay: Callable[[Parameter], bool] | None = None,
    ) -> None:
        super().__init__(parameters, lr, betas, eps, weight_decay, decay=decay)
