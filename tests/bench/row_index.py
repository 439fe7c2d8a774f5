"""Row `index`: ten million keys in the compactor's index, its memory and the time to build it anew from the table.

The table lies in local files, ten base files of a million rows. Each kind of key is measured in a process of its own:
the memory is what the process has more of than before, and what the index's own arrays take; the time is what stands
between a restart and the first merge. The peer is what one would write first, a dict from key to (file, row, position).
ROWS=1000000 takes fewer.
"""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import structlog

from compactor.lake.pair import TablePair
from tests.bench.large_lake import KEYS, PII_KEY, contract, fill, local_catalog
from tests.bench.measure import resident_bytes
from tests.bench.result import Result

ROWS = int(os.environ.get("ROWS", "10000000"))
PEER_ROWS = 1_000_000
REPETITIONS = 3
MB_MAX = 400
SECONDS_MAX = 10
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Built:
    """An index: its memory by its arrays and by the process, and the least time that building it took."""

    array_bytes: int
    resident_bytes: int
    seconds: float
    cpu_seconds: float


def measure() -> Result:
    """Fill a table for each kind of key, and build its index."""
    with tempfile.TemporaryDirectory() as name:
        found = {}
        for kind in KEYS:
            _alone(_fill, Path(name) / kind, kind)
            found[kind] = _alone(_build, Path(name) / kind, kind)
    peer_mb = _alone(_dict_bytes) * ROWS / PEER_ROWS / 1e6
    ours = found["int64"]
    mb = max(ours.array_bytes, ours.resident_bytes) / 1e6
    return Result(
        row="index",
        figure=mb,
        unit=f"MB for {ROWS:,} int64 keys, rebuilt in {ours.seconds:.1f} s",
        peer="a dict (of a tenth of them, times ten)",
        peer_figure=peer_mb,
        ratio=peer_mb / mb,
        target=f"≤ {MB_MAX} MB and ≤ {SECONDS_MAX} s",
        met=mb <= MB_MAX and ours.seconds <= SECONDS_MAX,
        details={
            f"{kind}_{label}": value
            for kind, built in found.items()
            for label, value in (
                ("array_mb", built.array_bytes / 1e6),
                ("resident_mb", built.resident_bytes / 1e6),
                ("seconds", f"{built.seconds:.1f}"),
                ("cpu_seconds", f"{built.cpu_seconds:.1f}"),
            )
        },
    )


def _alone(work: Callable[..., _T], *arguments: object) -> _T:
    """What a work gives in a process of its own, whose memory nothing else has touched."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def _fill(folder: Path, kind: str) -> None:
    folder.mkdir()
    fill(local_catalog(folder), contract("keys", kind), ROWS, is_wide=False)


def _build(folder: Path, kind: str) -> Built:
    # Lines of the log are no part of what is measured.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    pair = TablePair(local_catalog(folder), "lake", contract("keys", kind), PII_KEY)
    seconds = cpu_seconds = float("inf")
    before = _resident()
    for _ in range(REPETITIONS):
        index = None
        began, cpu_began = time.perf_counter(), time.process_time()
        index = pair.build_index()
        seconds = min(seconds, time.perf_counter() - began)
        cpu_seconds = min(cpu_seconds, time.process_time() - cpu_began)
        if len(index) != ROWS:
            raise SystemExit(f"index: {len(index)} keys instead of {ROWS}")
    assert index is not None
    return Built(index.bytes, _resident() - before, seconds, cpu_seconds)


def _dict_bytes() -> int:
    before = _resident()
    index = {key: (key // ROWS, key, 1, 26_000_000 + 120 * key) for key in range(PEER_ROWS)}
    taken = _resident() - before
    assert len(index) == PEER_ROWS
    return taken


def _resident() -> int:
    """The memory of this process, without what was freed and is only kept for later."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    return resident_bytes(os.getpid())
