"""Debezium and DMS begin a snapshot anew: the table waits, `cdc epoch` shows where, and once recorded all is right."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from cdc import raw
from cdc.epoch import read_epochs
from cdc_ops.epoch_run import Asked, tell_and_record
from compactor.progress import parse_progress
from tests.compactor_world import NAMES, World, change, proven, put
from tests.golden_debezium import contract_of, recorded
from tests.integration.test_debezium_golden import USUARIOS
from tests.raw_zone import START, ShardWriter, at, event

pytestmark = pytest.mark.slow


def read(seconds: float, key: int, nome: str, bio: str, snapshot: str = "true") -> bytes:
    """A read of a snapshot that was taken then."""
    told = json.loads(event("r", 1, {"id": key, "nome": nome, "bio": bio}, table="t", seconds=seconds))
    return json.dumps({**told, "source": {**told["source"], "snapshot": snapshot}}).encode()


def asked(world: World, *, is_agreed: bool = True, **what: Any) -> tuple[int, str]:
    """`cdc epoch`: the exit code, and what it tells."""
    told: list[str] = []
    properties = world.pair().table.properties
    progress = parse_progress(properties, "t")
    order = Asked(world.contract.name, what.pop("at", {}), is_agreed=is_agreed, **what)
    code = tell_and_record(world.raw, progress, order, told.append, lambda: None)
    return code, "".join(told)


def dms(operation: str, key: int, nome: str, seconds: float) -> bytes:
    """A record of DMS."""
    moment = at(seconds).isoformat().replace("+00:00", "Z")
    streamed = {"commit-timestamp": moment, "stream-position": "00000000/00000064.3.00000000/00000064",
                "transaction-id": 1, "transaction-record-id": 1}  # fmt: skip
    metadata = {
        "timestamp": moment,
        "record-type": "data",
        "operation": operation,
        "schema-name": "public",
        "table-name": "t",
    }
    return json.dumps(
        {
            "data": {"id": key, "nome": nome, "bio": "b"},
            "metadata": metadata | (streamed if operation != "load" else {}),
        }
    ).encode()


def beat(world: World, shard: ShardWriter, seconds: float, lsn: int) -> None:
    """A heartbeat of the source with this LSN."""
    put(shard, world.contract, seconds=seconds)
    path = max(path for path in world.raw.objects if path.startswith("_batches/"))
    record = msgspec.json.decode(world.raw.objects[path], type=raw.BatchRecord)
    told = msgspec.structs.replace(record, evidence=raw.Evidence(at(seconds), lsn))
    world.raw.objects[path] = msgspec.json.encode(told)


def read_to_tip(*shards: ShardWriter) -> None:
    """The consumer has read the shards to their tips, an hour after the records."""
    for shard in shards:
        tip = raw.Tip(START + timedelta(hours=1), str(shard.upto))
        shard.store.put(raw.tip_path(shard.stream, shard.shard), msgspec.json.encode(tip))


def test_a_snapshot_after_streamed_changes_waits_for_the_operator(world: World) -> None:
    left, right = world.shard(0), world.shard(1)
    put(left, world.contract, read(1, 1, "a", "x"), read(1, 2, "b", "y"), change("u", 100, 1, "a2"))
    put(right, world.contract, read(1, 3, "c", "z"), change("u", 110, 3, "c2"), seconds=110)
    put(left, world.contract, seconds=110)
    world.merge()
    before = world.rows()
    # The offsets were lost; meanwhile 2 was deleted and 1 changed. LSNs are lower: the database was restored.
    put(left, world.contract, change("u", 120, 1, "a3"), read(500, 1, "new", "n"), read(500, 4, "d", "w"))
    put(right, world.contract, change("u", 121, 3, "c3"), read(500, 3, "c3", "z", "last"))
    put(right, world.contract, event("u", 9, {"id": 3, "nome": "c4", "bio": "z"}, table="t", seconds=510))
    world.merge()
    assert world.rows() == before
    world.restart()
    world.merge()
    assert world.rows() == before
    assert json.loads(world.pair().table.properties["cdc.waits-for-epoch"]) == {
        f"{left.stream}/{left.shard}": "6",
        f"{right.stream}/{right.shard}": "4",
    }

    code, told = asked(world, is_agreed=False)
    assert code == 1
    assert "epoch 2 would begin" in told
    assert "not recorded" in told
    assert read_epochs(world.raw, world.contract.name).newest == 1
    code, told = asked(world)
    assert code == 0
    assert {
        shard[-1]: number for shard, number in read_epochs(world.raw, world.contract.name).starts[0].starts.items()
    } == {
        "0": "6",
        "1": "4",
    }

    world.merge()
    assert world.rows() == {1: ("new", "n", 0), 2: ("b", "y", 0), 3: ("c4", "z", 9), 4: ("d", "w", 0)}
    assert world.pair().table.properties["cdc.waits-for-epoch"] == "{}"
    # The last read is there, but what another shard still lacks cannot be told before it is read for longer.
    put(left, world.contract, seconds=600)
    put(right, world.contract, seconds=600)
    world.merge()
    assert 2 in world.rows()
    assert world.pair().table.properties["cdc.valid-through"] == proven(110)
    read_to_tip(left, right)
    world.merge()
    assert sorted(world.rows()) == [1, 3, 4]
    assert world.pair().table.properties["cdc.valid-through"] == proven(600)
    assert (0, "d", 2, None) in world.history()


def test_changes_merged_before_the_snapshot_was_noticed_come_again_as_what_they_are(world: World) -> None:
    left, right = world.shard(0), world.shard(1)
    put(left, world.contract, change("c", 100, 1, "a", "x"))
    put(right, world.contract, change("c", 101, 2, "b", "y"))
    world.merge()
    # The other shard was read sooner: a change behind the snapshot is merged as one of the old epoch.
    put(right, world.contract, event("u", 7, {"id": 2, "nome": "new", "bio": "n"}, table="t", seconds=510))
    world.merge()
    assert world.rows()[2] == ("b", "y", 101)
    put(left, world.contract, read(500, 1, "a", "x"), read(500, 2, "b2", "y2"))
    world.merge()
    assert asked(world)[0] == 0
    world.merge()
    assert world.rows() == {1: ("a", "x", 0), 2: ("new", "n", 7)}
    assert asked(world, is_complete=True)[0] == 0
    world.merge()
    assert world.rows() == {1: ("a", "x", 0), 2: ("new", "n", 7)}


def test_the_first_snapshot_an_incremental_one_and_reads_sent_again_are_no_new_epoch(world: World) -> None:
    shard = world.shard()
    put(shard, world.contract, read(1, 1, "a", "x"), change("c", 100, 2, "b", "y"), read(1, 3, "c", "z"))
    put(shard, world.contract, read(500, 2, "b", "y", "incremental"))
    world.merge()
    assert sorted(world.rows()) == [1, 2, 3]
    code, told = asked(world)
    assert code == 0
    assert "no snapshot" in told


def test_an_epoch_that_continues_keeps_rows_and_fills_unchanged_values(world: World) -> None:
    shard = world.shard()
    put(shard, world.contract, change("c", 100, 1, "a", "x"), change("c", 101, 2, "b", "y"), seconds=200)
    world.merge()
    assert asked(world, is_from_now=True, continues=True)[0] == 0
    put(shard, world.contract, change("u", 7, 1, "a2"), seconds=300)
    world.merge()
    assert world.rows() == {1: ("a2", "x", 7), 2: ("b", "y", 101)}
    assert world.pair().table.properties["cdc.valid-through"] == proven(300)


def test_a_dms_reload_waits_and_is_complete_when_the_operator_says_so(world: World) -> None:
    shard = world.shard()

    put(shard, world.contract, dms("load", 1, "a", 1), dms("load", 2, "b", 1), dms("insert", 3, "c", 100))
    world.merge()
    assert sorted(world.rows()) == [1, 2, 3]
    put(shard, world.contract, dms("load", 1, "a2", 500), dms("load", 3, "c", 501))
    world.merge()
    assert world.rows()[1][0] == "a"
    assert asked(world)[0] == 0
    world.merge()
    assert world.rows()[1][0] == "a2"
    assert sorted(world.rows()) == [1, 2, 3]
    assert asked(world, is_complete=True)[0] == 0
    world.merge()
    assert sorted(world.rows()) == [1, 3]


def test_lsns_that_begin_anew_without_an_epoch_stop_the_table(world: World) -> None:
    shard = world.shard()
    put(shard, world.contract, change("c", 100, 1, "a", "x"))
    beat(world, shard, 200, 1000)
    world.merge()
    beat(world, shard, 300, 10)
    put(shard, world.contract, event("u", 11, {"id": 1, "nome": "b", "bio": "y"}, table="t", seconds=310))
    world.merge()
    assert world.rows() == {1: ("a", "x", 100)}
    assert asked(world, continues=True)[0] == 0
    world.merge()
    assert world.rows() == {1: ("b", "y", 11)}
    beat(world, shard, 400, 20)
    world.merge()
    assert world.pair().table.properties["cdc.valid-through"] == proven(400)


def test_debezium_as_it_was_recorded_that_takes_a_second_snapshot(world: World) -> None:
    contract = replace(contract_of("Usuários", USUARIOS), name=next(NAMES))
    world = World(world.catalog, contract, world.environment)
    left, right = world.shard(0), world.shard(1)
    events = [json.loads(record["value"]) for record in recorded("13") if record["value"]]
    for told in events:
        row = told["after"] or told["before"]
        put((left, right)[row["id"] % 2], contract, json.dumps(told).encode())
    world.merge()
    first = world.rows()
    assert len(first) > 5
    # The connector lost its offsets and reads anew, an hour later, what the recording began with; half of it is gone.
    reads = [told for told in events if told["op"] == "r" and told["after"]["id"] % 4 > 1]
    assert {told["after"]["id"] for told in reads} < {told["after"]["id"] for told in events if told["op"] == "r"}
    for number, told in enumerate(reads):
        marker = "last" if told is reads[-1] else "true" if number else "first"
        source = {**told["source"], "snapshot": marker, "lsn": 500, "ts_us": told["source"]["ts_us"] + 3_600_000_000}
        again = {**told, "after": {**told["after"], "nome": f"de novo {number}"}, "source": source}
        put((left, right)[told["after"]["id"] % 2], contract, json.dumps(again).encode())
    world.merge()
    assert world.rows() == first
    assert asked(world)[0] == 0
    world.merge()
    read_to_tip(left, right)
    world.merge()
    assert {key: row[0] for key, row in world.rows().items()} == {
        told["after"]["id"]: f"de novo {number}" for number, told in enumerate(reads)
    }
