"""A relay from Kinesis to Kafka: what the publisher put to shard n goes to partition n, in order and byte for byte."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import Producer

from sandbox.aws import Aws

PAUSE_SECONDS = 0.2
_FLUSH_SECONDS = 60


@contextmanager
def relaying(aws: Aws, stream: str, server: str, topic: str) -> Iterator[None]:
    """Relay while inside; a fault of the relay is raised at the end."""
    done = threading.Event()
    faults: list[BaseException] = []

    def relay() -> None:
        try:
            _relay(aws, stream, server, topic, done)
        except BaseException as error:  # noqa: BLE001 - raised below
            faults.append(error)

    thread = threading.Thread(target=relay, name="relay")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    if faults:
        raise faults[0]


def _relay(aws: Aws, stream: str, server: str, topic: str, done: threading.Event) -> None:
    kinesis = aws.client("kinesis")
    producer = Producer({"bootstrap.servers": server, "log_level": 0})
    shards = [shard["ShardId"] for shard in kinesis.list_shards(StreamName=stream)["Shards"]]
    iterators = {
        number: kinesis.get_shard_iterator(StreamName=stream, ShardId=shard, ShardIteratorType="TRIM_HORIZON")[
            "ShardIterator"
        ]
        for number, shard in enumerate(sorted(shards))
    }
    while not done.wait(PAUSE_SECONDS):
        for number, iterator in iterators.items():
            answer = kinesis.get_records(ShardIterator=iterator)
            for record in answer["Records"]:
                producer.produce(topic, record["Data"], partition=number)
            iterators[number] = answer["NextShardIterator"]
        assert producer.flush(_FLUSH_SECONDS) == 0
