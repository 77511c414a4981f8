"""What a checkpoint says, and whether it is true of the trainer or model that it is loaded into.

The header holds, as JSON
    format, version, npformer       what wrote it
    model                           class, config, dtype, names of parameters and of frozen ones
    optimizer                       class, hyperparameters, steps, slots, names of parameters,
                                    and of those that decay
    generator                       state of the trainer's random bit generator
    steps, accumulate, clip_norm, metadata
    workers, threads                the setting, which may be "auto", and the threads that this
                                    counts on: null before its first step, absent in old files
and the arrays are ``model/<parameter>`` and ``optimizer/<slot>/<parameter>``.

Loading validates all of it before anything is written. Names in a file choose among what is
there (a public model class, the trainer's own optimizer); they are never imported.
"""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .._version import __version__
from ..core.initialize import skeleton
from ..models._model import Model
from .archive import read_archive, write_archive
from .configs import build_config, config_fields
from .header import (
    FORMAT,
    VERSION,
    check_format,
    check_generator,
    check_model,
    check_optimizer,
    count,
    get,
    names_in,
    refusal,
    same_names,
    state_to_json,
    take,
)
from .optimizer import real

if TYPE_CHECKING:
    from .trainer import Trainer


def save_trainer(
    trainer: "Trainer", path: str | os.PathLike[str], metadata: Mapping[str, Any]
) -> None:
    """Write a trainer's whole state; see `Trainer.save`."""
    model, optimizer = trainer.model, trainer.optimizer
    named = dict(model.named_parameters())
    names = {id(parameter): name for name, parameter in named.items()}
    stepped = [names[id(parameter)] for parameter in optimizer.parameters]
    header = {
        "format": FORMAT,
        "version": VERSION,
        "npformer": __version__,
        "model": {
            "class": type(model).__name__,
            "config": config_fields(getattr(model, "config", None)),
            "dtype": str(next(iter(named.values())).value.dtype),
            "parameters": list(named),
            "frozen": [name for name, parameter in named.items() if not parameter.trainable],
        },
        "optimizer": {
            "class": type(optimizer).__name__,
            "hyperparameters": optimizer.hyperparameters(),
            "steps": optimizer.steps,
            "slots": list(optimizer.state),
            "parameters": stepped,
            "decayed": [n for n, yes in zip(stepped, optimizer.decayed, strict=True) if yes],
        },
        "generator": state_to_json(trainer.rng.bit_generator.state),
        "steps": trainer.steps,
        "workers": trainer.workers,
        "threads": trainer.threads,
        "accumulate": trainer.accumulate,
        "clip_norm": trainer.clip_norm,
        "metadata": metadata,
    }
    arrays = {f"model/{name}": parameter.value for name, parameter in named.items()}
    for slot, state in optimizer.state.items():
        arrays.update(
            {f"optimizer/{slot}/{n}": array for n, array in zip(stepped, state, strict=True)}
        )
    write_archive(path, header, arrays)


def load_trainer(trainer: "Trainer", path: str | os.PathLike[str]) -> dict[str, Any]:
    """Put a trainer into a saved state, or leave it alone; see `Trainer.load`."""
    header, arrays = read_archive(path)
    named = dict(trainer.model.named_parameters())
    with refusal(path):
        metadata = check_format(header)
        check_model(get(header, "model", dict), trainer.model)
        values = take(arrays, "model/", named, "the model")
        optimizer = get(header, "optimizer", dict)
        settings, steps = check_optimizer(optimizer, trainer.optimizer)
        names = {id(parameter): name for name, parameter in named.items()}
        own = {names[id(parameter)]: parameter for parameter in trainer.optimizer.parameters}
        same_names("the optimizer's parameters", optimizer, own)
        state = {}
        for slot in settings.state:
            found = take(arrays, f"optimizer/{slot}/", own, "the optimizer")
            state[slot] = [found[name].copy() for name in own]
        expected = len(values) + len(state) * len(own)
        if len(arrays) != expected:
            raise ValueError(f"it holds {len(arrays)} arrays; expected {expected}")
        decayed = names_in(optimizer, "decayed", own)
        generator = check_generator(get(header, "generator", dict), trainer.rng.bit_generator)
        counts = count(header, "steps", 0), count(header, "accumulate", 1)
        workers: int | Literal["auto"] = "auto"
        if header.get("workers") != "auto":
            workers = count(header, "workers", 1)
        threads = None if header.get("threads") is None else count(header, "threads", 1)
        clip_norm = header.get("clip_norm")
        if clip_norm is not None:
            clip_norm = real("the file", "clip_norm", clip_norm, positive=True)
    # All is well: from here on nothing can fail.
    for name, parameter in named.items():
        parameter.value[...] = values[name]
    for key in settings.settings:
        setattr(trainer.optimizer, key, getattr(settings, key))
    trainer.optimizer.steps = steps
    trainer.optimizer.state = state
    trainer.optimizer.decayed = [name in decayed for name in own]
    trainer.rng.bit_generator.state = generator
    trainer.steps, trainer.accumulate = counts
    trainer.workers, trainer.threads = workers, threads
    trainer.clip_norm = clip_norm
    return metadata


def load_model(path: str | os.PathLike[str]) -> tuple[Model, dict[str, Any]]:
    """Build the model that a checkpoint holds.

    Parameters
    ----------
    path : str or path
        As written by `Trainer.save`.

    Returns
    -------
    model : Model
        Of the class, configuration and dtype that were saved, with the saved parameters.
    metadata : dict
        As given to `Trainer.save`; tuples have become lists.

    Raises
    ------
    CheckpointError
        If the file is broken, its model is not one of `npformer.models`, or its configuration
        and parameters do not fit each other: with what was found and what was expected. The
        memory that it takes is bounded by the size of the file.
    OSError
        If it cannot be opened.
    """
    header, arrays = read_archive(path)
    with refusal(path):
        metadata = check_format(header)
        saved = get(header, "model", dict)
        model_class = _model_class(get(saved, "class", str))
        config = build_config(model_class.config_type, saved.get("config"))
        dtype = get(saved, "dtype", str)
        if dtype not in ("float32", "float64"):
            raise ValueError(f"the model's dtype is {dtype[:40]!r}; expected float32 or float64")
        limit = sum(array.size for name, array in arrays.items() if name.startswith("model/"))
        model = _build(model_class, config, dtype, limit)
        named = dict(model.named_parameters())
        same_names("the model's parameters", saved, named)
        values = take(arrays, "model/", named, "the configuration")
        frozen = names_in(saved, "frozen", named)
    for name, parameter in named.items():
        parameter.value[...] = values[name]
        parameter.trainable = name not in frozen
    return model, metadata


def _build(model_class: Any, config: Any, dtype: str, limit: int) -> Model:
    """Build a model that may have `limit` elements, or say why it cannot be built."""
    try:
        with skeleton(limit=limit):
            model = model_class(config, dtype=np.dtype(dtype))
    except Exception as error:  # a lying configuration can break a constructor anywhere
        raise ValueError(
            f"a {model_class.__name__} of the configuration that it states cannot be built from "
            f"the {limit} elements that it holds: {error}"
        ) from error
    assert isinstance(model, Model)
    return model


def _model_class(name: str) -> type[Model]:
    from .. import models

    public: Sequence[str] = getattr(models, "__all__", ())
    found = getattr(models, name) if name in public else None
    if not (isinstance(found, type) and issubclass(found, Model) and hasattr(found, "config_type")):
        raise ValueError(
            f"its model is {name[:80]!r}; expected a model of npformer.models, so build a model "
            f"of another class yourself and use Trainer.load"
        )
    return found
