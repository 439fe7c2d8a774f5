"""`cdc status` on a real catalog: what it tells is what is there, and each kind of damage is seen."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import cast

import msgspec
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from cdc_ops.report import Level, Report
from cdc_ops.status_text import status_text
from compactor.lake.pair import TablePair
from compactor.lake.view import look, open_catalog_to_read
from tests.compactor_world import World, change, crash, put
from tests.raw_zone import at, event
from tests.status_world import batches, kinds, raw_objects, rewrite, status_of

pytestmark = pytest.mark.slow

SECRET = "Joaquim-Xavier-000.111.222-33"
NOW = at(20)


@pytest.fixture
def merged(world: World) -> World:
    """Three changes merged, one of them set aside, one record unreadable, one column held; a batch left to merge."""
    shard = world.shard()
    row = {"id": 1, "nome": SECRET, "bio": SECRET, "cor": SECRET}
    aside = event("c", 7, {"id": 3, "nome": 7, "bio": SECRET}, table="t")
    unreadable = json.dumps({"no": SECRET}).encode()
    put(shard, world.contract, event("c", 5, row, table="t"), change("c", 6, 2, "b", "y"), aside, unreadable, seconds=7)
    world.merge()
    put(shard, world.contract, change("u", 8, 2, SECRET), change("d", 9, 1), seconds=9)
    world.merge()
    put(shard, world.contract, change("c", 10, 4, SECRET, SECRET), seconds=10)
    world.raw.put(
        f"_tips/{shard.stream}/{shard.shard}.json",
        json.dumps({"read_to_tip_at": at(18).isoformat(), "upto": "7"}).encode(),
    )
    return world


def test_the_status_is_what_is_there(merged: World) -> None:
    merged.quarantine.put_new("_replayed/no-key/2026/11/21/moved.json.gz", b"no longer told")
    report = status_of(merged, NOW, "checksums")
    assert report.is_fine, report.problems
    (table,) = report.tables
    assert table.table is not None
    assert table.history is not None
    assert (table.table.live_rows, table.table.dead_rows, table.table.data_files) == (1, 0, 1)
    assert (table.history.live_rows, table.history.delete_files, table.history.snapshots) == (5, 0, 2)
    assert min(table.table.bytes, table.table.metadata_bytes, table.history.metadata_bytes) > 0
    assert (table.valid_through, table.valid_through_age_seconds) == (at(8), 12)
    assert table.set_aside == {"nome": {"value-not-held": 1}}
    assert table.quarantined == {"value-not-held": 1, "not-debezium": 1}
    (merging,) = table.shards
    assert (merging.offset, merging.batches_waiting, merging.records_waiting) == ("6", 1, 1)
    (shard,) = report.shards
    assert (shard.upto, shard.read_to_tip_at) == ("7", at(18))
    assert shard.verification is not None
    assert (shard.verification.batches, shard.verification.records) == (3, 7)
    assert {reason: pile.objects for reason, pile in report.quarantine.items()} == {
        "not-debezium": 1,
        "value-not-held": 1,
    }


def test_figures_of_files_are_what_the_manifests_say(merged: World) -> None:
    shard = merged.shard()
    shard.upto = 7
    put(shard, merged.contract, *(change("c", 20 + key, key, "n", "b") for key in range(5, 15)), change("d", 40, 4))
    merged.merge()
    put(shard, merged.contract, change("u", 50, 5, "m"), change("d", 51, 6))
    merged.merge()
    view = look(merged.catalog, "lake", merged.contract.name)
    assert view is not None
    inspected = merged.pair().table.table.inspect
    assert view.table.data_files == inspected.data_files().num_rows
    assert view.table.delete_files == inspected.delete_files().num_rows > 0
    assert view.table.live_rows == len(merged.rows())
    assert view.table.dead_rows == sum(len(file.deleted) for file in merged.pair().table.live_files()) > 0


def test_no_value_of_a_row_is_told(merged: World) -> None:
    sound = raw_objects(merged.raw)[0]
    for body in (merged.raw.objects[sound], SECRET.encode()):
        merged.raw.put(sound, body)
        report = status_of(merged, NOW, "checksums")
        told = status_text(report) + msgspec.json.encode(report).decode()
        assert SECRET not in told
        assert "000.111" not in told


def test_before_the_first_merge_the_table_is_not_made_and_nothing_is_made_by_asking(world: World) -> None:
    name = world.contract.name
    for suffix in ("", "_history"):
        world.catalog.drop_table(("lake", name + suffix))
    report = status_of(world, NOW)
    assert kinds(report) == {"not-made"}
    assert not world.catalog.table_exists(("lake", name))


def _delete_batch(world: World) -> None:
    del world.raw.objects[batches(world.raw)[1]]


def _delete_waiting_batch(world: World) -> None:
    shard = world.shard()
    shard.upto = 9
    put(shard, world.contract, change("c", 30, 9, "a", "x"))


def _stranger(world: World) -> None:
    world.raw.put(batches(world.raw)[0] + ".bak", b"")


def _contradiction(world: World) -> None:
    rewrite(world.raw, batches(world.raw)[-1], after="3")


def _delete_object(world: World) -> None:
    del world.raw.objects[raw_objects(world.raw)[0]]


def _cut_object(world: World) -> None:
    path = raw_objects(world.raw)[0]
    world.raw.put(path, world.raw.objects[path][:-1])


def _flip_bit(world: World) -> None:
    path = raw_objects(world.raw)[0]
    body = world.raw.objects[path]
    world.raw.put(path, body[:20] + bytes([body[20] ^ 1]) + body[21:])


def _close_without_children(world: World) -> None:
    shard = world.shard()
    shard.upto = 7
    put(shard, world.contract, closed=True, children=("shardId-000000000007",))


def _go_on_past_the_end(world: World) -> None:
    rewrite(world.raw, batches(world.raw)[0], closed=True)


@pytest.mark.parametrize(
    ("plant", "level", "kind"),
    [
        (_delete_batch, "names", "gap"),
        (_delete_waiting_batch, None, "gap"),
        (_stranger, "names", "stranger"),
        (_contradiction, None, "contradiction"),
        (_delete_object, "sizes", "missing-object"),
        (_cut_object, "sizes", "wrong-size"),
        (_flip_bit, "checksums", "wrong-content"),
        (_close_without_children, None, "missing-child"),
        (_go_on_past_the_end, "sizes", "after-end"),
    ],
)
def test_planted_damage_is_seen(merged: World, plant: Callable[[World], None], level: Level | None, kind: str) -> None:
    plant(merged)
    report = status_of(merged, NOW, level)
    assert kinds(report) == {kind}
    assert not report.is_fine
    assert status_text(report).splitlines()[-1].startswith(f"{len(report.problems)} problem")


def test_a_merge_that_was_cut_off_is_seen_and_gone_once_it_is_finished(
    merged: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(TablePair, "commit_table", crash)
        with pytest.raises(KeyboardInterrupt):
            merged.compactor.step()
    report = status_of(merged, NOW)
    assert report.tables[0].is_cut_off
    assert "cut-off" not in kinds(report)  # it may be a merge that is under way
    history = report.tables[0].history
    assert history is not None
    assert history.snapshot_at is not None
    assert "cut-off" in kinds(status_of(merged, history.snapshot_at + timedelta(minutes=2)))
    merged.restart()
    merged.merge()
    assert not status_of(merged, NOW).tables[0].is_cut_off


def test_a_merge_between_the_loads_of_history_and_table_does_not_look_cut_off(merged: World) -> None:
    load = merged.catalog.load_table
    loads: list[str] = []

    class Racing:
        def load_table(self, identifier: tuple[str, str]) -> Table:
            loads.append(identifier[1])
            loaded = load(identifier)
            merged.merge()
            return loaded

    before = merged.pair().history.snapshot_id
    view = look(cast("Catalog", Racing()), "lake", merged.contract.name)
    assert view is not None
    assert not view.is_cut_off
    assert loads == [f"{merged.contract.name}_history", merged.contract.name]
    assert view.properties["cdc.history-snapshot"] != str(before)  # there was a merge in between


def test_a_held_shard_is_told_with_what_it_waits_before(world: World) -> None:
    left, right = world.shard(0), world.shard(1)
    put(left, world.contract, change("c", 5, 1, "a", "moved"), seconds=5)
    put(right, world.contract, change("c", 6, 9, "z", "z"), change("c", 7, 2, "a"), seconds=6)
    world.merge()
    (table,) = status_of(world, NOW).tables
    assert [merging.held_before for merging in table.shards] == [None, "2"]


def test_a_closed_shard_is_not_missed_by_readers_once_raw_no_longer_has_its_end(world: World) -> None:
    parent, child = world.shard(0), world.shard(1)
    put(parent, world.contract, change("c", 5, 1, "a", "x"), seconds=5, closed=True, children=(child.shard,))
    put(child, world.contract, change("c", 15, 2, "a", "x"), seconds=15)
    world.merge()
    tip = json.dumps({"read_to_tip_at": at(-3600).isoformat(), "upto": "1"}).encode()
    world.raw.put(f"_tips/{parent.stream}/{parent.shard}.json", tip)
    for path in [path for path in world.raw.objects if parent.shard in path and "_tips" not in path]:
        del world.raw.objects[path]
    report = status_of(world, NOW)
    assert report.is_fine, report.problems
    assert [shard.is_closed for shard in report.shards] == [True, False]


def test_properties_that_cannot_be_read_are_a_problem_and_the_rest_is_told(merged: World) -> None:
    table = merged.pair().table.table
    with table.transaction() as transaction:
        transaction.set_properties({"cdc.offsets": "{"})
    report = status_of(merged, NOW)
    assert kinds(report) == {"unreadable-progress"}
    assert report.tables[0].table is not None


def test_the_catalog_is_asked_to_make_no_tables_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    stated: dict[str, object] = {}
    monkeypatch.setattr("compactor.lake.catalog.load_catalog", lambda _name, **properties: stated.update(properties))
    open_catalog_to_read("lake")
    assert stated["init_catalog_tables"] == "false"


def test_the_moment_is_the_callers(merged: World) -> None:
    later: datetime = NOW + timedelta(hours=1)
    report: Report = status_of(merged, later)
    assert report.at == later
    assert kinds(report) == {"late", "unread"}
