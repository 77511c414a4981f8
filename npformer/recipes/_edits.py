"""How far a text is from another: the insertions, deletions and replacements between them."""

from collections.abc import Sequence

import numpy as np

from ..core.arrays import Array


def edit_distances(text: str, others: Sequence[str]) -> Array:
    """Return the least number of edits that make each of `others` of a text.

    Parameters
    ----------
    text : str
    others : sequence of str

    Returns
    -------
    (len(others),) int64 ndarray

    Notes
    -----
    Row i of the usual table has, at column j, the distance of the first i characters of `text`
    from the first j of another. Within a row each entry may also be its left neighbour's and one
    insertion; that all of them obey this is a running minimum of the entries less their column.

    References
    ----------
    Levenshtein (1966), "Binary codes capable of correcting deletions, insertions, and reversals",
    Soviet Physics Doklady 10. Wagner and Fischer (1974), "The String-to-String Correction
    Problem", Journal of the ACM 21.
    """
    lengths = np.array([len(other) for other in others], np.int64)
    longest = int(lengths.max(initial=0))
    codes = np.zeros((len(others), longest), np.int64)
    for row, other in zip(codes, others, strict=True):
        row[: len(other)] = [ord(character) for character in other]
    columns = np.arange(longest + 1)
    row = np.tile(columns, (len(others), 1))
    for character in text:
        above = row + 1
        above[:, 1:] = np.minimum(above[:, 1:], row[:, :-1] + (codes != ord(character)))
        row = np.minimum.accumulate(above - columns, axis=1) + columns
    distances: Array = row[np.arange(len(others)), lengths]
    return distances


def error_rate(written: Sequence[str], said: Sequence[str]) -> float:
    """Return the edits from what was written to what was said, per character of the latter.

    Parameters
    ----------
    written, said : sequence of str
        In the same order.

    Returns
    -------
    float
        0 if all is right; above 1 if more is written that is wrong than was said.
    """
    edits = sum(int(edit_distances(a, [b])[0]) for a, b in zip(written, said, strict=True))
    return edits / max(1, sum(map(len, said)))


def best_guess(guesses: Sequence[str], said: Sequence[str]) -> tuple[str, float]:
    """Return which of some texts comes nearest to all that was said, and its error rate."""
    total = np.sum([edit_distances(text, guesses) for text in said], axis=0)
    best = int(np.argmin(total))
    return guesses[best], int(total[best]) / max(1, sum(map(len, said)))
