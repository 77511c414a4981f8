"""The options of a check, refused before any work is done if they make no sense."""

import numbers
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
            value = _integer(name, getattr(self, name), least=0 if name == "seed" else 1)
            object.__setattr__(self, name, value)  # an int, for the report's JSON
        if not isinstance(self.move, bool):
            raise TypeError(f"gradcheck: move is {self.move!r}; expected True or False")
        if self.tolerance is not None:
            object.__setattr__(self, "tolerance", _tolerance(self.tolerance))

    def mode_for(self, scalars: int) -> str:
        """Choose between ``"full"`` and ``"fast"`` by the number of scalars to differentiate."""
        if self.mode != "auto":
            return self.mode
        return "full" if scalars <= self.max_entries else "fast"

    def tolerance_for(self, method: str, single: bool) -> float:
        """Return the relative error that is accepted where the caller gave none."""
        if self.tolerance is not None:
            return self.tolerance
        if single:  # the analytic gradient itself has no more than float32 to offer
            return 1e-4
        return 1e-9 if method == "complex step" else 1e-8


def _choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"gradcheck: {name} is {value!r}; expected one of {', '.join(choices)}")


def _integer(name: str, value: object, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"gradcheck: {name} is {value!r}; expected an int of at least {least}")
    if value < least:
        raise ValueError(f"gradcheck: {name} is {value}; expected at least {least}")
    return int(value)


def _tolerance(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"gradcheck: tolerance is {value!r}; expected a float such as 1e-9")
    tolerance = float(value)
    if not 0.0 < tolerance < 1.0:
        raise ValueError(
            f"gradcheck: tolerance is {value}; expected a relative error between 0 and 1"
        )
    return tolerance
