r"""Learning rates over the run: functions that make a function of the step number, from 0.

Any callable from step number to learning rate will do as a schedule; these are the usual ones.
With n the step number from 0, and s = n + 1 the same counted from 1, as papers do
    constant        lr(n) = lr
    noam            lr(n) = factor d_model^(-1/2) min(s^(-1/2), s warmup^(-3/2))
    warmup_cosine   lr(n) = peak s / warmup                                   for n < warmup
                    lr(n) = final + (peak - final) (1 + cos(pi q)) / 2        from there on
                            with q = (n - warmup) / (total - warmup), at most 1
"""

import math
from collections.abc import Callable

from ..core.arrays import check_size
from .optimizer import real

Schedule = Callable[[int], float]


def constant(lr: float) -> Schedule:
    """Return a schedule that is `lr` at every step.

    Raises
    ------
    ValueError, TypeError
        If `lr` is not a finite number, 0 or more.
    """
    rate = real("constant", "lr", lr)

    def at(step: int) -> float:
        return rate

    return at


def noam(d_model: int, warmup: int, factor: float = 1.0) -> Schedule:
    """Return the Transformer's schedule: a linear rise, then the inverse root of the step.

    Parameters
    ----------
    d_model : int
        Width of the model.
    warmup : int
        Number of steps of the rise; the peak, ``factor / sqrt(d_model * warmup)``, is at step
        ``warmup - 1``.
    factor : float, optional
        Scales the whole.

    Returns
    -------
    callable
        From the step number, from 0, to the learning rate.

    Raises
    ------
    ValueError, TypeError
        If a size is not a positive int, or `factor` not a finite number, 0 or more.

    References
    ----------
    Vaswani et al. (2017), "Attention Is All You Need", arXiv:1706.03762, equation 3. The paper
    counts steps from 1: step n here is the paper's n + 1. The name is that of the paper's
    author Noam Shazeer, by way of tensor2tensor.
    """
    check_size("noam", d_model=d_model, warmup=warmup)
    scale = real("noam", "factor", factor) / math.sqrt(d_model)
    slope = 1.0 / (warmup * math.sqrt(warmup))

    def at(step: int) -> float:
        s = step + 1
        return scale * min(1.0 / math.sqrt(s), s * slope)

    return at


def warmup_cosine(peak: float, warmup: int, total: int, final: float = 0.0) -> Schedule:
    """Return a linear rise to `peak`, then half a cosine down to `final`.

    Parameters
    ----------
    peak : float
        The highest learning rate, at steps ``warmup - 1`` and ``warmup``.
    warmup : int
        Number of steps of the rise; 0 starts at the peak.
    total : int
        Number of steps of the whole run. From step `total` on, the rate is `final`; the last
        step of the run, ``total - 1``, still has a little more.
    final : float, optional
        The learning rate at the end.

    Returns
    -------
    callable
        From the step number, from 0, to the learning rate.

    Raises
    ------
    ValueError, TypeError
        If a rate is not a finite number, 0 or more, or not ``0 <= warmup < total``.

    References
    ----------
    Loshchilov and Hutter (2017), "SGDR: Stochastic Gradient Descent with Warm Restarts",
    arXiv:1608.03983, equation 5, without restarts; Goyal et al. (2017), arXiv:1706.02677,
    section 2.2, for the rise.
    """
    top = real("warmup_cosine", "peak", peak)
    end = real("warmup_cosine", "final", final)
    check_size("warmup_cosine", total=total)
    if warmup != 0:
        check_size("warmup_cosine", warmup=warmup)
    if warmup >= total:
        raise ValueError(
            f"warmup_cosine: warmup is {warmup} and total is {total}; expected warmup < total, "
            f"since the fall takes the steps from warmup to total"
        )

    def at(step: int) -> float:
        if step < warmup:
            return top * (step + 1) / warmup
        q = min(1.0, (step - warmup) / (total - warmup))
        return end + (top - end) * (1.0 + math.cos(math.pi * q)) / 2.0

    return at
