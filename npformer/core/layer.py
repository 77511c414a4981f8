"""The protocol of a layer: forward returns what backward needs, and the layer keeps nothing.

    y, saved = layer.forward(x)
    dx = layer.backward(dy, saved)      # and each parameter's grad has grown by its gradient

Since the state of a pass is in `saved` and not on `self`, a layer may be used twice in one
pass, by several threads at once, and its forward may be run again to save memory.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

from .arrays import Array, describe
from .parameter import Parameter

Self = TypeVar("Self", bound="Layer")
_PLAIN = frozenset({int, float, bool, str, type(None)})  # what no parameter is in


class Layer(ABC):
    """Base of every layer and model.

    A subclass sets its parameters and sublayers as attributes in ``__init__`` (a tuple, list or
    dict of them is fine), and defines `forward` and `backward`. Nothing else on it ever changes.
    """

    @abstractmethod
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return ``(y, saved)``. Every layer takes ``run=None``, a `Run`, by name."""

    @abstractmethod
    def backward(self, dy: Any, saved: Any, run: Any = None) -> Any:
        """Add to the parameters' gradients and return those of the inputs.

        None where no input is differentiable, a bare array for one, a tuple for several.
        """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run `forward` and return `y` alone."""
        return self.forward(*args, **kwargs)[0]

    def _attributes(self) -> Mapping[str, Any]:
        """Return what this layer holds, by name, in the order in which it was set."""
        return vars(self)

    def named_layers(self) -> Iterator[tuple[str, "Layer"]]:
        """Yield this layer (its name is empty) and all below it, each once, with dotted names."""
        seen: set[int] = set()
        for name, child in _walk(self, ""):
            if isinstance(child, Layer) and id(child) not in seen:
                seen.add(id(child))
                yield name, child

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Yield every parameter once, under the first of its names.

        A parameter that stands in two places (tied weights) is one parameter.
        """
        seen: set[int] = set()
        for name, child in _walk(self, ""):
            if isinstance(child, Parameter) and id(child) not in seen:
                seen.add(id(child))
                yield name, child

    def parameters(self) -> list[Parameter]:
        """Return every parameter once."""
        return [parameter for _, parameter in self.named_parameters()]

    def zero_grad(self) -> None:
        """Set every gradient to zero, in place."""
        for parameter in self.parameters():
            parameter.zero_grad()

    def state_dict(self) -> dict[str, Array]:
        """Return a copy of every parameter's value, frozen ones too, tied ones once."""
        return {name: parameter.value.copy() for name, parameter in self.named_parameters()}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Write `state` into the parameters, in place, or change nothing at all.

        Parameters
        ----------
        state : mapping of str to ndarray
            As `state_dict` returns it. float32 arrays may be loaded into float64 parameters.

        Raises
        ------
        ValueError
            If entries are missing, unexpected or of another shape: all of them are named.
        TypeError
            If an entry is not a float array, or would lose precision.
        """
        own = dict(self.named_parameters())
        wrong = [f"missing: {name} {own[name].shape}" for name in own if name not in state]
        wrong += [
            f"unexpected: {name} {describe(state[name])}" for name in state if name not in own
        ]
        for name in (name for name in own if name in state):
            if not isinstance(state[name], np.ndarray) or state[name].dtype.kind != "f":
                raise TypeError(
                    f"load_state_dict: {name} is {describe(state[name])}; expected a float ndarray"
                )
            if not np.can_cast(state[name].dtype, own[name].value.dtype, "safe"):
                raise TypeError(
                    f"load_state_dict: {name} is {state[name].dtype} and the parameter is "
                    f"{own[name].value.dtype}, which would lose precision; if that is meant, "
                    f"convert it with .astype({own[name].value.dtype})"
                )
            if state[name].shape != own[name].shape:
                wrong.append(
                    f"wrong shape: {name} is {state[name].shape}, expected {own[name].shape}"
                )
        if wrong:
            raise ValueError(
                f"load_state_dict: the state does not fit {type(self).__name__} (nothing was "
                f"changed; was it built with the same configuration?)\n  " + "\n  ".join(wrong)
            )
        for name, parameter in own.items():
            parameter.value[...] = state[name]

    def replica(self: Self) -> Self:
        """Return a copy that reads this layer's values, now and later, into gradients of its own.

        For work on shards of a batch side by side: each replica collects its own gradients.
        """
        twins: dict[int, Any] = {id(p): p.replica() for p in self.parameters()}
        return copy.deepcopy(self, twins)


def _walk(item: Any, name: str) -> list[tuple[str, Layer | Parameter]]:
    """Return `item` and, depth first in the order of the attributes, what it holds."""
    found: list[tuple[str, Layer | Parameter]] = []
    _gather(item, name, found)
    return found


def _gather(item: Any, name: str, found: list[tuple[str, Layer | Parameter]]) -> None:
    """Add to `found`: a training step walks several times, and a generator at each level is slow.

    Plain values are told by their type before anything else is asked, for most attributes are.
    """
    if isinstance(item, Parameter):
        found.append((name, item))
    elif isinstance(item, Layer):
        found.append((name, item))
        prefix = f"{name}." if name else ""
        for key, child in item._attributes().items():
            if type(child) not in _PLAIN:
                _gather(child, prefix + key, found)
    elif isinstance(item, (list, tuple, dict)):
        for index, child in item.items() if isinstance(item, dict) else enumerate(item):
            if type(child) not in _PLAIN:
                _gather(child, f"{name}.{index}", found)
