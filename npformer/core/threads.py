"""How many threads the matrix products of NumPy may use.

BLAS splits every product among its threads and waits for the slowest. For small products on a
machine that has other work to do, that waiting costs more than the second thread gains: a step
of the dates recipe takes ten times as long when one of two cores is busy elsewhere.
"""

import contextlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from .errors import MissingExtraError, optional


@lru_cache(maxsize=1)
def _controller() -> Any:
    """Find the BLAS of this process, once: finding it takes sixty times as long as a switch."""
    module = optional("threadpoolctl", extra="fast", purpose="set the number of BLAS threads")
    return module.ThreadpoolController()


@contextlib.contextmanager
def blas_threads(count: int) -> Iterator[bool]:
    """Let BLAS use at most `count` threads inside the ``with`` block.

    Parameters
    ----------
    count : int
        1 or more.

    Yields
    ------
    bool
        False where threadpoolctl (extra ``fast``) is not installed, and nothing was changed.
    """
    try:
        controller = _controller()
    except MissingExtraError:
        yield False
        return
    with controller.limit(limits=count, user_api="blas"):
        yield True
