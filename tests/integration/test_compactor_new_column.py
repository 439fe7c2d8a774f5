"""A column that the contract comes to name later is shown when all its values are known: from raw, or as stated."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from cdc import raw
from compactor.columns_seen import parse_columns
from compactor.lake import pair as pair_module
from tests.compactor_world import NAMES, World, crash, put
from tests.lake_columns import known_before, made, row, shown, with_columns
from tests.raw_zone import PLACEHOLDER

pytestmark = pytest.mark.slow


def values(world: World, column: str = "c") -> dict[int, Any]:
    return {found["id"]: found.get(column, "hidden") for found in shown(world)}


def told(world: World, column: str = "c") -> list[tuple[Any, ...]]:
    rows = sorted(shown(world, "_history"), key=lambda found: (found["cdc_lsn"], found["id"]))
    return [(found["cdc_lsn"], found["cdc_op"], found["id"], found[column]) for found in rows]


def test_the_values_of_the_held_time_come_from_raw(world: World) -> None:
    made(world, a="text")
    shard, other = world.shard(), world.shard(1)
    put(shard, world.contract, row("r", 0, id=1, a="read"), row("c", 5, id=2, a="old"), row("c", 6, id=3, a="gone"))
    world.merge()
    # ADD COLUMN c DEFAULT 'd', which is known.
    put(
        shard, world.contract, row("u", 10, id=2, a="x", c="two"), row("d", 11, id=3), row("c", 12, id=4, a="y", c=None)
    )
    put(other, world.contract, row("c", 13, id=5, a="z", c="five"))
    world.merge()
    assert values(world) == {1: "hidden", 2: "hidden", 4: "hidden", 5: "hidden"}
    world.contract = known_before(with_columns(world.contract, a="text", c="text"), "c", "d")
    world.restart()
    world.merge()
    assert values(world) == {1: "d", 2: "two", 4: None, 5: "five"}
    assert told(world) == [
        (0, "r", 1, "d"), (5, "c", 2, "d"), (6, "c", 3, "d"), (10, "u", 2, "two"), (11, "d", 3, None),
        (12, "c", 4, None), (13, "c", 5, "five"),
    ]  # fmt: skip
    put(shard, world.contract, row("u", 14, id=1, a="read", c=PLACEHOLDER), row("u", 15, id=2, a="w", c="more"))
    world.merge()
    assert values(world) == {1: "d", 2: "more", 4: None, 5: "five"}
    # A late change of before the column was added lacks it, and one of after names it.
    put(
        other,
        world.contract,
        row("c", 4, id=9, a="late"),
        row("u", 11, id=5, a="later"),
        row("u", 9, id=2, a="between"),
    )
    world.merge()
    assert values(world) == {1: "d", 2: "more", 4: None, 5: "five", 9: "d"}
    assert [path.split("/")[0] for path in world.quarantine.objects] == ["missing-column"]


def test_a_column_whose_value_in_old_rows_nobody_knows_waits_until_no_row_is_older(world: World) -> None:
    made(world, a="text")
    shard = world.shard()
    put(shard, world.contract, row("c", 5, id=1, a="x"), row("c", 6, id=2, a="y"))
    world.merge()
    put(shard, world.contract, row("c", 10, id=3, a="z", c=3))
    world.merge()
    world.contract = with_columns(world.contract, a="text", c="integer")
    world.restart()
    world.merge()
    assert values(world) == {1: "hidden", 2: "hidden", 3: "hidden"}
    waiting = parse_columns(world.pair().table.properties).waiting
    assert "2 row(s) are older than the column" in waiting["c"]
    put(shard, world.contract, row("u", 11, id=1, a="x", c=1))
    world.merge()
    world.restart()
    put(shard, world.contract, row("d", 12, id=2), row("u", 13, id=3, a="z", c=4))
    world.merge()
    assert values(world) == {1: 1, 3: 4}
    assert told(world)[-4:] == [(10, "c", 3, 3), (11, "u", 1, 1), (12, "d", 2, None), (13, "u", 3, 4)]
    assert parse_columns(world.pair().table.properties).waiting == {}


def test_unchanged_values_of_the_held_time_are_found_in_what_came_before(world: World) -> None:
    made(world, a="text")
    shard = world.shard()
    put(
        shard, world.contract,
        row("c", 10, id=1, a="x", c="long"), row("u", 11, id=1, a="y", c=PLACEHOLDER),
        row("d", 12, id=1), row("c", 12, id=2, a="y", c=PLACEHOLDER), row("u", 13, id=2, a="z", c=PLACEHOLDER),
        row("c", 20, id=3, a="x", c="first"), row("u", 22, id=3, a="y", c=PLACEHOLDER),
    )  # fmt: skip
    world.merge()
    world.contract = with_columns(world.contract, a="text", c="text")
    world.restart()
    world.merge()
    assert values(world) == {2: "long", 3: "first"}
    # A late change is what a newer one had left unchanged.
    put(shard, world.contract, row("u", 21, id=3, a="late", c="second"))
    world.merge()
    assert values(world) == {2: "long", 3: "second"}


def test_a_column_that_was_never_seen_has_the_stated_value_until_it_is(world: World) -> None:
    made(world, a="text")
    shard = world.shard()
    put(shard, world.contract, row("c", 5, id=1, a="x"))
    world.merge()
    world.contract = known_before(with_columns(world.contract, a="text", c="integer"), "c", 7)
    world.restart()
    put(shard, world.contract, row("c", 6, id=2, a="y"), row("c", 7, id=3, a="z", c=3), row("c", 8, id=4, a="dropped"))
    world.merge()
    assert values(world) == {1: 7, 2: 7, 3: 3}
    assert [path.split("/")[0] for path in world.quarantine.objects] == ["missing-column"]
    world.restart()
    put(shard, world.contract, row("c", 9, id=5, a="dropped"))
    world.merge()
    assert values(world) == {1: 7, 2: 7, 3: 3}


def test_masks_hide_what_is_filled(world: World) -> None:
    made(world, a="text")
    shard = world.shard()
    put(shard, world.contract, row("c", 5, id=1, a="x"))
    put(shard, world.contract, row("c", 6, id=2, a="y", c="12345678901"))
    world.merge()
    world.contract = known_before(with_columns(world.contract, a="text", c="text/last4"), "c", "0000-9999")
    world.restart()
    world.merge()
    assert values(world) == {1: "*****9999", 2: "*******8901"}
    assert world.pair().table.properties["cdc.masks"] == "c=last4"


def test_a_column_that_was_taken_out_comes_back_whole(world: World) -> None:
    made(world, a="text", c="text")
    shard = world.shard()
    put(shard, world.contract, row("c", 5, id=1, a="x", c="one"), row("c", 6, id=2, a="x", c="two"))
    world.merge()
    world.contract = with_columns(world.contract, a="text")
    world.restart()
    put(shard, world.contract, row("u", 7, id=1, a="x", c="uno"))
    world.merge()
    assert values(world) == {1: "hidden", 2: "hidden"}
    world.contract = with_columns(world.contract, a="text", c="text")
    world.restart()
    world.merge()
    assert values(world) == {1: "uno", 2: "two"}
    assert told(world) == [(5, "c", 1, "one"), (6, "c", 2, "two"), (7, "u", 1, "uno")]


def test_a_column_waits_when_raw_has_its_values_no_more(world: World) -> None:
    made(world, a="text")
    shard = world.shard()
    put(shard, world.contract, row("c", 5, id=1, a="x", c="one"))
    world.merge()
    put(shard, world.contract, row("c", 6, id=2, a="x", c="two"))
    world.merge()
    lost = raw.batch_path(shard.stream, shard.shard, 0, 1)
    body = world.raw.objects.pop(lost)
    world.contract = with_columns(world.contract, a="text", c="text")
    world.restart()
    world.merge()
    assert values(world) == {1: "hidden", 2: "hidden"}
    assert "raw cannot tell all of" in parse_columns(world.pair().table.properties).waiting["c"]
    world.raw.objects[lost] = body
    world.restart()
    world.merge()
    assert values(world) == {1: "one", 2: "two"}


def test_a_column_waits_when_too_much_of_raw_would_have_to_be_read_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(world, a="text")
    put(world.shard(), world.contract, row("c", 5, id=1, a="x", c="one"), row("c", 6, id=2, a="x", c="two"))
    world.merge()
    world.contract = with_columns(world.contract, a="text", c="text")
    monkeypatch.setattr("compactor.refill.RECORDS_MAX", 1)
    world.restart()
    world.merge()
    assert values(world) == {1: "hidden", 2: "hidden"}
    assert "more than 1 records" in parse_columns(world.pair().table.properties).waiting["c"]


def test_columns_are_filled_one_after_the_other_where_they_need_much_of_raw(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(world, a="text")
    shard = world.shard()
    put(shard, world.contract, row("c", 5, id=1, a="x", b="eins", c="one"), row("c", 6, id=2, a="x", b="zwei", c="two"))
    world.merge()
    world.contract = with_columns(world.contract, a="text", b="text", c="text")
    monkeypatch.setattr("compactor.refill.RECORDS_MAX", 3)
    world.restart()
    world.merge()
    assert values(world, "b") == {1: "eins", 2: "zwei"}
    assert "other columns are filled first" in parse_columns(world.pair().table.properties).waiting["c"]
    put(shard, world.contract, row("d", 7, id=1))
    world.merge()
    assert values(world) == {2: "two"}


def test_a_value_that_the_lake_cannot_hold_keeps_its_column_waiting(world: World) -> None:
    made(world, a="text")
    shard = world.shard()
    put(shard, world.contract, row("c", 5, id=1, a="x", c="no number"), row("c", 6, id=2, a="x", c=2))
    world.merge()
    world.contract = with_columns(world.contract, a="text", c="integer")
    world.restart()
    world.merge()
    assert values(world) == {1: "hidden", 2: "hidden"}
    put(shard, world.contract, row("u", 7, id=1, a="x", c=1))
    world.merge()
    assert values(world) == {1: 1, 2: 2}


def test_nobody_sees_a_half_filled_column_and_a_crash_at_any_commit_is_mended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(world, a="text")
    shard = world.shard()
    for number in range(3):
        put(shard, world.contract, row("c", 5 + number, id=number, a="x"))
        world.merge()
    put(shard, world.contract, row("c", 10, id=7, a="x", c="seven"), row("u", 11, id=7, a="y", c=PLACEHOLDER))
    world.merge()
    world.contract = known_before(with_columns(world.contract, a="text", c="text"), "c", "d")
    monkeypatch.setattr("compactor.lake.fill.ROWS_MAX", 1)
    commit_table = type(world.catalog).commit_table
    crashes = 0
    while True:
        left = [crashes]

        def crashing(catalog: Any, *arguments: Any, left: list[int] = left) -> Any:
            if not left[0]:
                crash()
            left[0] -= 1
            return commit_table(catalog, *arguments)

        with monkeypatch.context() as patch:
            patch.setattr(type(world.catalog), "commit_table", crashing)
            world.restart()
            try:
                world.compactor.step()
            except KeyboardInterrupt:
                assert set(values(world).values()) == {"hidden"}
                crashes += 1
                continue
        break
    assert crashes > 8
    assert values(world) == {0: "d", 1: "d", 2: "d", 7: "seven"}
    assert told(world)[-2:] == [(10, "c", 7, "seven"), (11, "u", 7, "seven")]
    put(shard, world.contract, row("u", 12, id=1, a="x", c=PLACEHOLDER))
    world.merge()
    assert values(world) == {0: "d", 1: "d", 2: "d", 7: "seven"}


def test_of_two_compactors_that_fill_one_gives_way(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    made(world, a="text")
    shard = world.shard()
    put(shard, world.contract, row("c", 5, id=1, a="x"), row("c", 6, id=2, a="x", c="two"))
    world.merge()
    world.contract = known_before(with_columns(world.contract, a="text", c="text"), "c", None)
    first = world.restart()
    second = world.restart()
    fill = pair_module.__dict__["fill"]

    def overtaken(*arguments: Any, **options: Any) -> None:
        monkeypatch.setattr(pair_module, "fill", fill)
        while second.step().has_moved:
            pass
        fill(*arguments, **options)

    monkeypatch.setattr(pair_module, "fill", overtaken)
    while first.step().has_moved:
        pass
    put(shard, world.contract, row("c", 7, id=3, a="x", c="three"))
    while second.step().has_moved:
        pass
    assert values(world) == {1: None, 2: "two", 3: "three"}


def test_what_was_seen_of_a_column_is_durable_and_the_smallest_position_wins(world: World) -> None:
    made(world, a="text")
    shard, other = world.shard(), world.shard(1)
    put(shard, world.contract, row("c", 5, id=1, a="x"), row("c", 10, id=2, a="x", c="x"))
    world.merge()
    world.restart()
    put(other, world.contract, row("c", 8, id=3, a="x", c="x"), row("c", 4, id=4, a="x"))
    world.merge()
    seen = parse_columns(world.pair().table.properties).seen["c"]
    assert seen.first == (1, 8, 0)
    assert sorted(seen.offsets.values()) == ["0", "1"]
    assert msgspec.to_builtins(seen) == {
        "first": (1, 8, 0), "lacking": (1, 4, 0),
        "offsets": {f"{shard.stream}/{shard.shard}": "1", f"{shard.stream}/{other.shard}": "0"},
    }  # fmt: skip


def test_a_column_that_gets_another_scale_gets_another_name_and_all_its_values(world: World) -> None:
    made(world, a="text", saldo="numeric(12,2)")
    shard = world.shard()
    put(shard, world.contract, row("r", 0, id=1, a="x", saldo="1234.56"), row("c", 5, id=2, a="x", saldo="0.01"))
    world.merge()
    renamed = with_columns(world.contract, a="text", saldo_novo="numeric(18,4)")
    *columns, saldo = renamed.columns
    world.contract = replace(renamed, columns=(*columns, replace(saldo, source_name="saldo")))
    world.restart()
    put(shard, world.contract, row("u", 6, id=2, a="x", saldo="0.0123"))
    world.merge()
    assert {key: str(value) for key, value in values(world, "saldo_novo").items()} == {1: "1234.5600", 2: "0.0123"}
    assert values(world, "saldo") == {1: "hidden", 2: "hidden"}


def test_a_key_change_of_the_held_time_keeps_the_value_of_the_old_key(world: World) -> None:
    """History knows nothing of the held column, so not that the new key's row took it over."""
    made(world, a="text")
    shard = world.shard()
    put(
        shard, world.contract,
        row("c", 10, id=1, a="x", c="long"), row("d", 12, id=1), row("c", 12, id=2, a="y", c=PLACEHOLDER),
        row("d", 14, id=2), row("c", 14, id=3, a="z", c=PLACEHOLDER),
    )  # fmt: skip
    world.merge()
    world.contract = with_columns(world.contract, a="text", c="text")
    world.restart()
    world.merge()
    assert values(world) == {3: "long"}


@pytest.mark.parametrize("is_plain", [True, False])
def test_a_change_without_a_column_that_reads_had_is_not_from_before_the_column(world: World, is_plain: bool) -> None:  # noqa: FBT001 - a case
    """It was dropped or renamed before anything of it was streamed; the stated value of older rows would be false."""
    world.contract = known_before(with_columns(world.contract, a="text", c="text"), "c", "d")
    world.contract = replace(world.contract, name=next(NAMES))
    world.restart()
    shard = world.shard()
    extra = {} if is_plain else {"new": 1}
    put(shard, world.contract, row("r", 0, id=1, a="x", c="read", **extra))
    world.merge()
    put(shard, world.contract, row("u", 10, id=1, a="y"))
    world.merge()
    assert values(world) == {1: "read"}
    assert [path.split("/")[0] for path in world.quarantine.objects] == ["missing-column"]
