"""Ask the C library to keep freed memory instead of giving it back to the system.

A training step allocates the same few hundred megabytes of arrays again and again. By default
glibc returns large freed blocks to the kernel, which hands out fresh zeroed pages at the next
step, one page fault per 4 kB: often half the time of the step. Three settings keep them.

Elsewhere nothing is done, and nothing goes wrong but for the speed. musl (Alpine Linux) has no
such settings. macOS keeps some of the large blocks that were freed last by itself. Windows passes
requests of 512 KiB and more straight to the system, and gives them back as soon as they are freed
[1]_; a running process cannot ask for less.

To opt out, set the environment variable ``NPFORMER_KEEP_MEMORY=0`` before the import: the process
then gives memory back as usual. The price of keeping it is that the process stays as large as it
has been. `benchmarks/memory.py` shows the effect.

.. [1] S. Goldshtein (2015), "Large Win32 Heap Allocations Go Directly to VirtualAlloc".
"""

import ctypes
import os

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # from glibc's malloc.h


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed memory for reuse.

    Returns
    -------
    bool
        True if all three settings took effect; False where there is no glibc, or the
        environment variable ``NPFORMER_KEEP_MEMORY`` is ``0``.
    """
    if os.environ.get("NPFORMER_KEEP_MEMORY") == "0":
        return False
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
