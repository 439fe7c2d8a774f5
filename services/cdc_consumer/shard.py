"""One shard, read by one thread: read → route → batch → raw objects → batch record → checkpoint, in that order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import TypeVar

import msgspec

from cdc.errors import TransientFault
from cdc.objects import ObjectStore
from cdc.raw import START, Tip, tip_path
from cdc.telemetry import get_log
from cdc_consumer import metrics
from cdc_consumer.avro import JsonValue, without_registry
from cdc_consumer.backoff import FaultReport, pause_seconds, persist
from cdc_consumer.batch import Batch, Closing, Filed, Place, build, file_record
from cdc_consumer.clock import Clock
from cdc_consumer.halt import Halt
from cdc_consumer.held_lease import HeldLease
from cdc_consumer.kinesis import IteratorExpired, Record, Reply, Shard, ShardGone, Stream, Streams
from cdc_consumer.resume import find_resume, may_have_lost
from cdc_consumer.routing import Tables
from cdc_consumer.writer import BatchWriter

T = TypeVar("T")
READ_SECONDS = 0.25
"""Between two reads while behind: a shard takes 5 a second from all its readers together (AWS docs: "Quotas")."""
READ_SECONDS_AT_TIP = 1.0
"""Between two reads at the tip, as AWS advises."""
TIP_SECONDS = 60.0
"""How often the tip is noted: it proves that the consumer lives, and each one is a request to pay."""
BATCH_RECORDS_MAX = 100_000
"""Records in a batch, those counted that are left out: they cost no bytes in raw but some in memory."""

_log = get_log(__name__)


class Outcome(Enum):
    """Why the thread of a shard ended without a fault."""

    STOPPED = "stopped"
    CAUGHT_UP = "caught up"
    SHARD_END = "shard end"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Tools:
    """What the threads of all shards share: the edges, the tables, the limits of a batch, time and chance."""

    streams: Streams
    raw: ObjectStore
    quarantine: ObjectStore
    tables: Tables
    batch_bytes: int
    batch_age_seconds: float
    clock: Clock
    chance: Callable[[], float]
    from_avro: Callable[[bytes, str], JsonValue] = without_registry

    def announce(self, stream: Stream, shard: Shard) -> None:
        """Let readers of raw know that a shard exists, by a tip without a time, unless it has one."""
        tip = Tip(read_to_tip_at=None, upto=str(START))
        self.raw.put_if_absent(tip_path(stream.identity, shard.id), msgspec.json.encode(tip))


class ShardReader:
    """Reads a shard whose lease we hold from where it was left, until it ends or we are told to."""

    def __init__(self, stream: Stream, shard: str, lease: HeldLease, halt: Halt, tools: Tools) -> None:
        self.retention = stream.retention  # may change while the shard is read
        self._stream = stream
        self._shard = shard
        self._lease = lease
        self._halt = halt
        self._tools = tools
        self._clock = tools.clock
        self._report = FaultReport(self._clock.monotonic, f"{stream.identity}/{shard}")
        self._writer = BatchWriter(tools.raw, tools.quarantine, halt, tools.chance, self._report)
        self._log = _log.bind(stream=stream.identity, shard=shard)
        self._behind = metrics.BEHIND_MILLISECONDS.labels(stream=stream.identity, shard=shard)
        self._after = str(START)
        self._read_until: datetime | None = None
        self._lossy = False
        self._iterator: str | None = None
        self._failures = 0
        self._filed: list[Filed] = []
        self._filed_bytes = 0
        self._filed_since = 0.0
        self._tip_due = 0.0

    def run(self, *, until_caught_up: bool) -> Outcome:
        """Read, write and checkpoint until there is a reason to end; what was read is written before that.

        Raises:
            LeaseLost: when another worker took the shard over; what was in flight is dropped.
            TransientFault: when what was read could not be written in the time given to stop.
            FatalFault: when going on could lose or falsify data.
        """
        if self._resume():
            return Outcome.SHARD_END
        while not self._halt.ending:
            asked_at = self._clock.utc()
            try:
                reply = self._read()
            except ShardGone:
                self._write()
                return Outcome.GONE
            if reply is not None:
                self._file(reply.records)
                if reply.iterator is None:
                    self._close(reply)
                    return Outcome.SHARD_END
            at_tip = reply is not None and reply.behind_milliseconds == 0
            if at_tip:
                self._read_until = asked_at
            caught_up = until_caught_up and at_tip
            if caught_up or self._is_due():
                self._write()
            if at_tip and not self._filed and not self._lossy:
                self._note_tip(asked_at)
            if caught_up:
                return Outcome.CAUGHT_UP
            self._halt.rest(self._pause_seconds(reply))
        self._halt.check()
        self._write()
        return Outcome.STOPPED

    def _resume(self) -> bool:
        """Find where to go on; returns whether the shard is written to its end already."""
        found = persist(
            "find where to go on",
            lambda: find_resume(self._tools.raw, self._stream.identity, self._shard, self._lease.lease),
            rest=self._halt.rest,
            chance=self._tools.chance,
            report=self._report,
        )
        self._after, self._read_until = found.after, found.read_until
        if found.ended is None:
            return False
        self._end(found.ended.children)
        return True

    def _read(self) -> Reply | None:
        """The next records, or None when the stream does not answer for now."""
        try:
            self._heed_retention()
            if self._iterator is None:
                self._open()
            assert self._iterator is not None
            reply = self._tools.streams.records(self._stream, self._shard, self._iterator)
        except IteratorExpired:
            self._iterator = None
            return None
        except TransientFault as fault:
            self._report.add("read", fault)
            self._failures += 1
            return None
        self._failures = 0
        self._iterator = reply.iterator
        self._behind.set(reply.behind_milliseconds)
        return reply

    def _heed_retention(self) -> None:
        """Expect a gap where the stream may have dropped what comes next, as it does under a good iterator too."""
        if may_have_lost(self._read_until, self._clock.utc(), self.retention):
            self._write()  # a gap can only stand between two batches
            self._lossy = True

    def _open(self) -> None:
        """Get an iterator past the last record read, whether that is written yet or not."""
        last = self._filed[-1].seq if self._filed else self._after
        after = None if int(last) == START else last
        self._iterator = self._tools.streams.iterator(self._stream, self._shard, after)

    def _file(self, records: tuple[Record, ...]) -> None:
        """Add records to the batch, and write it whenever the next one would make it too large."""
        if not records:
            return
        if self._lossy:
            self._leave_gap(int(records[0].seq))
        for record in records:
            filed = self._filed_record(record)
            size = len(filed.line) + 1 if filed.line else 0  # a line is ended by a line feed
            if self._filed_bytes and self._filed_bytes + size > self._tools.batch_bytes:
                self._write()
            if not self._filed:
                self._filed_since = self._clock.monotonic()
            self._filed.append(filed)
            self._filed_bytes += size
            if len(self._filed) >= BATCH_RECORDS_MAX:
                self._write()
        self._read_until = records[-1].arrived_at
        metrics.READ_RECORDS.inc(len(records))
        metrics.READ_BYTES.inc(sum(len(record.data) for record in records))

    def _filed_record(self, record: Record) -> Filed:
        """Where a record goes; one in Avro waits while the schema registry is away, and is never passed over."""

        def file_once() -> Filed:
            self._halt.check()
            return file_record(self._shard, record, self._tools.tables, self._from_avro)

        return self._persist("read a value in Avro", file_once)

    def _from_avro(self, data: bytes) -> JsonValue:
        return self._tools.from_avro(data, self._stream.identity)

    def _leave_gap(self, first: int) -> None:
        """Let the next batch begin right before what the stream still has, so that the chain shows the gap."""
        self._lossy = False
        if first - 1 <= int(self._after):
            return
        metrics.GAPS.inc()
        self._log.error(
            "gap: the stream may have dropped records that were never read",
            after=self._after,
            first=str(first),
            hint="the merge waits at the gap; take a new snapshot of the source, or find out that nothing was lost",
        )
        self._after = str(first - 1)

    def _is_due(self) -> bool:
        return bool(self._filed) and self._age_seconds() >= self._tools.batch_age_seconds

    def _age_seconds(self) -> float:
        return self._clock.monotonic() - self._filed_since

    def _pause_seconds(self, reply: Reply | None) -> float:
        if reply is None:
            pause = pause_seconds(self._failures, self._tools.chance())
            pause = max(pause, READ_SECONDS)
        else:
            pause = READ_SECONDS if reply.behind_milliseconds else READ_SECONDS_AT_TIP
        if self._filed:
            pause = min(pause, max(READ_SECONDS, self._tools.batch_age_seconds - self._age_seconds()))
        return pause

    def _write(self) -> None:
        """Write what was read, if anything, and checkpoint."""
        if not self._filed:
            return
        batch = build(Place(self._stream.identity, self._shard, self._after), self._filed, self._tools.tables.values())
        self._writer.write(batch)
        last = self._filed[-1]
        with metrics.CHECKPOINT_SECONDS.time():
            self._persist("checkpoint", lambda: self._lease.checkpoint(last.seq, last.arrived_at))
        self._count(batch)

    def _close(self, reply: Reply) -> None:
        """Write the last batch of a closed shard, which names its children, and end its lease."""
        shards = self._persist("list shards", lambda: self._tools.streams.shards(self._stream))
        listed = {child.id for child in shards if self._shard in child.parents}
        ending = next((shard.ending for shard in shards if shard.id == self._shard), None)
        closing = Closing(ending, tuple(sorted(listed | set(reply.children))))
        if self._lossy:
            self._leave_gap(max(int(ending or START), int(self._after) + 2))
        batch = build(
            Place(self._stream.identity, self._shard, self._after), self._filed, self._tools.tables.values(), closing
        )
        self._writer.write(batch)
        self._end(closing.children)
        self._count(batch)

    def _end(self, children: tuple[str, ...]) -> None:
        self._persist("checkpoint", lambda: self._lease.end(children))
        self._log.info("shard end", children=list(children))

    def _note_tip(self, asked_at: datetime) -> None:
        if self._clock.monotonic() < self._tip_due:
            return
        tip = Tip(read_to_tip_at=asked_at, upto=self._after)
        self._writer.write_tip(Place(self._stream.identity, self._shard, self._after), tip)
        self._tip_due = self._clock.monotonic() + TIP_SECONDS

    def _persist(self, operation: str, action: Callable[[], T]) -> T:
        return persist(operation, action, rest=self._halt.rest_writing, chance=self._tools.chance, report=self._report)

    def _count(self, batch: Batch) -> None:
        """Begin the next batch after this one, which is durable."""
        record = batch.record
        self._after, self._filed, self._filed_bytes = record.upto, [], 0
        metrics.WRITTEN_BATCHES.inc()
        metrics.EMPTY_RECORDS.inc(record.empty)
        for item in record.objects:
            metrics.WRITTEN_RECORDS.labels(table=item.table).inc(item.records)
        for lost in batch.quarantine:
            metrics.QUARANTINED_RECORDS.labels(reason=lost.reason).inc(lost.records)
        for reason, records in batch.left_out.items():
            metrics.LEFT_OUT_RECORDS.labels(reason=reason).inc(records)
        self._log.debug(
            "batch written",
            after=record.after,
            upto=record.upto,
            records=sum(item.records for item in record.objects),
            quarantined=record.quarantined,
            left_out=record.left_out,
            empty=record.empty,
        )
