"""Memory: what one round took is kept for the next one, instead of given back and asked for again."""

from __future__ import annotations

import ctypes

import pyarrow as pa

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""The numbers of these parameters in glibc's malloc.h."""
_MMAP_BYTES_MAX = 32 * 1024 * 1024
"""The most that glibc takes for the threshold: larger pieces are always given back."""
_NEVER = (1 << 31) - 1


def keep_memory() -> None:
    """Let Arrow's tables and all else come from one heap that keeps what it was given; for the start of a program.

    Rounds are all of about one size. Each page that is given back is cleared by the kernel before it comes again, which
    costs a tenth of a merge. After what is larger than a round, `release_memory` gives back. Where the C library is not
    glibc, only Arrow's part is done.
    """
    pa.set_memory_pool(pa.system_memory_pool())
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, value in ((_MMAP_THRESHOLD, _MMAP_BYTES_MAX), (_TRIM_THRESHOLD, _NEVER), (_ARENA_MAX, 1)):
            mallopt(parameter, value)


def release_memory() -> None:
    """Give back what is kept and not in use: after a table was loaded, or much was caught up with."""
    pa.default_memory_pool().release_unused()
