"""What every model is beyond a layer: a configuration, a loss that it can undo, and files."""

import os
from abc import abstractmethod
from typing import Any, ClassVar, TypeVar, cast

import numpy as np
from numpy.typing import DTypeLike

from ..core.arrays import check_size
from ..core.errors import CheckpointError
from ..core.layer import Layer
from ..layers.kv_cache import KVCache
from . import _pretrained

Self = TypeVar("Self", bound="Model")


class Model(Layer):
    """A layer with a configuration and a loss.

    Attributes
    ----------
    config : dataclass
        As given to ``__init__``; frozen.
    config_type : type
        The configuration's class, so that a checkpoint can build the model again.
    """

    config_type: ClassVar[type]
    config: Any

    def new_cache(self, batch: int, max_len: int) -> KVCache:
        """Return an empty cache for `batch` sequences of up to `max_len` tokens.

        Passed to forward, it spares the model looking again at tokens that it has seen.
        """
        return KVCache(batch, max_len)

    @abstractmethod
    def loss(self, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Return ``(loss, saved)``: a scalar of the model's dtype, and what undoes it.

        A model names the arrays of its batch, and takes ``run=None``, a `Run`, by name.
        """

    @abstractmethod
    def loss_backward(self, saved: Any, dloss: float = 1.0) -> None:
        """Add the loss's gradient, times `dloss`, to every parameter's `grad`."""

    @abstractmethod
    def loss_weight(self, *args: Any, **kwargs: Any) -> int | None:
        """Return the number of targets that the loss of this batch is the mean of.

        The loss of a whole batch is then the mean of its shards' losses, weighted by this.
        None means that the loss is not a mean over parts, so that the batch must stay whole.
        """

    @classmethod
    def from_pretrained(
        cls: type[Self],
        path: str | os.PathLike[str],
        *,
        dtype: DTypeLike = np.float32,
        **changes: Any,
    ) -> Self:
        """Build a model from other people's weights.

        Parameters
        ----------
        path : str or path
            A folder of Hugging Face's, with ``config.json`` and ``model.safetensors`` (or
            several files and their index), or a GGUF file. Nothing is downloaded.
        dtype : float32 or float64, optional
            What is stored as half, bfloat16 or quantised becomes this, with a warning that
            says so.
        **changes
            Fields of the configuration that are to be other than the folder says, such as
            ``dropout=0.0`` or ``checkpoint=True``.

        Returns
        -------
        model : Model
            Of this class; called on `Model` itself, of the class that the folder describes:
            ``gpt2`` and ``llama`` are a GPT, ``bert`` is a BERT, ``clip`` a CLIP,
            ``whisper`` a Whisper, ``marian`` a Transformer. Base models load as well as those
            with a head, which says the configuration's `head`, if any.

        Raises
        ------
        FileNotFoundError
            If there is no such folder or file, or it lacks a part.
        CheckpointError
            If a file is cut off or broken; if the folder describes another class of model, or
            has an option that would change the numbers and is not known here; if tensors are
            missing, not known, or of another shape, or hold NaN or infinite numbers. Each is
            named.
        MissingExtraError
            Without the extra ``hub``.
        """
        source = _pretrained.open_source(path)
        found = _by_name(source.names.model)
        if issubclass(found, cls):  # such as Model itself
            return cast(Self, _pretrained.load(found, source, dtype, changes))
        if issubclass(cls, found):
            return cast(Self, _pretrained.load(cls, source, dtype, changes))
        raise CheckpointError(
            f"{source.path} describes a {source.names.model_type!r}, which is a {found.__name__}, "
            f"not a {cls.__name__}; load it with {found.__name__}.from_pretrained"
        )

    def save_pretrained(
        self, folder: str | os.PathLike[str], *, shard_bytes: int = 5 * 10**9
    ) -> None:
        """Write a folder that `from_pretrained` and Hugging Face's transformers can load.

        Weights keep their dtype. Of dropout, which matters in training only, the folder has
        what the architecture knows of it: Llama's acts on attention weights alone.

        Parameters
        ----------
        folder : str or path
            Made if it does not exist. Its ``config.json`` and weights are replaced.
        shard_bytes : int, optional
            What a file may hold before another is begun.

        Raises
        ------
        ValueError
            If no architecture of theirs that is known here can be this model: with the reasons.
        OSError
            If the folder is a file, or cannot be made.
        MissingExtraError
            Without the extra ``hub``.
        """
        check_size("save_pretrained", shard_bytes=shard_bytes)
        _pretrained.save(self, folder, shard_bytes)


def _by_name(name: str) -> type[Model]:
    """Return the class of this package that has a name; it is not imported here, but below it."""
    ours = (kind for kind in Model.__subclasses__() if kind.__module__.startswith(__package__))
    return next(kind for kind in ours if kind.__name__ == name)
