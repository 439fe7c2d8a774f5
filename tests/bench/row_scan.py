"""Row `scan`: DuckDB reads all of a table that was merged in many commits and then maintained, in CPU seconds.

The peer is the same rows, written at once into a table of their own by pyiceberg, in the order of the key. Both lie on the
same S3 (the sandbox's), and the compactor, its merges and its maintenance are the real ones. Three quarters of the
changes after the first load are updates spread over the whole table, the rest are inserts and deletes.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from cdc.contract import parse_contract
from compactor.lake.catalog import open_catalog
from sandbox.aws import Aws
from sandbox.reports import open_lake
from tests.bench.measure import best_cpu_seconds
from tests.bench.result import Result
from tests.compactor_world import CONTRACT, World, change, put

ROWS = 1_000_000
COMMITS = 50
CHANGES_A_COMMIT = 2_000
LOAD_A_BATCH = 50_000
REPETITIONS = 7
RATIO_MAX = 1.2


def measure() -> Result:
    """Merge, maintain, and read both tables in turns."""
    with lake() as (aws, catalog):
        world = World(catalog, parse_contract(CONTRACT.format(name="scan")), aws.environment())
        maintained = _maintained(world)
        fresh = _fresh(catalog, maintained)
        with open_lake(aws.environment()) as duck:
            queries = {
                name: "SELECT count(*), sum(id), sum(length(nome)), sum(length(bio)), sum(cdc_lsn), max(epoch_us(cdc_committed_at)) "
                f"FROM iceberg_scan('{table.metadata_location}')"
                for name, table in (("maintained", maintained), ("fresh", fresh))
            }
            answers = {name: duck.execute(query).fetchall() for name, query in queries.items()}
            if answers["maintained"] != answers["fresh"]:
                raise SystemExit("scan: the two tables do not have the same rows")
            works = {name: lambda query=query: duck.execute(query).fetchall() for name, query in queries.items()}
            seconds = best_cpu_seconds(works, REPETITIONS)
            wall = {name: min(_wall_seconds(work) for _ in range(REPETITIONS)) for name, work in works.items()}
        files = world.pair().table.live_files()
        ratio = seconds["maintained"] / seconds["fresh"]
        return Result(
            row="scan",
            figure=1000 * seconds["maintained"],
            unit="ms of CPU for a full scan after maintenance",
            peer="freshly written",
            peer_figure=1000 * seconds["fresh"],
            ratio=ratio,
            target=f"≤ {RATIO_MAX}×",
            met=ratio <= RATIO_MAX,
            details={
                "rows": answers["fresh"][0][0],
                "commits": COMMITS,
                "data_files": len(files),
                "dead_rows": sum(len(file.deleted) for file in files),
                "wall_ms_maintained": 1000 * wall["maintained"],
                "wall_ms_fresh": 1000 * wall["fresh"],
            },
        )


@contextmanager
def lake() -> Iterator[tuple[Aws, Catalog]]:
    """AWS services with an empty lake; the environment of this process points to them."""
    with tempfile.TemporaryDirectory() as name, Aws.start(Path(name) / "aws") as aws:
        aws.create_bucket("lake")
        os.environ.update(aws.environment())
        yield aws, open_catalog("lake")


def _maintained(world: World) -> Table:
    dice, shard, lsn = Random(1), world.shard(), 0
    bio = "x" * 100
    for start in range(0, ROWS, LOAD_A_BATCH):
        keys = range(start, start + LOAD_A_BATCH)
        put(shard, world.contract, *(change("r", 0, key, f"nome {key}", f"{bio}{key}") for key in keys), seconds=1)
        world.merge()
    for _ in range(COMMITS):
        events = []
        for _ in range(CHANGES_A_COMMIT):
            lsn += 1
            op, key = dice.choice("uuuuuucd"), dice.randrange(ROWS)
            key += ROWS if op == "c" else 0
            events.append(change(op, lsn, key, f"nome {lsn}", f"{bio}{lsn}"))
        put(shard, world.contract, *events)
        world.merge()
        world.compactor.maintain(datetime.now(UTC))
    world.maintain()
    return world.pair().table.table


def _fresh(catalog: Catalog, table: Table) -> Table:
    rows = table.scan().to_arrow().sort_by("id")
    fresh = catalog.create_table(("lake", "fresh"), table.schema(), properties=table.properties)
    fresh.append(rows.cast(fresh.schema().as_arrow()))
    return catalog.load_table(("lake", "fresh"))


def _wall_seconds(work: object) -> float:
    began = time.perf_counter()
    assert callable(work)
    work()
    return time.perf_counter() - began
