"""Layers in the common other style, which keep their state and gradients on themselves.

y = layer.forward(x)        leaves what backward needs on the layer
dx = layer.backward(dy)     leaves the parameters' gradients there, set or added
"""

import contextlib
import functools
from collections.abc import Iterator, MutableMapping
from typing import Any

import numpy as np

from ..core.arrays import Array, describe


class StatefulLayer:
    """Such a layer, as `npformer.gradcheck` takes it.

    What the check says of state kept on the object is true of the layer, and a remark only.
    Gradients are read off after each backward, so whether the layer sets or adds them is not
    looked at. Values and gradients are left as they were found; the layer's cache is that of
    its last pass.

    Parameters
    ----------
    layer : object
        With ``forward(*inputs) -> y`` and ``backward(dy) -> dx`` (a tuple for several inputs).
    **parameters : str
        For each parameter, where its value is, and as which its gradient: ``W="dW"`` for
        ``layer.W`` and ``layer.dW``. A dotted name leads through attributes, the keys of dicts
        and the places of lists: ``**{"params.W1": "grads.W1", "weights.0": "gradients.0"}``.

    Raises
    ------
    TypeError
        If the layer has no forward or backward, or a name is not a string.
    AttributeError
        If the layer has no such value.

    Examples
    --------
    >>> import numpy as np, npformer
    >>> class Scale:
    ...     def __init__(self):
    ...         self.w, self.dw = np.array([1.0, 2.0, 3.0]), None
    ...     def forward(self, x):
    ...         self.x = x
    ...         return self.w * x
    ...     def backward(self, dy):
    ...         self.dw = np.sum(dy * self.x, axis=0)
    ...         return dy * self.w
    >>> x = np.random.default_rng(0).standard_normal((4, 3))
    >>> npformer.gradcheck(StatefulLayer(Scale(), w="dw"), x).ok
    True
    """

    def __init__(self, layer: Any, **parameters: str) -> None:
        if isinstance(layer, type):
            name = layer.__name__
            raise TypeError(
                f"StatefulLayer: layer is the class {name}; expected an instance: {name}(...)"
            )
        for method in ("forward", "backward"):
            if not callable(getattr(layer, method, None)):
                raise TypeError(
                    f"StatefulLayer: {describe(layer)} has no method `{method}`; expected "
                    f"forward(x) -> y and backward(dy) -> dx"
                )

        @functools.wraps(layer.forward)  # so that a report names the inputs as the layer does
        def forward(*inputs: Any, **options: Any) -> tuple[Any, None]:
            return layer.forward(*inputs, **options), None

        self.layer = layer
        self.forward = forward
        self._parameters = {
            value: _Attribute(layer, value, grad) for value, grad in parameters.items()
        }

    def named_parameters(self) -> Iterator[tuple[str, "_Attribute"]]:
        """Yield the parameters by the names that were given."""
        yield from self._parameters.items()

    def backward(self, dy: Any, saved: None) -> Any:
        """Run the layer's backward, take over the gradients that it left, and put back its own."""
        parameters = list(self._parameters.values())
        for parameter in parameters:
            parameter.clear()
        try:
            result = self.layer.backward(dy)
            for parameter in parameters:
                parameter.collect()
        finally:
            for parameter in reversed(parameters):  # two may share memory
                parameter.put_back()
        return result


class _Attribute:
    """A parameter whose value and gradient are attributes or items of a layer.

    Attributes
    ----------
    grad : object
        The sum of the gradients that were collected; of another shape or dtype than the value,
        or no array at all, if that is what the layer left; None if it left nothing.
    missing : str
        Why there is none.
    """

    # no __dict__: what is kept here is the adapter's, and no state of the layer
    __slots__ = ("_bits", "_blank", "_found", "_gradient", "_value", "grad", "missing")

    def __init__(self, layer: Any, value: str, grad: str) -> None:
        if not isinstance(grad, str):
            raise TypeError(
                f"StatefulLayer: the gradient of {value} is given as {grad!r}; expected a name, "
                f"as in StatefulLayer(layer, W='dW')"
            )
        self._value, self._gradient = _Place(layer, value), _Place(layer, grad)
        if self.value is _ABSENT:
            known = ", ".join(getattr(layer, "__dict__", {}))
            raise AttributeError(
                f"StatefulLayer: the layer has no `{value}`; expected where the value of a "
                f"parameter is, by its attributes ({known}), keys and places: W='dW' or "
                f"**{{'params.W': 'grads.W', 'weights.0': 'grads.0'}}"
            )
        if self.own_grad is self.value:
            raise TypeError(
                f"StatefulLayer: `{value}` and its gradient `{grad}` are one array; expected the "
                f"name of the value first, then that of the gradient: W='dW'"
            )
        self.grad: Any = np.zeros_like(self.value)
        self.missing = ""

    @property
    def value(self) -> Any:
        """The layer's own array."""
        return self._value.read()

    @value.setter
    def value(self, array: Array) -> None:
        self._value.write(array)

    @property
    def own_grad(self) -> Any:
        """The layer's own gradient."""
        return self._gradient.read()

    def clear(self) -> None:
        """Let the layer set its gradient, or add to it."""
        self._found = self._gradient.steps()
        own = self._found[-1][-1]
        self._bits = self._blank = None
        if isinstance(own, np.ndarray) and own.flags.writeable:
            self._bits = own.copy()
            own[...] = 0
        else:  # of -0.0, since adding anything, 0.0 too, shows
            self._blank = np.full_like(self.value, -0.0)
            with contextlib.suppress(AttributeError, TypeError, IndexError):
                self._gradient.write(self._blank)

    def collect(self) -> None:
        """Add the gradient that the layer has left."""
        left = self.own_grad
        self.missing = ""
        if left is _ABSENT or (left is self._blank and _is_blank(left)):
            self.missing = (
                f"the layer never set `{self._gradient.path}`, where backward was to leave the "
                f"gradient; name the place where it does: {self._value.path}=..."
            )
            self.grad = None
            return
        if isinstance(left, np.generic | float):
            left = np.asarray(left)
        if not isinstance(left, np.ndarray):
            self.missing = f"backward left {left!r:.40} in `{self._gradient.path}`"
            self.grad = left
        elif isinstance(self.grad, np.ndarray) and _alike(self.grad, left):
            self.grad = self.grad + left
        else:
            self.grad = left.copy()

    def put_back(self) -> None:
        """Leave the layer's gradient as it was before `clear`."""
        for holder, name, item in self._found:
            if _get(holder, name) is not item:
                with contextlib.suppress(AttributeError, TypeError, LookupError):
                    _set(holder, name, item)
            if item is _ABSENT:
                return
        if self._bits is not None:
            self._found[-1][-1][...] = self._bits


class _Place:
    """Where an array is kept: the end of a dotted path through attributes, dicts and lists."""

    def __init__(self, layer: Any, path: str) -> None:
        self.path = path
        self._layer = layer

    def steps(self) -> list[tuple[Any, str, Any]]:
        """Walk the path: each holder, the next name, and what it has under that name now."""
        holder, steps = self._layer, []
        for name in self.path.split("."):
            item = _get(holder, name)
            steps.append((holder, name, item))
            holder = item
        return steps

    def read(self) -> Any:
        return self.steps()[-1][-1]

    def write(self, array: Array) -> None:
        holder, name, _ = self.steps()[-1]
        _set(holder, name, array)


_ABSENT = object()


def _get(holder: Any, name: str) -> Any:
    """Return an item or attribute; `_ABSENT` if there is none."""
    try:
        if isinstance(holder, MutableMapping):
            return holder[_key(holder, name)]
        return holder[int(name)] if isinstance(holder, list | tuple) else getattr(holder, name)
    except (AttributeError, LookupError, ValueError):
        return _ABSENT


def _set(holder: Any, name: str, item: Any) -> None:
    """Set an item or attribute, or delete it where `item` is `_ABSENT`."""
    if isinstance(holder, MutableMapping):
        key = _key(holder, name)
        holder.pop(key) if item is _ABSENT else holder.__setitem__(key, item)
    elif isinstance(holder, list):
        at = int(name)
        holder[at : at + 1] = [] if item is _ABSENT else [item]
    elif item is _ABSENT:
        delattr(holder, name)
    else:
        setattr(holder, name, item)


def _key(holder: MutableMapping[Any, Any], name: str) -> Any:
    """Keys of a dict may be numbers, too."""
    number = int(name) if name.isdecimal() else name
    return number if name not in holder and number in holder else name


def _is_blank(array: Any) -> bool:
    return bool(array.size and np.all((array == 0) & np.signbit(array)))


def _alike(a: Array, b: Array) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype
