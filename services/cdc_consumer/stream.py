"""Stream: what the consumer knows of streams, shards and records, whichever service has them.

Kinesis's words are used for all: a partition of Kafka is a shard without parents.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from cdc.errors import CdcError

_CREATION = re.compile(r"\d{8}T\d{6}Z")


def identity(name: str, created_at: datetime) -> str:
    """The name in raw of a stream that has no id: its name and creation time, so that one made anew is another."""
    return f"{name}-{created_at.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def is_creation(text: str) -> bool:
    """Whether this is how a creation time stands in an identity."""
    return _CREATION.fullmatch(text) is not None


class IteratorExpired(CdcError):
    """A shard iterator is older than 5 minutes; a new one after the last sequence number read goes on."""


class ShardGone(CdcError):
    """The stream knows the shard no more: it was closed and all it held is past retention, or the stream is gone."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream: `identity` carries its creation time, so that a recreated stream is another one in raw.

    `retention` is None where the service tells by itself what it no longer has (`Reply.trimmed`).
    """

    name: str
    identity: str
    retention: timedelta | None


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard as the stream lists it; `ending` is its last possible sequence number once it is closed.

    `hash_keys` are the first and the last hash key that it takes.
    """

    id: str
    parents: tuple[str, ...] = ()
    ending: str | None = None
    hash_keys: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """A record of a shard: its sequence number as given, when it arrived (UTC), and its data."""

    seq: str
    arrived_at: datetime
    data: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """Some records, in order, and how to go on: without `iterator` the shard is closed and read to its end.

    `trimmed`: up to this sequence number the service has nothing any more; it holds before the first of the records.
    `reached`: so far is the shard read, where that may be past the last record because none can stand between.
    """

    records: tuple[Record, ...]
    iterator: str | None
    behind_milliseconds: int
    children: tuple[str, ...] = ()
    trimmed: str | None = None
    reached: str | None = None


class Streams(Protocol):
    """What the consumer asks of a stream service."""

    def describe(self, name: str) -> Stream:
        """A stream by name."""

    def shards(self, stream: Stream) -> tuple[Shard, ...]:
        """Every shard that the stream still has records of, closed ones included."""

    def iterator(self, stream: Stream, shard: str, after: str | None) -> str:
        """An iterator past a sequence number, or (None) at the oldest record retained."""

    def records(self, stream: Stream, shard: str, iterator: str) -> Reply:
        """The next records."""
