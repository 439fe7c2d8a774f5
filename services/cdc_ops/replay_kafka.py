"""Kafka as a target: an idempotent producer keeps the order of each partition, whatever is tried again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from cdc.errors import CdcError, FatalFault, TransientFault
from cdc_consumer.kafka.fault import kafka_error, kafka_fault
from cdc_consumer.kafka.properties import ClientProperties, admin_config
from cdc_ops.replay_record import Record
from cdc_ops.replay_target import FROM_AVRO

RECORD_BYTES_MAX = 16 * 2**20
"""What the client lets pass; what the topic takes (`max.message.bytes`) is the broker's to say."""
GIVE_UP_SECONDS = 300.0
_ANSWER_SECONDS = 30.0
_POLL_SECONDS = 0.2
_OF_READING = ("fetch.", "queued.", "max.", "receive.")
"""Beginnings of settings that only a reader has."""


class KafkaTarget:
    """A topic. `is_stopping` tells whether to give up while the broker does not answer."""

    def __init__(self, producer: Producer, topic: str, is_stopping: Callable[[], bool]) -> None:
        self._producer = producer
        self._topic = topic
        self._is_stopping = is_stopping
        self._fault: CdcError | None = None

    def obstacle(self, record: Record) -> str | None:
        """What no stream can take."""
        return None if record.schema_id is None else FROM_AVRO

    def put(self, record: Record, partition_key: str) -> None:
        """Take a record; the partition follows from its key."""
        while self._fault is None:
            try:
                self._producer.produce(
                    self._topic, value=record.payload, key=partition_key.encode(), on_delivery=self._on_delivery
                )
            except BufferError:  # the client's queue is full
                self._wait()
            except KafkaException as error:
                self._fault = kafka_fault("put a record", self._topic, kafka_error(error))
            else:
                return
        raise self._fault

    def flush(self) -> None:
        """Put everything.

        Raises:
            CdcError: when the topic refuses a record, or the broker does not answer.
        """
        ends = time.monotonic() + GIVE_UP_SECONDS
        while self._fault is None and len(self._producer):
            self._wait()
            if time.monotonic() > ends:
                self._fault = kafka_fault("put records", self._topic, None)
        if self._fault is not None:
            raise self._fault

    def close(self, *, is_whole: bool) -> None:
        """What was not delivered is forgotten."""
        if not is_whole:
            self._producer.purge()
        self._producer.flush(_POLL_SECONDS)

    def _wait(self) -> None:
        self._producer.poll(_POLL_SECONDS)
        if self._is_stopping() and len(self._producer) and self._producer.flush(_ANSWER_SECONDS) != 0:
            self._fault = TransientFault("stopped before the topic had taken everything", where=self._topic)

    def _on_delivery(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None and self._fault is None:
            self._fault = kafka_fault("put a record", self._topic, error)


def open_topic(servers: tuple[str, ...], given: ClientProperties, topic: str) -> Producer:
    """A producer of a topic that exists.

    Raises:
        CdcError: when the broker does not answer, or has no such topic.
    """
    try:
        producer = Producer(producer_config(servers, given))
        topics = producer.list_topics(timeout=_ANSWER_SECONDS).topics  # naming one could make it
    except KafkaException as error:
        raise kafka_fault("list the topics", ",".join(servers), kafka_error(error)) from None
    if topic not in topics:
        hint = "check its name in --to; a replay makes none"
        raise FatalFault("there is no such topic, or it may not be described", where=topic, hint=hint)
    return producer


def producer_config(servers: tuple[str, ...], given: ClientProperties) -> dict[str, Any]:
    """What the client needs to put records, without the settings that only a reader has."""
    config = admin_config(servers, given)
    kept = {name: value for name, value in config.items() if not name.startswith(_OF_READING)}
    return {
        "client.id": "cdc-replay",
        "log_level": 0,  # its lines may quote settings
        **{name: value for name, value in kept.items() if name != "client.id" or name in given.values},
        "enable.idempotence": True,
        "message.max.bytes": RECORD_BYTES_MAX,
        "linger.ms": 20,
    }
