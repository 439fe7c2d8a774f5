"""Many commits in a row with maintenance on: metadata and files stay as few at the end as they were at the start."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from pyiceberg.table.metadata import TableMetadata

from compactor.maintenance import Limits
from sandbox.aws import Aws
from tests.compactor_world import World, change, put
from tests.lake_files import assert_files_are_exactly_those_named

pytestmark = pytest.mark.slow
COMMITS = 80


def test_metadata_and_files_do_not_grow_with_the_commits(world: World, aws: Aws) -> None:
    world.limits = Limits(snapshot_age=timedelta(0), snapshots_min=10, snapshots_a_step=5, manifests=6, files_alike=4)
    world.restart()
    shard, now, sizes, files = world.shard(), datetime.now(UTC), [], []
    for number in range(COMMITS):
        lsn = 10 * number + 1
        events = [change("u", lsn + place, (7 * number + place) % 50, f"n{lsn}", "b") for place in range(5)]
        put(shard, world.contract, *events)
        world.merge()
        now += timedelta(seconds=30)
        world.compactor.maintain(now)
        for lake in (world.compactor._pair.table, world.compactor._pair.history):
            sizes.append(len(lake.table.io.new_input(lake.table.metadata_location)) - _log_bytes(lake.table.metadata))
            files.append(len(list(lake.manifests())))
    start = slice(40, 80)
    assert max(sizes[-40:]) <= 1.2 * max(sizes[start])
    assert max(files) <= 12
    rows = world.rows()
    world.maintain(now + timedelta(days=7))
    assert_files_are_exactly_those_named(aws, world)
    assert world.rows() == rows
    assert len(world.history()) == 5 * COMMITS


def _log_bytes(metadata: TableMetadata) -> int:
    """What the log of older metadata files takes, which grows to its hundred entries first."""
    return sum(len(log.model_dump_json()) for log in metadata.metadata_log)
