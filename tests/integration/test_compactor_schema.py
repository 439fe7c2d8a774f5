"""The contract changes after its table was made: the table and its history follow, or the change is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cdc.errors import FatalFault
from cdc.postgres_type import PostgresType
from compactor.lake.commit import commit_schema
from tests.compactor_world import NAMES, World, crash, put
from tests.lake_columns import made, row, shown, with_columns

pytestmark = pytest.mark.slow


def test_types_are_widened_and_a_column_that_is_not_named_any_more_is_gone(world: World) -> None:
    made(world, n="integer", v="numeric(6,2)", f="real", gone="text")
    shard = world.shard()
    put(shard, world.contract, row("c", 5, id=1, n=7, v="1.25", f=0.1, gone="secret"))
    world.merge()
    world.contract = with_columns(world.contract, n="bigint", v="numeric(12,2)", f="double precision")
    world.restart()
    world.merge()
    put(
        shard,
        world.contract,
        row("c", 6, id=2, n=1 << 40, v="123456789.25", f=0.1, gone="x"),
        row("u", 7, id=1, n=8, v="2.50", f=0.5, gone="y"),
    )
    world.merge()
    rows = [{**found, "v": str(found["v"])} for found in shown(world)]
    assert rows == [
        {"id": 2, "n": 1 << 40, "v": "123456789.25", "f": 0.1, "cdc_lsn": 6},
        {"id": 1, "n": 8, "v": "2.50", "f": 0.5, "cdc_lsn": 7},
    ]
    assert [(found["n"], str(found["v"]), found["f"]) for found in shown(world, "_history")] == [
        (7, "1.25", 0.10000000149011612), (1 << 40, "123456789.25", 0.1), (8, "2.50", 0.5),
    ]  # fmt: skip


def test_a_key_that_was_widened_still_tells_rows_apart(world: World) -> None:
    wide = replace(with_columns(world.contract, a="text"), name=next(NAMES))
    key = replace(wide.columns[0], type=PostgresType("integer"))
    world.contract = replace(wide, columns=(key, *wide.columns[1:]))
    world.restart()
    shard = world.shard()
    put(shard, world.contract, row("c", 5, id=1, a="x"), row("c", 6, id=2, a="y"))
    world.merge()
    world.contract = wide
    world.restart()
    put(shard, world.contract, row("u", 7, id=1, a="z"), row("c", 8, id=1 << 40, a="w"), row("d", 9, id=2))
    world.merge()
    world.restart()
    put(shard, world.contract, row("u", 4, id=1, a="late"))
    world.merge()
    assert [(found["id"], found["a"]) for found in shown(world)] == [(1, "z"), (1 << 40, "w")]


@pytest.mark.parametrize("place", ["history", "table"])
def test_a_crash_between_the_two_tables_is_mended_by_the_next_start(
    world: World, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    made(world, n="integer", gone="text")
    shard = world.shard()
    put(shard, world.contract, row("c", 5, id=1, n=7, gone="x"))
    world.merge()
    world.contract = with_columns(world.contract, n="bigint")

    def only_one(lake: Any, *rest: Any) -> None:
        if lake.name.endswith("_history") == (place == "history"):
            crash()
        commit_schema(lake, *rest)

    with monkeypatch.context() as patch:
        patch.setattr("compactor.lake.pair.commit_schema", only_one)
        world.restart()
        with pytest.raises(KeyboardInterrupt):
            world.compactor.step()
    world.restart()
    put(shard, world.contract, row("u", 6, id=1, n=1 << 33))
    world.merge()
    assert shown(world) == [{"id": 1, "n": 1 << 33, "cdc_lsn": 6}]
    assert [found["n"] for found in shown(world, "_history")] == [7, 1 << 33]


def test_of_two_compactors_the_one_with_the_old_handles_plans_anew(world: World) -> None:
    made(world, n="integer")
    shard = world.shard()
    put(shard, world.contract, row("c", 5, id=1, n=7))
    world.merge()
    world.contract = with_columns(world.contract, n="bigint")
    other = world.compactor
    world.restart()
    second = world.compactor
    world.restart()
    world.merge()
    put(shard, world.contract, row("u", 6, id=1, n=8))
    # One has its handles from before the change, and the contract too; it finds that the lake has moved on.
    assert other.step().has_moved
    with pytest.raises(FatalFault, match="n is long in the lake and cannot become int"):
        other.step()
    while second.step().has_moved:
        pass
    world.merge()
    assert shown(world) == [{"id": 1, "n": 8, "cdc_lsn": 6}]


def test_what_cannot_follow_is_refused_and_nothing_touched(world: World) -> None:
    made(world, v="numeric(12,2)", a="text")
    put(world.shard(), world.contract, row("c", 5, id=1, v="1.25", a="x"))
    world.merge()
    before = world.pair().table.table.metadata_location
    refused = (
        (with_columns(world.contract, v="numeric(18,4)", a="text"), "v is decimal"),
        (with_columns(world.contract, v="numeric(12,2)", a="integer"), "a is string in the lake"),
        (with_columns(world.contract, v="numeric(14,2)", a="text/last4"), "a is masked by clear"),
        (replace(world.contract, source_table="other"), "another source table"),
    )
    for contract, message in refused:
        world.contract, made_for = contract, world.contract
        with pytest.raises(FatalFault, match=message):
            world.restart()
        world.contract = made_for
    assert world.pair().table.table.metadata_location == before


def test_a_renamed_column_keeps_the_lakes_name_and_is_read_by_either_name(world: World) -> None:
    made(world, a="text")
    shard = world.shard()
    put(shard, world.contract, row("c", 5, id=1, a="x"))
    world.merge()
    (column,) = world.contract.columns[1:]
    renamed = replace(column, source_name="b", former_names=("a",))
    world.contract = replace(world.contract, columns=(world.contract.columns[0], renamed))
    put(shard, world.contract, row("c", 6, id=2, a="before"), row("u", 7, id=1, b="after"))
    world.restart()
    world.merge()
    assert [(found["id"], found["a"]) for found in shown(world)] == [(2, "before"), (1, "after")]
    assert world.quarantine.objects == {}


def test_a_column_that_got_the_name_of_a_dropped_one_is_not_read_from_that(world: World) -> None:
    """An event of before names both; the present name is another column's value there, the personal one perhaps."""
    made(world, a="text", b="text")
    shard = world.shard()
    put(shard, world.contract, row("c", 5, id=1, a="x", b="other"))
    world.merge()
    (column, _) = world.contract.columns[1:]
    renamed = replace(column, source_name="b", former_names=("a",))
    world.contract = replace(world.contract, columns=(world.contract.columns[0], renamed))
    put(shard, world.contract, row("c", 6, id=2, a="before", b="other"), row("u", 7, id=1, b="after"))
    world.restart()
    world.merge()
    assert [(found["id"], found["a"]) for found in shown(world)] == [(1, "after")]
    assert [path.split("/")[0] for path in world.quarantine.objects] == ["ambiguous-name"]
