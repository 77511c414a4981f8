"""Checks shared by the operations that take a position for every vector."""

from ..core.arrays import Array, check_floats, check_integers, fits


def check_positions(op: str, x: Array, positions: Array) -> None:
    """Refuse vectors that are not made of pairs, and positions that are not theirs.

    Raises
    ------
    ValueError
        If the last axis of `x` is odd or positions do not broadcast to the others.
    TypeError
        If `x` is not a float array or positions are not integers.
    """
    check_floats(op, x=x)
    check_integers(op, "positions", positions)
    if x.ndim < 1 or x.shape[-1] % 2 or x.shape[-1] == 0:
        raise ValueError(f"{op}: x is {x.shape}; expected (..., n) with n even, in pairs")
    if not fits(positions.shape, x.shape[:-1]):
        raise ValueError(
            f"{op}: positions {positions.shape} do not broadcast to {x.shape[:-1]}, "
            f"the shape of x without its last axis"
        )
