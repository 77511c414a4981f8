"""Decoding what `ctc_loss` trains: the best class of each step, repeats merged, blanks removed."""

import numpy as np

from ..core.arrays import Array
from ..functional.ctc_loss import check_ctc_inputs


def ctc_greedy(log_probs: Array, input_lengths: Array, blank: int = 0) -> list[Array]:
    """Return what the most probable path of each sample spells.

    Parameters
    ----------
    log_probs : (batch, length, classes) ndarray
        Scores of any kind: only which is the largest of a step counts. The first one wins a tie.
    input_lengths : (batch,) integer ndarray
        Steps of each sample, from 1 to length; those beyond are ignored.
    blank : int, optional
        The class that stands for none.

    Returns
    -------
    list of (n,) int64 ndarray
        One a sample, of different lengths, perhaps 0.

    Raises
    ------
    ValueError
        If shapes do not fit, a length is out of range or the blank is no class.
    TypeError
        If `log_probs` is not a float array, or `input_lengths` not integers.

    Notes
    -----
    The best path need not spell the best target, whose probability is the sum over many paths.

    References
    ----------
    Graves et al. (2006), "Connectionist Temporal Classification", section 3.2: best path decoding.
    """
    check_ctc_inputs("ctc_greedy", log_probs, input_lengths, blank)
    best = np.argmax(log_probs.real, axis=2)  # (B, T)
    keep = best != blank
    keep[:, 1:] &= best[:, 1:] != best[:, :-1]
    keep &= np.arange(best.shape[1]) < input_lengths[:, None]
    return [classes[kept] for classes, kept in zip(best, keep, strict=True)]
