"""What was set aside and comes again is merged after all; what is in the lake already changes nothing."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from prometheus_client import REGISTRY

from cdc.contract import TableContract, parse_contract
from compactor.lake.catalog import open_catalog
from compactor.lake.pair import TablePair
from sandbox.aws import Aws
from tests.compactor_world import CONTRACT, NAMES, World, change, crash, put
from tests.raw_zone import event

pytestmark = pytest.mark.slow


def damaged(op: str, lsn: int, key: int) -> bytes:
    """A change whose name is none, so that it is set aside."""
    return event(op, lsn, {"id": key, "nome": 7, "bio": "b"}, table="t")


def counted(metric: str, contract: TableContract) -> float:
    return REGISTRY.get_sample_value(f"compactor_{metric}_total", {"table": contract.name}) or 0


@pytest.mark.parametrize("restarts", [False, True])
def test_a_mended_record_replaces_its_mark_and_what_came_after_it_is_put_on_top(world: World, restarts: bool) -> None:  # noqa: FBT001
    shard = world.shard()
    late = change("u", 7, 1, "seven")  # its bio came unchanged: unknown across the mark
    put(shard, world.contract, change("c", 5, 1, "a", "x"), damaged("u", 6, 1), late, change("c", 8, 2, "b", "y"))
    world.merge()
    assert world.rows() == {1: ("a", "x", 5), 2: ("b", "y", 8)}
    if restarts:
        world.restart()
    put(shard, world.contract, change("u", 6, 1, "six", "new"))
    world.merge()
    assert world.rows() == {1: ("six", "new", 6), 2: ("b", "y", 8)}
    if restarts:
        world.restart()
    put(shard, world.contract, late)
    world.merge()
    assert world.rows() == {1: ("seven", "new", 7), 2: ("b", "y", 8)}
    assert counted("healed_changes", world.contract) == 2
    told = world.history()
    assert [entry[:3] for entry in told if entry[2] == 1] == [
        (5, "c", 1), (6, "q", 1), (6, "u", 1), (7, "q", 1), (7, "u", 1),
    ]  # fmt: skip
    # Everything once more, the damaged one included: nothing changes, and the quarantine does not grow.
    quarantined = dict(world.quarantine.objects)
    world.restart()
    put(shard, world.contract, change("c", 5, 1, "a", "x"), damaged("u", 6, 1), change("u", 6, 1, "six", "new"), late)
    world.merge()
    assert world.rows() == {1: ("seven", "new", 7), 2: ("b", "y", 8)}
    assert (world.history(), world.quarantine.objects) == (told, quarantined)


def test_what_is_replayed_too_early_is_a_duplicate_of_its_mark_and_comes_in_later(world: World) -> None:
    shard = world.shard()
    late = change("u", 7, 1, "seven")
    put(shard, world.contract, change("c", 5, 1, "a", "x"), damaged("u", 6, 1), late)
    world.merge()
    told, quarantined = world.history(), dict(world.quarantine.objects)
    before = counted("duplicate_changes", world.contract)
    put(shard, world.contract, late)
    world.merge()
    assert (world.history(), world.quarantine.objects) == (told, quarantined)
    assert counted("duplicate_changes", world.contract) == before + 1
    put(shard, world.contract, change("u", 6, 1, "six", "new"), late)
    world.merge()
    assert world.rows() == {1: ("seven", "new", 7)}


def test_a_replayed_row_reaches_the_key_that_took_over_from_it(world: World) -> None:
    left, right = world.shard(0), world.shard(1)
    put(left, world.contract, damaged("c", 5, 1), change("d", 7, 1), seconds=20)
    put(right, world.contract, change("c", 7, 2, "moved"), change("u", 8, 2, "later"), seconds=20)
    world.merge()
    assert world.rows() == {}
    assert [entry[:3] for entry in world.history()] == [(5, "q", 1), (7, "d", 1), (7, "q", 2), (8, "q", 2)]
    world.restart()
    put(left, world.contract, change("c", 5, 1, "a", "x"), seconds=21)
    world.merge()
    put(right, world.contract, change("u", 8, 2, "later"), change("c", 7, 2, "moved"), seconds=22)
    world.merge()
    assert world.rows() == {2: ("later", "x", 8)}


def test_a_crash_between_the_commits_loses_no_replayed_change(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = world.shard()
    put(shard, world.contract, change("c", 5, 1, "a", "x"), damaged("u", 6, 1))
    world.merge()
    put(shard, world.contract, change("u", 6, 1, "six", "new"))
    with monkeypatch.context() as patched:
        patched.setattr(TablePair, "commit_table", crash)
        with pytest.raises(KeyboardInterrupt):
            world.compactor.step()
    world.restart()
    world.merge()
    assert world.rows() == {1: ("six", "new", 6)}
    put(shard, world.contract, change("u", 9, 1, "nine"))
    world.merge()
    assert world.rows() == {1: ("nine", "new", 9)}


def test_a_replayed_change_stays_away_where_a_delete_or_a_truncate_came_after_it(world: World) -> None:
    shard = world.shard()
    put(shard, world.contract, damaged("c", 5, 1), damaged("c", 6, 2), change("d", 7, 1), change("t", 10, 0))
    world.merge()
    put(shard, world.contract, change("c", 5, 1, "a", "x"), change("c", 6, 2, "b", "y"))
    world.merge()
    assert world.rows() == {}
    world.restart()
    put(shard, world.contract, change("u", 6, 2, "b", "y"), change("c", 11, 2, "again", "z"))
    world.merge()
    assert world.rows() == {2: ("again", "z", 11)}
    assert [entry[:2] for entry in world.history()] == [
        (5, "c"), (5, "q"), (6, "c"), (6, "q"), (7, "d"), (10, "t"), (11, "c"),
    ]  # fmt: skip


def test_a_contract_that_is_mended_lets_in_what_it_had_kept_out(aws: Aws, aws_environment: dict[str, str]) -> None:
    """Debezium with schemas off does not say how it renders bytes: the contract must."""
    text = CONTRACT.format(name=next(NAMES)).replace(
        "{name: bio, physicalType: text", "{name: bio, physicalType: bytea"
    )
    world = World(open_catalog("lake"), parse_contract(text), aws_environment)
    shard = world.shard()
    put(shard, world.contract, change("c", 5, 1, "a", "00ab"))
    world.merge()
    (path,) = world.quarantine.objects
    assert path.startswith("value-not-held/")
    assert json.loads(world.pair().table.properties["cdc.set-aside"]) == {"bio": {"value-not-held": 1}}
    world.contract = replace(world.contract, producer=replace(world.contract.producer, binary="bytes"))
    world.restart()
    put(shard, world.contract, change("c", 5, 1, "a", "00ab"))
    world.merge()
    assert [(row["id"], row["bio"]) for row in world.pair().table.table.scan().to_arrow().to_pylist()] == [
        (1, b"\xd3F\x9b")
    ]
