"""Row `merge`: raw files → masked Parquet of the current state, on one core, in CPU seconds, and the memory that it takes.

What is measured is what `cdc export` does, out of a folder instead of S3. What the whole compactor, which makes the
history too, does with the same files is told beside it (`compactor_…`).

All changes are of one transaction (one commit time), so that the memory shown is also that of a transaction of a million
rows. Every way has all events and runs in a process of its own; they take turns, but the naive one, which is slow, has one only.
What they write is compared before anything is told.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from tests.bench.raw_zone import Users, Zone
from tests.bench.result import Result

EVENTS = int(os.environ.get("EVENTS", "1000000"))
KEYS = EVENTS * 3 // 10
REPETITIONS = {"ours": 3, "duckdb": 3, "naive": 1}
EVENTS_PER_SECOND_MIN = 220_000
RATIOS_MIN = {"duckdb": 1.4, "naive": 8.0}
RESIDENT_MB_MAX = 1000
ROOT = Path(__file__).resolve().parents[2]


class Run(NamedTuple):
    """What one run took."""

    cpu_seconds: float
    peak_mb: float


def measure() -> Result:
    """Write raw, let each way merge it in turns, compare."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        record_bytes = _write(folder / "raw", EVENTS, KEYS)
        runs: dict[str, list[Run]] = {way: [] for way in REPETITIONS}
        for turn in range(max(REPETITIONS.values())):
            for way in (way for way, times in REPETITIONS.items() if turn < times):
                (folder / f"{way}.parquet").unlink(missing_ok=True)
                runs[way].append(_run(way, folder / "raw", folder / f"{way}.parquet"))
        _compare(folder / "ours.parquet", folder / "duckdb.parquet")
        _compare(folder / "ours.parquet", folder / "naive.parquet")
        whole = _run("compactor", folder / "raw", folder / "compactor.parquet")
        _compare(folder / "compactor.parquet", folder / "duckdb.parquet")
    rates = {way: EVENTS / min(run.cpu_seconds for run in some) for way, some in runs.items()}
    peak_mb = max(run.peak_mb for run in runs["ours"])
    ratios = {way: rates["ours"] / rates[way] for way in RATIOS_MIN}
    return Result(
        row="merge",
        figure=rates["ours"],
        unit="events/s per core",
        peer="duckdb SQL",
        peer_figure=rates["duckdb"],
        ratio=ratios["duckdb"],
        target=f"≥ {EVENTS_PER_SECOND_MIN:,} events/s, ≥ {RATIOS_MIN['duckdb']}×, ≥ {RATIOS_MIN['naive']}× naive, "
        f"≤ {RESIDENT_MB_MAX} MB for {EVENTS:,} events",
        met=rates["ours"] >= EVENTS_PER_SECOND_MIN
        and all(ratios[way] >= least for way, least in RATIOS_MIN.items())
        and peak_mb <= RESIDENT_MB_MAX,
        details={
            "event_bytes_mean": record_bytes,
            "naive_events_per_second": rates["naive"],
            "ratio_to_naive": f"{ratios['naive']:.3g}",
            "peak_mb": peak_mb,
            "duckdb_peak_mb": max(run.peak_mb for run in runs["duckdb"]),
            "compactor_events_per_cpu_second": EVENTS / whole.cpu_seconds,
            "compactor_peak_mb": whole.peak_mb,
        },
    )


def _write(folder: Path, events: int, keys: int) -> float:
    """A raw zone of updates of so many users, of which one in fifty is a delete or the insert of another user."""
    zone, users = Zone(), Users(is_one_transaction=True)
    zone.write(users.changes(keys, "c"))
    zone.write(users.changes(events - keys, "u" * 48 + "cd"))
    for path, body in zone.objects.objects.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(body)
    return zone.lines_bytes / events


def _run(way: str, raw: Path, out: Path) -> Run:
    """Run one way in a process of its own, on one core."""
    command = [sys.executable, "-m", "tests.bench.merge_ways", way, str(raw), str(out)]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'services'}"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"merge: {way} failed\n{done.stderr}")
    return Run(**json.loads(done.stdout.splitlines()[-1]))


def _compare(some: Path, others: Path) -> None:
    """Compare two files row by row; types may be wider in one, and zones of times written otherwise."""
    ours, theirs = (_rows(path) for path in (some, others))
    if ours.num_rows != theirs.num_rows or not ours.equals(theirs.cast(ours.schema)):
        raise SystemExit(f"merge: {some.name} and {others.name} do not have the same rows; nothing was measured")


def _rows(path: Path) -> pa.Table:
    rows = pq.read_table(path)
    fields = [
        pa.field(field.name, pa.timestamp("us") if pa.types.is_timestamp(field.type) else _plain(field.type))
        for field in sorted(rows.schema, key=lambda field: field.name)
    ]
    return rows.select([field.name for field in fields]).cast(pa.schema(fields)).sort_by("id").combine_chunks()


def _plain(type_: pa.DataType) -> pa.DataType:
    if pa.types.is_list(type_) or pa.types.is_large_list(type_):
        return pa.list_(pa.string())
    return pa.string() if pa.types.is_large_string(type_) else type_
