"""Tools: what the threads of all shards share."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from cdc.objects import ObjectStore
from cdc.raw import START, Tip, tip_path
from cdc_consumer.ages import Ages
from cdc_consumer.avro import JsonValue, without_registry
from cdc_consumer.clock import Clock
from cdc_consumer.pace import PAGES_AT_ONCE, Pace, seconds_between_reads
from cdc_consumer.routing import Tables
from cdc_consumer.stream import Shard, Stream, Streams


@dataclass(frozen=True, slots=True)
class Tools:
    """What the threads of all shards share: the edges, the tables, the limits of a batch, time and chance.

    `pages` is asked for leave before a page is read that may be large (None: none is). `has_aggregates` tells whether
    a record may be an aggregate of the KPL, which puts to Kinesis only.
    """

    streams: Streams
    raw: ObjectStore
    quarantine: ObjectStore
    tables: Tables
    batch_bytes: int
    batch_age_seconds: float
    clock: Clock
    chance: Callable[[], float]
    pace: Pace = seconds_between_reads
    from_avro: Callable[[bytes, str], JsonValue] = without_registry
    pages: threading.Semaphore | None = field(default_factory=lambda: threading.Semaphore(PAGES_AT_ONCE))
    has_aggregates: bool = True
    ages: Ages = field(default_factory=Ages)

    def announce(self, stream: Stream, shard: Shard) -> None:
        """Let readers of raw know that a shard exists, by a tip without a time, unless it has one."""
        tip = Tip(read_to_tip_at=None, upto=str(START))
        self.raw.put_if_absent(tip_path(stream.identity, shard.id), msgspec.json.encode(tip))
