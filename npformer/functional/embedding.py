r"""Embedding: a row of a table for every id.

Forward, for each position p with its id t_p
    (1)  y_p = W_{t_p}                                                (d_model,)

Backward, given dy
    (1') With the one-hot matrix E, E_pv = 1 where t_p = v, the look-up is y = E W, a linear
         map in W. By the rule for linear maps dW = E^T dy, that is
         dW_v = sum over all p with t_p = v of dy_p
         An id that occurs twice receives both gradients, one that does not occur receives 0.
         Ids are integers and have no gradient.

(1') is done without forming E: positions are sorted by id, so that those of one id are
neighbours, and each run of neighbours is summed.

Saved: the ids, and W for the shape and dtype of its gradient.
"""

from typing import NamedTuple

import numpy as np

from ..core.arrays import Array, check_floats, check_gradient, check_ids


class EmbeddingSaved(NamedTuple):
    """What `embedding_backward` needs."""

    ids: Array  # (...)              the caller's own array
    weight: Array  # (vocab, d_model)   the caller's own array: for its shape and dtype


def embedding(ids: Array, weight: Array) -> tuple[Array, EmbeddingSaved]:
    """Look up a row of `weight` for every id.

    Parameters
    ----------
    ids : integer ndarray, any shape
        Each from 0 to vocab - 1.
    weight : (vocab, d_model) ndarray

    Returns
    -------
    y : (..., d_model) ndarray
        ``weight[ids]``.
    saved : EmbeddingSaved
        For `embedding_backward`.

    Raises
    ------
    TypeError
        If ids are not integers, or weight is not float32, float64 or complex128.
    ValueError
        If an id is out of range, negative ones included; the message has its index.
    """
    check_floats("embedding", weight=weight)
    if weight.ndim != 2:
        raise ValueError(f"embedding: weight is {weight.shape}; expected (vocab, d_model)")
    check_ids("embedding", "ids", ids, weight.shape[0], "a table of")
    # asarray, for a lone NumPy integer would give a view of the table
    return weight[np.asarray(ids)], EmbeddingSaved(ids, weight)  # (1)


def embedding_backward(dy: Array, saved: EmbeddingSaved) -> Array:
    """Gradient of `weight`; equation (1') of the module.

    Parameters
    ----------
    dy : (..., d_model) ndarray
        Gradient of the loss with respect to `y`.
    saved : EmbeddingSaved
        As returned by `embedding`.

    Returns
    -------
    dweight : (vocab, d_model) ndarray
        Zero in the rows that no id names.

    Raises
    ------
    ValueError, TypeError
        If `dy` does not have the shape and precision of `y`.
    """
    rows, drows = embedding_rows_backward(dy, saved)
    dweight = np.zeros_like(saved.weight)
    dweight[rows] = drows
    return dweight


def embedding_rows_backward(dy: Array, saved: EmbeddingSaved) -> tuple[Array, Array]:
    """Equation (1'), only where it is not 0.

    Parameters
    ----------
    dy, saved
        As for `embedding_backward`.

    Returns
    -------
    rows : (n,) integer ndarray
        The ids that occur, each once.
    drows : (n, d_model) ndarray
        The gradients of these rows.

    Raises
    ------
    ValueError, TypeError
        As `embedding_backward`.
    """
    ids, weight = saved
    check_gradient("embedding_backward", dy, (*ids.shape, weight.shape[1]), weight)
    flat = ids.reshape(-1)
    order = np.argsort(flat, kind="stable")
    in_order = flat[order]
    starts = np.flatnonzero(np.diff(in_order, prepend=-1))
    each = dy.reshape(flat.size, weight.shape[1])[order]
    return in_order[starts], np.add.reduceat(each, starts, axis=0)  # (1')
