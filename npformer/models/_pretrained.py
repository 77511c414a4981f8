"""Weights from elsewhere: a folder of theirs becomes a model of ours, and a model a folder.

What an architecture is, `_names` says; what a file is, `npformer.formats`. Here the two meet:
every parameter has to find its tensor and every tensor its parameter, each of the right shape,
before anything is read. Then tensors are read one at a time, straight into the parameters.
"""

import json
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from ..core.arrays import Array, real_dtype
from ..core.errors import CheckpointError
from ..core.initialize import skeleton
from ..core.parameter import Parameter
from ..formats import Tensors, open_gguf, open_safetensors, write_safetensors
from ..formats.safetensors import read_json
from ._names import GGUF, HUGGING_FACE
from ._names.matching import by_ours, fill, match, theirs
from ._names.name_map import NameMap, Row
from ._names.options import Options

if TYPE_CHECKING:
    from ._model import Model

CONFIG = "config.json"
_TABLE = 1e-3  # by which a table that is computed here may be off, stored in half precision


class Source(NamedTuple):
    """A folder or file of weights, opened."""

    path: Path  # of the configuration
    options: Mapping[str, Any]
    tensors: Tensors
    names: NameMap


def open_source(path: str | os.PathLike[str]) -> Source:
    """Open a folder of Hugging Face's, or a GGUF file, and find its name map.

    Raises
    ------
    FileNotFoundError, CheckpointError
        If it is not there, is not whole, or its architecture has no name map.
    """
    path = Path(path)
    if path.suffix == ".gguf" or path.is_file():
        tensors = open_gguf(path)
        architecture = tensors.metadata.get("general.architecture")
        names = _names(path, "general.architecture", architecture, GGUF)
        return Source(path, tensors.metadata, tensors, names)
    if not path.is_dir():
        raise FileNotFoundError(
            f"there is no folder {path}; expected one with {CONFIG} and model.safetensors, or a "
            f".gguf file. Nothing is downloaded here: to have a model of the Hugging Face hub, "
            f"run: hf download NAME --local-dir FOLDER"
        )
    if not (path / CONFIG).is_file():
        there = sorted(file.name for file in path.iterdir())
        gguf = [name for name in there if name.endswith(".gguf")]
        remedy = f"give the file itself, {path / gguf[0]}" if gguf else "fetch the whole folder"
        raise FileNotFoundError(
            f"{path} has no {CONFIG}; it holds {', '.join(there[:8]) or 'nothing'}; {remedy}"
        )
    options = read_json(path / CONFIG)
    names = _names(path / CONFIG, "model_type", options.get("model_type"), HUGGING_FACE)
    return Source(path / CONFIG, options, open_safetensors(path), names)


def _names(path: Path, key: str, found: Any, known: Mapping[str, NameMap]) -> NameMap:
    names = known.get(found) if isinstance(found, str) else None
    if names is None:
        raise CheckpointError(
            f"{path} has the {key} {found!r}; expected one that can be read: {', '.join(known)}"
        )
    return names


def load(
    model_class: "type[Model]",
    source: Source,
    dtype: DTypeLike,
    changes: Mapping[str, Any],
) -> "Model":
    """Build a model from a source; see `Model.from_pretrained`."""
    path, _, tensors, names = source
    dtype = real_dtype("from_pretrained", dtype)
    stored: dict[str, list[str]] = {}  # their plain name to the names in the file
    for name in tensors:
        stored.setdefault(names.plain(name), []).append(name)
    shapes = {plain: tensors.stored[given[0]].shape for plain, given in stored.items()}
    options = Options(source.options, chosen=changes)
    try:
        fields = names.read(options, shapes)
        options.finish()
        config = model_class.config_type(**{**fields, **changes})
    except ValueError as error:
        raise CheckpointError(f"{path} cannot be loaded: {error}") from error
    except TypeError as error:  # of a field that is changed, since all else has been checked
        raise TypeError(f"from_pretrained: {error}") from error
    model = _build(model_class, config, path, shapes, dtype)
    parameters = dict(model.named_parameters())
    rows = _match(names, config, parameters, stored, tensors, path)
    _check_fixed(names, config, stored, tensors, path)
    _say_what_is_converted(path, tensors, [name for row in rows for name in rows[row]], dtype)
    filled: dict[tuple[str, ...], str] = {}
    for row, given in rows.items():
        for name in given:
            parts = [parameters[ours].value for ours in row.ours]
            array = row.layout.to_ours(tensors[name])
            if not np.isfinite(array).all():
                raise CheckpointError(
                    f"{name}, beside {path}, holds NaN or infinite numbers, and so would all that "
                    f"the model makes of it; fetch it again, or save an earlier state of it"
                )
            if row.ours not in filled:
                fill(parts, array)
            elif not fill(parts, array, compare=True):
                raise CheckpointError(
                    f"{path} describes a model in which {filled[row.ours]} and {name} are the "
                    f"same, but the tensors beside it differ; perhaps it should not tie them "
                    f"(tie_word_embeddings)"
                )
            filled.setdefault(row.ours, name)
    return model


def _build(
    model_class: "type[Model]",
    config: Any,
    path: Path,
    shapes: Mapping[str, tuple[int, ...]],
    dtype: DTypeLike,
) -> "Model":
    """Build the model without drawing weights; stop where it would be larger than the file.

    Much larger: a size that is wrong in places is better told by the tensors' shapes.
    """
    held = sum(int(np.prod(shape, dtype=object)) for shape in shapes.values())
    try:
        with skeleton(limit=4 * held + 2**20):
            return model_class(config, dtype=dtype)  # type: ignore[call-arg]
    except ValueError as error:
        raise CheckpointError(
            f"{path} describes a model that is far larger than its tensors, which have {held:,} "
            f"numbers: {error}; the configuration is another model's"
        ) from error


def _match(
    names: NameMap,
    config: Any,
    parameters: Mapping[str, Parameter],
    stored: Mapping[str, list[str]],
    tensors: Tensors,
    path: Path,
) -> dict[Row, list[str]]:
    """Return for each row the tensors that fill it, or refuse what does not fit, all at once."""
    rows = tuple(names.rows(config))
    found, misfits = match(
        rows, parameters, stored, tensors.stored, plain=names.plain, skipped=names.skipped
    )
    if misfits:
        raise CheckpointError(
            f"the tensors beside {path} do not fit the {names.model} that it describes: "
            f"{misfits.counts}. If the folder holds a head for another task, load it with "
            f"transformers and save its base model; else fetch it again{misfits.lines}"
        )
    return found


def _check_fixed(
    names: NameMap, config: Any, stored: Mapping[str, list[str]], tensors: Tensors, path: Path
) -> None:
    """Refuse a table that is computed here, and has other values in the file."""
    if not any(re.fullmatch(pattern, name) for pattern in names.skipped for name in stored):
        return
    for plain, want in names.fixed(config).items():
        for name in stored.get(plain, ()):
            found = tensors[name]
            if found.shape != want.shape or not np.allclose(found, want, rtol=0.0, atol=_TABLE):
                raise CheckpointError(
                    f"{name} beside {path} is {found.shape} and not the table {want.shape} that "
                    f"is computed here in its place; the model would compute something else"
                )


def _say_what_is_converted(
    path: Path, tensors: Tensors, names: list[str], dtype: np.dtype[Any]
) -> None:
    own = {"float32": "F32", "float64": "F64"}[dtype.name]
    kinds = Counter(kind for name in names if (kind := tensors.stored[name].kind) != own)
    if own == "F32" and kinds["F64"]:
        raise CheckpointError(
            f"{kinds['F64']} tensors beside {path} are stored as F64, and float32 would lose half "
            f"of their digits; load them with from_pretrained(..., dtype=np.float64)"
        )
    if kinds:
        said = ", ".join(f"{count} as {kind}" for kind, count in kinds.items())
        warnings.warn(
            f"the weights beside {path} are stored with another precision ({said} of "
            f"{len(names)} tensors) and become {dtype.name}",
            UserWarning,
            stacklevel=4,
        )


def save(model: "Model", folder: str | os.PathLike[str], shard_bytes: int) -> None:
    """Write a model as a folder of theirs; see `Model.save_pretrained`."""
    names, options = _architecture(model)
    values = {name: parameter.value for name, parameter in model.named_parameters()}
    folder = Path(folder)
    _make(folder)
    dtype = next(iter(values.values())).dtype.name
    config = {"model_type": names.model_type, **options, "dtype": dtype}
    with_head = getattr(model.config, "head", True)

    def arrays() -> Iterator[tuple[str, Array]]:
        for row, *_ in by_ours(names.rows(model.config)).values():
            name = row.theirs if with_head else row.theirs.removeprefix(names.prefix)
            yield name, theirs(row, values)

    write_safetensors(folder, arrays(), shard_bytes=shard_bytes)
    temporary = folder / f".{CONFIG}.tmp"
    temporary.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    temporary.replace(folder / CONFIG)


def _make(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(
            f"save_pretrained: {folder} is a file; expected a folder, made if it is not there"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"save_pretrained: the folder {folder} cannot be made ({error.strerror or error}); "
            f"choose another place"
        ) from error


def _architecture(model: "Model") -> tuple[NameMap, dict[str, Any]]:
    """Return the first architecture of theirs that a model's configuration can be."""
    classes = {kind.__name__ for kind in type(model).__mro__}
    reasons = []
    for names in HUGGING_FACE.values():
        if names.model in classes and names.write is not None:
            try:
                return names, names.write(model.config)
            except ValueError as error:
                reasons.append(str(error))
    raise ValueError(
        f"save_pretrained: no architecture of Hugging Face's that is known here has this "
        f"{type(model).__name__}; keep it with Trainer.save\n  "
        + "\n  ".join(reasons or ["it has no counterpart at all"])
    )
