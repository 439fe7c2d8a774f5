"""How the rows measure: in CPU seconds of one core, interleaved, and the best of several, since machines are shared."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Cost:
    """What some work took: seconds, and seconds of all cores together."""

    seconds: float
    cpu_seconds: float


def cost_of(work: Callable[[], object]) -> Cost:
    """Do some work, once."""
    gc.collect()
    began, cpu_began = time.perf_counter(), time.process_time()
    work()
    return Cost(time.perf_counter() - began, time.process_time() - cpu_began)


def stay_on_one_core() -> None:
    """Keep this process and all its threads on one core from now on."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def best_cpu_seconds(works: Mapping[str, Callable[[], object]], repetitions: int) -> dict[str, float]:
    """The least CPU time that each work took; they take turns, so that a noisy moment disturbs all of them.

    The collector of garbage is as it is in the programs: on, with nothing left over from the turn before.
    """
    best = dict.fromkeys(works, float("inf"))
    for _ in range(repetitions):
        for name, work in works.items():
            gc.collect()
            began = time.process_time()
            work()
            best[name] = min(best[name], time.process_time() - began)
    return best


def resident_bytes(process_id: int) -> int:
    """The memory that a process has now (Linux, /proc), 0 when it is about to end."""
    status = Path(f"/proc/{process_id}/status").read_text(encoding="ascii")
    resident = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(resident[0]) * 1024 if resident else 0


def cpu_ticks() -> tuple[int, int]:
    """The time that all cores were idle, and all their time, since the machine started (Linux, /proc/stat)."""
    first = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0]
    ticks = [int(word) for word in first.split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)
