"""What is set aside is counted by column in the table's own properties, exactly, whatever goes wrong in between."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cdc.errors import TransientFault
from compactor.lake.pair import TablePair
from tests.compactor_world import World, change, crash, put, raising
from tests.raw_zone import event

pytestmark = pytest.mark.slow


def counted(world: World) -> tuple[Any, Any]:
    properties = world.pair().table.properties
    return json.loads(properties["cdc.set-aside"]), json.loads(properties["cdc.quarantined"])


def damaged(lsn: int, key: int) -> bytes:
    """A change with two columns that the lake cannot take: a number for a text, and one that is missing."""
    return event("c", lsn, {"id": key, "nome": 7}, table="t")


def test_every_column_at_fault_and_every_record_is_counted_and_a_duplicate_is_not(world: World) -> None:
    shard = world.shard()
    put(shard, world.contract, change("c", 5, 1, "a", "x"), damaged(6, 3), b'{"no": "event"}')
    world.merge()
    told = ({"nome": {"value-not-held": 1}, "bio": {"missing-column": 1}}, {"value-not-held": 1, "not-debezium": 1})
    assert counted(world) == told
    world.restart()
    put(shard, world.contract, damaged(6, 3))  # sent again by the producer: the same change
    world.merge()
    assert counted(world) == told
    put(shard, world.contract, damaged(7, 4), change("u", 8, 3, "b"))  # the last cannot be filled across the mark
    world.merge()
    values, records = counted(world)
    assert values == {"nome": {"value-not-held": 2}, "bio": {"missing-column": 2, "unresolved": 1}}
    assert records == {"value-not-held": 2, "unresolved": 1, "not-debezium": 1}


@pytest.mark.parametrize("method", ["commit_history", "commit_table"])
def test_a_merge_that_is_tried_again_counts_nothing_twice(
    world: World, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    shard = world.shard()
    put(shard, world.contract, change("c", 5, 1, "a", "x"), damaged(6, 3), b'{"no": "event"}')
    with monkeypatch.context() as patched:
        patched.setattr(TablePair, method, raising(TransientFault("not now")))
        for _ in range(2):
            with pytest.raises(TransientFault):
                world.compactor.step()
    world.merge()
    assert counted(world)[1] == {"value-not-held": 1, "not-debezium": 1}


def test_a_merge_cut_off_between_its_commits_keeps_its_counts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = world.shard()
    put(shard, world.contract, damaged(6, 3), b'{"no": "event"}')
    with monkeypatch.context() as patched:
        patched.setattr(TablePair, "commit_table", crash)
        with pytest.raises(KeyboardInterrupt):
            world.compactor.step()
    world.restart()
    put(shard, world.contract, b"{}", damaged(7, 3))
    world.merge()
    values, records = counted(world)
    assert values["nome"] == {"value-not-held": 2}
    assert records == {"value-not-held": 2, "not-debezium": 2}


def test_what_lies_behind_a_held_change_is_counted_once_when_its_turn_comes(world: World) -> None:
    left, right = world.shard(0), world.shard(1)
    put(left, world.contract, change("c", 5, 1, "a", "moved"), seconds=5)
    put(right, world.contract, b"{}", change("c", 7, 2, "a"), damaged(8, 3), b"{}", seconds=6)
    world.merge()
    assert counted(world)[1] == {"not-debezium": 1}
    assert json.loads(world.pair().table.properties["cdc.holds"]) == {f"{right.stream}/{right.shard}": "2"}
    world.restart()
    world.merge()
    assert counted(world)[1] == {"not-debezium": 1}
    put(left, world.contract, change("d", 7, 1), seconds=7)
    world.merge()
    assert counted(world)[1] == {"not-debezium": 2, "value-not-held": 1}
    assert json.loads(world.pair().table.properties["cdc.holds"]) == {}


def test_of_two_compactors_neither_counts_twice(world: World) -> None:
    shard = world.shard()
    put(shard, world.contract, change("c", 5, 1, "a", "x"))
    world.merge()
    first = world.compactor
    second = world.restart()
    second.step()
    put(shard, world.contract, damaged(6, 3), b"{}")
    first.step()
    second.step()  # planned against the old head: it must notice, load and find nothing new
    world.merge()
    put(shard, world.contract, b"{}")
    second.step()
    first.step()
    first.step()
    assert counted(world)[1] == {"value-not-held": 1, "not-debezium": 2}
