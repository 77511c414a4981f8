"""How a pass is run: with which randomness, and what is to be recorded on the way.

A model holds no "training mode". Dropout acts where the run carries a generator and nowhere
else, and attention weights are formed where the run asks for them.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays import check_generator

if TYPE_CHECKING:
    from .layer import Layer


def rng_of(run: "Run | None") -> np.random.Generator | None:
    """Return a run's generator; None without a run, or for an evaluation.

    Raises
    ------
    TypeError
        If `run` is something else, such as a bare generator.
    """
    if run is None:
        return None
    if not isinstance(run, Run):
        raise TypeError(f"run is {run!r}; expected an npformer.Run, such as Run(rng=generator)")
    return run.rng


class Run:
    """One pass through a model: its randomness, and what it records.

    Parameters
    ----------
    rng : numpy.random.Generator, optional
        Where dropout takes its randomness. None means evaluation: dropout does nothing.
    record : iterable of str, optional
        Kinds to record. The layers here know ``"attention"``; layers of your own may add more.

    Attributes
    ----------
    rng : numpy.random.Generator or None
    recorded : dict of str to list of (Layer, value)
        What the layers handed over, kind by kind, in the order of the pass.

    Raises
    ------
    TypeError
        If `rng` is not a Generator, or `record` is a bare string.

    Examples
    --------
    >>> run = Run(record=["attention"])
    >>> run.records("attention"), run.records("other")
    (True, False)
    """

    __slots__ = ("_kinds", "recorded", "rng")

    def __init__(self, rng: np.random.Generator | None = None, record: Iterable[str] = ()) -> None:
        check_generator("Run", rng)
        if isinstance(record, str):
            raise TypeError(f"Run: record is {record!r}; expected a list, such as [{record!r}]")
        self.rng = rng
        self._kinds = frozenset(record)
        self.recorded: dict[str, list[tuple[Layer, Any]]] = {kind: [] for kind in self._kinds}

    def records(self, kind: str) -> bool:
        """Say whether `kind` is wanted, so that a layer need not compute it in vain."""
        return kind in self._kinds

    def record(self, layer: "Layer", kind: str, value: Any) -> None:
        """Keep `value` under `kind` if that is wanted."""
        if kind in self._kinds:
            self.recorded[kind].append((layer, value))

    def named(self, model: "Layer", kind: str) -> list[tuple[str, Any]]:
        """Return what was recorded under `kind`, with the layers' names within `model`.

        Parameters
        ----------
        model : Layer
            The model that was run.
        kind : str
            A kind that this run was made to record.

        Returns
        -------
        list of (str, value)
            In the order of the pass; a layer that ran twice is there twice.

        Raises
        ------
        ValueError
            If this run does not record `kind`.
        """
        if kind not in self._kinds:
            raise ValueError(
                f"this run records {sorted(self._kinds)}, not {kind!r}; "
                f"make it with Run(record=[{kind!r}])"
            )
        names = {id(layer): name for name, layer in model.named_layers()}
        return [(names.get(id(layer), "?"), value) for layer, value in self.recorded[kind]]
