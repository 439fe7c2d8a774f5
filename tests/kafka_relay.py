"""A relay from Kinesis to Kafka: what the publisher put to shard n goes to partition n, in order and byte for byte.

But for the publisher's words of its snapshots, which name the shards that are told: there they are partitions.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from confluent_kafka import Producer

from cdc.raw import SNAPSHOT_PREFIX
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
    shards = sorted(shard["ShardId"] for shard in kinesis.list_shards(StreamName=stream)["Shards"])
    iterators = {
        number: kinesis.get_shard_iterator(StreamName=stream, ShardId=shard, ShardIteratorType="TRIM_HORIZON")[
            "ShardIterator"
        ]
        for number, shard in enumerate(shards)
    }
    while not done.wait(PAUSE_SECONDS):
        for number, iterator in iterators.items():
            answer = kinesis.get_records(ShardIterator=iterator)
            for record in answer["Records"]:
                producer.produce(topic, _of_partitions(record["Data"], shards), partition=number)
            iterators[number] = answer["NextShardIterator"]
        assert producer.flush(_FLUSH_SECONDS) == 0


def _of_partitions(payload: bytes, shards: Sequence[str]) -> bytes:
    """The payload; a publisher's word of a snapshot names partitions where it named shards."""
    if SNAPSHOT_PREFIX.encode() not in payload:
        return payload
    event = json.loads(payload)
    if (event.get("message") or {}).get("prefix") != SNAPSHOT_PREFIX:
        return payload
    word = json.loads(base64.b64decode(event["message"]["content"]))
    word["shards"] = [str(shards.index(shard)) for shard in word["shards"]]
    event["message"]["content"] = base64.b64encode(json.dumps(word).encode()).decode()
    return json.dumps(event).encode()
