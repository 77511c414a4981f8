"""A file of named tensors: what they are is known at once, what they hold is read when asked."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ..core.arrays import Array


class Stored(NamedTuple):
    """What a file says of a tensor."""

    kind: str  # as the format names it: "F32", "BF16", "Q8_0", ...
    shape: tuple[int, ...]


class Tensors(Mapping[str, Array]):
    """Arrays by name, each read from its file when it is asked for, and not kept.

    So a model of many gigabytes is loaded with one tensor beside it at a time. What is stored
    with less precision than float32 (half, bfloat16, quantised) comes as float32; float32,
    float64 and integers come as they are.

    Attributes
    ----------
    stored : dict of str to Stored
        Type and shape of each, without reading it.
    """

    stored: dict[str, Stored]

    @abstractmethod
    def __getitem__(self, name: str) -> Array:
        """Read one tensor."""

    def __iter__(self) -> Iterator[str]:
        return iter(self.stored)

    def __len__(self) -> int:
        return len(self.stored)
