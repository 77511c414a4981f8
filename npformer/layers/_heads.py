"""What layers with several heads share: the checks of their sizes and of their inputs."""

from ..core.arrays import Array, check_floats, check_size, joint_shape


def check_heads(owner: str, d_model: int, num_heads: int, num_kv_heads: int) -> None:
    """Refuse numbers of heads that do not divide the width, or each other."""
    check_size(owner, d_model=d_model, num_heads=num_heads, num_kv_heads=num_kv_heads)
    if d_model % num_heads:
        raise ValueError(
            f"{owner}: d_model {d_model} is not divisible by num_heads {num_heads}; each head "
            f"takes an equal part of the width"
        )
    if num_heads % num_kv_heads:
        raise ValueError(
            f"{owner}: num_heads {num_heads} is not divisible by num_kv_heads {num_kv_heads}; "
            f"each key and value head serves an equal group of query heads"
        )


def check_sequences(
    owner: str, d_model: int, x: Array, memory: Array | None
) -> tuple[tuple[int, ...], int]:
    """Return the leading axes of scores, and how many vectors are attended to.

    Raises
    ------
    ValueError, TypeError
        If x or memory are not (..., length, d_model) arrays of one precision, or their leading
        axes do not broadcast.
    """
    check_floats(owner, x=x, memory=memory)
    for name, array in (("x", x), ("memory", memory)):
        if array is not None and (array.ndim < 2 or array.shape[-1] != d_model):
            raise ValueError(
                f"{owner}: {name} is {array.shape}; expected (..., length, {d_model}), the width "
                f"d_model that it was built with"
            )
    z = x if memory is None else memory
    try:
        return joint_shape(x.shape[:-2], z.shape[:-2]), z.shape[-2]
    except ValueError:
        raise ValueError(
            f"{owner}: the leading axes of x {x.shape} and memory {z.shape} do not broadcast; "
            f"from the right, each must be 1 or equal"
        ) from None
