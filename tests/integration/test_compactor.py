"""The compactor on a real catalog: what DuckDB and pyiceberg read equals a plain model of the source."""

from __future__ import annotations

import gzip
import json
import random
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog import Catalog

from cdc.contract import TableContract, parse_contract
from cdc.errors import FatalFault, TransientFault
from compactor.compactor import TableCompactor
from compactor.lake.catalog import open_catalog
from compactor.lake.commit import CommitConflict
from compactor.lake.pair import TablePair
from compactor.progress import Progress
from sandbox.aws import Aws
from sandbox.reports import open_lake
from tests.golden_debezium import contract_of, read, recorded
from tests.integration.test_debezium_golden import TIPOS
from tests.raw_zone import PLACEHOLDER, MemoryObjects, ShardWriter, at, event

pytestmark = pytest.mark.slow

CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: urn:test
version: 1.0.0
status: active
schema:
  - name: {name}
    customProperties: [{{property: sourceTable, value: public.t}}]
    properties:
      - {{name: id, physicalType: bigint, primaryKey: true, classification: internal}}
      - {{name: nome, physicalType: text, classification: internal}}
      - {{name: bio, physicalType: text, classification: internal}}
slaProperties: [{{property: latency, value: 60, unit: s}}]
"""
NAMES = iter(f"t{number}" for number in range(1000))


@dataclass
class World:
    """A table in the lake, its raw zone and its quarantine, and a compactor that can be started anew."""

    catalog: Catalog
    contract: TableContract
    environment: dict[str, str]
    raw: MemoryObjects = field(default_factory=MemoryObjects)
    quarantine: MemoryObjects = field(default_factory=MemoryObjects)

    def __post_init__(self) -> None:
        self.compactor = self.restart()

    def restart(self) -> TableCompactor:
        pair = TablePair(self.catalog, "lake", self.contract, b"k" * 32)
        self.compactor = TableCompactor(self.contract, pair, self.raw, self.quarantine, b"k" * 32)
        return self.compactor

    def shard(self, number: int = 0) -> ShardWriter:
        return ShardWriter(self.raw, f"shardId-{number:012}")

    def merge(self) -> None:
        while self.compactor.step().has_moved:
            pass

    def pair(self) -> TablePair:
        return TablePair(self.catalog, "lake", self.contract, b"k" * 32)

    def rows(self) -> dict[int, tuple[Any, ...]]:
        """The table as DuckDB and as pyiceberg read it, after both were found to agree."""
        table = self.pair().table.table
        if table.current_snapshot() is None:
            return {}
        with open_lake(self.environment) as duck:
            query = f"SELECT id, nome, bio, cdc_lsn FROM iceberg_scan('{table.metadata_location}')"
            by_duckdb = sorted(duck.execute(query).fetchall())
        columns = table.scan(selected_fields=("id", "nome", "bio", "cdc_lsn")).to_arrow().to_pylist()
        by_pyiceberg = sorted((row["id"], row["nome"], row["bio"], row["cdc_lsn"]) for row in columns)
        assert by_duckdb == by_pyiceberg
        assert len({row[0] for row in by_duckdb}) == len(by_duckdb)
        return {row[0]: row[1:] for row in by_duckdb}

    def history(self) -> list[tuple[Any, ...]]:
        rows = self.pair().history.table.scan().to_arrow().to_pylist()
        return sorted((row["cdc_lsn"], row["cdc_op"], row["id"] or 0, row["bio"]) for row in rows)


@pytest.fixture
def world(aws: Aws, aws_environment: dict[str, str]) -> World:
    name = next(NAMES)
    return World(open_catalog("lake"), parse_contract(CONTRACT.format(name=name)), aws_environment)


def change(op: str, lsn: int, key: int, nome: str = "", bio: str | None = PLACEHOLDER) -> bytes:
    row = {"id": key} if op == "d" else {"id": key, "nome": nome, "bio": bio}
    return event(op, lsn, None if op == "t" else row, table="t")


def put(
    shard: ShardWriter, contract: TableContract, *events: bytes, seconds: float | None = None, **options: Any
) -> None:
    shard.batch(events, table=contract.name, evidence=None if seconds is None else at(seconds), **options)


def proven(seconds: float) -> str:
    """valid-through after a heartbeat: a second less, for commits that took their time before it and their place after."""
    return at(seconds - 1).isoformat()


def test_nothing_new_changes_nothing(world: World) -> None:
    assert not world.compactor.step().has_moved
    assert world.rows() == {}


def test_changes_in_later_commits_replace_and_delete_rows(world: World) -> None:
    shard = world.shard()
    put(shard, world.contract, change("r", 0, 1, "a", "x"), change("r", 0, 2, "b", "y"), change("c", 5, 3, "c", "z"))
    world.merge()
    put(shard, world.contract, change("u", 6, 1, "a2"), change("d", 7, 2))
    world.merge()
    assert world.rows() == {1: ("a2", "x", 6), 3: ("c", "z", 5)}
    put(shard, world.contract, change("d", 8, 1), change("d", 9, 3))
    world.merge()
    assert world.rows() == {}
    # A data file without a live row is gone from the table.
    assert world.pair().table.live_files() == []
    assert [entry[:3] for entry in world.history()] == [
        (0, "r", 1), (0, "r", 2), (5, "c", 3), (6, "u", 1), (7, "d", 2), (8, "d", 1), (9, "d", 3),
    ]  # fmt: skip


def test_one_delete_file_for_each_data_file_holds_all_its_dead_rows(world: World) -> None:
    shard = world.shard()
    put(shard, world.contract, *(change("c", 1 + key, key, "n", "b") for key in range(20)))
    world.merge()
    for key in range(0, 19, 2):
        put(shard, world.contract, change("d", 100 + key, key))
        world.merge()
    table = world.pair().table
    (file,) = table.live_files()
    assert file.deleted.tolist() == list(range(0, 19, 2))
    assert table.table.inspect.delete_files().num_rows == 1
    assert sorted(world.rows()) == [*range(1, 20, 2)]


def test_duplicates_are_merged_once_also_after_a_restart(world: World) -> None:
    shard = world.shard()
    events = [change("c", 5, 1, "a", "x"), change("u", 6, 1, "b"), change("d", 7, 1), change("c", 8, 2, "c", "y")]
    put(shard, world.contract, *events)
    world.merge()
    told = world.history()
    world.restart()
    put(shard, world.contract, *events, *events)
    world.merge()
    assert world.rows() == {2: ("c", "y", 8)}
    assert world.history() == told


def test_a_late_update_after_a_delete_does_not_bring_the_row_back(world: World) -> None:
    shard = world.shard()
    put(shard, world.contract, change("c", 5, 1, "a", "x"), change("d", 9, 1))
    world.merge()
    world.restart()
    put(shard, world.contract, change("u", 7, 1, "late", "z"))
    world.merge()
    assert world.rows() == {}
    assert (7, "u", 1, "z") in world.history()


def test_an_update_that_overtook_the_one_with_the_value_is_corrected_when_that_arrives(world: World) -> None:
    shard = world.shard()
    put(shard, world.contract, change("c", 40, 1, "a", "old"))
    put(shard, world.contract, change("u", 60, 1, "sixty"))
    world.merge()
    put(shard, world.contract, change("u", 50, 1, "fifty", "new"))
    world.merge()
    assert world.rows() == {1: ("sixty", "new", 60)}


def test_a_key_change_across_shards_waits_for_the_old_row(world: World) -> None:
    left, right = world.shard(0), world.shard(1)
    put(left, world.contract, change("c", 5, 1, "a", "moved"), seconds=5)
    put(right, world.contract, change("c", 6, 9, "z", "z"), change("c", 7, 2, "a"), change("u", 8, 2, "b"), seconds=6)
    world.merge()
    # The delete of the old key is still on its way: the create waits, and what is behind it in its shard.
    assert world.rows() == {1: ("a", "moved", 5), 9: ("z", "z", 6)}
    world.restart()
    world.merge()
    put(left, world.contract, change("d", 7, 1), seconds=7)
    world.merge()
    assert world.rows() == {2: ("b", "moved", 8), 9: ("z", "z", 6)}
    assert world.quarantine.objects == {}


def test_a_key_change_whose_delete_was_merged_long_before_is_filled_from_history(world: World) -> None:
    left, right = world.shard(0), world.shard(1)
    put(left, world.contract, change("c", 5, 1, "a", "moved"), change("u", 6, 1, "b"), change("d", 7, 1))
    world.merge()
    world.restart()
    put(right, world.contract, change("c", 7, 2, "b"))
    world.merge()
    assert world.rows() == {2: ("b", "moved", 7)}


def test_a_value_that_never_comes_is_quarantined_when_every_other_shard_is_past_it(world: World) -> None:
    left, right = world.shard(0), world.shard(1)
    put(left, world.contract, change("c", 5, 1, "a", "x"), seconds=5)
    put(right, world.contract, change("c", 7, 2, "b"), change("u", 8, 2, "c"), change("c", 9, 3, "c", "y"), seconds=9)
    world.merge()
    assert world.rows() == {1: ("a", "x", 5)}
    put(left, world.contract, seconds=20)
    world.merge()
    assert world.rows() == {1: ("a", "x", 5), 3: ("c", "y", 9)}
    assert len(world.quarantine.objects) == 1
    world.restart()
    put(right, world.contract, change("u", 10, 2, "still unknown"), change("u", 11, 2, "whole", "again"))
    world.merge()
    assert world.rows()[2] == ("whole", "again", 11)


def test_a_record_that_cannot_be_read_is_quarantined_and_the_rest_merged(world: World) -> None:
    shard = world.shard()
    put(
        shard, world.contract,
        change("c", 5, 1, "a", "x"), b'{"no": "event"}', event("c", 6, {"id": 2, "nome": 7, "bio": ""}, table="t"),
        event("c", 7, {"nome": "keyless", "bio": ""}, table="t"), change("u", 8, 2, "b"), change("c", 9, 3, "c", "y"),
    )  # fmt: skip
    world.merge()
    assert world.rows() == {1: ("a", "x", 5), 3: ("c", "y", 9)}
    assert [path.split("/")[0] for path in sorted(world.quarantine.objects)] == [
        "missing-column", "not-debezium", "unresolved", "value-not-held",
    ]  # fmt: skip
    lines = [
        json.loads(line) for body in world.quarantine.objects.values() for line in gzip.decompress(body).splitlines()
    ]
    assert {line["seq"]: line["reason"] for line in lines} == {
        "2": "not-debezium", "3": "value-not-held", "4": "missing-column", "5": "unresolved",
    }  # fmt: skip


def test_a_row_keeps_its_position_when_a_later_change_of_it_is_set_aside(world: World) -> None:
    shard = world.shard()
    unreadable = [event("u", lsn, {"id": 1, "nome": 7, "bio": ""}, table="t") for lsn in (6, 8, 12)]
    put(shard, world.contract, change("c", 5, 1, "a", "x"), unreadable[0])
    world.merge()
    put(shard, world.contract, unreadable[1])
    world.merge()
    assert world.rows() == {1: ("a", "x", 5)}
    world.restart()
    put(shard, world.contract, change("u", 9, 1, "not across the mark"))
    world.merge()
    assert world.rows() == {1: ("a", "x", 5)}
    put(shard, world.contract, change("u", 10, 1, "b", "y"), change("u", 11, 1, "c"), unreadable[2])
    world.merge()
    assert world.rows() == {1: ("c", "y", 11)}
    assert [entry[:2] for entry in world.history()] == [
        (5, "c"), (6, "q"), (8, "q"), (9, "q"), (10, "u"), (11, "u"), (12, "q"),
    ]  # fmt: skip


def test_a_truncate_removes_every_row_below_it_and_what_comes_late(world: World) -> None:
    shard, other = world.shard(0), world.shard(1)
    put(shard, world.contract, change("c", 5, 1, "a", "x"), change("c", 6, 2, "b", "y"))
    world.merge()
    put(shard, world.contract, change("t", 10, 0), change("c", 11, 2, "again", "z"))
    world.merge()
    assert world.rows() == {2: ("again", "z", 11)}
    world.restart()
    put(other, world.contract, change("c", 7, 3, "late", "w"), change("t", 10, 0), change("c", 12, 4, "new", "v"))
    world.merge()
    assert world.rows() == {2: ("again", "z", 11), 4: ("new", "v", 12)}
    assert [entry[1] for entry in world.history()].count("t") == 1


@pytest.mark.parametrize("truncates", [False, True])
def test_a_crash_between_the_two_commits_is_mended_from_history(
    world: World, monkeypatch: pytest.MonkeyPatch, *, truncates: bool
) -> None:
    shard = world.shard()
    put(shard, world.contract, change("c", 5, 1, "a", "x"), change("c", 6, 2, "b", "y"), seconds=6)
    world.merge()
    more = [change("t", 7, 0)] if truncates else [change("u", 7, 1, "a2"), change("d", 8, 2), change("c", 8, 3, "b")]
    put(shard, world.contract, *more, seconds=8)
    with monkeypatch.context() as patched:
        patched.setattr(TablePair, "commit_table", _crash)
        with pytest.raises(KeyboardInterrupt):
            world.compactor.step()
    told = world.history()
    world.restart()
    world.merge()
    assert world.rows() == ({} if truncates else {1: ("a2", "x", 7), 3: ("b", "y", 8)})
    assert world.history() == told
    assert world.pair().table.properties["cdc.valid-through"] == proven(8)
    world.restart()
    put(shard, world.contract, change("c", 9, 4, "d", "w"))
    world.merge()
    assert world.rows()[4] == ("d", "w", 9)


def _crash(*_arguments: object) -> None:
    raise KeyboardInterrupt


def _raising(error: BaseException) -> Any:
    def call(*_arguments: object) -> None:
        raise error

    return call


def test_of_two_compactors_neither_doubles_nor_loses(world: World) -> None:
    shard = world.shard()
    put(shard, world.contract, change("c", 5, 1, "a", "x"))
    world.merge()
    first = world.compactor
    second = world.restart()
    second.step()
    put(shard, world.contract, change("u", 6, 1, "b"), change("c", 7, 2, "c", "y"))
    first.step()
    second.step()  # planned against the old head: it must notice, load and find nothing new
    world.merge()
    put(shard, world.contract, change("d", 8, 1))
    first.step()
    first.step()
    assert world.rows() == {2: ("c", "y", 7)}
    assert len(world.history()) == 4


def test_a_lost_answer_of_the_catalog_neither_loses_nor_doubles(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = world.shard()
    put(shard, world.contract, change("c", 5, 1, "a", "x"))
    world.merge()
    commit = type(world.catalog).commit_table
    calls: list[str] = []

    def landed_but_unanswered(*arguments: Any) -> Any:
        commit(*arguments)
        calls.append("lost")
        raise ConnectionError

    put(shard, world.contract, change("u", 6, 1, "b"))
    with monkeypatch.context() as patched:
        patched.setattr(type(world.catalog), "commit_table", landed_but_unanswered)
        world.compactor.step()
    assert calls == ["lost", "lost"]  # history and table, one try each
    assert world.rows() == {1: ("b", "x", 6)}
    assert [entry[0] for entry in world.history()] == [5, 6]


def test_a_conflict_leaves_nothing_behind_and_is_planned_anew(world: World) -> None:
    shard = world.shard()
    put(shard, world.contract, change("c", 5, 1, "a", "x"))
    world.merge()
    stale = world.pair()
    put(shard, world.contract, change("c", 6, 2, "b", "y"))
    world.merge()
    with pytest.raises(CommitConflict):
        stale.commit_table([], {}, frozenset(), stale.table_progress())
    assert sorted(world.rows()) == [1, 2]


def test_a_row_behind_another_shards_hold_is_waited_for(world: World) -> None:
    left, right = world.shard(0), world.shard(1)
    unreadable = event("c", 3, {"id": 1, "nome": 7, "bio": ""}, table="t")
    put(left, world.contract, unreadable)
    put(right, world.contract, change("c", 4, 3, "c", "moved"), seconds=4)
    world.merge()
    put(left, world.contract, change("d", 7, 1), change("c", 9, 4, "c"))
    put(right, world.contract, change("c", 7, 2, "b"), change("d", 9, 3), seconds=20)
    world.merge()
    put(left, world.contract, seconds=20)
    world.merge()
    # Key 2 came from a row that nobody could read; key 4 came from key 3, whose delete lay behind the hold.
    assert world.rows() == {4: ("c", "moved", 9)}


def test_what_comes_late_for_a_key_reaches_the_keys_that_took_over_from_it(world: World) -> None:
    shard = world.shard()
    put(shard, world.contract, change("c", 5, 1, "a", "old"), change("d", 7, 1), change("c", 7, 2, "b"))
    put(shard, world.contract, change("d", 9, 2), change("c", 9, 3, "c"))
    world.merge()
    world.restart()
    put(shard, world.contract, change("u", 6, 1, "late", "new"))
    world.merge()
    assert world.rows() == {3: ("c", "new", 9)}
    # Looked at from the last key alone, history still leads to the first.
    put(shard, world.contract, change("u", 8, 2, "later", PLACEHOLDER))
    world.merge()
    assert world.rows() == {3: ("c", "new", 9)}


def test_a_record_that_breaks_the_reader_is_set_aside(world: World) -> None:
    shard = world.shard()
    row = {"id": 1, "nome": "a", "bio": "x"}
    put(shard, world.contract, event("c", 2**63, row, table="t", seconds=1), change("c", 5, 2, "b", "y"))
    world.merge()
    assert list(world.rows()) == [2]
    assert [path.split("/")[0] for path in world.quarantine.objects] == ["no-position"]


def test_what_the_lake_does_not_answer_is_transient_and_what_it_refuses_is_fatal(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = world.shard()
    put(shard, world.contract, change("c", 5, 1, "a", "x"))
    for raised, fault in (
        (OSError("AWS Error NETWORK_CONNECTION"), TransientFault),
        (OSError("ACCESS_DENIED"), FatalFault),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(TablePair, "build_index", _raising(raised))
            with pytest.raises(fault):
                world.compactor.step()
    world.merge()
    assert list(world.rows()) == [1]


def test_a_commit_behind_which_a_foreign_one_landed_is_a_conflict(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = world.shard()
    put(shard, world.contract, change("c", 5, 1, "a", "x"), change("c", 6, 2, "b", "y"))
    world.merge()
    commit = type(world.catalog).commit_table

    def followed(catalog: Catalog, table: Any, requirements: Any, updates: Any) -> Any:
        answer = commit(catalog, table, requirements, updates)
        if table.name()[1] == world.contract.name:
            monkeypatch.undo()
            catalog.load_table(table.name()).overwrite(catalog.load_table(table.name()).scan().to_arrow())
        return answer

    put(shard, world.contract, change("u", 7, 2, "b2"))
    monkeypatch.setattr(type(world.catalog), "commit_table", followed)
    world.compactor.step()
    put(shard, world.contract, change("u", 8, 2, "b3"))
    world.merge()
    assert world.rows() == {1: ("a", "x", 5), 2: ("b3", "y", 8)}


def test_a_table_made_for_another_contract_or_key_is_refused(world: World) -> None:
    source = CONTRACT.format(name=world.contract.name)
    masked = source.replace("{name: bio, physicalType: text, classification: internal}",
                            "{name: bio, physicalType: text, classification: internal, customProperties: [{property: mask, value: token}]}")  # fmt: skip
    for other, named in ((source.replace("public.t", "public.other"), "cdc.source-table"), (masked, "cdc.masks")):
        with pytest.raises(FatalFault, match=named):
            TablePair(world.catalog, "lake", parse_contract(other), b"k" * 32)
    token = parse_contract(masked.replace(f"name: {world.contract.name}\n", f"name: {next(NAMES)}\n"))
    TablePair(world.catalog, "lake", token, b"k" * 32)
    with pytest.raises(FatalFault, match=r"cdc\.pii-key-check"):
        TablePair(world.catalog, "lake", token, b"another masking key, long enough")


def test_what_is_quarantined_again_after_a_failed_merge_stands_there_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = world.shard()
    put(shard, world.contract, b'{"no": "event"}', change("c", 5, 1, "a", "x"))
    with monkeypatch.context() as patched:
        patched.setattr(TablePair, "commit_history", _raising(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            world.compactor.step()
    put(shard, world.contract, b'{"no": "event either"}')
    world.restart()
    world.merge()
    lines = [line for body in world.quarantine.objects.values() for line in gzip.decompress(body).splitlines()]
    assert len(lines) == 2


def test_a_held_shard_proves_nothing_and_sets_nothing_behind_the_hold_aside(world: World) -> None:
    left, right = world.shard(0), world.shard(1)
    put(left, world.contract, change("c", 5, 1, "a", "x"), seconds=5)
    put(right, world.contract, change("c", 7, 2, "a"), b'{"no": "event"}', seconds=30)
    world.merge()
    assert world.quarantine.objects == {}
    assert world.pair().table.properties["cdc.valid-through"] == ""
    put(left, world.contract, change("d", 7, 1), seconds=40)
    world.merge()
    assert world.rows() == {2: ("a", "x", 7)}
    assert len(world.quarantine.objects) == 1
    assert world.pair().table.properties["cdc.valid-through"] == proven(30)


def test_batches_from_before_a_table_had_its_contract_prove_nothing_of_it(world: World) -> None:
    shard = world.shard()
    shard.batch([change("c", 5, 1, "a", "x")], table="another", evidence=at(50))
    world.merge()
    assert world.pair().table.properties["cdc.valid-through"] == ""
    put(shard, world.contract, seconds=60)
    world.merge()
    assert world.pair().table.properties["cdc.valid-through"] == proven(60)


def test_a_stale_statement_of_progress_is_refused(world: World) -> None:
    shard = world.shard()
    put(shard, world.contract, change("c", 5, 1, "a", "x"))
    world.merge()
    stale = world.pair()
    put(shard, world.contract, change("c", 6, 2, "b", "y"))
    world.merge()
    with pytest.raises(CommitConflict):
        stale.commit_progress(Progress({"s/0": 1}))
    assert "s/0" not in world.pair().table_progress().offsets


def test_rows_are_read_back_out_of_several_row_groups(world: World) -> None:
    shard = world.shard()
    put(shard, world.contract, *(change("c", 1 + key, key, f"n{key}", f"b{key}") for key in range(50)))
    world.compactor._pair.table.table = (
        world.compactor._pair.table.table.transaction()
        .set_properties({"write.parquet.row-group-limit": "7"})
        .commit_transaction()
    )
    world.merge()
    table = world.pair().table
    (file,) = table.live_files()
    with table.table.io.new_input(file.path).open() as stream, pq.ParquetFile(stream) as parquet:
        assert parquet.num_row_groups == 8
    put(shard, world.contract, *(change("u", 100 + key, key, "new") for key in (0, 6, 7, 20, 21, 49)))
    world.merge()
    rows = world.rows()
    assert {key: rows[key][1] for key in range(50)} == {key: f"b{key}" for key in range(50)}


def test_valid_through_is_the_least_of_what_open_shards_prove(world: World) -> None:
    left = world.shard(0)
    put(left, world.contract, change("c", 5, 1, "a", "x"), seconds=50)
    world.merge()
    assert world.pair().table.properties["cdc.valid-through"] == proven(50)
    right = world.shard(1)  # seen, but nothing of it read yet
    put(left, world.contract, change("u", 6, 1, "b"), seconds=70)
    world.merge()
    world.restart()
    # What was proven stays true, but nothing more is while the new shard is silent.
    assert world.pair().table.properties["cdc.valid-through"] == proven(50)
    put(right, world.contract, change("c", 7, 2, "b", "y"))
    world.merge()
    assert world.pair().table.properties["cdc.valid-through"] == proven(50)
    put(right, world.contract, seconds=60)
    world.merge()
    assert world.pair().table.properties["cdc.valid-through"] == proven(60)
    put(right, world.contract, seconds=65, closed=True, children=("shardId-000000000002",))
    put(left, world.contract, seconds=90)
    world.merge()
    assert world.pair().table.properties["cdc.valid-through"] == proven(65)
    put(world.shard(2), world.contract, seconds=80)
    world.merge()
    assert world.pair().table.properties["cdc.valid-through"] == proven(80)


@pytest.mark.parametrize("seed", range(8))
def test_random_histories_end_equal_to_the_source(world: World, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    dice = random.Random(seed)
    truth, shards, done = _random_history(dice, changes=150)
    assert {"insert", "update", "unchanged", "delete", "move", "truncate"} <= done  # the workload did what it claims
    writers = [world.shard(number) for number in range(len(shards))]
    while any(shards):
        for writer, waiting in zip(writers, shards, strict=True):
            count = dice.randint(0, 12)
            events, waiting[:count] = waiting[:count], []
            if events:
                again = dice.choice([0, 0, dice.randint(0, 3)])
                events += dice.choices(events, k=again)
                put(writer, world.contract, *events)
        if dice.random() < 0.3:
            world.restart()
        with monkeypatch.context() as patched:
            if dice.random() < 0.3:
                patched.setattr(TablePair, "commit_table", _crash)
            try:
                world.compactor.step()
            except KeyboardInterrupt:
                world.restart()
    world.merge()
    assert {key: row[:2] for key, row in world.rows().items()} == truth
    assert world.quarantine.objects == {}
    positions = [(lsn, op, key) for lsn, op, key, _ in world.history()]
    assert len(positions) == len(set(positions))


def _random_history(
    dice: random.Random, changes: int
) -> tuple[dict[int, tuple[str, str | None]], list[list[bytes]], set[str]]:
    """A source's history: its final rows, its events by shard (updates and deletes sometimes late), what happened."""
    rows: dict[int, tuple[str, str | None]] = {}
    shards: list[list[bytes]] = [[], [], []]
    done: set[str] = set()

    def send(body: bytes, key: int, *, late: bool = False) -> None:
        shard = shards[key % 3]
        shard.insert(max(len(shard) - dice.randint(0, 6), 0) if late else len(shard), body)

    for lsn in range(1, changes + 1):
        key, nome, bio = dice.randrange(12), f"n{lsn}", dice.choice([None, f"b{lsn}"])
        roll = dice.random()
        if roll < 0.01 or lsn == changes // 2:
            rows.clear()
            send(change("t", lsn, 0), dice.randrange(3))
            done.add("truncate")
        elif key not in rows:
            rows[key] = (nome, bio)
            send(change("c", lsn, key, nome, bio), key)
            done.add("insert")
        elif roll < 0.2:
            del rows[key]
            send(change("d", lsn, key), key)
            done.add("delete")
        elif roll < 0.35 and (free := [k for k in range(12) if k not in rows]):
            new = dice.choice(free)
            rows[new] = (nome, rows.pop(key)[1])
            send(change("d", lsn, key), key)
            send(change("c", lsn, new, nome), new)
            done.add("move")
        elif roll < 0.7:
            rows[key] = (nome, rows[key][1])
            send(change("u", lsn, key, nome), key)
            done.add("unchanged")
        else:
            rows[key] = (nome, bio)
            send(change("u", lsn, key, nome, bio), key, late=dice.random() < 0.3)
            done.add("update")
    return rows, shards, done


def test_every_type_is_committed_and_read_back(aws: Aws, aws_environment: dict[str, str]) -> None:
    """Recorded events of a table with every type, a composite key of uuid and text among them."""
    types = TIPOS.replace("c_interval interval, ", "").replace("c_varbit varbit, ", "").replace("a_int2d int[], ", "")
    contract = contract_of("tipos", types)
    contract = replace(contract, name=next(NAMES), key=("id", "c_uuid", "c_text"))
    world = World(open_catalog("lake"), contract, aws_environment)
    payloads = [record["value"].encode() for record in recorded("11")[:2]]
    put(world.shard(), contract, *payloads)
    world.merge()
    (first, second) = world.pair().table.table.scan().to_arrow().to_pylist()
    changes, _ = read(payloads, contract)
    for change, row in zip(changes, sorted((first, second), key=lambda row: row["id"]), strict=True):
        assert {name: row[name] for name in change.values} == {
            name: pytest.approx(value) if name == "c_real" else value for name, value in change.values.items()
        }
    with open_lake(aws_environment) as duck:
        table = world.pair().table.table
        query = f"SELECT c_num, c_money, c_time, c_bit8, c_bytea, a_num FROM iceberg_scan('{table.metadata_location}')"
        assert duck.execute(query).fetchone() == (
            "123456789.123456789", Decimal("12.34"), "23:59:59.123456", "10101010", bytes.fromhex("deadbeef00"),
            [Decimal("1.10"), Decimal("2.20")],
        )  # fmt: skip
    assert not world.quarantine.objects
