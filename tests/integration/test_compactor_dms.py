"""Records of DMS through the compactor on a real catalog: key changes, doubtful nulls, redelivery, order."""

from __future__ import annotations

import random
from typing import Any

import pytest

from cdc.contract import parse_contract
from compactor.lake.catalog import open_catalog
from sandbox.aws import Aws
from tests.compactor_world import CONTRACT, World, put
from tests.dms_records import record

pytestmark = pytest.mark.slow

FULL_IMAGES = "[{{property: sourceTable, value: public.t}}, {{property: dms.fullImages, value: true}}]"
NAMES = iter(f"dms{number}" for number in range(1000))


def new_world(environment: dict[str, str], *, full_images: bool) -> World:
    text = CONTRACT.replace("[{{property: sourceTable, value: public.t}}]", FULL_IMAGES) if full_images else CONTRACT
    return World(open_catalog("lake"), parse_contract(text.format(name=next(NAMES))), environment)


@pytest.fixture
def world(aws: Aws, aws_environment: dict[str, str]) -> World:
    return new_world(aws_environment, full_images=False)


@pytest.fixture
def full(aws: Aws, aws_environment: dict[str, str]) -> World:
    return new_world(aws_environment, full_images=True)


def row(key: int, nome: str | None = "a", bio: str | None = "x") -> dict[str, Any]:
    return {"id": key, "nome": nome, "bio": bio}


def reasons(world: World) -> list[str]:
    return sorted(path.split("/")[0] for path in world.quarantine.objects)


def test_the_founding_operations(world: World) -> None:
    put(
        world.shard(), world.contract,
        record("load", row(1)), record("load", row(2, bio=None)), record("insert", row(3), 5, 1),
        record("update", row(1, "b"), 6, 1), record("delete", {"id": 2, "nome": None, "bio": None}, 7, 1),
        record("delete", {"id": 3}, 8, 1), record("insert", row(3, "again"), 8, 2),
    )  # fmt: skip
    world.merge()
    assert world.rows() == {1: ("b", "x", 6), 3: ("again", "x", 8)}
    assert reasons(world) == []


def test_a_key_change_moves_the_row(world: World) -> None:
    shard = world.shard(0)
    put(shard, world.contract, record("load", row(46)), record("load", row(1)))
    world.merge()
    move = record("update", row(45, "moved"), 6, 1, before={"id": 46})
    put(world.shard(1), world.contract, move)
    world.merge()
    assert world.rows() == {45: ("moved", "x", 6), 1: ("a", "x", 0)}
    # Sent again, also to a compactor started anew, it changes nothing; nor does the old key's late update.
    put(shard, world.contract, move, record("update", row(46, "late"), 5, 1))
    world.restart()
    world.merge()
    assert world.rows() == {45: ("moved", "x", 6), 1: ("a", "x", 0)}
    assert [entry[:3] for entry in world.history()] == [
        (0, "r", 1),
        (0, "r", 46),
        (5, "u", 46),
        (6, "c", 45),
        (6, "d", 46),
    ]


def test_keys_swapped_in_one_transaction(world: World) -> None:
    put(world.shard(), world.contract, record("load", row(1, "one")), record("load", row(2, "two")))
    put(
        world.shard(1), world.contract,
        record("update", row(1, "two"), 9, 2, before={"id": 2}), record("update", row(2, "one"), 9, 3, before={"id": 3}),
        record("update", row(3, "one"), 9, 1, before={"id": 1}),
    )  # fmt: skip
    world.merge()
    assert world.rows() == {1: ("two", "x", 9), 2: ("one", "x", 9)}


def test_a_doubtful_null_never_overwrites_and_a_whole_image_heals(world: World) -> None:
    shard = world.shard()
    put(shard, world.contract, record("load", row(1)))
    put(shard, world.contract, record("update", row(1, "b", None), 6, 1))
    world.merge()
    assert world.rows() == {1: ("a", "x", 0)}
    assert reasons(world) == ["dms-ambiguous-null"]
    assert [entry[:3] for entry in world.history()] == [(0, "r", 1), (6, "q", 1)]
    put(shard, world.contract, record("update", row(1, "c", "y"), 7, 1))
    world.merge()
    assert world.rows() == {1: ("c", "y", 7)}


def test_with_full_images_null_is_null(full: World) -> None:
    shard = full.shard()
    put(shard, full.contract, record("load", row(1)), record("update", row(1, "b", None), 6, 1, before=row(1)))
    full.merge()
    assert full.rows() == {1: ("b", None, 6)}
    assert reasons(full) == []


def test_settings_that_are_off_are_named_in_the_quarantine(world: World) -> None:
    without = record("insert", row(2), 5, 1).replace(b'"stream-position"', b'"x-position"')
    put(world.shard(), world.contract, record("load", row(1)), without, record("update", {"id": 1, "nome": "b"}, 6, 1))
    world.merge()
    assert world.rows() == {1: ("a", "x", 0)}
    assert reasons(world) == ["dms-column-absent", "dms-no-position"]


@pytest.mark.parametrize("seed", range(3))
def test_random_histories_end_equal_to_the_source(full: World, seed: int) -> None:
    dice = random.Random(seed)
    truth, records, done = _random_history(dice)
    assert done == {"insert", "update", "delete", "move"}  # the workload did what it claims
    streams: list[list[bytes]] = [[], [], []]
    for body in records:
        # A failed entry is put again later, and DMS resends from its checkpoint: any order, any repetition.
        for _ in range(dice.choice([1, 1, 2])):
            waiting = dice.choice(streams)
            waiting.insert(dice.randint(max(len(waiting) - 8, 0), len(waiting)), body)
    writers = [full.shard(number) for number in range(3)]
    while any(streams):
        for writer, waiting in zip(writers, streams, strict=True):
            some, waiting[:12] = waiting[:12], []
            if some:
                put(writer, full.contract, *some)
        full.merge()
        if dice.random() < 0.3:
            full.restart()
    assert {key: values[:2] for key, values in full.rows().items()} == truth
    assert reasons(full) == []


def _random_history(dice: random.Random) -> tuple[dict[int, tuple[str, str | None]], list[bytes], set[str]]:
    """A source's history under REPLICA IDENTITY FULL: its final rows, its records, and what happened."""
    truth: dict[int, tuple[str, str | None]] = dict.fromkeys(range(6), ("loaded", "x"))
    records = [record("load", row(key, *values)) for key, values in truth.items()]
    done = set[str]()
    for step in range(120):
        place = (10 + step // 5, 1 + step % 5)
        key, values = dice.randrange(10), (f"n{step}", dice.choice([None, f"b{step}"]))
        free = [other for other in range(10) if other not in truth]
        what = "insert" if key in free else dice.choice(["update", "update", "delete", "move" if free else "update"])
        done.add(what)
        before = row(key, *truth[key]) if key in truth else None
        new = dice.choice(free) if what == "move" else key
        truth.pop(key, None)
        if what == "delete":
            records.append(record(what, {"id": key, "nome": None, "bio": None}, *place))
            continue
        truth[new] = values
        records.append(record("insert" if before is None else "update", row(new, *values), *place, before=before))
    return truth, records, done
