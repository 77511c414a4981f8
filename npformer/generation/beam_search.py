r"""Beam search: look for the likeliest text, not the likeliest next token.

Of all texts of t tokens the `num_beams` likeliest that were found are kept, and each is tried
with every token at its end. A text that ends is set aside as finished.

(1)  L(y_1 ... y_t) = sum_i log p(y_i | x, y_1 ... y_{i-1})         the text's log-probability
(2)  lp(t) = ((5 + t) / 6)^alpha                                    a weight for its length
(3)  s(y) = L(y) / lp(t)                                            finished texts compare by this
(4)  s(y z) <= L(y) / max(lp(t + 1), lp(T))                         of all texts that begin with y

L only falls, so long texts would lose to short ones; (3) makes up for that where alpha > 0.
Why (4): L(y z) <= L(y) <= 0, and lp is monotone in t, so that among the lengths t + 1 ... T that
a text can still reach it is largest at one of both ends. A beam whose bound is not above the
worst of `num_beams` finished texts cannot change these any more and is given up; when none is
left, the search ends.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import functional as F
from ..core.arrays import Array, BoolArray, check_number, check_size
from ._writer import Forbid, Stop, endings, forbidding, start_of, start_writing
from .sampling import checked_logits


class Beams(NamedTuple):
    """What `beam_search` has found, best first.

    There may be fewer texts than beams, where few tokens and steps do not make as many. Then the
    last that there is stands in for those missing, with scores of -inf.
    """

    ids: Array  # (batch, num_beams, length) int64, as `generate` returns them for each beam
    scores: Array  # (batch, num_beams) float64: s of equation (3)
    log_probs: Array  # (batch, num_beams) float64: L of equation (1), in nats

    @property
    def best(self) -> Array:
        """The best of each sequence, (batch, length)."""
        ids: Array = self.ids[:, 0]
        return ids


class _Finished(NamedTuple):
    score: float
    log_prob: float
    written: Array  # (length,)


def beam_search(
    model: Any,
    ids: Array,
    max_new_tokens: int,
    *,
    num_beams: int = 4,
    length_penalty: float = 0.6,
    start: int | Sequence[int] | None = None,
    mask: BoolArray | None = None,
    stop: Stop | None = None,
    forbid: Forbid | None = None,
    use_cache: bool = True,
) -> Beams:
    """Write the `max_new_tokens` tokens, or fewer, that are likeliest together.

    Parameters
    ----------
    model, ids, max_new_tokens, start, mask, use_cache
        As for `generate`.
    num_beams : int, optional
        How many texts are kept for each sequence. 1 is greedy.
    length_penalty : float, optional
        alpha of equation (2). 0 compares plain log-probabilities; above 0 favours longer
        texts, below 0 shorter ones. The length counts what is written, the stop token too.
    stop : int, several, or callable, optional
        As for `generate`. A callable is asked with the beams of all sequences at once, in no
        fixed order, (number, new length).
    forbid : int, several, or callable, optional
        As for `generate`. What is forbidden keeps its share of the probability: what else is
        written becomes no likelier by it.

    Returns
    -------
    Beams
        What ends early repeats its last token up to the length of the longest.

    Raises
    ------
    ValueError, TypeError
        As `generate`, or if an option of its own makes no sense.

    References
    ----------
    Wu et al. (2016), "Google's Neural Machine Translation System", arXiv:1609.08144, equation
    14, for (2) and (3), without its coverage penalty. Vaswani et al. (2017), section 6.1, take 4
    beams and alpha = 0.6.

    Notes
    -----
    Nothing is random. Of texts that are equally likely those with lower token ids are kept; of
    finished ones with equal scores the one that ended first is the better.

    A text that ends leaves its place empty for that step: what ranks below the first
    `num_beams` does not move up. So with one beam the first text to end is the result.
    """
    _check(num_beams, length_penalty)
    ended_by = endings("beam_search", stop, model)
    without = forbidding("beam_search", forbid, model)
    start = start_of(model, start)
    writer = start_writing(
        "beam_search",
        model,
        ids,
        max_new_tokens,
        start=start,
        mask=mask,
        use_cache=use_cache,
    )
    written = writer.begun
    first = written.shape[1]
    finished: list[list[_Finished]] = [[] for _ in written]
    sequence = np.arange(len(written))  # of each live beam: one for each sequence at first
    log_prob = np.zeros(len(written))  # of each live beam
    for t in range(1, max_new_tokens + 1):
        x = checked_logits("beam_search", writer.logits(written))
        likely = without(F.log_softmax(x)[0], written[:, first:])
        longer = log_prob[:, None] + likely  # (1)
        beam, token = _likeliest(longer, sequence, num_beams)
        sequence, log_prob = sequence[beam], longer[beam, token]
        written = np.concatenate([written[beam], token[:, None]], axis=1)

        ended = ended_by(written[:, first:])
        last = t == max_new_tokens
        for i in np.flatnonzero(ended | last).tolist():
            total = float(log_prob[i])
            text = _Finished(total / _weight(t, length_penalty), total, written[i, first:])  # (3)
            finished[sequence[i]].append(text)
        for texts in finished:
            texts.sort(key=lambda text: -text.score)  # equal ones stay in their order
            del texts[num_beams:]

        largest = max(_weight(n, length_penalty) for n in (t + 1, max_new_tokens))
        worst = np.array(
            [texts[-1].score if len(texts) == num_beams else -math.inf for texts in finished]
        )
        # What a beam without prospects would keep from its place is likelier by no more, and has
        # none either: so leaving it out changes nothing.
        live = ~ended & (log_prob / largest > worst[sequence])  # (4)
        if last or not live.any():
            break
        if not np.array_equal(beam[live], np.arange(len(x))):
            writer.reorder(beam[live])
        sequence, log_prob, written = sequence[live], log_prob[live], written[live]
    return _collected(finished, num_beams, ids if start is None else None)


def _weight(length: int, alpha: float) -> float:
    """Equation (2)."""
    return float(((5 + length) / 6) ** alpha)


def _likeliest(scores: Array, sequence: Array, count: int) -> tuple[Array, Array]:
    """Return the `count` best continuations of each sequence, best first.

    Parameters
    ----------
    scores : (beams, vocab) ndarray
    sequence : (beams,) integer ndarray
        That each beam belongs to, ascending.
    count : int

    Returns
    -------
    beam, token : integer vectors
        Grouped by sequence. Of equal ones, earlier beams first, then lower token ids.
    """
    vocab = scores.shape[1]
    found = []
    for one in np.unique(sequence):
        beams = np.flatnonzero(sequence == one)
        all_of_it = scores[beams].reshape(-1)
        least = -math.inf
        if count < all_of_it.size:  # spares sorting all
            least = np.partition(all_of_it, -count)[-count]
        at = np.flatnonzero((all_of_it >= least) & (all_of_it > -math.inf))
        at = at[np.argsort(-all_of_it[at], kind="stable")[:count]]
        found.append(beams[0] * vocab + at)
    beam, token = np.divmod(np.concatenate(found), vocab)
    return beam, token


def _collected(finished: list[list[_Finished]], num_beams: int, prompt: Array | None) -> Beams:
    """Put finished texts side by side, all of the longest one's length."""
    length = max(len(text.written) for texts in finished for text in texts)
    shape = (len(finished), num_beams)
    new = np.empty((*shape, length), dtype=np.int64)
    scores, log_probs = np.full(shape, -math.inf), np.full(shape, -math.inf)
    for b, texts in enumerate(finished):
        for i, text in enumerate(texts):
            new[b, i, : len(text.written)] = text.written
            new[b, i, len(text.written) :] = text.written[-1]
            scores[b, i], log_probs[b, i] = text.score, text.log_prob
        new[b, len(texts) :] = new[b, len(texts) - 1]
    if prompt is not None:
        before = np.broadcast_to(prompt[:, None], (*shape, prompt.shape[1]))
        new = np.concatenate([before, new], axis=-1, dtype=np.int64)
    return Beams(new, scores, log_probs)


def _check(num_beams: int, length_penalty: float) -> None:
    check_size("beam_search", num_beams=num_beams)
    expected = "a number from -10 to 10, such as 0.6, or 0 to compare log-probabilities"
    # Beyond, (2) leaves what a float can hold, and its meaning much earlier.
    if not abs(check_number("beam_search", "length_penalty", length_penalty, expected)) <= 10:
        raise ValueError(f"beam_search: length_penalty is {length_penalty}; expected {expected}")
