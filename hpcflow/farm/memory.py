"""Keep the memory of large values at hand, in the processes that pass them on.

The C library gives a block of a MiB back to the system as soon as it is freed, and gets the next
one page by page: a copy of a MiB takes four times as long as the copying does. A value is copied
a dozen times on its way to a task and back.
"""

from __future__ import annotations

import contextlib
import ctypes

KEPT_BYTES = 64 << 20
"""Most memory that a process keeps although nothing in it is used [bytes]."""
LARGEST_BYTES = 8 << 20
"""Larger blocks still come from the system, and go back to it [bytes]."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> None:
    """Let the C library of this process keep some memory that is freed; only glibc can."""
    with contextlib.suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, LARGEST_BYTES)
        mallopt(_TRIM_THRESHOLD, KEPT_BYTES)
