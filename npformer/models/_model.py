"""What every model is beyond a layer: a configuration, and a loss that it can undo."""

from abc import abstractmethod
from typing import Any, ClassVar

from ..core.layer import Layer
from ..layers.kv_cache import KVCache


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
