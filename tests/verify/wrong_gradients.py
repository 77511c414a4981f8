"""Deliberately wrong gradients: over all operations and layers, each with what is wrong with it.

`WRONG` has those that were thought out one by one; `anywhere` makes more for every example of
the catalogue. The correct twin of each is the same example as it stands.
"""

from verify.cases import Case, check
from verify.wrong_anywhere import NAMES, anywhere
from verify.wrong_layers import LAYERS
from verify.wrong_operations import OPERATIONS

__all__ = ["Case", "check", "WRONG", "OPERATIONS", "NAMES", "anywhere", "subjects"]

WRONG = {**OPERATIONS, **LAYERS}


def subjects():
    """What the cases that were thought out are about."""
    return {name.partition(":")[0] for name in WRONG}
