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
    (1') dm_n = sum_v dl_nv (-1 + 1) = 0: m_n is subtracted in (2), and comes back from the
         logarithm of e; it is only a shift, and no gradient flows through it

Saved: p for the counted rows. x is not needed.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..core.arrays import (
    Array,
    BoolArray,
    check_floats,
    check_ids,
    check_integers,
    scalar_gradient,
)
from ..core.errors import DivergedError

_CACHED = (
    2**17
)  # logits that are worked on at a time: as float32 they fill half an L2 cache of 1 MiB


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
    DivergedError
        If logits of a counted row are +inf, or all of them -inf.
    TypeError
        If logits are not float32, float64 or complex128, or targets or `ignore_index` not integers.

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
    V = logits.shape[-1]
    is_counted = counted_targets("cross_entropy", targets, V, ignore_index, label_smoothing)
    x, t, counted = logits.reshape(-1, V), targets.reshape(-1), None
    if is_counted.all():
        p = np.empty(x.shape, x.dtype)
    else:
        counted = np.flatnonzero(is_counted)
        t = t[counted]
        p = x = x[counted]  # a copy, which may be written over
    nats = np.empty(len(t), x.dtype)
    for rows, z, nats_of_rows in exponentials(
        "cross_entropy", "x", x, t, float(label_smoothing), out=p
    ):
        p[rows] /= z
        nats[rows] = nats_of_rows
    loss = logits.dtype.type(np.sum(nats) / max(len(t), 1))  # (4)
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
        If `dy` is not a number, or a complex one of a real loss.
    """
    p, targets, counted, label_smoothing, shape = saved
    dy = scalar_gradient("cross_entropy_backward", dy, p)
    N, V = p.shape
    each, of_all, of_right = dy / max(N, 1), label_smoothing / V, 1.0 - label_smoothing  # (4')
    n = N if counted is None else math.prod(shape) // V
    dx: Array = np.zeros((n, V), p.dtype) if n > N else np.empty((n, V), p.dtype)
    for rows in row_blocks(N, V):
        part = np.multiply(p[rows], each, out=dx[rows] if counted is None else None)
        if label_smoothing:
            part -= each * of_all
        right = np.arange(len(part)), targets[rows]
        part[right] = each * (p[rows][right] - of_all - of_right)  # (2') p - q; m cancelled (1')
        if counted is not None:
            dx[counted[rows]] = part
    return dx.reshape(shape)


def counted_targets(
    op: str, targets: Array, V: int, ignore_index: int, label_smoothing: float
) -> BoolArray:
    """Say which targets are counted; refuse those that are no class, and a smoothing that is none.

    Parameters
    ----------
    op : str
        Who is asking, to open the message with.
    targets : (...) integer ndarray
    V : int
        Number of classes.
    ignore_index, label_smoothing
        As `cross_entropy` takes them.

    Returns
    -------
    (...) bool ndarray
    """
    if isinstance(ignore_index, bool) or not isinstance(ignore_index, int | np.integer):
        raise TypeError(
            f"{op}: ignore_index is {ignore_index!r}; expected an int, and one that is no class "
            f"if all targets count, such as -100"
        )
    if not 0.0 <= label_smoothing < 1.0:
        raise ValueError(f"{op}: label_smoothing is {label_smoothing}; expected 0 <= it < 1")
    counted: BoolArray = np.asarray(targets != ignore_index)
    check_ids(op, "targets", np.where(counted, targets, 0), V, "classes:")
    return counted


def row_blocks(N: int, V: int) -> Iterator[slice]:
    """Yield blocks of N rows of V logits, each small enough to stay in the cache."""
    step = max(1, _CACHED // V)
    return (slice(start, min(start + step, N)) for start in range(0, N, step))


def exponentials(
    op: str, name: str, x: Array, targets: Array, label_smoothing: float, *, out: Array
) -> Iterator[tuple[slice, Array, Array]]:
    """Equations (1) to (4), for a block of rows at a time.

    Parameters
    ----------
    op, name : str
        Who is asking, and what the logits are called there, for a message.
    x : (N, V) ndarray
        Logits; all rows are counted.
    targets : (N,) integer ndarray
    label_smoothing : float
    out : (N, V) ndarray
        Filled with e; may be `x` itself.

    Yields
    ------
    rows : slice
        The n rows of `out` that have just been filled, and are still in the cache.
    z : (n, 1) ndarray
        The sums of their e.
    nats : (n,) ndarray
        What each of them adds to N L.

    Raises
    ------
    DivergedError
        If logits are +inf, or all of a row -inf.
    """
    N, V = x.shape
    ones = np.ones((V, 1), out.dtype)
    for rows in row_blocks(N, V):
        m = np.max(x[rows].real, axis=-1, keepdims=True)  # (1)
        if np.any(np.isinf(m)):
            raise DivergedError(
                f"{op}: along axis -1 of {name} {x.shape} an entry is +inf, or all are -inf; "
                f"there is no distribution over such scores"
            )
        shifted = np.subtract(x[rows], m, out=out[rows])
        right = shifted[np.arange(len(shifted)), targets[rows]]
        nats = -(1.0 - label_smoothing) * right
        if label_smoothing:
            nats -= (label_smoothing / V) * (shifted @ ones)[:, 0]
        e = np.exp(shifted, out=shifted)
        z = e @ ones  # as a product: np.sum takes twice as long, or more
        nats += np.log(z[:, 0])  # (2) - (4), row by row
        yield rows, z, nats
