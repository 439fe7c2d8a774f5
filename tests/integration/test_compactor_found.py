"""What random histories have found, each as the plain story that it is."""

from __future__ import annotations

import pytest

from cdc.epoch import EpochEnd, EpochStart, record_end, record_start
from tests.compactor_world import World, change, proven, put
from tests.integration.test_compactor_epochs import word
from tests.lake_columns import known_before, made, row, shown, with_columns
from tests.raw_zone import PLACEHOLDER, at

pytestmark = pytest.mark.slow


def test_a_truncate_sweeps_the_rows_of_keys_that_were_only_asked_for_values(world: World) -> None:
    one, other = world.shard(0), world.shard(1)
    put(one, world.contract, change("c", 5, 1, "a", "x"), change("d", 6, 1), change("c", 6, 3, "a3"))
    put(one, world.contract, change("c", 7, 1, "b", "y"), change("d", 8, 1))
    world.merge()
    assert list(world.rows()) == [3]
    # The create of the second key change asks the history of key 1, and with it that of key 3.
    put(other, world.contract, change("c", 8, 2, "b2"), change("t", 9, 0))
    world.merge()
    assert world.rows() == {}


def test_a_child_of_two_shards_proves_nothing_that_only_one_of_them_has_proven(world: World) -> None:
    """A heartbeat reached one parent; what was committed before it waits at the producer for the other one, and goes to
    the child when that closes.
    """
    left, right, child = world.shard(0), world.shard(1), (world.shard(2).shard,)
    put(left, world.contract, change("c", 5, 1, "a", "x"), seconds=50)
    put(right, world.contract, change("c", 6, 2, "b", "y"), seconds=40)
    put(left, world.contract, closed=True, children=child)
    put(right, world.contract, closed=True, children=child)
    world.merge()
    assert (world.pair().table.properties["cdc.valid-through"] or "") <= proven(40)
    put(world.shard(2), world.contract, change("c", 45, 3, "late", "z"), seconds=60)
    world.merge()
    assert world.pair().table.properties["cdc.valid-through"] == proven(60)


def test_what_a_new_snapshot_read_of_a_column_is_newer_than_a_change_that_lacked_it(world: World) -> None:
    made(world, a="text")
    shard = world.shard()
    put(shard, world.contract, row("c", 5, id=1, a="x", c="held"), row("u", 6, id=1, a="y"))
    put(shard, world.contract, row("r", 0, id=1, a="y", c="read"), marks=[word("second", shard)])
    put(shard, world.contract, row("c", 7, id=2, a="z", c="new"), marks=[word("second", shard, reads=1)])
    world.merge()
    world.contract = known_before(with_columns(world.contract, a="text", c="text"), "c", None)
    world.restart()
    world.merge()
    assert [(found["a"], found["c"]) for found in shown(world)] == [("y", "read"), ("z", "new")]


def test_a_child_that_is_closed_stays_closed_when_its_parents_end_is_merged_after_it(world: World) -> None:
    parent, child = world.shard(0), world.shard(1)
    others = [world.shard(number) for number in (2, 3, 4)]
    put(parent, world.contract, change("c", 5, 1, "a", "x"), seconds=50)
    put(parent, world.contract, closed=True, children=(child.shard, others[0].shard))
    put(child, world.contract, closed=True, children=(others[1].shard, others[2].shard))
    for shard in others:
        put(shard, world.contract, seconds=80)
    world.merge()
    assert world.pair().table.properties["cdc.valid-through"] == proven(80)


def test_what_was_overtaken_in_its_own_shard_is_waited_for(world: World) -> None:
    left, right = world.shard(0), world.shard(1)
    put(left, world.contract, change("c", 5, 9, "n", "z"), seconds=10)
    put(right, world.contract, seconds=100)
    put(left, world.contract, change("u", 60, 1, "b"))  # refused before it, the create comes behind it
    world.merge()
    put(left, world.contract, change("c", 50, 1, "a", "x"), seconds=100)
    world.merge()
    assert world.rows() == {1: ("b", "x", 60), 9: ("n", "z", 5)}
    assert world.quarantine.objects == {}


def test_what_was_overtaken_is_waited_for_though_its_own_shard_has_had_no_heartbeat_yet(world: World) -> None:
    left, right = world.shard(0), world.shard(1)
    put(left, world.contract, change("u", 60, 1, "b"))  # refused before it, the create comes behind it
    put(right, world.contract, seconds=100)
    world.merge()
    put(left, world.contract, change("c", 50, 1, "a", "x"), seconds=100)
    world.merge()
    assert world.rows() == {1: ("b", "x", 60)}
    assert world.quarantine.objects == {}


def test_what_was_overtaken_is_waited_for_in_the_only_child_of_shards_that_had_heartbeats(world: World) -> None:
    left, right, child = world.shard(0), world.shard(1), world.shard(2)
    for parent in (left, right):
        put(parent, world.contract, seconds=40)
        put(parent, world.contract, closed=True, children=(child.shard,))
    put(child, world.contract, change("u", 60, 1, "b"))
    world.merge()
    put(child, world.contract, change("c", 50, 1, "a", "x"), seconds=100)
    world.merge()
    assert world.rows() == {1: ("b", "x", 60)}
    assert world.quarantine.objects == {}


@pytest.mark.parametrize("ends", [[("t", 0)], [("d", 1), ("d", 7)]], ids=["truncate", "deletes"])
def test_what_was_filled_from_a_row_that_was_gone_is_put_right_by_the_refused_create(
    world: World, ends: list[tuple[str, int]]
) -> None:
    """An update and a key change were merged onto rows that had ended, as if nothing had been between."""
    left, right = world.shard(0), world.shard(1)
    put(right, world.contract, seconds=10)
    put(left, world.contract, change("c", 5, 1, "a", "x"), change("c", 6, 7, "e", "z"), seconds=10)
    put(left, world.contract, change("u", 20, 7, "f"), change("d", 21, 1), change("c", 21, 2, "b"))
    world.merge()
    put(right, world.contract, *(change(op, 15, key) for op, key in ends), seconds=100)
    world.merge()
    assert world.pair().table.properties["cdc.valid-through"] == proven(10)
    put(left, world.contract, change("c", 16, 1, "c", "true"), change("c", 17, 7, "g", "own"), seconds=100)
    world.merge()
    assert world.rows() == {2: ("b", "true", 21), 7: ("f", "own", 20)}
    assert world.quarantine.objects == {}


def test_no_row_that_an_operators_epoch_has_yet_to_bring_again_shows_the_value_from_before_a_column(
    world: World,
) -> None:
    made(world, a="text")
    shard = world.shard()
    put(shard, world.contract, row("c", 1500, id=1, a="x"))
    world.merge()
    # A new life of the source with lower LSNs and a new column, merged before anybody says that an epoch begins here.
    put(shard, world.contract, row("c", 100, id=9, a="z", c="carried"))
    world.merge()
    record_start(world.raw, EpochStart(world.contract.name, 2, {f"{shard.stream}/{shard.shard}": "2"}))
    world.contract = known_before(with_columns(world.contract, a="text", c="text"), "c", "from before")
    world.restart()
    seen = []
    while world.compactor.step().is_behind:
        seen += [found.get("c", "hidden") for found in shown(world) if found["id"] == 9]
    world.merge()
    seen += [found.get("c", "hidden") for found in shown(world)]
    assert set(seen) == {"hidden"}
    put(shard, world.contract, row("r", 0, id=1, a="x", c="read"))
    record_end(world.raw, EpochEnd(world.contract.name, 2, {f"{shard.stream}/{shard.shard}": "3"}, at(2000)))
    world.merge()
    world.restart()
    world.merge()
    assert {found["id"]: found["c"] for found in shown(world)} == {1: "read", 9: "carried"}
    assert "from before" not in {found["c"] for found in shown(world, "_history") if found["id"] == 9}


def test_a_column_waits_for_the_read_that_its_unchanged_values_are_taken_from(world: World) -> None:
    made(world, a="text")
    shard = world.shard()
    put(shard, world.contract, row("c", 5, id=1, a="x"))
    begins = word("second", shard)
    put(shard, world.contract, *(row("u", lsn, id=1, a="y", c=PLACEHOLDER) for lsn in (7, 8)), marks=[begins])
    world.merge()
    world.contract = known_before(with_columns(world.contract, a="text", c="text"), "c", "from before")
    world.restart()
    world.merge()
    assert [found.get("c", "hidden") for found in shown(world)] == ["hidden"]
    put(shard, world.contract, row("r", 0, id=1, a="y", c="read"))
    put(shard, world.contract, marks=[word("second", shard, reads=1)])
    world.merge()
    assert [found["c"] for found in shown(world)] == ["read"]
