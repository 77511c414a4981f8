"""A recipe's settings: one dataclass that is command-line options, check and record in one."""

import argparse
import math
from collections.abc import Callable, Mapping
from dataclasses import Field, asdict, dataclass, field, fields
from typing import Any, ClassVar, NamedTuple, TypeVar

S = TypeVar("S", bound="Settings")


class InputError(Exception):
    """What was asked for cannot be done as it was asked: a message for the user, no traceback."""


class Rule(NamedTuple):
    """What a value has to be, for the command line and for Python callers alike."""

    kind: type
    words: str  # read after "expected"
    fits: Callable[[Any], bool]
    metavar: str

    def parse(self, text: str) -> Any:
        """Read a value from the command line; argparse shows the message of a bad one."""
        try:
            value = self.kind(text)
        except ValueError:
            value = None
        if value is None or not self.fits(value):
            raise argparse.ArgumentTypeError(f"got {text!r}, expected {self.words}")
        return value


COUNT = Rule(int, "a whole number of at least 1", lambda n: n >= 1, "N")
SEVERAL = Rule(int, "a whole number of at least 2", lambda n: n >= 2, "N")
SEED = Rule(int, "a whole number from 0 to 2**63 - 1", lambda n: 0 <= n < 2**63, "N")
INTEGER = Rule(int, "a whole number", lambda n: True, "N")
POSITIVE = Rule(float, "a number above 0", lambda x: 0 < x < math.inf, "X")
NOT_NEGATIVE = Rule(float, "a number of at least 0", lambda x: 0 <= x < math.inf, "X")
SHARE = Rule(float, "a number of at least 0 and below 1", lambda x: 0 <= x < 1, "X")
PROBABILITY = Rule(float, "a number above 0 and at most 1", lambda x: 0 < x <= 1, "P")
FILE = Rule(str, "the path of a file", lambda path: path != "", "FILE")
PATH = Rule(str, "the path of a file or a folder", lambda path: path != "", "PATH")


def one_of(*choices: str) -> Rule:
    """Return the rule that a value is one of `choices`."""
    return Rule(str, " or ".join(choices), lambda x: x in choices, "|".join(choices))


def count(number: int, noun: str) -> str:
    """Return a number of things in words, such as "1 pair" or "1,000 pairs"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def option(default: Any, rule: Rule, help: str, flag: str | None = None) -> Any:
    """Return a dataclass field that is an option of the command line, too.

    Parameters
    ----------
    default : int, float, str or None
        None means that the option may stay away.
    rule : Rule
        What its value has to be.
    help : str
        One line for ``--help``.
    flag : str, optional
        The option, where it is not the field's name.
    """
    return field(default=default, metadata={"rule": rule, "help": help, "flag": flag})


@dataclass(frozen=True)
class Settings:
    """What every recipe can be told; each adds its own sizes.

    A recipe with settings that are known by a name lists them in `presets`, and adds a field
    `preset` that is one of the names.

    Raises
    ------
    InputError
        If a value does not fit its rule.
    """

    # What may be given anew when a run is resumed; all else stays as it was.
    changeable: ClassVar[frozenset[str]] = frozenset({"steps", "save_every", "threads"})
    # By name, the fields that differ from the recipe's own.
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    steps: int = option(1000, COUNT, "optimizer steps of the whole run")
    seed: int = option(0, SEED, "the same seed repeats a run exactly")
    eval_every: int = option(100, COUNT, "steps between two looks at held-out data")
    save_every: int = option(100, COUNT, "steps between two checkpoints")
    lr: float = option(3e-3, POSITIVE, "highest learning rate")
    threads: int = option(1, COUNT, "threads to work on; more pay for wider models")
    lr_end: float = option(0.05, SHARE, "last learning rate, as a share of the highest")
    warmup: float = option(0.1, SHARE, "share of the steps in which the learning rate rises")
    weight_decay: float = option(0.01, NOT_NEGATIVE, "pull of weight matrices to zero")
    beta2: float = option(0.98, SHARE, "rate at which AdamW forgets squared gradients")

    def __post_init__(self) -> None:
        for one in fields(self):
            value, rule = getattr(self, one.name), one.metadata["rule"]
            if value is None and one.default is None:
                continue
            if rule.kind is float and type(value) is int:
                value = float(value)
                object.__setattr__(self, one.name, value)
            if type(value) is not rule.kind or not rule.fits(value):
                raise InputError(f"{_flag(one)} is {value!r}; expected {rule.words}")

    @classmethod
    def chosen(cls: type[S], given: Mapping[str, Any]) -> S:
        """Return what is given, the rest as the preset has it that is named in it.

        Parameters
        ----------
        given : mapping
            Fields by name; ``preset`` may be one of them.

        Raises
        ------
        InputError
            If a value does not fit its rule, or there is no such preset.
        """
        preset = given.get("preset")
        known = cls.presets.get(preset, {}) if isinstance(preset, str) else {}
        return cls(**{**known, **given})

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """Add an option to `parser` for every field; those not given leave no trace."""
        for one in fields(cls):
            rule = one.metadata["rule"]
            default = "" if one.default is None else f" (default {one.default})"
            parser.add_argument(
                _flag(one),
                dest=one.name,
                type=rule.parse,
                default=argparse.SUPPRESS,
                metavar=rule.metavar,
                help=f"{one.metadata['help']}{default}",
            )

    @classmethod
    def given(cls, arguments: argparse.Namespace) -> dict[str, Any]:
        """Return the fields that were given on the command line."""
        names = {one.name for one in fields(cls)}
        return {name: value for name, value in vars(arguments).items() if name in names}

    @classmethod
    def saved(cls: type[S], record: object) -> S:
        """Return the settings that `as_dict` wrote down.

        Raises
        ------
        InputError
            If `record` is something else.
        """
        if not isinstance(record, dict) or set(record) != {one.name for one in fields(cls)}:
            raise InputError("the checkpoint's settings are not those of this recipe")
        return cls(**record)

    def renewed(self: S, given: dict[str, Any]) -> S:
        """Return these settings of a saved run, with what may be given anew.

        Parameters
        ----------
        given : dict
            What the command line says now.

        Raises
        ------
        InputError
            If `given` contradicts what has to stay.
        """
        flags = {one.name: _flag(one) for one in fields(self)}
        for name, value in given.items():
            before = getattr(self, name)
            if name not in self.changeable and value != before:
                raise InputError(
                    f"{flags[name]} is {value}, but the run to be resumed has {before}; "
                    f"leave it out, or begin a new run without --resume"
                )
        return type(self)(**{**self.as_dict(), **given})

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as a dict that JSON can hold."""
        return asdict(self)


def _flag(one: Field[Any]) -> str:
    flag: str | None = one.metadata["flag"]
    return flag or "--" + one.name.replace("_", "-")
