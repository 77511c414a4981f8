"""Do the shapes of queries, keys and values fit, whatever kind of attention they are for."""

from ..core.arrays import Array, joint_shape


def check_shapes(op: str, q: Array, k: Array, v: Array | None = None) -> tuple[int, ...]:
    """Return the leading axes of the scores, those of q and k, or say what does not fit.

    Raises
    ------
    ValueError
        If widths or lengths differ, or leading axes do not broadcast.
    """
    values = k if v is None else v
    if (
        min(q.ndim, k.ndim, values.ndim) < 2
        or q.shape[-1] != k.shape[-1]
        or k.shape[-2] != values.shape[-2]
        or q.shape[-1] == 0
    ):
        raise ValueError(
            f"{op}: {_shapes(q, k, v)} do not fit; expected q (..., n_q, d_k), k (..., n_k, d_k) "
            f"and v (..., n_k, d_v), with d_k at least 1"
        )
    try:
        lead = joint_shape(q.shape[:-2], k.shape[:-2])
        joint_shape(lead, values.shape[:-2])
    except ValueError:
        raise ValueError(
            f"{op}: the leading axes of {_shapes(q, k, v)} do not broadcast; from the right, each "
            f"must be 1 or equal"
        ) from None
    return lead


def _shapes(q: Array, k: Array, v: Array | None) -> str:
    return f"q {q.shape}, k {k.shape}" + ("" if v is None else f", v {v.shape}")
