"""The options of a check, refused before any work is done if they make no sense."""

import math
from dataclasses import dataclass

METHODS = ("auto", "complex", "central")
MODES = ("auto", "full", "fast")


@dataclass(frozen=True)
class Settings:
    """How to check; see `npformer.gradcheck` for what each option means.

    Raises
    ------
    TypeError, ValueError
        If an option is not of its kind, or not one of its choices.
    """

    method: str = "auto"
    mode: str = "auto"
    tolerance: float | None = None
    directions: int = 3
    max_entries: int = 2000
    seed: int = 0
    move: bool = True

    def __post_init__(self) -> None:
        _choice("method", self.method, METHODS)
        _choice("mode", self.mode, MODES)
        for name in ("directions", "max_entries", "seed"):
            _integer(name, getattr(self, name), least=0 if name == "seed" else 1)
        if not isinstance(self.move, bool):
            raise TypeError(f"gradcheck: move is {self.move!r}; expected True or False")
        if self.tolerance is not None:
            _tolerance(self.tolerance)

    def mode_for(self, scalars: int) -> str:
        """Choose between ``"full"`` and ``"fast"`` by the number of scalars to differentiate."""
        if self.mode != "auto":
            return self.mode
        return "full" if scalars <= self.max_entries else "fast"

    def tolerance_for(self, method: str, single: bool) -> float:
        """Return the relative error that is accepted where the caller gave none."""
        if self.tolerance is not None:
            return float(self.tolerance)
        if single:  # the analytic gradient itself has no more than float32 to offer
            return 1e-4
        return 1e-9 if method == "complex step" else 1e-8


def _choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"gradcheck: {name} is {value!r}; expected one of {', '.join(choices)}")


def _integer(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"gradcheck: {name} is {value!r}; expected an int of at least {least}")
    if value < least:
        raise ValueError(f"gradcheck: {name} is {value}; expected at least {least}")


def _tolerance(value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"gradcheck: tolerance is {value!r}; expected a float such as 1e-9")
    if not (0 < value < 1 and math.isfinite(value)):
        raise ValueError(
            f"gradcheck: tolerance is {value}; expected a relative error between 0 and 1"
        )
