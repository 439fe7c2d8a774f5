"""A message of Kafka as a record: its offset as a sequence number, its timestamp as the time of its arrival."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from confluent_kafka import Message

from cdc_consumer.stream import Record

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_MILLISECONDS_MAX = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND


def record_of(message: Message) -> Record:
    """The record. Key and headers are not needed: the value says all that a change event is."""
    _kind, milliseconds = message.timestamp()
    offset, value = message.offset(), message.value()
    assert offset is not None
    return Record(seq=str(offset + 1), arrived_at=arrived_at(milliseconds), data=value or b"")


def arrived_at(milliseconds: int) -> datetime:
    """The record's timestamp; what is no time, as in a topic of before Kafka 0.10, is the same at every try."""
    return _EPOCH + _MILLISECOND * min(max(milliseconds, 0), _MILLISECONDS_MAX)
