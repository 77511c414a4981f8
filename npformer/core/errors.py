"""The errors that are npformer's own; every other bad input is a ValueError or a TypeError."""

import importlib
from types import ModuleType


class GradientError(AssertionError):
    """A gradient check did not pass; the message is the whole report."""


class NonFiniteError(FloatingPointError):
    """A loss or a gradient became infinite or NaN; parameters are as they were before the step."""


class DivergedError(ValueError):
    """Scores are infinite, so that no distribution over them exists."""


class CheckpointError(ValueError):
    """A checkpoint is broken, hostile, or belongs to something else; nothing was changed."""


class MissingExtraError(ImportError):
    """An optional package is not installed; the message says which extra brings it."""


def optional(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import an optional package, or say how to get it.

    Parameters
    ----------
    module : str
        Dotted name, such as ``"matplotlib.pyplot"``.
    extra : str
        The extra of npformer that installs it.
    purpose : str
        What it is needed for, to be read after "is needed to".

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{module.partition('.')[0]} is needed to {purpose}; "
            f"install it with: pip install 'npformer[{extra}]'"
        ) from error
