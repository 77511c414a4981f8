"""PyTorch's modules: their state dicts become parameters of layers here, and the other way round.

A state dict is a mapping from names to tensors or arrays; PyTorch itself is not needed. It holds
numbers alone, and does not say how they are used. What it leaves open has to be chosen alike
where the layer is built here, or it computes something else:

- `nn.MultiheadAttention` and all that has one: the number of heads.
- `nn.TransformerEncoderLayer`, `nn.TransformerDecoderLayer`: ``norm_first`` (``norm_position``
  here, "post" for its default False), the activation, ``layer_norm_eps``. Its dropout also acts
  inside the feed-forward layers, where layers here have none; that matters in training only.
- `nn.Transformer` is a dict of two stacks, each with a norm at its end: ``{"encoder":
  Encoder(..., final_norm=True), "decoder": Decoder(..., final_norm=True)}``. Its decoder looks
  ahead unless it is given a mask; the one here never does.
- `nn.RNN`: tanh, its default. `nn.Embedding`: no ``max_norm``. `nn.Conv1d`: stride and padding;
  here channels are last.
- All are batch first here, whatever ``batch_first`` says there.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..core.arrays import Array, describe
from ..core.layer import Layer, _walk
from ..core.parameter import Parameter
from ..models._names.matching import fill, match, theirs
from ..models._names.name_map import Row
from ._torch_names import REASONS, Parts, rows_of


def load_torch(layer: Parts, state: Mapping[str, Any]) -> None:
    """Write a state dict of PyTorch's into a layer's parameters, in place.

    Parameters
    ----------
    layer : Layer, or sequence or mapping of such
        A Linear, Embedding, LayerNorm, RMSNorm, Conv1d, RNN, LSTM, MultiHeadAttention,
        EncoderLayer, DecoderLayer, Encoder or Decoder. A dict of them by name is a module with
        such parts, as `nn.Transformer` is and modules of your own are: ``{"embed": Embedding(...),
        "core.encoder": Encoder(...)}``. A list of several LSTM or RNN is one module of so many
        layers; a list of others is an `nn.ModuleList` or `nn.Sequential`, if all have parameters.
    state : mapping of str to tensor or ndarray
        As ``module.state_dict()`` returns it. float32 may be loaded into float64 parameters.

    Raises
    ------
    ValueError
        If tensors are missing, unknown, or of another shape; if two that are one here differ; if
        one holds NaN or infinite numbers.
        Nothing is changed then, and all are named, with what they tell of the module's options.
        If the layer is built as no module of PyTorch's is.
    TypeError
        If a layer has no counterpart in PyTorch, or a tensor is not of floats or would lose
        precision.
    """
    rows, parameters = _opened(layer)
    if not isinstance(state, Mapping):
        raise TypeError(
            f"load_torch: state is {describe(state)}; expected a mapping from names to tensors, "
            f"such as module.state_dict()"
        )
    arrays = {name: _array(name, value) for name, value in state.items()}
    kinds = {name: (array.dtype.name, array.shape) for name, array in arrays.items()}
    found, misfits = match(rows, parameters, {name: [name] for name in arrays}, kinds)
    if misfits:
        lines = misfits.lines
        said = [f"{name} says {words}" for name, words in _reasons(lines)]
        raise ValueError(
            f"load_torch: the state does not fit the layer (nothing was changed): "
            f"{misfits.counts}{lines}" + "".join(f"\n  ({one})" for one in said)
        )
    new = {name: np.empty_like(parameter.value) for name, parameter in parameters.items()}
    filled: dict[tuple[str, ...], str] = {}
    for row in found:
        array, parts = arrays[row.theirs], [new[name] for name in row.ours]
        if not np.can_cast(array.dtype, parts[0].dtype, "safe"):
            raise TypeError(
                f"load_torch: {row.theirs} is {array.dtype} and the layer {parts[0].dtype}, which "
                f"would lose precision; build the layer with dtype=np.{array.dtype}, or convert "
                f"the module with .float()"
            )
        if not np.isfinite(array).all():
            raise ValueError(
                f"load_torch: {row.theirs} holds NaN or infinite numbers (nothing was changed); "
                f"take the state of an earlier step"
            )
        if not fill(parts, row.layout.to_ours(array), compare=row.ours in filled):
            raise ValueError(
                f"load_torch: {filled[row.ours]} and {row.theirs} are one parameter here and "
                f"differ in the state (nothing was changed); build the layers with one each"
            )
        filled.setdefault(row.ours, row.theirs)
    for name, parameter in parameters.items():
        parameter.value[...] = new[name]


def torch_state(layer: Parts) -> dict[str, Array]:
    """Return a layer's parameters as PyTorch's module names them.

    Parameters
    ----------
    layer : Layer, or sequence or mapping of such
        As for `load_torch`.

    Returns
    -------
    dict of str to ndarray
        Copies. ``module.load_state_dict({name: torch.from_numpy(array) for ...})`` takes them.

    Raises
    ------
    ValueError, TypeError
        As `load_torch`, for the layer.
    """
    rows, parameters = _opened(layer)
    values = {name: parameter.value for name, parameter in parameters.items()}
    return {row.theirs: np.array(theirs(row, values)) for row in rows}


def torch_gradients(layer: Parts) -> dict[str, Array]:
    """Return the gradients of a layer's parameters as `torch_state` returns their values.

    So they compare, name by name, with the ``grad`` of ``module.named_parameters()``. A parameter
    that two modules share has its whole gradient under both names.

    Parameters
    ----------
    layer : Layer, or sequence or mapping of such
        As for `load_torch`.

    Returns
    -------
    dict of str to ndarray
        Copies.

    Raises
    ------
    ValueError, TypeError
        As `load_torch`, for the layer.
    """
    rows, parameters = _opened(layer)
    grads = {name: parameter.grad for name, parameter in parameters.items()}
    return {row.theirs: np.array(theirs(row, grads)) for row in rows}


def _opened(layer: Parts) -> tuple[list[Row], dict[str, Parameter]]:
    """Return the rows of a layer, and its parameters; a shared one has one name in both."""
    rows = list(rows_of(layer))
    parameters: dict[str, Parameter] = {}
    named: dict[int, str] = {}
    first: dict[str, str] = {}
    for name, item in _walk(_plain(layer), ""):
        name = name.removeprefix(".")  # of what is no layer itself
        if isinstance(item, Parameter):
            first[name] = named.setdefault(id(item), name)
            parameters.setdefault(first[name], item)
    return [one._replace(ours=tuple(first[name] for name in one.ours)) for one in rows], parameters


def _plain(part: Any) -> Any:
    """Return mappings as dicts and sequences as lists, which a walk over layers goes into."""
    if isinstance(part, Layer):
        return part
    if isinstance(part, Mapping):
        return {name: _plain(child) for name, child in part.items()}
    return [_plain(child) for child in part]


def _array(name: str, value: Any) -> Array:
    """Return a tensor of PyTorch's, or what is an array already, as an array."""
    for step in ("detach", "cpu"):
        if hasattr(value, step):
            value = getattr(value, step)()
    if not isinstance(value, np.ndarray) and hasattr(value, "numpy"):
        try:
            value = value.numpy()
        except TypeError as error:  # of a type that NumPy has not
            raise TypeError(
                f"load_torch: {name} is {getattr(value, 'dtype', 'of a type')}, which NumPy does "
                f"not have; convert the module with .float()"
            ) from error
    if not isinstance(value, np.ndarray):
        raise TypeError(f"load_torch: {name} is {describe(value)}; expected a tensor or an ndarray")
    return value


def _reasons(lines: str) -> list[tuple[str, str]]:
    """Return what names in an error tell of how a module was built: a name each, and words."""
    names = re.findall(r"\n  (?:missing|not known): (\S+)", lines)
    return [
        (next(name for name in names if re.search(pattern, name)), words)
        for pattern, words in REASONS
        if any(re.search(pattern, name) for name in names)
    ]
