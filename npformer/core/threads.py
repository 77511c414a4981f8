"""Who works at the same time: the one pool of threads, and the threads of NumPy's BLAS.

NumPy lets go of Python's lock while it computes, so that threads speed up element-wise work as
well as matrix products. But two Python threads over a BLAS that starts threads of its own are
slower than one. So `each` gives every thread a BLAS of one thread while it works, and work that
is started inside of it is not spread again. To limit BLAS takes threadpoolctl, the extra
``fast``; without it nothing is spread, and that is said once.

One switch sets the number of threads: `set_num_threads`, or the environment variable
``NPFORMER_NUM_THREADS`` for its value at the start. Unset, it is the number of cores that the
process may use. Where it is 1, BLAS too is held at one thread while `each` works. What is not
given to `each`, such as a matrix product of your own, is NumPy's affair (`OPENBLAS_NUM_THREADS`).

BLAS splits every product among its threads and waits for the slowest. For small products on a
machine that has other work to do, that waiting costs more than the second thread gains: a step
of the dates recipe takes ten times as long when one of two cores is busy elsewhere. For these
there is `blas_threads`.
"""

import contextlib
import os
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import ContextVar, copy_context
from functools import lru_cache
from typing import Any, TypeVar

from .arrays import check_size
from .errors import MissingExtraError, optional

Item = TypeVar("Item")
Result = TypeVar("Result")


def num_threads() -> int:
    """Return how many threads `each` works on: 1 inside of work that is spread already."""
    if _spread.get():
        return 1
    if _switch.count is None:
        _switch.count = _initial()
    return _switch.count


def set_num_threads(count: int) -> None:
    """Set how many threads attention and the trainer work on, for the whole process.

    Parameters
    ----------
    count : int
        1 or more; 1 keeps their work on the thread that asks for it, that of BLAS included.

    Raises
    ------
    TypeError, ValueError
        If it is not a positive int.
    """
    check_size("set_num_threads", count=count)
    _switch.count = count


def can_spread() -> bool:
    """Say whether `each` would use more than one thread, so that it pays to prepare for it."""
    return num_threads() > 1 and _controller() is not None


def each(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Return ``[function(item) for item in items]``, worked out by several threads.

    Parameters
    ----------
    function : callable
        Must not write to what another call of it reads or writes.
    items : iterable
        One piece of work each, the first to be begun first.

    Returns
    -------
    list
        In the order of the items, whichever was done first.

    Raises
    ------
    Exception
        The error of the first item that raised one, as it is.
    """
    items = list(items)
    if _spread.get() or (len(items) <= 1 < num_threads()):
        return [function(item) for item in items]
    with _blas_for_threads() as limited:
        if num_threads() == 1:
            return [function(item) for item in items]
        if not limited:
            _say_once()
            return [function(item) for item in items]
        pool = _pool(num_threads())
        parts = [pool.submit(copy_context().run, _inside, function, item) for item in items]
        try:
            return [part.result() for part in parts]
        finally:
            for part in parts:  # after an error: what was not begun never is, and what was, ends
                part.cancel()
            wait(parts)


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
    controller = _controller()
    if controller is None:
        yield False
        return
    with controller.limit(limits=count, user_api="blas"):
        yield True


@contextlib.contextmanager
def working_on(count: int) -> Iterator[bool]:
    """Use at most `count` threads inside the ``with`` block, here and in BLAS.

    Parameters
    ----------
    count : int
        1 or more.

    Yields
    ------
    bool
        False where threadpoolctl (extra ``fast``) is not installed, and BLAS was not limited.
    """
    before = _switch.count
    set_num_threads(count)
    try:
        with blas_threads(count) as limited:
            yield limited
    finally:
        _switch.count = before


class _Switch:
    """The process's state: how many threads, and how many callers hold BLAS at one thread."""

    def __init__(self) -> None:
        self.count: int | None = None  # not yet asked for
        self.holders = 0
        self.lift: contextlib.ExitStack | None = None  # ends the limit
        self.said = False
        self.lock = threading.Lock()


_switch = _Switch()
_spread = ContextVar("_spread", default=False)  # whether this is a piece of spread work


def _initial() -> int:
    """Read the environment variable, or count the cores."""
    name = "NPFORMER_NUM_THREADS"
    text = os.environ.get(name)
    if text is None:
        cores = getattr(os, "sched_getaffinity", None)  # Linux: those of this process
        return len(cores(0)) if cores else os.cpu_count() or 1
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{name} is {text!r}; expected a number of threads, 1 or more")
    return int(text)


@contextlib.contextmanager
def _blas_for_threads() -> Iterator[bool]:
    """Hold BLAS at one thread until the last of those who ask for it has ended.

    BLAS has one setting for the whole process. Were each caller to restore what it found, the
    second of two that overlap would find and restore the first one's limit.
    """
    with _switch.lock:
        if _switch.lift is None:
            limit = contextlib.ExitStack()
            if limit.enter_context(blas_threads(1)):
                _switch.lift = limit
        limited = _switch.lift is not None
        _switch.holders += limited
    try:
        yield limited
    finally:
        with _switch.lock:
            _switch.holders -= limited
            if _switch.holders == 0 and _switch.lift is not None:
                _switch.lift.close()
                _switch.lift = None


def _inside(function: Callable[[Item], Result], item: Item) -> Result:
    """Do one piece, in a context of its own: a copy of the caller's, `numpy.errstate` included."""
    _spread.set(True)
    return function(item)


def _say_once() -> None:
    if not _switch.said:
        _switch.said = True
        warnings.warn(
            "npformer works on one thread: to use more, pip install 'npformer[fast]'; to keep "
            "one without this warning, npformer.set_num_threads(1) or NPFORMER_NUM_THREADS=1",
            RuntimeWarning,
            stacklevel=4,
        )


@lru_cache(maxsize=1)
def _controller() -> Any | None:
    """Find the BLAS of this process, once: finding it takes sixty times as long as a switch.

    None without the extra ``fast``, which is to be looked for once as well.
    """
    try:
        module = optional("threadpoolctl", extra="fast", purpose="set the number of BLAS threads")
    except MissingExtraError:
        return None
    return module.ThreadpoolController()


@lru_cache(maxsize=1)
def _pool(count: int) -> ThreadPoolExecutor:
    """Return the pool. One of another size replaces it, and its idle threads end."""
    return ThreadPoolExecutor(count, thread_name_prefix="npformer")


def _forget() -> None:
    """Begin anew in the child of a fork, which has none of its parent's threads."""
    _pool.cache_clear()
    _switch.lock = threading.Lock()
    _switch.holders, _switch.lift = 0, None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
