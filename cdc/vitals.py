"""Vitals: what every program shows of itself, whatever it does: starts, failures, and how full its memory is."""

from __future__ import annotations

import os
from pathlib import Path

from prometheus_client import Counter, Gauge

from cdc.emf import Series

STARTS = Counter("program_starts", "Times that this program was started: 1 in a process.")
FAILURES = Counter("program_failures", "Faults that ended this program.")
MEMORY = Gauge("program_memory_ratio", "Memory that the process has, over what it may have; 0 where that is unknown.")
SERIES = (Series("program_starts", from_value=1), Series("program_failures", from_value=1))
LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""The limit of a container: cgroups v2, v1 (the kernel's documentation, "Memory")."""


def memory_ratio(statm: str, limits: list[str], meminfo: str) -> float:
    """Resident memory over the least of the container's limits and the machine's memory.

    The arguments are what the files say: /proc/self/statm (pages), the limits (bytes, or `max`), /proc/meminfo (kB).
    """
    total = next((int(line.split()[1]) * 1024 for line in meminfo.splitlines() if line.startswith("MemTotal:")), 0)
    bounds = [int(limit) for limit in limits if limit.strip().isdigit()]
    least = min([bound for bound in [*bounds, total] if bound > 0], default=0)
    return int(statm.split()[1]) * os.sysconf("SC_PAGE_SIZE") / least if least and statm else 0.0


def watch_memory() -> None:
    """Let the gauge tell the memory of this process whenever it is asked."""
    MEMORY.set_function(
        lambda: memory_ratio(_read(Path("/proc/self/statm")), [*map(_read, LIMITS)], _read(Path("/proc/meminfo")))
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:  # another system, or none of these limits
        return ""
