"""Maintenance on a real catalog: rows stay as they are, files and metadata stay few, and nothing is left behind."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from compactor.index import RowIndex
from compactor.lake.landing import CommitConflict
from compactor.maintenance import Limits
from sandbox.aws import Aws
from sandbox.reports import open_lake
from tests.compactor_world import World, change, put
from tests.lake_files import assert_files_are_exactly_those_named, assert_no_file_is_missing

pytestmark = pytest.mark.slow

EAGER = Limits(
    step_rows=60, step_bytes=1 << 20, files_alike=3, dead_rows_min=3, manifests=4, manifest_files=6,
    snapshot_age=timedelta(0), snapshots_min=2, snapshots_a_step=3,
)  # fmt: skip
"""Everything is due as soon as it can be."""
IN_A_WEEK = timedelta(days=7)


def merge_some(world: World, dice: random.Random, lsn: int, commits: int, keys: int = 40) -> int:
    """Random changes in some commits, of several days; returns the last LSN."""
    shard = world.shard()
    shard.upto = world.compactor._progress.offsets.get(f"{shard.stream}/{shard.shard}", shard.upto)
    for _ in range(commits):
        events = []
        for _ in range(dice.randint(1, 8)):
            lsn += 1
            op = dice.choice("uuucd")
            events.append(change(op, lsn * 3600, dice.randrange(keys), f"n{lsn}", dice.choice([None, f"b{lsn}"])))
        put(shard, world.contract, *events)
        world.merge()
    return lsn


def history_by_duckdb(world: World) -> list[tuple[Any, ...]]:
    query = (
        f"SELECT cdc_lsn, cdc_op, id FROM iceberg_scan('{world.pair().history.table.metadata_location}') ORDER BY ALL"
    )
    with open_lake(world.environment) as duck:
        return duck.execute(query).fetchall()


def places(index: RowIndex, keys: int = 40) -> list[object]:
    return [index.located((key,)) for key in range(keys)]


def test_no_step_changes_a_row_and_the_index_follows(world: World, aws: Aws) -> None:
    world.limits = EAGER
    world.restart()
    dice, lsn, steps = random.Random(1), 0, 0
    for _ in range(6):
        lsn = merge_some(world, dice, lsn, commits=5)
        rows, history = world.rows(), world.history()
        while world.compactor.maintain(datetime.now(UTC)):
            steps += 1
            assert (world.rows(), world.history()) == (rows, history)
            assert history_by_duckdb(world) == [entry[:3] for entry in history]
            assert_no_file_is_missing(aws, world)
        assert places(world.compactor._index) == places(world.pair().build_index())
    assert steps > 20
    pair = world.pair()
    assert len(pair.table.table.metadata.snapshots) <= EAGER.snapshots_min + EAGER.snapshots_a_step
    assert len(pair.table.manifests()) <= EAGER.manifests + 1
    operations = {s.summary.operation.value for s in pair.table.table.metadata.snapshots if s.summary}
    assert "replace" in operations
    figures = pair.table.table.inspect.snapshots().to_pylist()[-1]["summary"]
    summary = dict(figures)
    assert int(summary["total-records"]) - int(summary.get("total-position-deletes", 0)) == len(rows)
    assert int(summary["total-data-files"]) == len(pair.table.live_files())


def test_files_are_written_in_the_order_of_the_keys(world: World) -> None:
    shard = world.shard()
    for start in (5, 3, 8, 1, 9, 7, 2, 6):
        put(shard, world.contract, change("c", start, start, "n", "b"))
        world.merge()
    world.maintain()
    (file,) = world.pair().table.live_files()
    assert world.pair().table.read(file.path, ["id"])["id"].to_pylist() == [1, 2, 3, 5, 6, 7, 8, 9]
    (entry,) = world.pair().history.live_files()
    assert world.pair().history.read(entry.path, ["id"])["id"].to_pylist() == [1, 2, 3, 5, 6, 7, 8, 9]


def test_a_rewrite_drops_the_dead_rows_and_their_delete_files(world: World) -> None:
    world.limits = Limits(step_rows=100, dead_rows_min=2)
    world.restart()
    shard = world.shard()
    put(shard, world.contract, *(change("c", key, key, "n", "b") for key in range(1, 31)))
    world.merge()
    put(shard, world.contract, *(change("d", 100 + key, key) for key in (3, 4, 5)))
    world.merge()
    assert world.pair().table.table.inspect.delete_files().num_rows == 1
    world.maintain()
    (file,) = world.pair().table.live_files()
    assert (file.records, len(file.deleted)) == (27, 0)
    assert world.pair().table.table.inspect.delete_files().num_rows == 0
    assert len(world.rows()) == 27


def test_evidence_offsets_and_late_changes_survive_expiry(world: World) -> None:
    world.limits = EAGER
    world.restart()
    shard = world.shard()
    put(shard, world.contract, change("c", 10, 1, "a", "x"), change("d", 30, 1), seconds=30)
    world.merge()
    for lsn in range(40, 60):
        put(shard, world.contract, change("u", lsn, 2, f"n{lsn}", "y"), seconds=lsn)
        world.merge()
        world.maintain(datetime.now(UTC) + IN_A_WEEK)
    told = world.pair().table.properties
    world.restart()
    again = [change("c", 10, 1, "a", "x"), change("u", 20, 1, "late", "z"), change("u", 45, 2, "n45", "y")]
    put(shard, world.contract, *again)
    world.merge()
    assert world.rows() == {2: ("n59", "y", 59)}
    assert world.pair().table.properties["cdc.valid-through"] == told["cdc.valid-through"]
    lsns = [entry[0] for entry in world.history()]
    assert lsns == [10, 20, 30, *range(40, 60)]


def test_nothing_is_left_behind_and_young_files_stay(world: World, aws: Aws) -> None:
    world.limits = EAGER
    world.restart()
    lsn = merge_some(world, random.Random(2), 0, commits=12)
    client = aws.client("s3")
    pair = world.pair()
    left = []
    for lake in (pair.table, pair.history):
        bucket, _, prefix = lake.table.location().removeprefix("s3://").partition("/")
        for name in ("data/left.parquet", "metadata/left.avro", "data/cdc_day=2026-11-21/left.parquet"):
            client.put_object(Bucket=bucket, Key=f"{prefix}/{name}", Body=b"left behind by a crash")
            left.append((bucket, f"{prefix}/{name}"))
    # A table whose name begins alike is none of ours.
    other = (left[0][0], left[0][1].replace("/data/", "_other/data/"))
    client.put_object(Bucket=other[0], Key=other[1], Body=b"another table's")
    world.maintain()
    for bucket, key in left:
        client.head_object(Bucket=bucket, Key=key)  # too young: it may be of a commit in flight
    rows, history = world.rows(), world.history()
    world.maintain(datetime.now(UTC) + IN_A_WEEK)
    assert_files_are_exactly_those_named(aws, world)
    assert (world.rows(), world.history()) == (rows, history)
    client.head_object(Bucket=other[0], Key=other[1])
    merge_some(world, random.Random(3), lsn, commits=3)


def test_a_history_ahead_of_the_table_is_not_touched_before_it_is_merged(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.limits = EAGER
    world.restart()
    lsn = merge_some(world, random.Random(4), 0, commits=8)
    stale = world.compactor
    other = world.restart()
    other.step()
    with monkeypatch.context() as patched:
        patched.setattr(type(other._pair), "commit_table", _crash)
        with pytest.raises(KeyboardInterrupt):
            merge_some(world, random.Random(5), lsn, commits=1)
    # One that has not seen it meets it as a conflict; one that starts mends it first.
    stale.maintain(datetime.now(UTC))
    world.restart()
    world.merge()
    world.maintain()
    rows = world.rows()
    assert places(world.compactor._index) == places(world.pair().build_index())
    newest: dict[int, dict[str, Any]] = {}
    for entry in world.pair().history.table.scan().to_arrow().to_pylist():
        if entry["id"] not in newest or newest[entry["id"]]["cdc_lsn"] < entry["cdc_lsn"]:
            newest[entry["id"]] = entry
    live = {key for key, entry in newest.items() if entry["cdc_op"] != "d"}
    assert set(rows) == live


def test_a_foreign_commit_is_a_conflict_and_is_planned_anew(world: World) -> None:
    world.limits = EAGER
    world.restart()
    lsn = merge_some(world, random.Random(6), 0, commits=8)
    table = world.catalog.load_table(("lake", world.contract.name))
    table.overwrite(table.scan().to_arrow())  # as another engine's OPTIMIZE would
    rows = world.rows()
    world.maintain()
    assert not world.compactor._is_loaded  # it met the other's commit
    assert world.rows() == rows
    merge_some(world, random.Random(7), lsn, commits=1)
    world.maintain()
    assert places(world.compactor._index) == places(world.pair().build_index())


def test_two_that_maintain_at_once_harm_nothing(world: World, aws: Aws) -> None:
    world.limits = EAGER
    first = world.restart()
    merge_some(world, random.Random(8), 0, commits=8)
    second = world.restart()
    second.step()
    rows, history = world.rows(), world.history()
    now = datetime.now(UTC)
    for _ in range(30):
        for one in (first, second):
            one.maintain(now)
            one.step()
    assert (world.rows(), world.history()) == (rows, history)
    assert_no_file_is_missing(aws, world)


def test_a_stale_index_is_noticed_before_anything_is_written(world: World) -> None:
    world.limits = EAGER
    world.restart()
    merge_some(world, random.Random(9), 0, commits=8)
    index = world.compactor._index
    for path in index.paths:
        index.set_dead(path, index.dead(path)[1:] if len(index.dead(path)) else index.dead(path))
    rows = world.rows()
    with pytest.raises(CommitConflict):
        _keep_all(world)
    assert world.rows() == rows


def _crash(*_arguments: object) -> None:
    raise KeyboardInterrupt


def _keep_all(world: World) -> None:
    while world.compactor._keeper.step(world.compactor._index, datetime.now(UTC)):
        pass
