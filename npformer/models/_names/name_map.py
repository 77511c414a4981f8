"""What a name map is: a table of tensors that is read in both directions, and two of options.

A row of the table names one tensor of theirs and the parameters of ours that it holds: several,
if theirs joins what is apart here, one below the other. A layout says how the two differ beyond
that, and undoes itself.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ...core.arrays import Array
from .options import Options

Shape = tuple[int, ...]


class Layout(NamedTuple):
    """How a tensor of theirs becomes ours, and back."""

    to_ours: Callable[[Array], Array]
    to_theirs: Callable[[Array], Array]
    shape: Callable[[Shape], Shape]  # of theirs, for one of ours


def _same(x: Any) -> Any:
    return x


SAME = Layout(_same, _same, _same)
TRANSPOSED = Layout(lambda x: x.T, lambda x: x.T, lambda shape: shape[::-1])


def pairs_apart(num_heads: int) -> Layout:
    """Ours has each head's rotary pairs side by side, theirs has their halves one after another.

    Row 2c + s of a head of width n here, s = 0 or 1, is row c + s n/2 there.
    """
    return Layout(
        lambda x: _swap(x, (num_heads, 2, -1)), lambda x: _swap(x, (num_heads, -1, 2)), _same
    )


def pairs_together(num_heads: int) -> Layout:
    """Theirs has each head's rotary pairs side by side; `pairs_apart` the other way round."""
    apart = pairs_apart(num_heads)
    return Layout(apart.to_theirs, apart.to_ours, _same)


def _swap(x: Array, rows: Shape) -> Array:
    """Cut the rows of x into (heads, a, b) and exchange a and b."""
    swapped: Array = x.reshape(*rows, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)
    return swapped


class Row(NamedTuple):
    """One tensor of theirs, and what of ours it holds."""

    theirs: str
    ours: tuple[str, ...]  # names of parameters; none, if it may be there and is of no use
    layout: Layout = SAME


def row(theirs: str, *ours: str, layout: Layout = SAME) -> Row:
    """Make a `Row`."""
    return Row(theirs, ours, layout)


def linear(theirs: str, *ours: str, bias: bool, layout: Layout = SAME) -> Iterator[Row]:
    """Yield the weight of a linear map or norm, and its bias if there is one."""
    yield Row(f"{theirs}.weight", tuple(f"{name}.weight" for name in ours), layout)
    if bias:
        layout = SAME if layout is TRANSPOSED else layout
        yield Row(f"{theirs}.bias", tuple(f"{name}.bias" for name in ours), layout)


@dataclass(frozen=True)
class NameMap:
    """How one architecture of theirs is a model of ours.

    Attributes
    ----------
    model_type : str
        Their name for the architecture.
    model : str
        Our class.
    read : function of (options, shapes) -> dict
        Turns their options into the fields of our configuration. It also sees the shapes of the
        folder's tensors by name, without the prefix, for what only these tell: which heads
        there are.
    write : function of (config) -> dict, or None
        Turns our configuration into their options, `architectures` included; refuses with a
        ValueError what theirs cannot be. None if nothing is written in this format.
    rows : function of (config) -> iterator of Row
        The table. Where several rows hold the same of ours, any of them will do, those that are
        there have to agree, and the first is written.
    prefix : str, optional
        What names of the base model begin with in a model with heads, and do not in the base
        model alone; the table has it.
    skipped : tuple of str, optional
        Patterns of whole names, without the prefix, that folders hold and that are of no use.
    fixed : function of (config) -> dict, optional
        Of names among those, without the prefix, the values that they have to have if they are
        there, since they are computed here.
    renamed : tuple of (str, str), optional
        Endings of names in older folders, and what they are today.
    """

    model_type: str
    model: str
    read: Callable[[Options, Mapping[str, Shape]], dict[str, Any]]
    write: Callable[[Any], dict[str, Any]] | None
    rows: Callable[[Any], Iterator[Row]]
    prefix: str = ""
    skipped: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    fixed: Callable[[Any], Mapping[str, Array]] = lambda config: {}

    def plain(self, name: str) -> str:
        """Return a name of theirs without the prefix, as it is today."""
        name = name.removeprefix(self.prefix)
        for old, new in self.renamed:
            if name.endswith(old):
                return name.removesuffix(old) + new
        return name


def refuse(model_type: str, **fields: tuple[Any, Any]) -> None:
    """Refuse a configuration of ours that an architecture of theirs cannot be.

    Parameters
    ----------
    model_type : str
    **fields : (found, allowed)
        By name; `allowed` is a value, or a tuple of several.

    Raises
    ------
    ValueError
        Naming all that do not fit.
    """
    wrong = []
    for name, (found, allowed) in fields.items():
        allowed = allowed if isinstance(allowed, tuple) else (allowed,)
        if found not in allowed:
            wrong.append(f"{name} is {found!r}, not {' or '.join(map(repr, allowed))}")
    if wrong:
        raise ValueError(f"{model_type}: {', '.join(wrong)}")
