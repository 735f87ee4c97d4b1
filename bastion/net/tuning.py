"""The C library's allocator, told not to give memory back after every burst.

A burst of 512 KiB is opened and sealed through a few buffers of that size, made and freed in the same turn.
glibc maps each such buffer from the kernel and unmaps it again, or trims the heap's end, so that every burst
pays for a few hundred page faults: measured with 32 KiB messages, sealing costs 8 to 12 times as much, and the
gateway 1.8 instead of 0.85 CPU-seconds per GiB. Python's `gc` and `malloc` settings have no part in it.
"""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD = -1  # malloc.h
_M_MMAP_THRESHOLD = -3

MAP_FROM = 4 * 1024 * 1024
"""Allocations from this size on are mapped on their own. A burst and its copies are below 1 MiB each."""

KEEP_FREE = 16 * 1024 * 1024
"""Bytes that stay with the process at the end of the heap when they are free. The worst case is this much more
memory per process."""


def keep_freed_memory() -> bool:
    """Call once at start. False where the C library is not glibc; then all is as it was."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, MAP_FROM)) and bool(mallopt(_M_TRIM_THRESHOLD, KEEP_FREE))
