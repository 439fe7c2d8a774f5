"""Keeps the memory of many threads that handle large pages flat.

The C library's allocator (glibc) gives each thread an arena of its own. Once a large block was freed it serves such
blocks from there too, where smaller ones that live longer keep them from being given back. Eight threads that catch up
then hold twice the memory that they use (`make bench ROW=catch-up`).
"""

from __future__ import annotations

import contextlib
import ctypes

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # malloc.h of glibc
_LARGE_BYTES = 256 * 1024


def hold_memory_flat() -> None:
    """Let large blocks go back to the system when they are freed; to be called before threads are started.

    One arena is enough: the interpreter's lock keeps threads from racing for it. Nothing happens where the C library
    is another one.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
