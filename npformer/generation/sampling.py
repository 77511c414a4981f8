r"""Choosing the next token from logits: the best, or at random among the better ones.

(1)  x = logits / temperature           below 1 sharper, above 1 flatter          (B, V)
(2)  only the k largest x stay          top-k
(3)  p = softmax(x)
(4)  only the smallest set of largest p that holds a share P stays, renormalised  top-p
(5)  token = the first v with p_0 + ... + p_v > u, u uniform on [0, 1)
"""

import math

import numpy as np

from .. import functional as F
from ..core.arrays import Array, check_floats


def check_sampling(temperature: float, top_k: int | None, top_p: float | None) -> None:
    """Refuse options that no token can be chosen by.

    Raises
    ------
    ValueError
        If the temperature is negative or not finite, top_k is not a positive int, or top_p is
        not in (0, 1].
    """
    if not (math.isfinite(temperature) and temperature >= 0):
        raise ValueError(
            f"temperature is {temperature}; expected 0 (the best token) or a positive number"
        )
    if top_k is not None and (
        isinstance(top_k, bool) or not isinstance(top_k, int | np.integer) or top_k < 1
    ):
        raise ValueError(f"top_k is {top_k!r}; expected a positive int, or None for all tokens")
    if top_p is not None and not 0.0 < top_p <= 1.0:
        raise ValueError(f"top_p is {top_p}; expected 0 < top_p <= 1, or None for all tokens")


def next_token_probabilities(
    logits: Array,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Array:
    """Return the distribution that tokens are drawn from; equations (1) to (4).

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
        If logits are not floats.

    References
    ----------
    Fan, Lewis and Dauphin (2018), arXiv:1805.04833, section 5.4, for top-k; Holtzman et al.
    (2020), arXiv:1904.09751, section 3.1, for top-p.
    """
    check_sampling(temperature, top_k, top_p)
    check_floats("next_token_probabilities", logits=logits)
    x = logits.astype(np.float64)
    if x.ndim != 2 or x.size == 0:
        raise ValueError(f"logits are {x.shape}; expected (batch, vocab)")
    best = np.max(x, axis=-1)  # NaN if there is one
    if not np.all(np.isfinite(best)):
        raise ValueError(
            f"logits of row {int(np.argmin(np.isfinite(best)))} hold NaN or +inf, or only -inf; "
            f"the model has diverged, or its input is not what it was trained on"
        )
    order = np.argsort(-x, axis=-1, kind="stable")  # best first, lower ids first
    if temperature == 0:
        top_k, temperature = 1, 1.0
    if top_k is not None:
        np.put_along_axis(x, order[:, top_k:], -np.inf, axis=-1)  # (2)
    x -= best[:, None]  # so that the division can only overflow to -inf, which is right
    with np.errstate(over="ignore"):
        p, _ = F.softmax(x / temperature)  # (1), (3)
    if top_p is not None and top_p < 1:
        ranked = np.take_along_axis(p, order, axis=-1)
        before = np.cumsum(ranked, axis=-1) - ranked  # share held by all better tokens
        ranked[before >= top_p] = 0.0  # (4)
        np.put_along_axis(p, order, ranked, axis=-1)
    p /= np.sum(p, axis=-1, keepdims=True)
    return p


def next_tokens(
    logits: Array,
    rng: np.random.Generator,
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
        Asked for one number a row, unless the temperature is 0.
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
    p = next_token_probabilities(logits, temperature=temperature, top_k=top_k, top_p=top_p)
    if temperature == 0:
        best: Array = np.argmax(p, axis=-1)
        return best
    below = np.cumsum(p, axis=-1)
    u = rng.random((len(p), 1)) * below[:, -1:]  # the last sum is 1 but for rounding
    drawn: Array = np.argmax(below > u, axis=-1)  # (5)
    return drawn
