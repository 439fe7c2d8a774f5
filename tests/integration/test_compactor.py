"""The compactor on a real catalog: what DuckDB and pyiceberg read equals a plain model of the source."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from decimal import Decimal

import pyarrow.parquet as pq
import pytest

from compactor.lake.catalog import open_catalog
from sandbox.aws import Aws
from sandbox.reports import open_lake
from tests.compactor_world import NAMES, World, change, proven, put
from tests.golden_debezium import contract_of, read, recorded
from tests.integration.test_debezium_golden import TIPOS
from tests.raw_zone import PLACEHOLDER, at, event

pytestmark = pytest.mark.slow


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


def test_a_value_that_never_comes_is_quarantined_when_every_shard_is_past_it(world: World) -> None:
    left, right = world.shard(0), world.shard(1)
    put(left, world.contract, change("c", 5, 1, "a", "x"), seconds=5)
    put(right, world.contract, change("c", 7, 2, "b"), change("u", 8, 2, "c"), change("c", 9, 3, "c", "y"), seconds=9)
    world.merge()
    assert world.rows() == {1: ("a", "x", 5)}
    put(left, world.contract, seconds=20)
    world.merge()
    assert world.rows() == {1: ("a", "x", 5)}
    put(right, world.contract, seconds=20)
    world.merge()
    assert world.rows() == {1: ("a", "x", 5), 3: ("c", "y", 9)}
    assert {path.split("/")[0] for path in world.quarantine.objects} == {"unresolved"}
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
    put(right, world.contract, seconds=65, closed=True, children=("shardId-000000000002", "shardId-000000000003"))
    put(left, world.contract, seconds=90)
    world.merge()
    assert world.pair().table.properties["cdc.valid-through"] == proven(65)
    for child in (2, 3):
        put(world.shard(child), world.contract, seconds=80)
    world.merge()
    assert world.pair().table.properties["cdc.valid-through"] == proven(80)


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
    for merged, row in zip(changes, sorted((first, second), key=lambda row: row["id"]), strict=True):
        assert {name: row[name] for name in merged.values} == {
            name: pytest.approx(value) if name == "c_real" else value for name, value in merged.values.items()
        }
    with open_lake(aws_environment) as duck:
        table = world.pair().table.table
        query = f"SELECT c_num, c_money, c_time, c_bit8, c_bytea, a_num FROM iceberg_scan('{table.metadata_location}')"
        assert duck.execute(query).fetchone() == (
            "123456789.123456789", Decimal("12.34"), "23:59:59.123456", "10101010", bytes.fromhex("deadbeef00"),
            [Decimal("1.10"), Decimal("2.20")],
        )  # fmt: skip
    assert not world.quarantine.objects
