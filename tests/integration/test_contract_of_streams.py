"""What the consumer asks of a stream service, shown of each emulator; what one of them gets wrong is listed, not adapted to."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from cdc.errors import FatalFault
from cdc.raw import SEQUENCE_DIGITS
from cdc_consumer.coverage import HASH_KEY_LAST, uncovered
from cdc_consumer.kinesis import KinesisStreams
from cdc_consumer.stream import Record, Shard, ShardGone, Stream
from sandbox.process import wait_until
from tests.emulator import Service, Services

pytestmark = pytest.mark.slow

PATIENCE_SECONDS = 60  # a limit for what has gone wrong; nothing right takes as long
SPLIT = "test_after_a_split_the_parent_is_read_to_its_end_and_names_its_children"
MERGE = "test_after_a_merge_the_child_has_two_parents"
GENERATIONS = "test_over_several_generations_all_can_be_read_and_goes_on_after_any_parents_last_record"
ENDING = "test_the_ending_number_of_a_closed_shard_is_past_its_last_record"
BEHIND = "test_a_reply_that_leaves_records_behind_says_so"
WRONG = {
    ("ministack", SPLIT): "it drops the parent at once, and what lay in it",
    ("ministack", MERGE): "it drops the parents at once, and what lay in them",
    ("ministack", GENERATIONS): "it drops parents at once",
    ("ministack", ENDING): "it drops the parent at once",
    ("ministack", BEHIND): "a reply may hold more than 10 MiB",
    ("kinesalite", BEHIND): "an open shard is always read to its tip, however much is left",
    ("kinesis-mock", ENDING): "every closed shard ends at 2^63 - 1, which is far below its records",
}
"""What an emulator gets wrong, by case. Each is run and must fail, so that a version that mends it is noticed."""


@dataclass
class Scene:
    """A stream of a service's, and what was put to it: shard → payloads in order."""

    service: Service
    name: str = field(default_factory=lambda: f"s-{uuid.uuid4().hex[:12]}")
    put: dict[str, list[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.client = self.service.kinesis()
        self.streams = KinesisStreams(self.client)

    @property
    def stream(self) -> Stream:
        return self.streams.describe(self.name)

    def create(self, shards: int) -> None:
        self.client.create_stream(StreamName=self.name, ShardCount=shards)
        self.wait()

    def delete(self) -> None:
        self.client.delete_stream(StreamName=self.name)
        wait_until(self._is_gone, PATIENCE_SECONDS, "the stream is gone")

    def _is_gone(self) -> bool:
        try:
            self.client.describe_stream_summary(StreamName=self.name)
        except self.client.exceptions.ResourceNotFoundException:
            return True
        return False

    def wait(self) -> None:
        def is_active() -> bool:
            summary = self.client.describe_stream_summary(StreamName=self.name)["StreamDescriptionSummary"]
            return summary["StreamStatus"] == "ACTIVE"

        wait_until(is_active, PATIENCE_SECONDS, "the stream is active")

    def write(self, count: int, size: int = 10) -> None:
        for number in range(count):
            data = f"{number:010}".encode().ljust(size, b"x")
            answer = self.client.put_record(StreamName=self.name, Data=data, PartitionKey=uuid.uuid4().hex)
            self.put.setdefault(answer["ShardId"], []).append(data)

    def shards(self) -> dict[str, Shard]:
        return {shard.id: shard for shard in self.streams.shards(self.stream)}

    def open_shards(self) -> list[Shard]:
        found = [shard for shard in self.shards().values() if shard.ending is None]
        return sorted(found, key=lambda shard: shard.hash_keys or (0, 0))

    def split(self, shard: Shard) -> set[str]:
        """Split a shard in the middle; returns its children."""
        assert shard.hash_keys
        before = set(self.shards())
        self.client.split_shard(
            StreamName=self.name, ShardToSplit=shard.id, NewStartingHashKey=str(sum(shard.hash_keys) // 2)
        )
        self.wait()
        return set(self.shards()) - before

    def merge(self, one: Shard, other: Shard) -> str:
        """Merge two adjacent shards; returns their child."""
        before = set(self.shards())
        self.client.merge_shards(StreamName=self.name, ShardToMerge=one.id, AdjacentShardToMerge=other.id)
        self.wait()
        (child,) = set(self.shards()) - before
        return child

    def read(self, shard: str, after: str | None = None) -> tuple[list[Record], set[str] | None]:
        """All records of a shard, and its children if it is closed, else None."""
        iterator: str | None = self.streams.iterator(self.stream, shard, after)
        records: list[Record] = []
        while iterator is not None:
            reply = self.streams.records(self.stream, shard, iterator)
            records += reply.records
            iterator = reply.iterator
            if iterator is not None and not reply.records and reply.behind_milliseconds == 0:
                return records, None
        named = {child.id for child in self.shards().values() if shard in child.parents}
        return records, named | set(reply.children)


@pytest.fixture(params=["ministack", "kinesalite", "kinesis-mock"])
def scene(request: pytest.FixtureRequest, services: Services) -> Iterator[Scene]:
    emulator: str = request.param
    if reason := WRONG.get((emulator, request.node.originalname)):
        request.applymarker(pytest.mark.xfail(reason=f"{emulator}: {reason}", strict=True))
    scene = Scene(services[emulator])
    yield scene
    if not scene._is_gone():
        scene.client.delete_stream(StreamName=scene.name)


def test_records_stand_in_order_by_numbers_that_rise_and_fit_into_raws_names(scene: Scene) -> None:
    scene.create(2)
    scene.write(60)
    assert len(scene.put) == 2
    for shard, payloads in scene.put.items():
        records, children = scene.read(shard)
        assert [record.data for record in records] == payloads
        assert children is None
        numbers = [int(record.seq) for record in records]
        assert numbers == sorted(set(numbers))
        assert numbers[0] > 0
        assert len(str(numbers[-1])) <= SEQUENCE_DIGITS


def test_reading_goes_on_right_after_any_record(scene: Scene) -> None:
    scene.create(1)
    scene.write(5)
    (shard,) = scene.put
    records, _ = scene.read(shard)
    for number, record in enumerate(records):
        assert scene.read(shard, record.seq)[0] == records[number + 1 :]


def test_an_iterator_at_the_tip_finds_what_arrives_later(scene: Scene) -> None:
    scene.create(1)
    scene.write(1)
    (shard,) = scene.put
    iterator: str | None = scene.streams.iterator(scene.stream, shard, None)
    found: list[Record] = []
    for _ in range(3):
        assert iterator is not None
        reply = scene.streams.records(scene.stream, shard, iterator)
        found += reply.records
        iterator = reply.iterator
    assert (len(found), reply.behind_milliseconds) == (1, 0)
    scene.write(1)
    assert iterator is not None
    assert len(scene.streams.records(scene.stream, shard, iterator).records) == 1


def test_large_records_and_empty_ones_come_whole(scene: Scene) -> None:
    scene.create(1)
    scene.write(12, size=1024 * 1024 - 32)
    (shard,) = scene.put
    records, _ = scene.read(shard)
    assert [record.data for record in records] == scene.put[shard]
    scene.client.put_record(StreamName=scene.name, Data=b"", PartitionKey="k")
    (empty,), _ = scene.read(shard, records[-1].seq)
    assert empty.data == b""


def test_more_records_than_one_page_holds_come_in_order(scene: Scene) -> None:
    scene.create(1)
    for start in range(0, 10_500, 500):
        records = [{"Data": str(start + n).encode(), "PartitionKey": "k"} for n in range(500)]
        answer = scene.client.put_records(StreamName=scene.name, Records=records)  # type: ignore[arg-type]
        assert answer["FailedRecordCount"] == 0
    (shard,) = scene.shards()
    found, _ = scene.read(shard)
    assert [int(record.data) for record in found] == list(range(10_500))


def test_a_reply_that_leaves_records_behind_says_so(scene: Scene) -> None:
    """Else a worker would take itself for caught up."""
    scene.create(1)
    scene.write(12, size=1024 * 1024 - 32)  # more than the 10 MiB of one reply
    (shard,) = scene.put
    iterator: str | None = scene.streams.iterator(scene.stream, shard, None)
    read, behind = 0, []
    while iterator is not None and read < 12:
        time.sleep(0.01)  # behind by milliseconds, not by none
        reply = scene.streams.records(scene.stream, shard, iterator)
        read, iterator = read + len(reply.records), reply.iterator
        behind.append(reply.behind_milliseconds)
    assert len(behind) > 1
    assert min(behind[:-1]) > 0
    assert behind[-1] == 0


def test_the_time_of_arrival_is_the_present_in_utc(scene: Scene) -> None:
    scene.create(1)
    began = datetime.now(UTC)
    scene.write(1)
    (shard,) = scene.put
    ((record,), _) = scene.read(shard)
    assert record.arrived_at.tzinfo is UTC
    assert began - timedelta(seconds=2) <= record.arrived_at <= datetime.now(UTC) + timedelta(seconds=2)


def test_open_shards_take_every_hash_key(scene: Scene) -> None:
    scene.create(3)
    shards = scene.open_shards()
    assert len(shards) == 3
    assert uncovered(shards) == []
    assert shards[-1].hash_keys is not None
    assert shards[-1].hash_keys[1] == HASH_KEY_LAST
    assert [shard.parents for shard in shards] == [(), (), ()]


def test_after_a_split_the_parent_is_read_to_its_end_and_names_its_children(scene: Scene) -> None:
    scene.create(1)
    scene.write(20)
    (parent,) = scene.open_shards()
    children = scene.split(parent)
    assert len(children) == 2
    scene.write(40)
    shards = scene.shards()
    assert shards[parent.id].ending is not None
    assert {child: shards[child].parents for child in children} == dict.fromkeys(children, (parent.id,))
    assert uncovered(shards.values()) == []
    for shard in (parent.id, *children):
        records, named = scene.read(shard)
        assert [record.data for record in records] == scene.put[shard]
        assert named == (children if shard == parent.id else None)


def test_after_a_merge_the_child_has_two_parents(scene: Scene) -> None:
    scene.create(2)
    scene.write(40)
    low, high = scene.open_shards()
    child = scene.merge(low, high)
    scene.write(20)
    shards = scene.shards()
    assert set(shards[child].parents) == {low.id, high.id}
    assert uncovered(shards.values()) == []
    for parent in (low.id, high.id):
        records, named = scene.read(parent)
        assert [record.data for record in records] == scene.put[parent]
        assert named == {child}
    assert [record.data for record in scene.read(child)[0]] == scene.put[child]


def test_over_several_generations_all_can_be_read_and_goes_on_after_any_parents_last_record(
    scene: Scene,
) -> None:
    scene.create(2)
    for _ in range(3):
        scene.write(30)
        scene.split(scene.open_shards()[0])
        scene.write(30)
        scene.merge(*scene.open_shards()[1:3])
    scene.write(30)
    shards = scene.shards()
    assert len(shards) == 2 + 3 * 3
    assert uncovered(shards.values()) == []
    for shard, payloads in scene.put.items():
        records, named = scene.read(shard)
        assert [record.data for record in records] == payloads
        assert (named is None) == (shards[shard].ending is None)
        rest, again = scene.read(shard, records[-1].seq)
        assert (rest, again) == ([], named)


def test_the_ending_number_of_a_closed_shard_is_past_its_last_record(scene: Scene) -> None:
    scene.create(1)
    scene.write(5)
    (parent,) = scene.open_shards()
    records, _ = scene.read(parent.id)
    scene.split(parent)
    ending = scene.shards()[parent.id].ending
    assert ending is not None
    assert int(ending) > int(records[-1].seq)


def test_a_shard_that_the_stream_does_not_know_is_gone(scene: Scene) -> None:
    scene.create(1)
    with pytest.raises(ShardGone):
        scene.streams.iterator(scene.stream, "shardId-000000000077", None)


def test_a_missing_stream_is_fatal(scene: Scene) -> None:
    with pytest.raises(FatalFault, match="CDC_SOURCE"):
        scene.streams.describe(scene.name)


def test_a_stream_made_anew_has_another_identity(scene: Scene) -> None:
    scene.create(1)
    first = scene.stream
    created = scene.client.describe_stream_summary(StreamName=scene.name)["StreamDescriptionSummary"]
    moment = created["StreamCreationTimestamp"].timestamp()
    name, _, text = first.identity.rpartition("-")
    assert name == scene.name
    assert datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp() == int(moment)
    scene.delete()
    time.sleep(1.1)  # the identity tells seconds apart
    scene.create(1)
    assert scene.stream.identity != first.identity
    assert scene.stream.retention == timedelta(hours=24)
