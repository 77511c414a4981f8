r"""CTC loss: the probability of a target, summed over all its alignments with a longer input.

At each step t of the input stands a class or the blank, and the steps are independent: a path
k_1 .. k_T has the probability exp(sum_t x_t,k_t) with the log-probabilities x. It spells what is
left of it when repeats are merged and then blanks removed: a a - a b spells a a b. The
probability of a target is the sum over all paths that spell it, T steps long.

Forward, for one sample of T steps and a target of L classes y_1 .. y_L
    (1)  c = (-, y_1, -, y_2, -, ..., y_L, -)    the target between blanks, 2L + 1 states  (S,)
    (2)  o_ts = x_t,c_s                          what a state emits                     (T, S)
         A path that spells the target walks these states from one of the first two to one of
         the last two. A step stays, goes on by one state, or by two if that passes over a blank
         between different classes (c_s is no blank, c_s != c_(s-2)); between equal ones the
         blank is what keeps them apart. No two walks are the same path.
    (3)  alpha_1s = o_1s for s = 1, 2, else -inf,  and for t > 1
         alpha_ts = o_ts + log (exp alpha_(t-1)s + exp alpha_(t-1)(s-1) [+ exp alpha_(t-1)(s-2)])
         log of the sum of all walks that are in state s at step t, step t included    (T, S)
    (4)  h = log P = log (exp alpha_TS + exp alpha_T(S-1))                               ()
    (5)  loss  = -1/B sum_i h_i / max(L_i, 1)        mean over samples, each per class   ()

Backward, given dL, the gradient of the loss (L_i is a number of classes)
    (5') dh_i = -dL / (B max(L_i, 1))
    (4') As alpha counts the ways to a state, beta counts the ways on from it, itself excluded:
         beta_Ts = 0 for s = S, S-1, else -inf,  and for t < T
         beta_ts = log (exp (beta + o)_(t+1)s + exp (beta + o)_(t+1)(s+1)
                        [+ exp (beta + o)_(t+1)(s+2)])
         the last one if the step from s to s + 2 is allowed                           (T, S)
    (3') Each walk is in one state at step t, so that for every t
         P = sum_s exp(alpha_ts + beta_ts).
         The summand s has all walks through s at t, each of which holds the factor exp(o_ts)
         once, so that the slope of P in o_ts is exp(alpha_ts + beta_ts). That of h = log P is
         1/P of it:
         do_ts = dh gamma_ts
         gamma_ts = exp(alpha_ts + beta_ts) / sum_r exp(alpha_tr + beta_tr)              (T, S)
         the probability that a path was in state s at step t, given that it spells the target
    (2') x_tk is emitted by all states of its class:  dx_tk = sum_(s: c_s = k) do_ts
    (1') dc = none: c is made of integers, and no gradient flows through it

The gradient of a step sums to dh: the posteriors gamma of all its states sum to 1. (3') takes
the sum of the step itself for P. They are equal, but in float32 not quite, since alpha adds up
the rounding of t steps.

These are the partial derivatives with respect to x, each entry by itself. PyTorch's `ctc_loss`
takes x for the result of its `log_softmax`, and returns exp(x_tk) - gamma_tk in place of
-gamma_tk (times the weight of the sample): the gradient of the logits, where exp(x) sums to 1.
Handed to the backward of `log_softmax`, which subtracts exp(x_tk) times the sum over the step,
here -1 and there 0, both give the same gradient of the logits.

Everything is in logarithms, since P is of the order of V^-T. A sum of exponentials has the
largest one drawn out (of complex numbers: the largest real part), and where all are -inf it is
-inf.

Saved: o and alpha, and for the way back what a step may pass over. beta is only made in backward.
"""

import functools
from typing import NamedTuple

import numpy as np

from ..core.arrays import (
    Array,
    BoolArray,
    check_count,
    check_floats,
    check_ids,
    check_integers,
    scalar_gradient,
)
from ..core.errors import DivergedError


class CTCLossSaved(NamedTuple):
    """What `ctc_loss_backward` needs."""

    o: Array  # (B, T, S)  log-probability of each state's class; 0 beyond the input
    alpha: Array  # (B, T, S)  log-probability of all ways to each state
    states: Array  # (B, S)     their classes
    skips: BoolArray  # (B, S)     whether a step may come from two states before
    input_lengths: Array  # (B,)
    target_lengths: Array  # (B,)
    num_classes: int


def ctc_loss(
    log_probs: Array,
    targets: Array,
    input_lengths: Array,
    target_lengths: Array,
    blank: int = 0,
) -> tuple[np.floating, CTCLossSaved]:
    """Mean negative log-probability of the targets, over all alignments, per target class.

    Parameters
    ----------
    log_probs : (batch, length, classes) ndarray
        Log-probabilities, as `log_softmax` gives them; -inf is allowed.
    targets : (batch, max_target) integer ndarray
        Classes; what stands beyond a target's length is ignored.
    input_lengths : (batch,) integer ndarray
        Steps of each sample, from 1 to length. Log-probabilities beyond are ignored.
    target_lengths : (batch,) integer ndarray
        Classes of each target, from 0 to max_target.
    blank : int, optional
        The class that stands for none.

    Returns
    -------
    loss : scalar of the dtype of `log_probs`, in nats
        Each sample's divided by its target length (at least 1), then the mean over the batch;
        infinite if log-probabilities of -inf leave a target no path.
    saved : CTCLossSaved
        For `ctc_loss_backward`.

    Raises
    ------
    ValueError
        If shapes do not fit, a length is out of range, a target is no class or the blank, or a
        target cannot fit its input: it needs a step for each class, and one more between equal
        neighbours.
    DivergedError
        If a log-probability of a target is +inf.
    TypeError
        If log-probabilities are not float32, float64 or complex128, or the others not integers.

    References
    ----------
    Graves et al. (2006), "Connectionist Temporal Classification: Labelling Unsegmented Sequence
    Data with Recurrent Neural Networks", sections 3 and 4: equations 5 to 8 for alpha, 9 to 11
    for beta (which there holds the step's own emission as well), 14 and 15 for the gradient.
    """
    check_ctc_inputs("ctc_loss", log_probs, input_lengths, blank)
    B, T, V = log_probs.shape
    check_integers("ctc_loss", "targets", targets)
    if targets.ndim != 2 or len(targets) != B:
        raise ValueError(
            f"ctc_loss: targets {targets.shape} do not fit log_probs {log_probs.shape}; it wants "
            f"(batch, max_target)"
        )
    M = targets.shape[1]
    check_lengths("ctc_loss", "target_lengths", target_lengths, B, 0, M)
    t_lengths, i_lengths = target_lengths.astype(np.int64), input_lengths.astype(np.int64)
    real = np.arange(M) < t_lengths[:, None]
    _check_targets(targets, real, i_lengths, V, blank)

    states = np.full((B, 2 * M + 1), blank)
    states[:, 1::2] = np.where(real, targets, blank)  # (1)
    skips = states != blank
    skips[:, :2] = False
    skips[:, 2:] &= states[:, 2:] != states[:, :-2]
    o = np.take_along_axis(log_probs, states[:, None], axis=2)  # (2)
    o[np.arange(T) >= i_lengths[:, None]] = 0.0
    if np.any(np.isposinf(o.real)):
        raise DivergedError(
            f"ctc_loss: log_probs {log_probs.shape} has +inf at a class of a target; a "
            f"log-probability is 0 or below"
        )
    alpha = np.full(o.shape, -np.inf, o.dtype)
    alpha[:, 0, :2] = o[:, 0, :2]
    for t in range(1, T):
        before = alpha[:, t - 1]
        ways = before, _later(before, 1), np.where(skips, _later(before, 2), -np.inf)
        alpha[:, t] = o[:, t] + _log_sum(*ways)  # (3)
    last = alpha[np.arange(B), i_lengths - 1]
    ends = np.where(_ends(t_lengths, last.shape[1]), last, -np.inf)
    h = _log_sum(*ends.T)  # (4)
    loss = log_probs.dtype.type(-np.sum(h / _weights(t_lengths, o)) / B)  # (5)
    return loss, CTCLossSaved(o, alpha, states, skips, i_lengths, t_lengths, V)


def ctc_loss_backward(dy: float, saved: CTCLossSaved) -> Array:
    """Gradient of `log_probs`; equations (5') to (2') of the module.

    Parameters
    ----------
    dy : float
        Gradient of whatever is minimised with respect to the loss; 1.0 if that is the loss.
    saved : CTCLossSaved
        As returned by `ctc_loss`.

    Returns
    -------
    dlog_probs : (batch, length, classes) ndarray
        0 beyond a sample's input, and in a sample whose loss is infinite.

    Raises
    ------
    ValueError
        If `dy` is not a number, or a complex one of a real loss.
    """
    o, alpha, states, skips, input_lengths, target_lengths, V = saved
    dy = scalar_gradient("ctc_loss_backward", dy, o)
    B, T, S = o.shape
    dh = -dy / (B * _weights(target_lengths, o))  # (5')
    ends = np.where(_ends(target_lengths, S), 0.0, -np.inf).astype(o.dtype)
    skips_on = np.zeros_like(skips)
    skips_on[:, :-2] = skips[:, 2:]  # whether a step may go to two states on
    do = np.zeros_like(o)
    beta = np.full((B, S), -np.inf, o.dtype)
    for t in reversed(range(T)):
        if t < T - 1:
            on = beta + o[:, t + 1]
            beta = _log_sum(on, _earlier(on, 1), np.where(skips_on, _earlier(on, 2), -np.inf))
        beta = np.where((input_lengths == t + 1)[:, None], ends, beta)  # (4')
        both = alpha[:, t] + beta
        both -= _finite(np.max(both.real, axis=1, keepdims=True))
        gamma = np.exp(both)
        total = np.sum(gamma, axis=1, keepdims=True)
        gamma /= np.where(total == 0, 1, total)
        do[:, t] = gamma * dh[:, None]  # (3')
    dx: Array = np.zeros((B, T, V), o.dtype)
    sample = np.arange(B)
    for s in range(S):
        dx[sample, :, states[:, s]] += do[:, :, s]  # (2') c itself has no gradient (1')
    return dx


def check_ctc_inputs(op: str, log_probs: Array, input_lengths: Array, blank: int) -> None:
    """Refuse log-probabilities, lengths and a blank that do not fit each other.

    Raises
    ------
    ValueError, TypeError
        If they do not.
    """
    check_floats(op, log_probs=log_probs)
    if log_probs.ndim != 3 or log_probs.size == 0:
        raise ValueError(
            f"{op}: log_probs is {log_probs.shape}; expected (batch, length, classes), each of "
            f"them at least 1"
        )
    check_lengths(op, "input_lengths", input_lengths, len(log_probs), 1, log_probs.shape[1])
    check_count(op, blank=blank)
    if blank >= log_probs.shape[2]:
        raise ValueError(f"{op}: blank is {blank}; expected 0 to {log_probs.shape[2] - 1}")


def check_lengths(op: str, name: str, lengths: Array, B: int, least: int, most: int) -> None:
    """Refuse what is not one length a sample, from `least` to `most`."""
    check_integers(op, name, lengths)
    if lengths.shape != (B,):
        raise ValueError(f"{op}: {name} is {lengths.shape}; expected one for each sample, ({B},)")
    wrong = (lengths < least) | (lengths > most)
    if np.any(wrong):
        i = int(np.argmax(wrong))
        raise ValueError(f"{op}: {name}[{i}] is {lengths[i]}; expected {least} to {most}")


def _check_targets(
    targets: Array, real: BoolArray, input_lengths: Array, V: int, blank: int
) -> None:
    """Refuse a target that is no class, or the blank, or too long for its input."""
    other = 0 if blank else min(1, V - 1)
    check_ids("ctc_loss", "targets", np.where(real, targets, other), V, "classes:")
    blanks = real & (targets == blank)
    if np.any(blanks):
        i, j = (int(n) for n in np.argwhere(blanks)[0])
        raise ValueError(f"ctc_loss: targets[{i}, {j}] is {blank}, the blank; expected a class")
    repeats = np.sum(real[:, 1:] & (targets[:, 1:] == targets[:, :-1]), axis=1)
    needed = np.sum(real, axis=1) + repeats
    if np.any(needed > input_lengths):
        i = int(np.argmax(needed > input_lengths))
        raise ValueError(
            f"ctc_loss: the target of sample {i} does not fit its input: {np.sum(real[i])} classes "
            f"and {repeats[i]} repeats, which a blank has to part, need {needed[i]} steps, and "
            f"input_lengths[{i}] is {input_lengths[i]}"
        )


def _weights(target_lengths: Array, like: Array) -> Array:
    """Return what each sample's log-probability is divided by, in the precision of `like`."""
    return np.maximum(target_lengths, 1).astype(like.real.dtype)


def _ends(target_lengths: Array, S: int) -> BoolArray:
    """Return which states (B, S) a walk may end in: the last class, and the blank after it."""
    beyond = np.arange(S) - 2 * target_lengths[:, None]
    ends: BoolArray = (beyond == 0) | (beyond == -1)
    return ends


def _later(states: Array, by: int) -> Array:
    """Return (B, S) moved `by` states on, -inf in the first ones."""
    moved = np.full_like(states, -np.inf)
    moved[:, by:] = states[:, :-by]
    return moved


def _earlier(states: Array, by: int) -> Array:
    """Return (B, S) moved `by` states back, -inf in the last ones."""
    moved = np.full_like(states, -np.inf)
    moved[:, :-by] = states[:, by:]
    return moved


def _finite(m: Array) -> Array:
    """Return 0 where `m` is infinite: where nothing is left, nothing has to be drawn out."""
    return np.where(np.isinf(m), 0.0, m)


def _log_sum(*terms: Array) -> Array:
    """Return log sum_i exp(terms_i), entry by entry; -inf where all of them are."""
    m = _finite(functools.reduce(np.maximum, [term.real for term in terms]))
    total = functools.reduce(np.add, [np.exp(term - m) for term in terms])
    with np.errstate(divide="ignore"):
        return np.asarray(m + np.log(total))
