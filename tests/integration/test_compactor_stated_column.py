"""Columns of which the type, or what older rows have, is told by the producer and not by the contract."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from cdc.stated_columns import StatedColumn
from cdc_publisher import envelope
from cdc_publisher.envelope import TableFormat
from compactor.columns_seen import parse_columns
from tests.compactor_world import World, put
from tests.lake_columns import made, row, shown, with_columns

pytestmark = pytest.mark.slow
TABLE = TableFormat.of("public", "t", [], [])


def adding(world: World) -> None:
    made(world, a="text")
    world.contract = replace(world.contract, on_new_column="add")
    world.restart()


def ours(op: str, lsn: int, **values: Any) -> bytes:
    """An event of our own publisher."""
    event = json.loads(row(op, lsn, **values))
    event["source"]["version"] = envelope.VERSION
    return json.dumps(event).encode()


def states(lsn: int, *columns: StatedColumn) -> bytes:
    return envelope.stated_columns(envelope.moment("app", "false", 1, 3), TABLE, columns, None, lsn, 1).data


def known(name: str, number: int, type_: str, before: str | None) -> StatedColumn:
    return StatedColumn(name, number, type_, is_before_known=True, before=before)


def values(world: World, *columns: str) -> dict[int, tuple[Any, ...]]:
    return {found["id"]: tuple(found.get(name, "hidden") for name in columns) for found in shown(world)}


def test_an_added_column_has_the_stated_type_and_older_rows_what_they_were_given(world: World) -> None:
    adding(world)
    shard, other = world.shard(), world.shard(1)
    put(shard, world.contract, ours("c", 5, id=1, a="x"))
    world.merge()
    said = states(8, known("n", 3, "bigint", "7"), known("d", 4, "date", "2024-02-29"), known("z", 5, "integer", None))
    put(shard, world.contract, said, ours("c", 8, id=2, a="x", n=8, d=0, z=1))
    put(other, world.contract, said)
    world.merge()
    expected = {1: (7, date(2024, 2, 29), None), 2: (8, date(1970, 1, 1), 1)}
    assert values(world, "n", "d", "z") == expected
    assert world.quarantine.objects == {}
    assert "2024-02-29" not in json.dumps(dict(world.pair().table.properties))
    world.restart()
    put(shard, world.contract, said, ours("c", 9, id=3, a="x", n=1 << 40, d=None, z=3))
    world.merge()
    assert values(world, "n", "d", "z") == expected | {3: (1 << 40, None, 3)}


def test_a_value_that_the_catalogs_do_not_know_keeps_an_added_column_waiting(world: World) -> None:
    adding(world)
    shard = world.shard()
    put(shard, world.contract, ours("c", 5, id=1, a="x"), states(8, StatedColumn("n", 3, "bigint")))
    put(shard, world.contract, ours("c", 8, id=2, a="x", n=8))
    world.merge()
    assert values(world, "n") == {1: ("hidden",), 2: ("hidden",)}
    put(shard, world.contract, ours("u", 9, id=1, a="x", n=1))
    world.merge()
    assert values(world, "n") == {1: (1,), 2: (8,)}


def test_a_held_column_that_the_contract_comes_to_name_needs_no_value_from_before(world: World) -> None:
    made(world, a="text")
    shard = world.shard()
    put(shard, world.contract, ours("c", 5, id=1, a="x"), states(8, known("c", 3, "text", "12345678901")))
    put(shard, world.contract, ours("c", 8, id=2, a="x", c="98765432100"))
    world.merge()
    world.contract = with_columns(world.contract, a="text", c="text/last4")
    world.restart()
    world.merge()
    assert values(world, "c") == {1: ("*******8901",), 2: ("*******2100",)}


def test_an_added_column_that_becomes_another_one_under_its_name_is_made_anew(world: World) -> None:
    adding(world)
    shard = world.shard()
    put(shard, world.contract, ours("c", 5, id=1, a="x"), ours("c", 6, id=2, a="x"), ours("c", 7, id=3, a="x"))
    put(shard, world.contract, states(8, known("n", 3, "bigint", "7")), ours("u", 8, id=2, a="x", n=8))
    world.merge()
    assert values(world, "n") == {1: (7,), 2: (8,), 3: (7,)}
    put(shard, world.contract, states(20, known("n", 4, "text", "sete")), ours("u", 20, id=3, a="x", n="oito"))
    world.merge()
    assert values(world, "n") == {1: ("sete",), 2: ("sete",), 3: ("oito",)}


def test_while_it_is_not_sure_which_column_it_is_nothing_of_it_is_shown(world: World) -> None:
    adding(world)
    shard = world.shard()
    put(shard, world.contract, ours("c", 5, id=1, a="x"), states(8, known("n", 3, "bigint", "7")))
    put(shard, world.contract, ours("c", 8, id=2, a="x", n=8))
    world.merge()
    assert values(world, "n") == {1: (7,), 2: (8,)}
    put(shard, world.contract, states(20, StatedColumn("n", None, "bigint")), ours("c", 20, id=3, a="x", n=9))
    world.merge()
    assert set(values(world, "n").values()) == {("hidden",)}
    put(shard, world.contract, states(20, known("n", 4, "bigint", "70")), ours("c", 21, id=4, a="x", n=10))
    world.merge()
    assert values(world, "n") == {1: (70,), 2: (70,), 3: (9,), 4: (10,)}


def test_what_may_be_of_the_column_before_or_of_the_one_now_is_never_shown(world: World) -> None:
    made(world, a="text")
    shard = world.shard()
    put(shard, world.contract, ours("c", 5, id=1, a="x"))
    put(shard, world.contract, states(8, known("n", 3, "bigint", "7")), ours("c", 8, id=2, a="x", n=8))
    # Whose 9 this is, nobody can tell: the column was dropped and added anew before it or after it.
    put(shard, world.contract, ours("c", 9, id=3, a="x", n=9), states(20, known("n", 4, "bigint", "70")))
    put(shard, world.contract, ours("c", 20, id=4, a="x", n=80))
    world.merge()
    world.contract = with_columns(world.contract, a="text", n="bigint")
    world.restart()
    world.merge()
    assert set(values(world, "n").values()) == {("hidden",)}
    assert "1 row(s)" in parse_columns(world.pair().table.properties).waiting["n"]
    put(shard, world.contract, ours("u", 21, id=3, a="x", n=10))
    world.merge()
    assert values(world, "n") == {1: (70,), 2: (70,), 3: (10,), 4: (80,)}


def test_the_schema_of_a_message_tells_the_type_of_an_added_column(world: World) -> None:
    adding(world)
    shard = world.shard()
    put(shard, world.contract, with_schema(row("c", 5, id=1, a="x", n=7, m=1), n="int32", m="int32"))
    world.merge()
    assert values(world, "n", "m") == {1: (7, 1)}
    assert {one.name: str(one.type) for one in world.pair().shown.columns if one.name in "mn"} == {
        "m": "integer",
        "n": "integer",
    }


def test_where_schemas_differ_an_added_column_is_text(world: World) -> None:
    adding(world)
    shard = world.shard()
    events = [with_schema(row("c", lsn, id=lsn, a="x", n=lsn), n=type_) for lsn, type_ in ((5, "int32"), (6, "int64"))]
    put(shard, world.contract, *events)
    world.merge()
    assert values(world, "n") == {5: ("5",), 6: ("6",)}


def with_schema(event: bytes, **types: str) -> bytes:
    """An event as Kafka Connect's JsonConverter sends it with schemas."""
    fields = [{"field": name, "type": type_, "optional": True} for name, type_ in types.items()]
    fields += [{"field": "id", "type": "int64"}, {"field": "a", "type": "string", "optional": True}]
    image = {"type": "struct", "field": "after", "fields": fields}
    return json.dumps({"schema": {"type": "struct", "fields": [image]}, "payload": json.loads(event)}).encode()
