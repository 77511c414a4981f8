"""Ask the C library to keep freed memory instead of giving it back to the system.

A training step allocates the same few hundred megabytes of arrays again and again. By default
glibc returns large freed blocks to the kernel, which hands out fresh zeroed pages at the next
step, one page fault per 4 kB: often half the time of the step. Three settings keep them.

Elsewhere nothing is done, and nothing goes wrong but for the speed. musl (Alpine Linux) has no
such settings. macOS keeps some of the large blocks that were freed last by itself. Windows passes
requests of 512 KiB and more straight to the system, and gives them back as soon as they are freed
[1]_; a running process cannot ask for less.

To opt out, set the environment variable ``NPFORMER_KEEP_MEMORY=0`` (or false, no, off, in any
case) before the import: the process then gives memory back as usual. 1, true, yes, on and nothing
at all mean what is done anyway; anything else is warned of, and ignored.

The price of keeping it is that the process stays as large as it has been. And one heap
(M_ARENA_MAX=1) has one lock: whenever any thread of the process allocates or frees, one of another
library too, it waits for all others that do. NumPy's large arrays are few, but a program whose
threads make many small objects in C may be faster without. `benchmarks/memory.py` shows the effect.

.. [1] S. Goldshtein (2015), "Large Win32 Heap Allocations Go Directly to VirtualAlloc".
"""

import ctypes
import os
import sys
import warnings

_OFF, _ON = ("0", "false", "no", "off"), ("1", "true", "yes", "on", "")
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # from glibc's malloc.h


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed memory for reuse.

    Returns
    -------
    bool
        True if all three settings took effect; False where there is no glibc, or the
        environment variable ``NPFORMER_KEEP_MEMORY`` is 0, false, no or off.

    Warns
    -----
    RuntimeWarning
        If the variable says neither yes nor no; it is then ignored.
    """
    wish = os.environ.get("NPFORMER_KEEP_MEMORY", "").strip().lower()
    if wish in _OFF:
        return False
    if wish not in _ON:
        _warn(
            f"npformer: the environment variable NPFORMER_KEEP_MEMORY is {wish!r}; expected one "
            f"of {', '.join(_OFF)} to opt out, or one of {', '.join(_ON[:-1])}; it is ignored, "
            f"and freed memory is kept"
        )
    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018 -- there only in glibc
        mallopt = libc.mallopt
    except (OSError, TypeError, AttributeError):  # Windows has no CDLL(None), musl no mallopt
        return False
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    # Never trim the heap's end; never serve a block by mmap, whose free unmaps it; one heap
    # for all threads, since each further one would keep its own.
    settings = (_M_TRIM_THRESHOLD, -1), (_M_MMAP_MAX, 0), (_M_ARENA_MAX, 1)
    results = [mallopt(which, value) for which, value in settings]  # all three, even if one fails
    return all(results)


def _warn(message: str) -> None:
    """Warn; where warnings are errors too, for no import may fail for this."""
    try:
        warnings.warn(message, RuntimeWarning, stacklevel=3)
    except RuntimeWarning:
        sys.stderr.write(message + "\n")
