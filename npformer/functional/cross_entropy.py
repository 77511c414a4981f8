r"""Cross-entropy from logits: how many nats the right answers cost.

Forward, for logits x_n of V classes and targets t_n; N of the n are counted (not ignored)
    (1)  e_nv = exp(x_nv - m_n),  m_n = max_v x_nv     shift, so that no exp overflows  (n, V)
    (2)  l_nv = x_nv - m_n - log sum_u e_nu            log-probabilities                (n, V)
    (3)  q_nv = (1 - eps) [v = t_n] + eps / V          what is wanted, smoothed         (n, V)
    (4)  L    = -1/N sum_n sum_v q_nv l_nv             over the counted n               ()
         As sum_v q_nv = 1, the inner sum is, with z_n = sum_u e_nu and r = 1 - eps,
         -sum_v q_nv l_nv = log z_n - r (x_nt - m_n) - eps (mean_v x_nv - m_n)

Backward, given dL
    (4') dl_nv = -dL/N q_nv for the counted n, 0 for the others; q has no gradient
    (2') l_nv depends on x_nv directly and on every x_nu through the logarithm, whose derivative
         is  d/dx_nv log sum_u exp(x_nu) = exp(x_nv) / sum_u exp(x_nu) = p_nv  (m cancels in p):
         dx_nv = dl_nv - p_nv sum_u dl_nu
         With (4') and sum_u q_nu = (1 - eps) + V eps / V = 1 this is
         dx_nv = dL/N (p_nv - q_nv)
    (1') m is only a shift: l does not depend on it, and no gradient flows through it

Saved: p for the counted rows. x is not needed.
"""

import math
from typing import NamedTuple

import numpy as np

from ..core.arrays import (
    Array,
    check_floats,
    check_ids,
    check_integers,
    scalar_gradient,
)
from .softmax import shifted_exp


class CrossEntropySaved(NamedTuple):
    """What `cross_entropy_backward` needs."""

    p: Array  # (N, V)   probabilities of the counted rows
    targets: Array  # (N,)     their targets
    counted: Array | None  # (N,)     their numbers among all rows; None if all are counted
    label_smoothing: float
    shape: tuple[int, ...]  # of the logits


def cross_entropy(
    logits: Array, targets: Array, *, ignore_index: int = -100, label_smoothing: float = 0.0
) -> tuple[np.floating, CrossEntropySaved]:
    """Mean negative log-probability of the targets.

    Parameters
    ----------
    logits : (..., V) ndarray
        Unnormalised log-probabilities.
    targets : (...) integer ndarray
        The right class of each, or `ignore_index` where there is none to learn.
    ignore_index : int, optional
        Targets of this value are not counted.
    label_smoothing : float, optional
        eps in (3): this share of the wanted probability is spread over all classes.

    Returns
    -------
    loss : scalar of the dtype of `logits`, in nats
        The mean over counted targets; 0 if there are none.
    saved : CrossEntropySaved
        For `cross_entropy_backward`.

    Raises
    ------
    ValueError
        If shapes do not fit, a counted target is not a class, or `label_smoothing` is not in
        [0, 1).
    TypeError
        If logits are not float32, float64 or complex128, or targets not integers.

    References
    ----------
    Szegedy et al. (2016), "Rethinking the Inception Architecture", section 7, for smoothing.
    """
    check_floats("cross_entropy", logits=logits)
    check_integers("cross_entropy", "targets", targets)
    if logits.ndim < 1 or logits.shape[:-1] != targets.shape or logits.shape[-1] == 0:
        raise ValueError(
            f"cross_entropy: logits {logits.shape} and targets {targets.shape} do not fit; "
            f"expected (..., V) and (...)"
        )
    if not 0.0 <= label_smoothing < 1.0:
        raise ValueError(
            f"cross_entropy: label_smoothing is {label_smoothing}; expected 0 <= it < 1"
        )
    V = logits.shape[-1]
    is_counted = targets != ignore_index
    check_ids("cross_entropy", "targets", np.where(is_counted, targets, 0), V, "classes:")
    rows, t, counted = logits.reshape(-1, V), targets.reshape(-1), None
    if not is_counted.all():
        counted = np.flatnonzero(is_counted)
        rows, t = rows[counted], t[counted]
    N = len(t)
    p, m = shifted_exp("cross_entropy", rows, -1)  # (1)
    z = np.sum(p, axis=-1, keepdims=True)
    right = rows[np.arange(N), t] - m[:, 0]
    nats = np.log(z[:, 0]) - (1.0 - label_smoothing) * right  # (2) - (4), row by row
    if label_smoothing:
        nats = nats - label_smoothing * (np.sum(rows, axis=-1) / V - m[:, 0])
    loss = logits.dtype.type(np.sum(nats) / max(N, 1))  # (4)
    p /= z
    return loss, CrossEntropySaved(p, t, counted, float(label_smoothing), logits.shape)


def cross_entropy_backward(dy: float, saved: CrossEntropySaved) -> Array:
    """Gradient of `logits`; equations (4') and (2') of the module.

    Parameters
    ----------
    dy : float
        Gradient of whatever is minimised with respect to the loss; 1.0 if that is the loss.
    saved : CrossEntropySaved
        As returned by `cross_entropy`.

    Returns
    -------
    dlogits : (..., V) ndarray
        Each row sums to 0; 0 where the target was ignored.

    Raises
    ------
    ValueError
        If `dy` is not a number.
    """
    p, targets, counted, label_smoothing, shape = saved
    dy = scalar_gradient("cross_entropy_backward", dy, p)
    N, V = p.shape
    dx: Array = p - label_smoothing / V
    dx[np.arange(N), targets] -= 1.0 - label_smoothing  # (2') p - q; m cancelled in it (1')
    dx *= dy / max(N, 1)  # (4')
    if counted is None:
        return dx.reshape(shape)
    dlogits = np.zeros((math.prod(shape) // V, V), dx.dtype)
    dlogits[counted] = dx
    return dlogits.reshape(shape)
