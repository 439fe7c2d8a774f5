"""A worker that lost its lease writes late, right where ours is about to write: its batch stays and ours goes on from it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cdc.objects import OtherContent
from cdc_consumer.lease import SHARD_END
from cdc_consumer.shard import Outcome
from cdc_consumer.stream import Shard
from tests.shard_world import SHARD, World, event, seq


@pytest.fixture
def world() -> World:
    world = World()
    world.streams.add(*map(event, range(1, 6)))
    return world


def write_late(world: World, **changes: Any) -> None:
    """Have another worker write our next batch record a moment before us, with these fields changed."""
    write = world.raw.put_new

    def put_new(path: str, body: bytes) -> None:
        if path.startswith("_batches/"):
            world.raw.put_new = write  # type: ignore[method-assign]  # one late write is enough
            record = {**json.loads(body), **changes}
            world.raw.objects[path] = json.dumps({key: value for key, value in record.items() if value}).encode()
        write(path, body)

    world.raw.put_new = put_new  # type: ignore[method-assign]


def close(world: World) -> None:
    world.streams.closed = Shard(SHARD, ending=seq(9))
    world.streams.children = ("shardId-000000000001", "shardId-000000000002")


def test_who_saw_other_children_has_closed_the_shard(world: World) -> None:
    close(world)
    write_late(world, children=["shardId-000000000001"])
    assert world.work() is Outcome.SHARD_END
    assert world.check() == [1, 2, 3, 4, 5]
    assert [record.get("children") for record in world.chain()] == [["shardId-000000000001"]]
    assert world.table.row.checkpoint == SHARD_END
    assert world.table.row.children == ("shardId-000000000001",)


def test_who_did_not_see_the_end_is_followed_by_the_batch_that_closes(world: World) -> None:
    close(world)
    write_late(world, closed=False, children=[])
    assert world.work() is Outcome.SHARD_END
    assert world.check() == [1, 2, 3, 4, 5]
    assert [(one["upto"], one.get("closed", False)) for one in world.chain()] == [(seq(5), False), (seq(9), True)]
    assert world.table.row.checkpoint == SHARD_END


def test_who_saw_the_end_before_us_has_closed_the_shard_once(world: World) -> None:
    def reshard() -> None:
        close(world)
        world.time.then = lambda: None

    write_late(world, closed=True, children=["shardId-000000000001"])
    world.time.then = lambda: reshard() if world.chain() else None
    assert world.work(until_caught_up=False) is Outcome.SHARD_END
    assert world.check() == [1, 2, 3, 4, 5]
    assert [(one["upto"], one.get("closed", False)) for one in world.chain()] == [(seq(5), True)]
    assert world.table.row.children == ("shardId-000000000001",)


def test_who_was_started_with_other_contracts_has_written_the_batch(world: World) -> None:
    write_late(world, tables=["pedidos", "usuarios"])
    assert world.work() is Outcome.CAUGHT_UP
    assert world.check() == [1, 2, 3, 4, 5]
    assert [record["tables"] for record in world.chain()] == [["pedidos", "usuarios"]]


@pytest.mark.parametrize(
    "changes", [{"shard": "shardId-000000000007"}, {"after": "1"}, {"after": "x"}, {"version": 2}, {"upto": {}}]
)
def test_what_is_no_batch_record_of_these_records_stops_the_shard(world: World, changes: dict[str, Any]) -> None:
    write_late(world, **changes)
    with pytest.raises(OtherContent):
        world.work()
    assert world.table.row.checkpoint == "TRIM_HORIZON"
