"""A shard whose values are in Avro: what the registry's outage, and what a hopeless value, do to the others."""

from __future__ import annotations

import gzip
import json
from functools import partial

import pytest

from cdc.errors import TransientFault
from cdc_consumer.avro import AvroReader
from cdc_consumer.shard import Outcome
from cdc_consumer.tools import Tools
from tests import shard_world as shards
from tests.golden_avro import ENVELOPE, MemoryRegistry
from tests.kpl import aggregate
from tests.unit.test_avro_reader import EVENT, framed

World = shards.World


@pytest.fixture
def registry() -> MemoryRegistry:
    return MemoryRegistry({1: json.dumps(ENVELOPE)})


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, registry: MemoryRegistry) -> World:
    made = World()
    reader = AvroReader(registry, made.raw, made.time.clock().monotonic)
    monkeypatch.setattr(shards, "Tools", partial(Tools, from_avro=reader.read))
    return made


def test_values_in_avro_and_json_stand_in_one_chain(world: World) -> None:
    world.streams.add(framed(EVENT), shards.event(2), framed(EVENT))
    assert world.work() is Outcome.CAUGHT_UP
    assert world.check() == [1, 2, 3]
    (ref,) = world.chain()[0]["objects"]
    lines = [json.loads(line) for line in gzip.decompress(world.raw.objects[ref["path"]]).splitlines()]
    assert [line.get("schema_id") for line in lines] == [1, None, 1]
    assert lines[0]["event"] == EVENT


def test_values_in_avro_stand_in_an_aggregate_too(world: World) -> None:
    world.streams.add(aggregate([framed(EVENT), shards.event(2), b"\0\0\0\0\1\xff\xff", framed(EVENT)]))
    assert world.work() is Outcome.CAUGHT_UP
    (ref,) = world.chain()[0]["objects"]
    lines = [json.loads(line) for line in gzip.decompress(world.raw.objects[ref["path"]]).splitlines()]
    assert [(line["sub"], line.get("schema_id")) for line in lines] == [(0, 1), (1, None), (3, 1)]
    assert lines[2]["event"] == EVENT
    assert [path.split("/")[0] for path in world.quarantine.objects] == ["not-avro"]


def test_a_registry_that_is_away_holds_the_shard_and_loses_nothing(world: World, registry: MemoryRegistry) -> None:
    registry.faults = [TransientFault("down")] * 50
    world.streams.add(shards.event(1), framed(EVENT), shards.event(3))
    assert world.work() is Outcome.CAUGHT_UP
    assert world.check() == [1, 2, 3]
    assert len(registry.asked) == 51
    assert world.quarantine.objects == {}


def test_the_schema_is_in_raw_before_the_batch_that_refers_to_it(world: World) -> None:
    written: list[str] = []
    world.raw.after = written.append
    world.streams.add(framed(EVENT))
    world.work()
    assert written[0] == f"_schemas/{shards.STREAM.identity}/1.json"
    assert any(path.startswith("_batches/") for path in written[1:])


def test_a_hopeless_value_goes_to_quarantine_and_the_others_go_on(world: World) -> None:
    world.streams.add(framed(EVENT), b"\0\0\0\0\1\xff\xff", framed(EVENT, 2), framed(EVENT))
    assert world.work() is Outcome.CAUGHT_UP
    assert world.check() == [1, 4]
    assert sorted(path.split("/")[0] for path in world.quarantine.objects) == ["avro-unknown-schema", "not-avro"]
