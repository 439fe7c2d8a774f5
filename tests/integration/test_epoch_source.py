"""A publisher that is pointed at another database does not replace the table, unless somebody says that it shall."""

from __future__ import annotations

import msgspec
import pytest

from cdc.epoch import read_epochs
from cdc.raw import SnapshotWord
from cdc_ops.epoch_source import tell_and_accept
from compactor.progress import parse_progress
from tests.compactor_world import World, change, proven, put
from tests.raw_zone import ShardWriter, at
from tests.status_world import kinds, status_of

pytestmark = pytest.mark.slow
OURS, OTHER = "7512000000000000001/16384", "7512000000000000002/16384"


def word(snapshot: str, source: str, *shards: ShardWriter, seconds: float, reads: int | None = None) -> SnapshotWord:
    """What a publisher says of a snapshot; with `reads` that it is complete."""
    names = tuple(shard.shard for shard in shards)
    tables = (("public", "t", reads or 0),)
    return SnapshotWord(snapshot, names, tables, at(seconds), is_complete=reads is not None, source=source)


def snapshot(
    world: World, shard: ShardWriter, name: str, source: str, *reads: bytes, seconds: float, streamed: bytes = b""
) -> None:
    """A whole snapshot of a database through one shard, and what is streamed of it afterwards."""
    put(shard, world.contract, *reads, marks=[word(name, source, shard, seconds=seconds)])
    complete = word(name, source, shard, seconds=seconds, reads=len(reads))
    put(shard, world.contract, *((streamed,) if streamed else ()), marks=[complete], seconds=seconds)


@pytest.fixture
def shard(world: World) -> ShardWriter:
    """A shard with a table of two rows in it, merged."""
    shard = world.shard()
    rows = (change("r", 0, 1, "a", "x"), change("r", 0, 2, "b", "y"))
    snapshot(world, shard, "first", OURS, *rows, seconds=10, streamed=change("u", 100, 1, "a2", "x"))
    world.merge()
    assert world.rows() == {1: ("a2", "x", 100), 2: ("b", "y", 0)}
    return shard


def accept(world: World, *, agrees: bool | None = True) -> tuple[int, str]:
    told: list[str] = []
    progress = parse_progress(world.pair().table.properties, world.contract.name)
    code = tell_and_accept(world.raw, world.contract, progress, told.append, lambda: agrees)
    return code, "".join(told)


def test_a_snapshot_of_another_database_waits_until_one_of_the_tables_own_follows_and_is_left_out(
    world: World, shard: ShardWriter, capsys: pytest.CaptureFixture[str]
) -> None:
    before = world.rows()
    snapshot(
        world, shard, "wrong", OTHER, change("r", 0, 1, "no", "no"), seconds=500, streamed=change("c", 900, 7, "no", "")
    )
    world.merge()
    world.restart()
    world.merge()
    assert world.rows() == before
    assert read_epochs(world.raw, world.contract.name).newest == 1
    assert "a snapshot is of another database than the table" in capsys.readouterr().out
    told = status_of(world, at(600))
    assert told.tables[0].refused_snapshots == {"wrong": OTHER}
    assert "refused-snapshot" in kinds(told)
    assert world.pair().table.properties["cdc.valid-through"] == proven(10)

    # The publisher is back, and what it missed is read anew; its clock is behind that of the other database.
    snapshot(world, shard, "second", OURS, change("r", 0, 1, "a3", "x"), seconds=400)
    world.merge()
    assert world.rows() == {1: ("a3", "x", 0)}
    assert status_of(world, at(600)).tables[0].refused_snapshots == {}
    epochs = read_epochs(world.raw, world.contract.name)
    assert (epochs.newest, epochs.discarded, epochs.source) == (3, frozenset({2}), OURS)
    assert world.pair().table.properties["cdc.valid-through"] == proven(400)
    assert "records of another database are left out" in capsys.readouterr().out
    history = world.pair().history.table.scan().to_arrow().to_pylist()
    assert {(row["cdc_op"], row["nome"]) for row in history if row["cdc_epoch"] == 3} == {("r", "a3"), ("d", None)}
    assert not any(row["cdc_epoch"] == 2 or row["nome"] == "no" for row in history)


def test_the_same_where_both_snapshots_are_there_before_anything_is_merged(world: World) -> None:
    shard = world.shard()
    snapshot(world, shard, "first", OURS, change("r", 0, 1, "a", "x"), seconds=10)
    snapshot(world, shard, "wrong", OTHER, change("r", 0, 1, "no", "no"), seconds=500)
    world.merge()
    assert world.rows() == {1: ("a", "x", 0)}
    assert read_epochs(world.raw, world.contract.name).source == OURS
    snapshot(world, shard, "second", OURS, change("r", 0, 1, "a2", "x"), seconds=400)
    world.merge()
    assert world.rows() == {1: ("a2", "x", 0)}
    assert read_epochs(world.raw, world.contract.name).discarded == frozenset({2})


def test_a_table_that_moved_follows_once_the_operator_says_so(world: World, shard: ShardWriter) -> None:
    before = world.rows()
    snapshot(
        world, shard, "moved", OTHER, change("r", 0, 2, "c", "z"), seconds=500, streamed=change("c", 5, 9, "d", "w")
    )
    world.merge()
    for refusing in (False, None):
        assert accept(world, agrees=refusing)[0] == 1
        world.merge()
        assert world.rows() == before
    code, told = accept(world)
    assert code == 0
    assert OTHER in told
    assert OURS in told
    world.merge()
    assert world.rows() == {2: ("c", "z", 0), 9: ("d", "w", 5)}
    assert read_epochs(world.raw, world.contract.name).source == OTHER
    assert accept(world) == (1, "no snapshot of another database waits\n")
    # It is the table's own from now on.
    snapshot(world, shard, "again", OTHER, change("r", 0, 2, "c2", "z"), seconds=600)
    world.merge()
    assert world.rows() == {2: ("c2", "z", 0)}


def test_children_of_a_shard_that_waits_wait_too(world: World, shard: ShardWriter) -> None:
    before, child = world.rows(), world.shard(1)
    put(shard, world.contract, marks=[word("wrong", OTHER, shard, seconds=500)])
    shard.batch((), table=world.contract.name, closed=True, children=(child.shard,))
    put(child, world.contract, change("r", 0, 1, "no", "no"), change("c", 900, 7, "no", ""))
    world.merge()
    assert world.rows() == before
    # The stream's new shards alone were told of the next snapshot.
    snapshot(world, child, "second", OURS, change("r", 0, 1, "a3", "x"), seconds=600)
    world.merge()
    assert world.rows() == {1: ("a3", "x", 0)}
    assert read_epochs(world.raw, world.contract.name).discarded == frozenset({2})


def test_a_publisher_that_does_not_tell_its_database_is_believed(world: World, shard: ShardWriter) -> None:
    begins = msgspec.structs.replace(word("older", OURS, shard, seconds=500), source=None)
    put(shard, world.contract, change("r", 0, 1, "a4", "x"), marks=[begins])
    put(shard, world.contract, marks=[msgspec.structs.replace(begins, is_complete=True, tables=(("public", "t", 1),))])
    world.merge()
    assert world.rows() == {1: ("a4", "x", 0)}
    assert read_epochs(world.raw, world.contract.name).source == OURS
