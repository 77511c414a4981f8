"""What a checkpoint's header may say: each check returns what is sound, or says what is not.

The errors are plain ones, told from the file's side ("its format is ..."); `refusal` adds which
file, and makes them a CheckpointError.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .._version import __version__
from ..core.arrays import Array
from ..core.errors import CheckpointError
from ..core.parameter import Parameter
from .archive import decode_header, encode_header
from .configs import config_fields
from .optimizer import Optimizer

FORMAT, VERSION = "npformer checkpoint", 1
# Bit generators take these without a look, and some index memory with them.
_STATE_BOUNDS = {"pos": 624, "buffer_pos": 4, "has_uint32": 1, "uinteger": 2**32 - 1}


@contextlib.contextmanager
def refusal(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn what is wrong with a file's content into a CheckpointError that names the file."""
    try:
        yield
    except (ValueError, TypeError, OverflowError) as error:
        raise CheckpointError(
            f"{os.fspath(path)} cannot be loaded: {error} (nothing was changed)"
        ) from error


def get(table: Mapping[str, Any], key: str, kind: type) -> Any:
    """Return an entry that has to be there, of this type."""
    if not isinstance(table.get(key), kind):
        raise ValueError(
            f"its header has {short(table.get(key))} for {key!r}; expected a {kind.__name__}, so "
            f"the file was not written by Trainer.save"
        )
    return table[key]


def short(value: Any) -> str:
    """Say what a value is in at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"a {type(value).__name__}"


def count(table: Mapping[str, Any], key: str, least: int) -> int:
    """Return an entry that has to be an int, `least` or more."""
    number = table.get(key)
    if type(number) is not int or not least <= number < 2**63:
        raise ValueError(f"its header has {short(number)} for {key!r}; expected an int >= {least}")
    return number


def names_in(table: Mapping[str, Any], key: str, known: Mapping[str, Any]) -> set[str]:
    """Return a list of names, each known and there once, as a set."""
    names = get(table, key, list)
    wrong = [name for name in names if not isinstance(name, str) or name not in known]
    if wrong or len(set(names)) != len(names):
        raise ValueError(f"{key!r} lists {short(wrong or names)}; expected names of parameters")
    return set(names)


def same_names(what: str, table: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Refuse a table whose "parameters" are not the names in `own`, each once."""
    listed = get(table, "parameters", list)
    found = {name for name in listed if isinstance(name, str)}
    missing, extra = [name for name in own if name not in found], sorted(found - set(own))
    if missing or extra or len(listed) != len(own):
        raise ValueError(
            f"{what} are not the same: the file lacks {missing[:8]} and has also "
            f"{[short(name) for name in extra[:8]]}; build it as it was when it was saved, with "
            f"the same parameters frozen"
        )


def take(
    arrays: Mapping[str, Array], prefix: str, own: Mapping[str, Parameter], owner: str
) -> dict[str, Array]:
    """Return the arrays under `prefix` by parameter name: all there, of shape and dtype."""
    wrong, found = [], {}
    for name, parameter in own.items():
        array = arrays.get(prefix + name)
        if array is None:
            wrong.append(f"{prefix}{name} is missing")
        elif array.shape != parameter.shape or array.dtype != parameter.value.dtype:
            wrong.append(
                f"{prefix}{name} is {array.dtype} {array.shape}, expected "
                f"{parameter.value.dtype} {parameter.shape}"
            )
        else:
            found[name] = array
    if wrong:
        more = f"\n  and {len(wrong) - 8} more" if len(wrong) > 8 else ""
        raise ValueError(
            f"its arrays do not fit {owner}; build it with the configuration and dtype of the "
            f"file\n  " + "\n  ".join(wrong[:8]) + more + "\n "
        )
    return found


def check_format(header: Mapping[str, Any]) -> dict[str, Any]:
    """Refuse a header that is not of this format; return the metadata."""
    if header.get("format") != FORMAT:
        raise ValueError(f"its format is {short(header.get('format'))}; expected {FORMAT!r}")
    if header.get("version") != VERSION:
        raise ValueError(
            f"its format version is {short(header.get('version'))} and this npformer "
            f"({__version__}) reads version {VERSION}; use the npformer that wrote it, "
            f"{short(header.get('npformer'))}"
        )
    metadata: dict[str, Any] = get(header, "metadata", dict)
    return metadata


def check_model(saved: Mapping[str, Any], model: Any) -> None:
    """Refuse a model of another class, configuration or set of parameters."""
    if saved.get("class") != type(model).__name__:
        raise ValueError(
            f"it holds a {short(saved.get('class'))} and the trainer's model is a "
            f"{type(model).__name__}; build the model that was saved"
        )
    own = decode_header(encode_header({"config": config_fields(getattr(model, "config", None))}))
    ours, theirs = own["config"] or {}, saved.get("config") or {}
    if ours != theirs:
        keys = [*ours, *(k for k in theirs if k not in ours)] if isinstance(theirs, dict) else []
        none = "nothing"
        differing = [
            f"{key} is {short(theirs.get(key, none))} in the file and {ours.get(key, none)!r} here"
            for key in keys
            if theirs.get(key, none) != ours.get(key, none)
        ]
        raise ValueError(
            f"the model's configuration is another one: {'; '.join(differing[:8]) or 'no object'}; "
            f"build the model with the file's, or take its weights alone with load_model"
        )
    same_names("the model's parameters", saved, dict(model.named_parameters()))


def check_optimizer(saved: Mapping[str, Any], optimizer: Optimizer) -> tuple[Optimizer, int]:
    """Return an optimizer over nothing of note that has the file's settings, and its steps."""
    kind = type(optimizer)
    if saved.get("class") != kind.__name__:
        raise ValueError(
            f"it was trained by {short(saved.get('class'))} and the trainer has {kind.__name__}; "
            f"make the optimizer that was saved"
        )
    hyperparameters = get(saved, "hyperparameters", dict)
    if set(hyperparameters) != set(kind.settings):
        raise ValueError(
            f"its hyperparameters are {short(sorted(hyperparameters))}; expected "
            f"{sorted(kind.settings)}"
        )
    # The constructor is the judge of its own keywords.
    dtype = optimizer.parameters[0].value.dtype
    settings = kind([Parameter(np.zeros(1, dtype))], **hyperparameters)
    if get(saved, "slots", list) != list(settings.state):
        raise ValueError(
            f"its optimizer's arrays are {short(saved['slots'])}; expected {list(settings.state)}"
        )
    return settings, count(saved, "steps", 0)


def state_to_json(state: Any) -> Any:
    """Turn a bit generator's state into JSON: PCG64 has numbers alone, others have arrays."""
    if isinstance(state, Mapping):
        return {key: state_to_json(value) for key, value in state.items()}
    return state.tolist() if isinstance(state, np.ndarray) else state


def check_generator(saved: Mapping[str, Any], own: np.random.BitGenerator) -> Any:
    """Return the saved state in the form that `own` takes, tried out on another of its kind."""
    kind = type(own).__name__
    if saved.get("bit_generator") != kind:
        raise ValueError(
            f"its generator is {short(saved.get('bit_generator'))} and the trainer's is {kind}; "
            f"give the trainer one of the same kind"
        )
    try:
        state = _like(saved, own.state, "generator")
        trial = type(own)()
        trial.state = state
        kept = state_to_json(trial.state) == saved
    except OverflowError:  # a number that the generator's words cannot hold
        kept = False
    if not kept:
        raise ValueError(f"the state of its generator is not one that {kind} can have")
    return state


def _like(saved: Any, own: Any, key: str) -> Any:
    """Return `saved` in the structure of `own`: same keys, arrays of the same shape and dtype."""
    if isinstance(own, Mapping) and isinstance(saved, Mapping) and set(own) == set(saved):
        return {name: _like(saved[name], own[name], name) for name in own}
    if isinstance(own, np.ndarray) and isinstance(saved, list) and len(saved) == own.size:
        if all(type(item) is int for item in saved):
            return np.array(saved, own.dtype).reshape(own.shape)
    elif type(saved) is type(own) and not isinstance(own, np.ndarray | Mapping):
        bound = _STATE_BOUNDS.get(key)
        if bound is None or 0 <= saved <= bound:
            return saved
    raise ValueError(f"the state of its generator has {short(saved)} for {key!r}")
