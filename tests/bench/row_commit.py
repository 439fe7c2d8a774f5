"""Row `commit`: the real compactor merges a thousand changes into a table of five million rows, in CPU seconds.

Peers: the same on a table of one million rows, and pyiceberg's upsert of as many rows into the same five million. The
tables lie in local files, their catalog in SQLite, raw is in memory. Changes are spread over the whole table: seven
tenths updates, two inserts, one deletes. Maintenance goes on between the commits as it does in the program, and is told
beside them.
"""

from __future__ import annotations

import gc
import logging
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pyarrow as pa
import structlog
from pyiceberg.catalog import Catalog

from compactor.memory import keep_memory
from tests.bench.large_lake import contract, fill, local_catalog
from tests.bench.result import Result
from tests.compactor_world import World, change, put
from tests.raw_zone import ShardWriter

LARGE = 5_000_000
SMALL = 1_000_000
CHANGES = 1_000
COMMITS = 31
UPSERTS = 2
GROWTH_MAX = 1.2
UPSERT_RATIO_MIN = 100


@dataclass(slots=True)
class Table:
    """A table with the changes that come to it, and what commits and maintenance cost, in CPU seconds."""

    world: World
    shard: ShardWriter
    rows: int
    changes: Iterator[bytes]
    commits: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    steps: list[float] = field(default_factory=list)

    def commit(self) -> None:
        """Merge a thousand changes, then let maintenance take a step."""
        put(self.shard, self.world.contract, *(next(self.changes) for _ in range(CHANGES)))
        gc.collect()
        began, wall_began = time.process_time(), time.perf_counter()
        self.world.compactor.step()
        merged = time.process_time()
        self.wall.append(time.perf_counter() - wall_began)
        self.world.compactor.maintain(datetime.now(UTC))
        self.commits.append(merged - began)
        self.steps.append(time.process_time() - merged)


def measure() -> Result:
    """Commit to both tables in turns, then upsert into a third."""
    keep_memory()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with tempfile.TemporaryDirectory() as name:
        catalog = local_catalog(Path(name))
        large, small = (_table(catalog, f"rows_{rows}", rows) for rows in (LARGE, SMALL))
        for _ in range(COMMITS):
            large.commit()
            small.commit()
        files = _checked_files(large), _checked_files(small)
        upsert = _upsert_seconds(catalog)
    # The first commit also builds the index.
    seconds, peer = (statistics.median(table.commits[1:]) for table in (large, small))
    return Result(
        row="commit",
        figure=1000 * seconds,
        unit=f"ms of CPU for {CHANGES} changes on {LARGE:,} rows",
        peer=f"on {SMALL:,} rows",
        peer_figure=1000 * peer,
        ratio=seconds / peer,
        target=f"≤ {GROWTH_MAX}×, and ≥ {UPSERT_RATIO_MIN}× less than pyiceberg upsert ({upsert / seconds:.0f}×)",
        met=seconds <= GROWTH_MAX * peer and upsert >= UPSERT_RATIO_MIN * seconds,
        details={
            "upsert_ms": 1000 * upsert,
            "upsert_ratio": upsert / seconds,
            "wall_ms_large": 1000 * statistics.median(large.wall[1:]),
            "wall_ms_small": 1000 * statistics.median(small.wall[1:]),
            "first_commit_ms_with_index_large": 1000 * large.commits[0],
            "maintenance_ms_per_commit_large": 1000 * statistics.mean(large.steps),
            "maintenance_ms_per_commit_small": 1000 * statistics.mean(small.steps),
            "data_files_large": files[0],
            "data_files_small": files[1],
        },
    )


def _table(catalog: Catalog, name: str, rows: int) -> Table:
    its = contract(name)
    fill(catalog, its, rows)
    world = World(catalog, its, {})
    return Table(world, world.shard(), rows, _changes(rows))


def _changes(rows: int) -> Iterator[bytes]:
    """Changes of keys that are drawn from the whole table; each key is changed once."""
    dice = Random(1)
    keys = iter(dice.sample(range(rows), COMMITS * CHANGES))
    for lsn, key in enumerate(keys, 1):
        op = "uuuuuuuccd"[lsn % 10]
        yield change(op, lsn, key + rows if op == "c" else key, f"nome {lsn}", f"bio {lsn}")


def _checked_files(table: Table) -> int:
    """How many data files the table has, once it was seen to have as many rows as the changes leave."""
    files = table.world.pair().table.live_files()
    live = sum(file.records - len(file.deleted) for file in files)
    expected = table.rows + COMMITS * CHANGES // 10
    if live != expected:
        raise SystemExit(f"commit: {live} rows instead of {expected}")
    return len(files)


def _upsert_seconds(catalog: Catalog) -> float:
    """The least CPU time of pyiceberg's upsert of as many rows."""
    its = contract("upserted")
    fill(catalog, its, LARGE)
    table = catalog.load_table(("lake", its.name))
    schema = table.schema().as_arrow()
    dice, least = Random(2), float("inf")
    for lsn in range(1, UPSERTS + 1):
        keys = [key + LARGE if place % 5 == 0 else key for place, key in enumerate(dice.sample(range(LARGE), CHANGES))]
        rows = [
            {
                "id": key,
                "nome": f"nome {lsn}",
                "bio": f"bio {lsn}",
                "cdc_epoch": 1,
                "cdc_lsn": lsn,
                "cdc_ordinal": 0,
                "cdc_committed_at": datetime.now(UTC),
            }
            for key in keys
        ]
        wanted = pa.Table.from_pylist(rows, schema)
        gc.collect()
        began = time.process_time()
        table.upsert(wanted, join_cols=["id"])
        least = min(least, time.process_time() - began)
    return least
