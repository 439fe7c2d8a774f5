"""Reads that were sent again look like a new snapshot; an operator says that they are none."""

from __future__ import annotations

from unittest.mock import Mock

import pytest

from cdc.epoch import read_epochs
from cdc.errors import TransientFault
from cdc_ops.rebuild import Rebuild
from compactor.lake import pair
from compactor.lake.rebuilt import Namespace
from compactor.pii_key import PiiKey
from tests.compactor_world import World, change, put
from tests.integration.test_epoch_operator import asked, beat, dms
from tests.raw_zone import START, ShardWriter, event

pytestmark = pytest.mark.slow


@pytest.fixture
def shard(world: World) -> ShardWriter:
    """A shard in which DMS has sent a load again, after a streamed change; the table waits."""
    shard = world.shard()
    put(shard, world.contract, dms("load", 1, "a", 1), dms("load", 2, "b", 1), dms("update", 1, "a2", 100))
    world.merge()
    put(shard, world.contract, dms("load", 1, "a", 500), dms("load", 2, "b", 500), dms("insert", 3, "c", 600))
    world.merge()
    assert names(world) == {1: "a2", 2: "b"}
    return shard


def names(world: World) -> dict[int, str]:
    return {key: row[0] for key, row in world.rows().items()}


def test_reads_sent_again_are_merged_as_the_old_ones_that_they_are(world: World, shard: ShardWriter) -> None:
    code, told = asked(world, is_resent=True, is_agreed=False)
    assert code == 1
    assert "up to 6" in told
    assert asked(world, is_resent=True)[0] == 0
    world.merge()
    assert names(world) == {1: "a2", 2: "b", 3: "c"}
    assert read_epochs(world.raw, world.contract.name).newest == 1
    assert asked(world, is_resent=True) == (
        0, "epoch 1: nothing else is recorded\nthe table does not wait: there is nothing that looks like a new snapshot\n"
    )  # fmt: skip


def test_what_an_operator_has_said_outlives_a_commit_that_fails(
    world: World, shard: ShardWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert asked(world, is_resent=True)[0] == 0
    fault = TransientFault("the lake does not answer", where="here")
    with monkeypatch.context() as patches:
        patches.setattr(pair, "commit_properties", Mock(side_effect=fault))
        with pytest.raises(TransientFault):
            world.merge()
    world.merge()
    assert names(world) == {1: "a2", 2: "b", 3: "c"}


def test_a_rebuild_and_a_restart_need_not_be_told_again(world: World, shard: ShardWriter) -> None:
    assert asked(world, is_resent=True)[0] == 0
    world.restart()
    world.merge()
    assert names(world) == {1: "a2", 2: "b", 3: "c"}
    namespace, key = Namespace(world.catalog, "lake"), PiiKey(b"k" * 32, "")
    assert Rebuild(namespace, world.contract, world.raw, key, lambda _: None).run(START).is_equal


def test_a_later_load_waits_again(world: World, shard: ShardWriter) -> None:
    assert asked(world, is_resent=True)[0] == 0
    world.merge()
    put(shard, world.contract, dms("load", 1, "new", 900))
    world.merge()
    assert names(world)[1] == "a2"
    assert asked(world)[0] == 0
    world.merge()
    assert names(world)[1] == "new"
    put(shard, world.contract, dms("update", 1, "newer", 1000), dms("load", 1, "new", 1100))
    world.merge()
    assert asked(world, is_resent=True)[0] == 0
    world.merge()
    assert names(world)[1] == "newer"


def test_lsns_that_began_anew_are_not_talked_away(world: World) -> None:
    shard = world.shard()
    put(shard, world.contract, change("c", 100, 1, "a", "x"))
    beat(world, shard, 200, 1000)
    world.merge()
    beat(world, shard, 300, 10)
    put(shard, world.contract, event("u", 11, {"id": 1, "nome": "b", "bio": "y"}, table="t", seconds=310))
    world.merge()
    assert asked(world, is_resent=True)[0] == 0
    world.merge()
    world.restart()
    world.merge()
    assert names(world) == {1: "a"}, "the table waits as before"
    assert asked(world, continues=True)[0] == 0
    world.merge()
    assert names(world) == {1: "b"}
