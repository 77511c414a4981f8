"""Keys and values of tokens that a model has seen, so that it need not look at them again.

Token t's keys and values depend on tokens up to t alone, wherever attention is causal. A model
that writes one token at a time would compute those of the whole past for each: n^2/2 vectors for
n tokens. With a cache each is computed once, and a step costs one token's work and one row of
attention over what is kept.

A cache belongs to one run of one model. The model's forward passes it on to its attention
layers, each of which keeps its keys and values in it under its own identity; the layers
themselves hold nothing.
"""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ..core.arrays import Array, BoolArray, check_count, check_integers, check_size
from ..functional._silence import is_tame

if TYPE_CHECKING:
    from ..core.layer import Layer

Saved = TypeVar("Saved")


class _Kept:
    """Keys and values of one layer."""

    def __init__(
        self, layer: "Layer", k: Array, v: Array, length: int, memory: Array | None
    ) -> None:
        self.layer = layer  # held, so that no other layer can get its identity
        self.k = k  # (batch, heads, room, d_head), of which `length` are filled
        self.v = v  # (batch, heads, room, d_head)
        self.length = length
        self.tame = True  # see `KVCache.tame`
        self.memory = memory  # what cross-attention's keys and values were made from


class KVCache:
    """Room for the keys and values of `max_len` tokens of each sequence of a batch.

    Parameters
    ----------
    batch : int
        Number of sequences.
    max_len : int
        Number of tokens of each that there is room for: prompt and continuation.

    Attributes
    ----------
    length : int
        Number of tokens seen.

    Raises
    ------
    TypeError, ValueError
        If a size is not a positive int.

    Notes
    -----
    Room is taken when a layer first keeps something, in its dtype: of
    2 · batch · num_kv_heads · max_len · d_head numbers for each self-attention.
    """

    def __init__(self, batch: int, max_len: int) -> None:
        check_size("KVCache", batch=batch, max_len=max_len)
        self.batch = batch
        self.max_len = max_len
        self._model: Layer | None = None
        self._own: dict[int, _Kept] = {}  # self-attention, by the identity of its layer
        self._across: dict[int, _Kept] = {}  # cross-attention
        self._real = np.ones((batch, max_len), bool)
        self._positions = np.zeros((batch, max_len), np.int64)

    @property
    def length(self) -> int:
        """Number of tokens seen.

        Raises
        ------
        ValueError
            If it is not the same for all layers.
        """
        return self._agreed_length()

    @contextlib.contextmanager
    def step(
        self, model: "Layer", real: BoolArray | None, positions: Array | None, count: int
    ) -> Iterator[None]:
        """Let a model run over the next `count` tokens; an error leaves the cache as it was.

        Parameters
        ----------
        model : Layer
            The same at every step.
        real : (batch, count) bool ndarray or None
            Which of them are real; None if all are.
        positions : integer ndarray or None
            Broadcasts to (batch, count). None counts on from each sequence's first real token.
        count : int

        Raises
        ------
        ValueError
            If the cache holds tokens of another model, there is no room for more, or afterwards
            not all layers have seen the same number.
        """
        start = self.length
        before = self._model
        if self._model is None and not start:
            self._model = model
        if self._model is not model:
            raise ValueError(
                f"KVCache: it holds {start} tokens that another model has seen; make a cache for "
                f"each model, with model.new_cache(batch, max_len)"
            )
        self._check_room(start, count)
        new = slice(start, start + count)
        self._real[:, new] = True if real is None else real
        if positions is None:
            seen = self._real[:, : start + count]
            # Padding stands on the left, if anywhere, and must not shift what follows.
            first = np.argmax(seen, axis=1)[:, None]  # 0 where nothing is real yet
            positions = np.maximum(np.arange(start, start + count) - first, 0)
        self._positions[:, new] = positions
        lengths = {layer: kept.length for layer, kept in self._own.items()}
        memories = {layer: kept.memory for layer, kept in self._across.items()}
        try:
            yield
            self._agreed_length()
        except BaseException:
            self._model = before
            self._own = {layer: self._own[layer] for layer in lengths}
            for layer, length in lengths.items():
                self._own[layer].length = length
            self._across = {layer: self._across[layer] for layer in memories}
            for layer, memory in memories.items():
                self._across[layer].memory = memory
            raise

    def seen(self, layer: "Layer") -> int:
        """Return how many tokens' keys a self-attention layer has put here."""
        kept = self._own.get(id(layer))
        return 0 if kept is None else kept.length

    def real(self, count: int) -> BoolArray | None:
        """Return which of the tokens seen and the `count` next are real; None if all are."""
        real = self._real[:, : self.length + count]
        return None if real.all() else real

    def positions(self, count: int) -> Array:
        """Return the positions of the tokens seen and the `count` next, (batch, tokens)."""
        return self._positions[:, : self.length + count]

    def extend(self, layer: "Layer", k: Array, v: Array) -> tuple[Array, Array]:
        """Keep the next tokens' keys and values of a self-attention layer.

        Parameters
        ----------
        layer : Layer
        k, v : (batch, heads, count, d_head) ndarrays

        Returns
        -------
        k, v : (batch, heads, length + count, d_head) ndarrays
            Views of all that is kept.

        Raises
        ------
        ValueError
            If the batch is another, or there is no room.
        """
        self._check_batch(k)
        kept = self._own.get(id(layer))
        start, count = self.seen(layer), k.shape[-2]
        self._check_room(start, count)
        if kept is None:
            k_room, v_room = (
                np.empty((*x.shape[:-2], self.max_len, x.shape[-1]), x.dtype) for x in (k, v)
            )
            kept = self._own[id(layer)] = _Kept(layer, k_room, v_room, 0, None)
        kept.k[:, :, start : start + count] = k
        kept.v[:, :, start : start + count] = v
        kept.length = start + count
        kept.tame = kept.tame and is_tame(k, v)
        return kept.k[:, :, : kept.length], kept.v[:, :, : kept.length]

    def tame(self, layer: "Layer") -> bool | None:
        """Say whether what is kept of a self-attention layer is known to be tame.

        That is what `npformer.functional.attention` would look for in all of it, at each step.
        It was looked for once, when it was kept; None if nothing is.
        """
        kept = self._own.get(id(layer))
        return None if kept is None else kept.tame

    def recall(self, layer: "Layer", memory: Array) -> tuple[Array, Array] | None:
        """Return the keys and values that a cross-attention layer has made of a memory.

        Returns
        -------
        (k, v) or None
            None if it has made none yet; then it makes them, and hands them to `keep`.

        Raises
        ------
        ValueError
            If they were made of another memory.
        """
        kept = self._across.get(id(layer))
        if kept is None:
            return None
        if kept.memory is not memory:
            assert kept.memory is not None
            if not np.array_equal(kept.memory, memory, equal_nan=True):
                raise ValueError(
                    "KVCache: it holds the keys and values of another memory; make a new cache "
                    "for each memory, with model.new_cache(batch, max_len)"
                )
            kept.memory = memory  # the next look is at its identity alone
        return kept.k, kept.v

    def keep(self, layer: "Layer", memory: Array, k: Array, v: Array) -> None:
        """Keep the keys and values that a cross-attention layer has made of a memory."""
        self._check_batch(k)
        self._across[id(layer)] = _Kept(layer, k, v, memory.shape[-2], memory)

    def reorder(self, index: Array) -> None:
        """Let sequence b go on from what sequence ``index[b]`` was, as beam search does.

        Parameters
        ----------
        index : (new batch,) integer ndarray
            May repeat and leave out sequences, and change their number. A memory is to be
            reordered alongside.

        Raises
        ------
        TypeError, ValueError
            If it is not a vector of numbers of sequences.
        """
        check_integers("KVCache.reorder", "index", index)
        if index.ndim != 1 or not index.size or index.min() < 0 or index.max() >= self.batch:
            raise ValueError(
                f"KVCache.reorder: index is {index.shape}, from {index.min(initial=0)} to "
                f"{index.max(initial=0)}; expected a vector of numbers from 0 to {self.batch - 1}"
            )
        for kept in self._own.values():
            for name in ("k", "v"):
                old = getattr(kept, name)
                new = np.empty((len(index), *old.shape[1:]), old.dtype)
                new[:, :, : kept.length] = old[index, :, : kept.length]
                setattr(kept, name, new)
        for kept in self._across.values():
            assert kept.memory is not None
            kept.k, kept.v = kept.k[index], kept.v[index]
            kept.memory = kept.memory[index]
        self._real, self._positions = self._real[index], self._positions[index]
        self.batch = len(index)

    def forget(self, length: int) -> None:
        """Keep the first `length` tokens alone, so that another text can go on from them.

        Raises
        ------
        TypeError, ValueError
            If it is not an int from 0 to the number of tokens seen.
        """
        check_count("KVCache.forget", length=length)
        seen = self.length
        if length > seen:
            raise ValueError(
                f"KVCache.forget: length is {length}; expected at most {seen}, the tokens seen"
            )
        for kept in self._own.values():
            kept.length = length

    def _agreed_length(self) -> int:
        """Return how many tokens the layers have seen.

        Raises
        ------
        ValueError
            If they have not seen the same number.
        """
        lengths = {kept.length for kept in self._own.values()}
        if len(lengths) > 1:
            raise ValueError(
                f"KVCache: its layers have seen different numbers of tokens, {sorted(lengths)}; "
                f"give a cache to one model alone, and make a new one for another"
            )
        return lengths.pop() if lengths else 0

    def _check_room(self, start: int, count: int) -> None:
        """Refuse tokens that there is no room for.

        Raises
        ------
        ValueError
            Naming how many there are and how many fit.
        """
        if start + count > self.max_len:
            raise ValueError(
                f"KVCache: {start} tokens are kept and {count} are to come, but there is room for "
                f"{self.max_len}; make it with a larger max_len"
            )

    def _check_batch(self, k: Array) -> None:
        if k.ndim != 4 or len(k) != self.batch:
            raise ValueError(
                f"KVCache: made for a batch of {self.batch}, and given keys {k.shape}; expected "
                f"({self.batch}, heads, length, d_head), from x (batch, length, d_model)"
            )


def undoable(owner: str, saved: Saved | None) -> Saved:
    """Return what a pass has saved, or refuse to undo one that was run with a cache.

    Raises
    ------
    ValueError
        If `saved` is None.
    """
    if saved is None:
        raise ValueError(
            f"{owner}.backward: saved is None, as forward returns it when run with a cache; "
            f"run forward without one to differentiate it"
        )
    return saved
