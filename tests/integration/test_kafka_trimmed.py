"""What a broker no longer has, on librdkafka's own mock cluster: it answers "out of range" and drops what is old.

It cannot describe topics, so that part is stood in for; clients, group and fetching are real.
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from cdc.errors import FatalFault
from cdc.raw import batch_path
from cdc_consumer import metrics
from cdc_consumer.clock import SYSTEM_CLOCK
from cdc_consumer.kafka import group as group_module
from cdc_consumer.kafka.consumer import consume, fit
from cdc_consumer.kafka.fault import Complaints
from cdc_consumer.kafka.group import Group
from cdc_consumer.kafka.properties import ClientProperties, consumer_config
from cdc_consumer.kafka.streams import KafkaStreams
from cdc_consumer.stream import Shard, Stream
from cdc_consumer.tools import Tools
from tests.kafka_scene import event
from tests.raw_reader import read_raw
from tests.raw_zone import MemoryObjects

pytestmark = pytest.mark.slow

TOPIC = "t"
STREAM = Stream(TOPIC, f"{TOPIC}-AaH-bHBpfqGKA_qfTHquGA", retention=None)
PARTITIONS = 4  # the mock's number
PATIENCE_SECONDS = 120


@dataclass
class StatedTopics:
    partitions: int = PARTITIONS

    def describe(self, name: str) -> tuple[Stream, tuple[Shard, ...]]:
        return STREAM, tuple(Shard(str(number)) for number in range(self.partitions))

    def ends(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        return {}


@dataclass
class MockScene:
    server: str
    raw: MemoryObjects = field(default_factory=MemoryObjects)
    quarantine: MemoryObjects = field(default_factory=MemoryObjects)
    topics: StatedTopics = field(default_factory=StatedTopics)

    def write(self, *payloads: bytes, partition: int = 0) -> None:
        producer = Producer({"bootstrap.servers": self.server, "log_level": 0})
        for payload in payloads:
            producer.produce(TOPIC, payload, partition=partition)
            producer.poll(0)
        assert producer.flush(PATIENCE_SECONDS) == 0

    def catch_up(self, group_id: str = "g", batch_bytes: int = 1_000_000) -> None:
        config = consumer_config((self.server,), ClientProperties(), group_id, 6)
        complaints = Complaints()
        group = Group(Consumer({**config, "log_level": 0}), complaints, SYSTEM_CLOCK)
        streams = KafkaStreams(self.topics, group, SYSTEM_CLOCK)
        tools = Tools(
            streams=streams,
            raw=self.raw,
            quarantine=self.quarantine,
            tables={("public", "Usuários"): "usuarios"},
            batch_bytes=batch_bytes,
            batch_age_seconds=0.2,
            clock=SYSTEM_CLOCK,
            chance=random.random,
        )
        consume([TOPIC], self.topics, group, fit(tools, streams), threading.Event(), until_caught_up=True)

    def chain(self) -> list[tuple[int, int]]:
        """The batches of the partition that is written to, as (after, upto)."""
        records = [
            json.loads(body)
            for path, body in self.raw.objects.items()
            if path.startswith(f"_batches/{STREAM.identity}/0/")
        ]
        return sorted((int(record["after"]), int(record["upto"])) for record in records)

    def objects(self, prefix: str) -> dict[str, bytes]:
        stores = {"raw/": self.raw.objects, "quarantine/": self.quarantine.objects}
        named = {start + path: body for start, store in stores.items() for path, body in store.items()}
        return {path: body for path, body in named.items() if path.startswith(prefix)}

    def oldest(self) -> int:
        client = Consumer({"bootstrap.servers": self.server, "group.id": "looking", "log_level": 0})
        low, _high = client.get_watermark_offsets(TopicPartition(TOPIC, 0), timeout=PATIENCE_SECONDS)
        client.close()
        assert isinstance(low, int)
        return low


@pytest.fixture
def scene() -> Iterator[MockScene]:
    host = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "none", "log_level": 0})
    (broker,) = host.list_topics(timeout=PATIENCE_SECONDS).brokers.values()
    yield MockScene(f"{broker.host}:{broker.port}")
    host.flush(0)


def large(numbers: Iterable[int]) -> list[bytes]:
    """Events of which the mock keeps some fifty: 5 MiB a partition."""
    return [json.dumps({**json.loads(event(number)), "filler": "x" * 100_000}).encode() for number in numbers]


def gaps() -> float:
    return float(metrics.GAPS._value.get())


def test_what_the_topic_dropped_unread_is_a_gap_in_the_chain(scene: MockScene) -> None:
    scene.write(*map(event, range(3)))
    scene.catch_up()
    before = gaps()
    scene.write(*large(range(3, 150)))
    oldest = scene.oldest()
    assert oldest > 3
    scene.catch_up()
    assert gaps() == before + 1
    chain = scene.chain()
    assert chain[0] == (0, 3)
    assert chain[1][0] == oldest
    assert chain[-1][1] == 150
    with pytest.raises(AssertionError, match="gap in 0"):
        read_raw(scene)

    scene.write(event(150))
    scene.catch_up()
    assert gaps() == before + 1
    assert scene.chain()[-1] == (150, 151)


def test_what_was_dropped_before_the_first_worker_came_is_none(scene: MockScene) -> None:
    before = gaps()
    scene.write(*large(range(150)))
    oldest = scene.oldest()
    assert oldest > 0
    scene.catch_up()
    raw = read_raw(scene)
    assert sorted(seq for _, seq in raw.events) == list(range(oldest + 1, 151))
    assert gaps() == before


def test_what_was_dropped_after_the_partition_was_seen_empty_is_a_gap(scene: MockScene) -> None:
    before = gaps()
    scene.write(event(0), partition=1)  # which makes the topic
    scene.catch_up()
    assert scene.chain() == []
    scene.write(*large(range(150)))
    scene.catch_up()
    assert gaps() == before + 1
    assert scene.chain()[0][0] == scene.oldest()


def test_a_log_that_ends_before_what_was_read_ends_the_program(scene: MockScene) -> None:
    scene.write(*map(event, range(3)))
    scene.catch_up()
    (body,) = [body for path, body in scene.raw.objects.items() if path.startswith(f"_batches/{STREAM.identity}/0/")]
    record = json.loads(body) | {"after": "3", "upto": "9", "objects": []}
    scene.raw.objects[batch_path(STREAM.identity, "0", 3, 9)] = json.dumps(record).encode()
    with pytest.raises(FatalFault, match="ends before what was read"):
        scene.catch_up()


def test_offsets_that_an_operator_sets_skip_nothing(scene: MockScene) -> None:
    scene.write(*map(event, range(12)))
    client = Consumer({"bootstrap.servers": scene.server, "group.id": "g", "log_level": 0})
    client.commit(offsets=[TopicPartition(TOPIC, 0, 10)], asynchronous=False)
    client.close()
    scene.catch_up()
    assert scene.chain() == [(0, 12)]


def test_a_group_without_offsets_goes_on_after_the_chain(scene: MockScene) -> None:
    scene.write(*map(event, range(6)))
    scene.catch_up()
    scene.write(*map(event, range(6, 12)))
    scene.catch_up(group_id="another")
    assert scene.chain() == [(0, 6), (6, 12)]


def test_threads_that_do_not_keep_up_hold_the_client_back_and_lose_nothing(
    scene: MockScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_module, "FEEDS_BYTES_MAX", 1)
    monkeypatch.setattr(group_module, "FEED_BYTES_MIN", 2_000)
    monkeypatch.setattr(group_module, "POLL_RECORDS_MAX", 5)
    scene.write(*map(event, range(500)))
    scene.catch_up(batch_bytes=1_000)
    assert sorted(seq for _, seq in read_raw(scene).events) == list(range(1, 501))
