"""Topics as streams: which one it is, how many partitions it has, where they end, and which topics are refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Protocol, TypeVar

from confluent_kafka import IsolationLevel, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, OffsetSpec, ResourceType

from cdc.errors import FatalFault
from cdc_consumer.kafka.fault import Complaints, kafka_error, kafka_fault
from cdc_consumer.stream import Shard, Stream

T = TypeVar("T")
ANSWER_SECONDS = 10.0
_END = OffsetSpec.latest()  # type: ignore[no-untyped-call]
_NO_ID = "A" * 22
"""The id of nothing, 16 bytes of 0: what brokers before 2.8 give."""


class Topics(Protocol):
    """What the consumer asks about topics."""

    def describe(self, name: str) -> tuple[Stream, tuple[Shard, ...]]:
        """A topic and its partitions."""

    def ends(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        """The offset up to which readers of committed data may read each partition now."""


class KafkaTopics:
    """Topics of a cluster."""

    def __init__(self, admin: AdminClient, complaints: Complaints) -> None:
        self._admin = admin
        self._complaints = complaints

    def describe(self, name: str) -> tuple[Stream, tuple[Shard, ...]]:
        """A topic, with its id in its identity, and its partitions.

        Raises:
            TransientFault: when the cluster does not answer for now.
            FatalFault: when the topic is not there, must not be read, or is compacted.
        """
        names, resource = TopicCollection([name]), ConfigResource(ResourceType.TOPIC, name)
        found = self._answer(
            "describe the topic",
            name,
            lambda: self._admin.describe_topics(names, request_timeout=ANSWER_SECONDS)[name],
        )
        entries = self._answer(
            "read the topic's settings",
            name,
            lambda: self._admin.describe_configs([resource], request_timeout=ANSWER_SECONDS)[resource],
        )
        refuse_compacted(name, {key: entry.value for key, entry in entries.items()})
        stream = Stream(name, identity(name, str(found.topic_id)), retention=None)
        return stream, tuple(Shard(str(number)) for number in sorted(part.id for part in found.partitions))

    def ends(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        """The high watermarks, or where the oldest open transaction begins.

        Raises:
            TransientFault: when the cluster does not answer for now.
        """
        verb, level = "find where a partition ends", IsolationLevel.READ_COMMITTED
        asked = {TopicPartition(topic, number): _END for number in partitions}
        if not asked:
            return {}
        try:
            answers = self._admin.list_offsets(asked, isolation_level=level, request_timeout=ANSWER_SECONDS)
        except KafkaException as error:
            raise self._fault(verb, topic, error) from None
        return {part.partition: self._result(verb, topic, answer).offset for part, answer in answers.items()}

    def _answer(self, verb: str, topic: str, ask: Callable[[], Future[T]]) -> T:
        try:
            future = ask()
        except KafkaException as error:
            raise self._fault(verb, topic, error) from None
        return self._result(verb, topic, future)

    def _result(self, verb: str, topic: str, future: Future[T]) -> T:
        try:
            # The client answers by itself after its own, shorter time.
            return future.result(2 * ANSWER_SECONDS)
        except (KafkaException, TimeoutError) as error:
            self._admin.poll(0)  # what it complains of, and what it logs, is handed out only here
            raise self._fault(verb, topic, error) from None

    def _fault(self, verb: str, topic: str, error: Exception) -> Exception:
        return kafka_fault(verb, topic, self._complaints.explain(kafka_error(error)))


def identity(topic: str, topic_id: str) -> str:
    """The topic's name in raw: `<topic>-<topic id>`, the id as Kafka's own tools print it.

    Raises:
        FatalFault: when the cluster gives topics no ids.
    """
    if topic_id.rstrip("=") == _NO_ID:
        raise FatalFault(
            "the cluster gives its topics no ids, so a topic made anew could not be told from the old one",
            where=topic,
            hint="use brokers of Kafka 2.8 or later with inter.broker.protocol.version to match",
        )
    # librdkafka prints base64 with + and /, Kafka with - and _, of which none is special in the name of an object.
    return f"{topic}-{topic_id.rstrip('=').replace('+', '-').replace('/', '_')}"


def refuse_compacted(topic: str, settings: Mapping[str, str | None]) -> None:
    """See that the topic keeps every record until its retention has passed.

    Raises:
        FatalFault: when it is compacted: of a key's changes it keeps the last only, and nobody could tell what is gone.
    """
    policy = settings.get("cleanup.policy") or "delete"  # Kafka's default
    if "compact" in policy.split(","):
        raise FatalFault(
            "the topic is compacted: changes go from it without a trace",
            where=topic,
            hint="set its cleanup.policy to delete; if it was read or compacted until now, begin with a new topic and "
            "a new snapshot",
        )
