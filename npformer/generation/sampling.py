r"""Choosing the next token from logits: the best, or at random among the better ones.

(1)  z = logits; for tokens that stand there already z / r where z > 0, else z r   (B, V)
(2)  x = z / temperature                below 1 sharper, above 1 flatter
(3)  only the k largest x stay          top-k
(4)  p = softmax(x)
(5)  only the smallest set of largest p that holds a share P stays, renormalised  top-p
(6)  token = the first v with p_0 + ... + p_v > u, u uniform on [0, 1)

Why (1) divides in one case and multiplies in the other: for r > 1 both make z smaller.
"""

import math

import numpy as np

from .. import functional as F
from ..core.arrays import (
    Array,
    BoolArray,
    check_floats,
    check_generator,
    check_number,
    check_size,
    describe,
)


def check_sampling(owner: str, temperature: float, top_k: int | None, top_p: float | None) -> None:
    """Refuse options that no token can be chosen by.

    Raises
    ------
    TypeError
        If the temperature or top_p is not a number, or top_k not an int.
    ValueError
        If the temperature is negative or not finite, top_k is not positive, or top_p is not in
        (0, 1].
    """
    expected = "0 (the best token) or a positive number"
    if not 0 <= check_number(owner, "temperature", temperature, expected) < math.inf:
        raise ValueError(f"{owner}: temperature is {temperature}; expected {expected}")
    if top_k is not None:
        check_size(owner, top_k=top_k)
    if top_p is not None:
        expected = "0 < top_p <= 1, or None for all tokens"
        if not 0 < check_number(owner, "top_p", top_p, expected) <= 1:
            raise ValueError(f"{owner}: top_p is {top_p}; expected {expected}")


def check_repetition_penalty(owner: str, penalty: float) -> None:
    """Refuse a penalty that is not a positive, finite number.

    Raises
    ------
    TypeError
        If it is not a number.
    ValueError
        If it is not positive and finite.
    """
    expected = "a positive number, 1.0 for none"
    if not 0 < check_number(owner, "repetition_penalty", penalty, expected) < math.inf:
        raise ValueError(f"{owner}: repetition_penalty is {penalty}; expected {expected}")


def penalise_repeats(logits: Array, there: BoolArray, penalty: float) -> Array:
    """Make tokens that stand there already less likely; equation (1).

    Parameters
    ----------
    logits : (batch, vocab) ndarray
    there : (batch, vocab) bool ndarray
        True for each token of the vocabulary that stands in the sequence already, however often.
    penalty : float
        r. Above 1 makes them less likely, below 1 more, 1 changes nothing.

    Returns
    -------
    (batch, vocab) float64 ndarray

    Raises
    ------
    ValueError
        If the penalty is not positive and finite, or shapes differ.
    TypeError
        If the penalty is not a number, logits are not real floats, or `there` is not a bool array.

    References
    ----------
    Keskar et al. (2019), "CTRL", arXiv:1909.05858, section 4.1: it suggests r = 1.2. What
    happens to negative logits is not said there; multiplying them is what came into use.
    """
    check_repetition_penalty("penalise_repeats", penalty)
    _check_real("penalise_repeats", logits)
    if not isinstance(there, np.ndarray) or there.dtype != np.bool_:
        raise TypeError(
            f"penalise_repeats: there is {describe(there)}; expected a bool array (batch, vocab)"
        )
    if there.shape != logits.shape:
        raise ValueError(
            f"penalise_repeats: there is {there.shape}; expected the shape of logits {logits.shape}"
        )
    z = logits.astype(np.float64)
    with np.errstate(over="ignore"):
        weaker = np.where(z > 0, z / float(penalty), z * float(penalty))
    return np.where(there, weaker, z)  # (1)


def next_token_probabilities(
    logits: Array,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Array:
    """Return the distribution that tokens are drawn from; equations (2) to (5).

    Parameters
    ----------
    logits : (batch, vocab) ndarray
    temperature : float, optional
        0 gives the best token probability 1.
    top_k : int, optional
        Only the k best tokens can be drawn; of equal ones, those with the lower ids.
    top_p : float, optional
        Only the best tokens that together hold this probability can be drawn: at least one.

    Returns
    -------
    p : (batch, vocab) float64 ndarray
        Rows sum to 1.

    Raises
    ------
    ValueError
        If an option makes no sense, or a row of logits holds NaN or +inf, or nothing finite.
    TypeError
        If an option is of another kind, or logits are not real floats.

    References
    ----------
    Fan, Lewis and Dauphin (2018), arXiv:1805.04833, section 5.4, for top-k; Holtzman et al.
    (2020), arXiv:1904.09751, section 3.1, for top-p.
    """
    check_sampling("next_token_probabilities", temperature, top_k, top_p)
    x = checked_logits("next_token_probabilities", logits)
    if temperature == 0:
        top_k, temperature = 1, 1.0
    if top_k is not None and top_k < x.shape[-1]:
        least = np.partition(x, -top_k, axis=-1)[:, -top_k, None]
        x[~_best(x, least, top_k)] = -np.inf  # (3)
    # So that the division can only overflow to -inf, which is right.
    x -= np.max(x, axis=-1, keepdims=True)
    with np.errstate(over="ignore"):
        p, _ = F.softmax(x / temperature)  # (2), (4)
    if top_p is not None and top_p < 1:
        ranked = np.sort(p, axis=-1)[:, ::-1]
        before = np.cumsum(ranked, axis=-1) - ranked  # share held by all better tokens
        kept = np.count_nonzero(before < top_p, axis=-1, keepdims=True)
        least = np.take_along_axis(ranked, kept - 1, axis=-1)
        p[~_best(p, least, kept)] = 0.0  # (5)
    p /= np.sum(p, axis=-1, keepdims=True)
    return p


def next_tokens(
    logits: Array,
    rng: np.random.Generator | None,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Array:
    """Choose one token for each row.

    Parameters
    ----------
    logits : (batch, vocab) ndarray
    rng : numpy.random.Generator
        Asked for one number a row, unless the temperature is 0; then it may be None.
    temperature, top_k, top_p
        As for `next_token_probabilities`.

    Returns
    -------
    ids : (batch,) int64 ndarray

    Raises
    ------
    ValueError, TypeError
        As `next_token_probabilities`.
    """
    check_sampling("next_tokens", temperature, top_k, top_p)
    check_generator("next_tokens", rng, "at temperature 0" if temperature == 0 else None)
    if temperature == 0:  # spares the distribution, which would be 1 here
        best: Array = np.argmax(checked_logits("next_tokens", logits), axis=-1)
        return best
    p = next_token_probabilities(logits, temperature=temperature, top_k=top_k, top_p=top_p)
    below = np.cumsum(p, axis=-1)
    assert rng is not None
    u = rng.random((len(p), 1)) * below[:, -1:]  # the last sum is 1 but for rounding
    drawn: Array = np.argmax(below > u, axis=-1)  # (6)
    return drawn


def checked_logits(owner: str, logits: Array) -> Array:
    """Return a float64 copy of logits (batch, vocab) that a token can be chosen by.

    Raises
    ------
    ValueError, TypeError
        As `next_token_probabilities`.
    """
    _check_real(owner, logits)
    x: Array = logits.astype(np.float64)
    if x.ndim != 2 or x.size == 0:
        raise ValueError(f"{owner}: logits are {x.shape}; expected (batch, vocab)")
    best = np.max(x, axis=-1)  # NaN if there is one
    if not np.all(np.isfinite(best)):
        raise ValueError(
            f"{owner}: logits of row {int(np.argmin(np.isfinite(best)))} hold NaN or +inf, or only "
            f"-inf; the model has diverged, or its input is not what it was trained on"
        )
    return x


def _check_real(owner: str, logits: Array) -> None:
    check_floats(owner, logits=logits)
    if logits.dtype.kind == "c":
        raise TypeError(
            f"{owner}: logits is {describe(logits)}; expected float32 or float64, for tokens are "
            f"ranked by real numbers, so pass logits.real"
        )


def _best(x: Array, least: Array, k: Array | int) -> BoolArray:
    """Say which the k largest of each row are; of equal ones, those that stand first.

    `least` (batch, 1) is the smallest of them; `k` may be (batch, 1) too.
    """
    above, level = x > least, x == least
    room = k - np.count_nonzero(above, axis=-1, keepdims=True)
    best: BoolArray = above | (level & (np.cumsum(level, axis=-1) <= room))
    return best
