"""`onNewColumn: add`: a new column is shown though no contract names it, as the producer sent it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cdc.contract import ValueBefore
from compactor.columns_seen import parse_columns
from tests.compactor_world import World, put
from tests.lake_columns import made, row, shown, with_columns
from tests.raw_zone import PLACEHOLDER

pytestmark = pytest.mark.slow


def adding(world: World, **columns: str) -> None:
    made(world, **columns)
    world.contract = replace(world.contract, on_new_column="add", new_value_before=ValueBefore(None))
    world.restart()


def values(world: World, *columns: str, suffix: str = "") -> dict[Any, tuple[Any, ...]]:
    rows = shown(world, suffix)
    key = "cdc_lsn" if suffix else "id"
    return {found[key]: tuple(found.get(name, "hidden") for name in columns) for found in rows}


def test_a_new_column_is_shown_as_it_was_sent_and_null_in_older_rows(world: World) -> None:
    adding(world, a="text")
    shard = world.shard()
    put(shard, world.contract, row("c", 5, id=1, a="x"))
    world.merge()
    put(
        shard, world.contract,
        row("c", 6, id=2, a="x", Situação={"b": [1, None]}), row("c", 7, id=3, a="x", Situação="texto"),
        row("c", 8, id=4, a="x", Situação=9007199254740993), row("u", 9, id=3, a="y", Situação=PLACEHOLDER),
        row("c", 10, id=5, a="x", Situação=None), row("c", 11, id=6, a="x", Situação=True),
    )  # fmt: skip
    world.merge()
    expected = {
        1: (None,), 2: ('{"b":[1,null]}',), 3: ("texto",), 4: ("9007199254740993",), 5: (None,), 6: ("true",),
    }  # fmt: skip
    assert values(world, "situacao") == expected
    assert parse_columns(world.pair().table.properties).added == {"Situação": "situacao"}
    world.restart()
    put(shard, world.contract, row("u", 12, id=1, a="x", Situação=PLACEHOLDER), row("c", 13, id=7, a="x", Situação=1.5))
    world.merge()
    assert values(world, "situacao") == {**expected, 7: ("1.5",)}
    assert world.quarantine.objects == {}
    put(shard, world.contract, row("c", 14, id=8, a="it was dropped"), row("c", 4, id=9, a="late"))
    world.merge()
    assert values(world, "situacao") == {**expected, 7: ("1.5",), 9: (None,)}
    assert [path.split("/")[0] for path in world.quarantine.objects] == ["missing-column"]


def test_once_the_contract_names_it_with_a_type_it_is_made_anew(world: World) -> None:
    adding(world, a="text")
    shard = world.shard()
    put(shard, world.contract, row("c", 5, id=1, a="x"))
    put(shard, world.contract, row("c", 6, id=2, a="x", n=7))
    world.merge()
    world.merge()
    assert values(world, "n") == {1: (None,), 2: ("7",)}
    before = world.pair().table.table.schema().find_field("n").field_id
    named = with_columns(world.contract, a="text", n="bigint")
    *columns, n = named.columns
    world.contract = replace(named, columns=(*columns, replace(n, value_before=ValueBefore(None))))
    world.restart()
    put(shard, world.contract, row("c", 7, id=3, a="x", n=8))
    world.merge()
    assert values(world, "n") == {1: (None,), 2: (7,), 3: (8,)}
    assert values(world, "n", suffix="_history") == {5: (None,), 6: (7,), 7: (8,)}
    assert world.pair().table.table.schema().find_field("n").field_id > before
    assert parse_columns(world.pair().table.properties).added == {}


def test_a_name_that_is_taken_and_one_that_is_left_out_are_not_added(world: World) -> None:
    adding(world, a="text")
    world.contract = replace(world.contract, left_out=("secret",))
    world.restart()
    shard = world.shard()
    put(shard, world.contract, row("c", 5, id=1, a="x", A="clash", secret="s", Novo="n"))
    world.merge()
    assert shown(world) == [{"id": 1, "a": "x", "novo": "n", "cdc_lsn": 5}]
    world.contract = replace(world.contract, left_out=("secret", "Novo"))
    world.restart()
    world.merge()
    assert shown(world) == [{"id": 1, "a": "x", "cdc_lsn": 5}]
    world.contract = replace(world.contract, left_out=())
    world.restart()
    world.merge()
    assert shown(world) == [{"id": 1, "a": "x", "novo": "n", "secret": "s", "cdc_lsn": 5}]


def test_without_a_statement_on_older_rows_it_waits_until_there_are_none(world: World) -> None:
    adding(world, a="text")
    world.contract = replace(world.contract, new_value_before=None)
    world.restart()
    shard = world.shard()
    put(shard, world.contract, row("c", 5, id=1, a="x"))
    put(shard, world.contract, row("c", 6, id=2, a="x", n="new"))
    world.merge()
    assert values(world, "n") == {1: ("hidden",), 2: ("hidden",)}
    assert set(parse_columns(world.pair().table.properties).waiting) == {"n"}
    put(shard, world.contract, row("u", 7, id=1, a="x", n="newer"))
    world.merge()
    assert values(world, "n") == {1: ("newer",), 2: ("new",)}
