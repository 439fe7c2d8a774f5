"""How often a shard is read, and how many pages may be in memory at once.

Source of the limits: AWS docs "Quotas and limits": a shard gives 2 MB a second and 5 calls a second to all its readers
together; after a reply of 10 MiB it refuses calls for 5 s, which is the same 2 MiB a second.
"""

from __future__ import annotations

from typing import Protocol

READ_SECONDS = 0.25
"""Between two reads while behind: a fifth call a second is left to others."""
READ_SECONDS_AT_TIP = 1.0
"""Between two reads at the tip, as AWS advises."""
READ_BYTES_PER_SECOND = 2 * 1024 * 1024
PAGES_AT_ONCE = 2
"""In all threads together, of shards that are behind: a page of 10 MiB takes five times that while it is unpacked.

Two keep a core busy; a shard at its tip gives small pages and needs no leave.
"""


class Pace(Protocol):
    """How long from the beginning of one read to the beginning of the next."""

    def __call__(self, *, behind: bool, read_bytes: int) -> float:
        """Seconds after a read that gave so many bytes."""


def seconds_between_reads(*, behind: bool, read_bytes: int) -> float:
    """From the beginning of one read, which gave so many bytes, to the beginning of the next."""
    least = READ_SECONDS if behind else READ_SECONDS_AT_TIP
    return max(least, read_bytes / READ_BYTES_PER_SECOND)
