"""Row `freshness`: from a change's commit at the source until a query of the lake shows it, in seconds.

The sandbox's whole pipeline as processes, as in the demo, with batches of 5 s and commits each 5 s. An application makes
a hundred changes a second meanwhile; probes count up in rows of their own, which lie on all shards, and pyiceberg asks the
catalog for them again and again. A probe's time ends when the answer that holds it has been read. The peer is what the
two waits alone come to at most. It is wall time: `machine_idle_percent` says how much of the machine was left.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, Final

import psycopg
from pyiceberg.expressions import In

from sandbox import usuarios
from sandbox.lake import Lake
from sandbox.pipeline import Pace, Pipeline
from sandbox.process import wait_until
from sandbox.workload import Tally, Workload
from tests.bench.measure import cpu_ticks
from tests.bench.result import Result

PROBES: Final = 300
PROBES_PER_SECOND: Final = 2.5
CHANGES_PER_SECOND: Final = 100
ROWS: Final = 10_000
WAIT_SECONDS: Final = 5
SECONDS_MAX: Final = 12
KEYS: Final = range(4 * 10**15, 4 * 10**15 + 16)
"""Rows that the application does not know."""
_POLL_SECONDS: Final = 0.1
_COMPLETE_SECONDS_MAX: Final = 300
# pyiceberg makes predicates in __new__, where type checkers see the constructor of pydantic.
_is_in: Any = In


@dataclass(slots=True)
class Probes:
    """When each probe was committed, and when it was seen in the lake, in seconds of one monotonic clock."""

    committed_at: dict[int, float] = field(default_factory=dict)
    seen_at: dict[int, float] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """Whether all were made and seen."""
        return len(self.seen_at) == PROBES

    def see(self, counts: Mapping[int, int], now: float) -> None:
        """Take note of what a query of the lake showed: the count of each row of probes."""
        for number in self.committed_at.keys() - self.seen_at.keys():
            if counts.get(_key(number), 0) >= number:
                self.seen_at[number] = now

    def seconds(self) -> list[float]:
        """How long each took, sorted."""
        return sorted(self.seen_at[number] - made for number, made in self.committed_at.items())


def measure() -> Result:
    """Run everything, probe, and wait until the last probe is seen."""
    os.environ.update({"NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"})
    pace = Pace(batch_age_seconds=WAIT_SECONDS, compact_interval_seconds=WAIT_SECONDS)
    with tempfile.TemporaryDirectory() as name, Pipeline(Path(name), pace) as pipeline:
        with psycopg.connect(pipeline.postgres.dsn, autocommit=True) as connection:
            usuarios.create(connection, ROWS, Random(1), datetime.now(UTC))
        pipeline.start()
        pipeline.wait_until_complete(pipeline.source_clock(), _COMPLETE_SECONDS_MAX)
        before = cpu_ticks()
        probes, tally = _probe(pipeline)
        idle, total = (now - then for now, then in zip(cpu_ticks(), before, strict=True))
        pipeline.stop()
    seconds = probes.seconds()
    p99 = seconds[-1 - len(seconds) // 100]
    waits = 2 * WAIT_SECONDS
    return Result(
        row="freshness",
        figure=p99,
        unit="s from commit to query, p99",
        peer="both waits alone, at most",
        peer_figure=waits,
        ratio=p99 / waits,
        target=f"≤ {SECONDS_MAX} s",
        met=p99 <= SECONDS_MAX,
        details={
            "probes": len(seconds),
            "median_seconds": f"{seconds[len(seconds) // 2]:.1f}",
            "highest_seconds": f"{seconds[-1]:.1f}",
            "changes_meanwhile": tally.changes,
            "machine_idle_percent": 100 * idle / total,
        },
    )


def _probe(pipeline: Pipeline) -> tuple[Probes, Tally]:
    probes, working, stop = Probes(), threading.Event(), threading.Event()
    workload = Workload(
        pipeline.postgres.dsn, Random(2), datetime.now(UTC), workers=2, changes_per_second=CHANGES_PER_SECOND
    )
    with ThreadPoolExecutor(2) as pool:
        application = pool.submit(workload.run, stop=stop, progress=lambda _: working.set())
        try:
            # It has chosen its rows by then.
            wait_until(lambda: working.is_set() or application.done(), _COMPLETE_SECONDS_MAX, "the application works")
            watching = pool.submit(_watch, pipeline, probes, stop)
            _make(pipeline.postgres.dsn, probes)
            wait_until(
                lambda: probes.is_complete or watching.done(), _COMPLETE_SECONDS_MAX, "every probe is in the lake"
            )
        finally:
            stop.set()
        watching.result()
        return probes, application.result()


def _make(dsn: str, probes: Probes) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.cursor().executemany('INSERT INTO "Usuários" (id, saldo) VALUES (%s, 0)', [(key,) for key in KEYS])
        began = time.monotonic()
        for number in range(1, PROBES + 1):
            time.sleep(max(0.0, began + number / PROBES_PER_SECOND - time.monotonic()))
            now = time.monotonic()
            connection.execute('UPDATE "Usuários" SET saldo = %s WHERE id = %s', [number, _key(number)])
            probes.committed_at[number] = now


def _watch(pipeline: Pipeline, probes: Probes, stop: threading.Event) -> None:
    """Ask the lake whenever it has something new."""
    lake, location = pipeline.lake(), ""
    while not stop.wait(_POLL_SECONDS):
        pipeline.check()
        present = lake.table(pipeline.contract.name).metadata_location
        if present != location:
            location = present
            probes.see(_counts(lake, pipeline.contract.name), time.monotonic())


def _counts(lake: Lake, name: str) -> dict[int, int]:
    rows = lake.table(name).scan(row_filter=_is_in("id", set(KEYS)), selected_fields=("id", "saldo")).to_arrow()
    return {row["id"]: int(row["saldo"]) for row in rows.to_pylist()}


def _key(number: int) -> int:
    return KEYS[number % len(KEYS)]
