r"""Checkpoint: drop what a layer saved, and run its forward again when backward needs it.

Forward
    (1)  y = layer(x)                       what the layer saved is dropped; kept are x, the
                                            options, and a copy of the generator as it was
                                            before
Backward, given dy
    (1') (1) once more, with the copy: the same numbers give the same saved arrays
         dx by the layer's backward

What it saves: let a layer save A bytes, its input included, and let its input have N. A stack
of L layers, each with a checkpoint, holds
         L N + A          in place of        L A
the inputs of all, and in backward what one layer saves at a time. For an `EncoderLayer` A is 12 N
with ReLU and 16 N with GELU, and a little more with dropout or where attention keeps its weights,
so that twelve layers with GELU need a seventh of the memory. A checkpoint around sqrt(L) layers
at a time, with one around each of them inside, needs 2 sqrt(L) N + A, and two forwards more.

What it costs: one forward more. Where a backward takes twice as long as a forward, a step grows
from 3 forwards to 4, by a third. Measured: 1.35 times the time for 6 layers of 384, 1.5 times
for 4 layers of 128, whose backward takes hardly longer than the forward.

References
----------
Chen et al. (2016), "Training Deep Nets with Sublinear Memory Cost", arXiv:1604.06174.
"""

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from ..core.arrays import describe
from ..core.layer import Layer
from ..core.run import Run, rng_of
from .kv_cache import KVCache, undoable


class CheckpointSaved(NamedTuple):
    """What `checkpoint_backward` needs: all that forward was given."""

    inputs: tuple[Any, ...]
    options: dict[str, Any]  # by name, without the run
    rng: np.random.Generator | None  # a copy, as it was before the pass; None in an evaluation


class Checkpoint(Layer):
    """A layer that keeps its inputs alone, and runs twice: less memory, more time.

    Outputs and gradients are those of the layer to the bit, also with dropout, and the run's
    generator advances as without the checkpoint. What the run records is recorded once.

    Parameters and sublayers keep their names: every attribute of the layer is an attribute of
    the checkpoint too, to read and to assign to, so that a state dict fits with and without. The
    layer itself comes last among the named layers, as ``checkpointed``.

    Parameters
    ----------
    layer : Layer
        Any layer, another checkpoint too. It takes inputs, options and ``run`` as before.
    rng, dtype : optional
        Not used: the layer is built already.

    Attributes
    ----------
    checkpointed : Layer
        The layer.

    Raises
    ------
    TypeError
        If `layer` is not a Layer.

    Notes
    -----
    As for any layer, inputs and parameters have to be unchanged until backward. With a KV cache
    there is nothing to undo, and `saved` is None.

    `Encoder`, `Decoder` and the models take ``checkpoint=True``, which does this for each of
    their layers.

    Examples
    --------
    >>> from npformer.layers import EncoderLayer
    >>> layer = Checkpoint(EncoderLayer(8, 2))
    >>> y, saved = layer.forward(np.ones((1, 5, 8), np.float32))
    >>> layer.backward(y, saved).shape
    (1, 5, 8)

    References
    ----------
    Chen et al. (2016), "Training Deep Nets with Sublinear Memory Cost", arXiv:1604.06174,
    section 4.
    """

    def __init__(
        self,
        layer: Layer,
        *,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        if not isinstance(layer, Layer):
            raise TypeError(f"Checkpoint: layer is {describe(layer)}; expected a Layer")
        self.checkpointed = layer

    def __getattr__(self, name: str) -> Any:
        """Return the layer's attribute; only asked for what the checkpoint has not itself."""
        # copy and pickle look for methods such as __setstate__ before there is a layer.
        if name == "checkpointed" or name.startswith("__"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.checkpointed, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set the layer's attribute; the checkpoint's own are ``checkpointed`` and its class."""
        if name in ("checkpointed", "__class__"):
            super().__setattr__(name, value)
        else:
            setattr(self.checkpointed, name, value)

    def __delattr__(self, name: str) -> None:
        """Delete the layer's attribute."""
        delattr(self.checkpointed, name)

    def _attributes(self) -> Mapping[str, Any]:
        # The first name of a parameter counts: its name in the layer.
        return {**self.checkpointed._attributes(), "checkpointed": self.checkpointed}

    def forward(
        self, *inputs: Any, run: Run | None = None, **options: Any
    ) -> tuple[Any, CheckpointSaved | None]:
        """Run the layer's forward; `saved` is what it was given, or None with a cache."""
        return checkpoint_forward(self.checkpointed, *inputs, run=run, **options)  # (1)

    def backward(self, dy: Any, saved: CheckpointSaved | None, run: Run | None = None) -> Any:
        """Run the layer's forward again, then its backward; return what that returns."""
        return checkpoint_backward(self.checkpointed, dy, saved)  # (1')


def checkpoint_forward(
    layer: Layer, *inputs: Any, run: Run | None = None, **options: Any
) -> tuple[Any, CheckpointSaved | None]:
    """Run a layer's forward and keep what it was given; equation (1) of the module.

    Parameters
    ----------
    layer : Layer
    *inputs, **options
        What its forward takes.
    run : Run, optional

    Returns
    -------
    y : ndarray
        The layer's.
    saved : CheckpointSaved or None
        For `checkpoint_backward`; None with a cache.
    """
    before = copy.deepcopy(rng_of(run))
    y, _ = layer.forward(*inputs, run=run, **options)
    if any(isinstance(given, KVCache) for given in (*inputs, *options.values())):
        return y, None
    return y, CheckpointSaved(inputs, options, before)


def checkpoint_backward(layer: Layer, dy: Any, saved: CheckpointSaved | None) -> Any:
    """Run a layer's forward again, then its backward; equation (1') of the module.

    Parameters
    ----------
    layer : Layer
    dy : ndarray
    saved : CheckpointSaved
        As returned by `checkpoint_forward`.

    Returns
    -------
    dx
        What the layer's backward returns.

    Raises
    ------
    ValueError
        If `saved` is None, as it is with a cache.
    """
    inputs, options, before = undoable("Checkpoint", saved)
    again = Run(rng=copy.deepcopy(before))  # a copy of the copy: backward may be run twice
    _, layer_saved = layer.forward(*inputs, run=again, **options)
    return layer.backward(dy, layer_saved)
