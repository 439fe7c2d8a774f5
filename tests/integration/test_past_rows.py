"""The documented query of a past moment, where values came unchanged and what they were came late."""

from __future__ import annotations

import pytest

from sandbox.reports import open_lake
from tests.compactor_world import World, change, put
from tests.lake_machine.past import query_of_the_docs
from tests.raw_zone import at

pytestmark = pytest.mark.slow


def past(world: World, seconds: float) -> dict[int, str | None]:
    """The long value of each row at a moment."""
    history = f"iceberg_scan('{world.pair().history.table.metadata_location}')"
    query = query_of_the_docs(history, at(seconds), ["id"], ["nome", "bio"], ["bio"])
    with open_lake(world.environment) as duck:
        return dict(duck.execute(f"SELECT id, bio FROM ({query})").fetchall())


def test_an_update_that_left_a_value_alone_has_the_one_that_came_late(world: World) -> None:
    shard, other = world.shard(), world.shard(1)
    put(shard, world.contract, change("c", 5, 1, "a", "first"), change("u", 7, 1, "b"))
    world.merge()
    put(other, world.contract, change("u", 6, 1, "a", "late"))
    world.merge()
    assert past(world, 7) == {1: "late"}


def test_a_row_that_a_key_change_made_keeps_what_was_known_then(world: World) -> None:
    shard, other = world.shard(), world.shard(1)
    put(shard, world.contract, change("c", 5, 1, "a", "first"), change("d", 7, 1), change("c", 7, 2, "a"))
    world.merge()
    put(other, world.contract, change("u", 6, 1, "a", "late"), change("u", 8, 2, "b"), change("u", 9, 2, "b", "new"))
    world.merge()
    # The table would have the late value until the newest change; history keeps the other one until a change says more.
    assert past(world, 6) == {1: "late"}
    assert past(world, 7) == past(world, 8) == {2: "first"}
    assert past(world, 9) == {2: "new"}
