"""Epochs on a real catalog: a new snapshot of a publisher, and what an older epoch has that it has not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cdc.epoch import OPERATOR, EpochEnd, EpochStart, read_epochs, record_end, record_start
from cdc.errors import FatalFault
from cdc.raw import SnapshotWord
from compactor.lake.pair import TablePair
from compactor.state import current_state
from tests.compactor_world import World, change, crash, proven, put
from tests.raw_zone import ShardWriter, at

pytestmark = pytest.mark.slow


def word(snapshot: str, *shards: ShardWriter, seconds: float = 0, reads: int | None = None) -> SnapshotWord:
    """What a publisher says of a snapshot of the table; with `reads` that it is complete."""
    names = tuple(shard.shard for shard in shards)
    return SnapshotWord(snapshot, names, (("public", "t", reads or 0),), at(seconds), is_complete=reads is not None)


def epochs_of(world: World) -> dict[tuple[int, int], set[str]]:
    """The operations in history by epoch and key."""
    told: dict[tuple[int, int], set[str]] = {}
    for row in world.pair().history.table.scan().to_arrow().to_pylist():
        told.setdefault((row["cdc_epoch"], row["id"] or 0), set()).add(row["cdc_op"])
    return told


def property_of(world: World, name: str) -> Any:
    return world.pair().table.properties[name]


def resnapshot(world: World, shard: ShardWriter, *reads: bytes, seconds: float) -> None:
    """A publisher that lost its slot: a whole new snapshot through one shard."""
    put(shard, world.contract, *reads, marks=[word("second", shard, seconds=seconds)])
    put(shard, world.contract, marks=[word("second", shard, seconds=seconds, reads=len(reads))])


def test_the_first_snapshot_is_the_first_epoch(world: World) -> None:
    shard = world.shard()
    put(shard, world.contract, change("r", 0, 1, "a", "x"), marks=[word("first", shard)])
    put(shard, world.contract, change("c", 5, 2, "b", "y"), marks=[word("first", shard, reads=1)], seconds=9)
    world.merge()
    assert world.rows() == {1: ("a", "x", 0), 2: ("b", "y", 5)}
    assert epochs_of(world) == {(1, 1): {"r"}, (1, 2): {"c"}}
    assert read_epochs(world.raw, world.contract.name).newest == 1
    assert property_of(world, "cdc.valid-through") == proven(9)


def test_a_new_snapshot_replaces_all_and_deletes_what_it_did_not_read(world: World) -> None:
    shard = world.shard()
    put(shard, world.contract, *(change("c", 100 + key, key, "a", "x") for key in range(1, 6)), seconds=200)
    world.merge()
    # While the slot was lost key 1 was deleted, key 2 changed; LSNs have begun anew, lower.
    resnapshot(world, shard, change("r", 0, 2, "a2", "x2"), change("r", 0, 3, "a", "x"), seconds=300)
    put(shard, world.contract, change("u", 7, 3, "b"), change("c", 8, 9, "n", "z"), seconds=400)
    world.merge()
    assert world.rows() == {2: ("a2", "x2", 0), 3: ("b", "x", 7), 9: ("n", "z", 8)}
    told = epochs_of(world)
    assert told[2, 1] == told[2, 4] == told[2, 5] == {"d"}
    assert told[2, 2] == {"r"}
    assert told[1, 2] == {"c"}
    assert property_of(world, "cdc.valid-through") == proven(400)
    # The same from history alone, and from the tables alone.
    world.restart()
    world.merge()
    put(shard, world.contract, change("u", 9, 9, "m"))
    world.merge()
    assert world.rows()[9] == ("m", "z", 9)
    assert len(world.rows()) == 3


def test_valid_through_stands_still_until_the_vanished_rows_are_deleted(world: World) -> None:
    shard = world.shard()
    put(shard, world.contract, change("c", 100, 1, "a", "x"), seconds=200)
    world.merge()
    put(shard, world.contract, change("r", 0, 2, "b", "y"), marks=[word("second", shard, seconds=300)], seconds=300)
    world.merge()
    assert world.rows() == {1: ("a", "x", 100), 2: ("b", "y", 0)}
    assert property_of(world, "cdc.valid-through") == proven(200)
    put(shard, world.contract, marks=[word("second", shard, seconds=300, reads=1)], seconds=310)
    world.merge()
    assert world.rows() == {2: ("b", "y", 0)}
    assert property_of(world, "cdc.valid-through") == proven(310)


def test_a_shard_waits_until_every_shard_is_told(world: World) -> None:
    left, right = world.shard(0), world.shard(1)
    put(left, world.contract, change("c", 100, 1, "a", "x"))
    world.merge()
    begins, complete = word("second", left, right), word("second", left, right, reads=1)
    put(left, world.contract, change("r", 0, 1, "b", "y"), marks=[begins])
    world.merge()
    assert world.rows() == {1: ("a", "x", 100)}
    put(right, world.contract, change("c", 101, 2, "late", "z"))
    put(right, world.contract, marks=[begins])
    world.merge()
    # What came to the other shard before the mark is of the old epoch.
    assert world.rows() == {1: ("b", "y", 0), 2: ("late", "z", 101)}
    put(left, world.contract, change("u", 9, 1, "c", "y"), marks=[complete])
    world.merge()
    assert world.rows() == {1: ("b", "y", 0), 2: ("late", "z", 101)}
    put(right, world.contract, marks=[complete])
    world.merge()
    assert world.rows() == {1: ("c", "y", 9)}


def test_a_child_read_before_its_parent_is_of_the_new_epoch(world: World) -> None:
    parent, child = world.shard(0), world.shard(1)
    put(parent, world.contract, change("c", 100, 1, "a", "x"))
    world.merge()
    put(parent, world.contract, change("r", 0, 2, "b", "y"), marks=[word("second", parent)])
    parent.batch((), table=world.contract.name, closed=True, children=(child.shard,))
    put(child, world.contract, change("u", 7, 2, "c", "y"), marks=[word("second", child, reads=1)])
    world.merge()
    assert world.rows() == {2: ("c", "y", 7)}
    assert epochs_of(world)[2, 2] == {"r", "u"}


def test_a_child_waits_with_its_parent_until_every_shard_is_told(world: World) -> None:
    left, right, child, other = (world.shard(number) for number in range(4))
    put(left, world.contract, change("c", 100, 1, "a", "x"))
    put(right, world.contract, change("c", 101, 2, "b", "y"))
    world.merge()
    begins = word("second", left, right)
    put(left, world.contract, marks=[begins])
    left.batch((), table=world.contract.name, closed=True, children=(child.shard, other.shard))
    put(child, world.contract, change("c", 7, 3, "new", "z"))
    world.merge()  # the reader of the other shard is behind: its mark is not in raw yet
    assert world.rows() == {1: ("a", "x", 100), 2: ("b", "y", 101)}
    put(right, world.contract, change("r", 0, 2, "b", "y"), marks=[begins])
    complete = word("second", right, child, other, reads=1)
    for shard in (right, child, other):
        put(shard, world.contract, marks=[complete])
    world.merge()
    assert world.rows() == {2: ("b", "y", 0), 3: ("new", "z", 7)}
    assert epochs_of(world)[2, 3] == {"c"}


def test_a_late_change_of_an_older_epoch_never_comes_back(world: World) -> None:
    shard = world.shard()
    late = ShardWriter(world.raw, "shardId-000000000000", stream="usuarios-20251121T000000Z")
    put(shard, world.contract, change("c", 100, 1, "a", "x"), change("c", 101, 2, "b", "y"))
    world.merge()
    resnapshot(world, shard, change("r", 0, 2, "b", "y"), seconds=300)
    world.merge()
    # An older stream is read only now: of a key that vanished, of one that was read, of one never seen.
    put(late, world.contract, *(change("u", 900, key, "z", "z") for key in (1, 2, 3)))
    world.merge()
    assert world.rows() == {2: ("b", "y", 0)}
    told = epochs_of(world)
    assert told[1, 1] == {"c", "u"}
    assert told[1, 3] == {"u"}
    world.restart()
    put(late, world.contract, *(change("u", 901, key, "z", "z") for key in (1, 2, 3)))
    world.merge()
    assert world.rows() == {2: ("b", "y", 0)}


def test_a_child_that_appears_after_the_epoch_began_is_of_it(world: World) -> None:
    parent = world.shard(0)
    put(parent, world.contract, change("c", 100, 1, "a", "x"))
    world.merge()
    resnapshot(world, parent, change("r", 0, 1, "b", "y"), seconds=300)
    world.merge()
    child, other = world.shard(1), world.shard(2)
    parent.batch((), table=world.contract.name, closed=True, children=(child.shard, other.shard))
    put(child, world.contract, change("u", 7, 1, "c"))
    put(other, world.contract, change("c", 7, 2, "d", "w"))
    world.merge()
    assert world.rows() == {1: ("c", "y", 7), 2: ("d", "w", 7)}
    assert epochs_of(world)[2, 2] == {"c"}


def test_a_value_left_unchanged_is_never_taken_from_an_older_epoch(world: World) -> None:
    left, right = world.shard(0), world.shard(1)
    put(left, world.contract, change("c", 100, 1, "a", "old"))
    world.merge()
    both = (left, right)
    for shard in both:
        put(shard, world.contract, marks=[word("second", *both)])
    put(right, world.contract, change("u", 7, 1, "b"))
    world.merge()
    assert world.rows() == {1: ("a", "old", 100)}  # it waits for the read, which has the value
    put(left, world.contract, change("r", 0, 1, "a", "new"))
    world.merge()
    assert world.rows() == {1: ("b", "new", 7)}
    assert world.quarantine.objects == {}


@pytest.mark.parametrize("where", ["commit_table", "commit_history"])
def test_a_crash_while_vanished_rows_are_deleted(world: World, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    monkeypatch.setattr("compactor.compactor.VANISHED_ROWS_MAX", 2)
    shard = world.shard()
    put(shard, world.contract, *(change("c", 100 + key, key, "a", "x") for key in range(7)))
    world.merge()
    resnapshot(world, shard, change("r", 0, 3, "b", "y"), seconds=300)
    for number in range(8):
        with monkeypatch.context() as patched:
            calls = iter(range(100))
            real = getattr(TablePair, where)

            def fail(*arguments: Any, number: int = number, calls: Any = calls, real: Any = real) -> Any:
                return crash() if next(calls) == number else real(*arguments)

            patched.setattr(TablePair, where, fail)
            try:
                world.merge()
            except KeyboardInterrupt:
                world.restart()
    world.merge()
    assert world.rows() == {3: ("b", "y", 0)}
    told = epochs_of(world)
    assert all(told[2, key] == {"d"} for key in range(7) if key != 3)
    assert len(world.history()) == 7 + 1 + 6


def test_rows_stay_while_reads_of_the_snapshot_are_missing(world: World) -> None:
    shard = world.shard()
    put(shard, world.contract, change("c", 100, 1, "a", "x"), change("c", 101, 2, "a", "x"))
    world.merge()
    put(shard, world.contract, change("r", 0, 1, "b", "y"), b'{"no": "event"}', marks=[word("second", shard)])
    put(shard, world.contract, marks=[word("second", shard, reads=2)])
    world.merge()
    assert world.rows() == {1: ("b", "y", 0), 2: ("a", "x", 101)}


def test_a_row_whose_read_is_set_aside_stays_as_it_was_and_the_snapshot_waits_for_it(world: World) -> None:
    """An operator's epoch: nobody knows how many rows the snapshot has read."""
    shard, table = world.shard(), world.contract.name
    put(shard, world.contract, *(change("c", 100 + key, key, "a", "x") for key in (1, 2, 3)), seconds=200)
    world.merge()
    first = shard.upto
    unreadable = change("r", 0, 2, "NOME", "y").replace(b'"NOME"', b"[]")
    put(shard, world.contract, change("r", 0, 1, "b", "y"), unreadable, seconds=300)
    own = f"{shard.stream}/{shard.shard}"
    record_start(world.raw, EpochStart(table, 2, {own: str(first + 1)}, (), origin=OPERATOR))
    record_end(world.raw, EpochEnd(table, 2, {own: str(shard.upto)}, at(300)))
    for _ in range(2):
        world.merge()
        assert world.rows() == {1: ("b", "y", 0), 2: ("a", "x", 102)}
        assert property_of(world, "cdc.valid-through") == proven(200)
        with pytest.raises(FatalFault, match="of 1 rows from before the newest snapshot"):
            current_state(world.contract, world.raw, b"k" * 32)
        world.restart()
    put(shard, world.contract, change("r", 0, 2, "c", "z"), seconds=400)
    world.merge()
    assert world.rows() == {1: ("b", "y", 0), 2: ("c", "z", 0)}
    assert property_of(world, "cdc.valid-through") == proven(400)
    assert epochs_of(world)[2, 3] == {"d"}


def test_a_stream_made_anew_no_longer_holds_valid_through(world: World) -> None:
    old = world.shard()
    put(old, world.contract, change("c", 100, 1, "a", "x"), seconds=200)
    world.merge()
    new = ShardWriter(world.raw, "shardId-000000000000", stream="usuarios-20261122T000000Z")
    put(new, world.contract, change("r", 0, 1, "b", "y"), marks=[word("second", new)])
    put(new, world.contract, marks=[word("second", new, reads=1)], seconds=500)
    world.merge()
    assert world.rows() == {1: ("b", "y", 0)}
    assert property_of(world, "cdc.valid-through") == proven(500)
    assert json.loads(property_of(world, "cdc.evidence"))[f"{old.stream}/{old.shard}"]["closed"]


def test_a_lake_rebuilt_from_raw_has_the_same_rows(world: World) -> None:
    left, right = world.shard(0), world.shard(1)
    both = (left, right)
    for key, shard in enumerate(both):
        put(shard, world.contract, change("c", 100 + key, key, "a", "x"), marks=[word("first", *both)])
        put(shard, world.contract, change("u", 200, key, "b"), marks=[word("first", *both, reads=0)])
    world.merge()
    for shard in both:
        put(shard, world.contract, marks=[word("second", *both)])
    put(left, world.contract, change("r", 0, 0, "c", "y"), change("d", 3, 0), change("c", 4, 0, "d", "z"))
    for shard in both:
        put(shard, world.contract, marks=[word("second", *both, reads=1)])
    world.merge()
    rows, told = world.rows(), epochs_of(world)
    assert rows == {0: ("d", "z", 4)}
    again = World(
        world.catalog,
        world.contract.__class__(**{**_fields(world.contract), "name": f"{world.contract.name}b"}),
        world.environment,
    )
    again.raw.objects = {
        path.replace(f"/{world.contract.name}/", f"/{again.contract.name}/"): body.replace(
            f'"{world.contract.name}"'.encode(), f'"{again.contract.name}"'.encode()
        ).replace(f"/{world.contract.name}/".encode(), f"/{again.contract.name}/".encode())
        for path, body in world.raw.objects.items()
    }  # fmt: skip
    again.merge()
    assert again.rows() == rows
    assert epochs_of(again) == told


def _fields(contract: Any) -> dict[str, Any]:
    return {name: getattr(contract, name) for name in contract.__dataclass_fields__}
