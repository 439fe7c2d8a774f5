"""One shard, read by one thread: read → route → batch → raw objects → batch record → checkpoint, in that order."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from enum import Enum
from typing import NamedTuple, TypeVar

from cdc.errors import TransientFault
from cdc.raw import START, BatchRecord, Tip
from cdc.telemetry import get_log
from cdc_consumer import metrics
from cdc_consumer.avro import JsonValue
from cdc_consumer.backoff import FaultReport, pause_seconds, persist
from cdc_consumer.batch import Batch, Closing, OpenBatch, Place, build
from cdc_consumer.filing import Filed, file_record
from cdc_consumer.halt import Halt
from cdc_consumer.held_lease import HeldLease
from cdc_consumer.pace import READ_SECONDS
from cdc_consumer.resume import find_resume, may_have_lost
from cdc_consumer.stream import IteratorExpired, Record, Reply, Shard, ShardGone, Stream
from cdc_consumer.tools import Tools
from cdc_consumer.writer import BatchWriter

T = TypeVar("T")
PAGE_WAIT_SECONDS = 1.0
"""How often who waits for room looks whether there is something else to do."""
TIP_SECONDS = 60.0
"""How often the tip is noted: it proves that the consumer lives, and each one is a request to pay."""
BATCH_RECORDS_MAX = 100_000
"""Records in a batch, those counted that are left out: a shard that has only such moves on as well."""

_log = get_log(__name__)


class Outcome(Enum):
    """Why the thread of a shard ended without a fault."""

    STOPPED = "stopped"
    CAUGHT_UP = "caught up"
    SHARD_END = "shard end"
    GONE = "gone"


class _Page(NamedTuple):
    """What is left to know of a page once its records are filed: they may be large, and are let go."""

    size_bytes: int
    at_tip: bool
    at_end: bool
    children: tuple[str, ...]


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
        self._after = str(START)
        self._read_until: datetime | None = None
        self._lossy = False
        self._iterator: str | None = None
        self._failures = 0
        self._open_batch = OpenBatch()
        self._open_since = 0.0
        self._reached: str | None = None
        self._closed_as: BatchRecord | None = None
        self._at_tip = False
        self._tip_due = 0.0

    def run(self, *, until_caught_up: bool) -> Outcome:
        """Read, write and checkpoint until there is a reason to end; what was read is written before that.

        Raises:
            LeaseLost: when another worker took the shard over; what was in flight is dropped.
            TransientFault: when what was read could not be written in the time given to stop.
            FatalFault: when going on could lose or falsify data.
        """
        try:
            with self._tools.ages.reading(self._report.where):
                return self._live(until_caught_up=until_caught_up)
        finally:
            # Who reads the shard now tells how far behind it is.
            metrics.BEHIND_MILLISECONDS.remove(self._stream.identity, self._shard)

    def _live(self, *, until_caught_up: bool) -> Outcome:
        if self._resume():
            return Outcome.SHARD_END
        while not self._halt.ending:
            began, asked_at = self._clock.monotonic(), self._clock.utc()
            try:
                page = self._read_page()
            except ShardGone:
                self._write()
                return self._leave_gone()
            if page is not None and page.at_end:
                self._close(page.children)
                return Outcome.SHARD_END
            self._at_tip = page is not None and page.at_tip
            if self._at_tip:
                self._read_until = asked_at
            caught_up = until_caught_up and self._at_tip
            if caught_up or self._is_due():
                self._write()
            if self._at_tip and not self._open_batch.records and not self._lossy:
                self._note_tip(asked_at)
            if caught_up:
                self._pass_by()
                return Outcome.CAUGHT_UP
            until = began + self._pause_seconds(page)
            if self._at_tip:
                # A batch that is due is written after one more read, so that it can be known to reach to the tip.
                until = min(until, max(began + READ_SECONDS, self._due()))
            self._rest_until(until)
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

    def _read_page(self) -> _Page | None:
        """Read the next records and file them; None when the stream does not answer for now."""
        with self._leave():
            reply = None if self._halt.ending else self._read()
            if reply is None:
                return None
            size_bytes = sum(len(record.data) for record in reply.records)
            metrics.READ_RECORDS.inc(len(reply.records))
            metrics.READ_BYTES.inc(size_bytes)
            self._heed_trimmed(reply)
            self._file(reply.records)
            self._reached = reply.reached
            return _Page(
                size_bytes=size_bytes,
                at_tip=reply.behind_milliseconds == 0,
                at_end=reply.iterator is None,
                children=reply.children,
            )

    @contextmanager
    def _leave(self) -> Iterator[None]:
        """Wait until there is room for a page; a shard at its tip gives a small one."""
        pages = self._tools.pages
        if self._at_tip or pages is None:
            yield
            return
        while not pages.acquire(timeout=PAGE_WAIT_SECONDS):
            if self._halt.ending:
                yield
                return
            if self._is_due():
                self._write()
        try:
            yield
        finally:
            pages.release()

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
        behind = metrics.BEHIND_MILLISECONDS.labels(stream=self._stream.identity, shard=self._shard)
        behind.set(reply.behind_milliseconds)
        return reply

    def _heed_retention(self) -> None:
        """Expect a gap where the stream may have dropped what comes next, as it does under a good iterator too."""
        if self.retention is not None and may_have_lost(self._read_until, self._clock.utc(), self.retention):
            self._write()  # a gap can only stand between two batches
            self._lossy = True

    def _heed_trimmed(self, reply: Reply) -> None:
        """Leave a gap where the stream says that it has dropped what comes next; what was there before us is none."""
        never_read = self._read_until is None and not self._open_batch.records
        if reply.trimmed is None or never_read:
            return
        self._write()
        self._leave_gap(int(reply.trimmed) + 1)

    def _open(self) -> None:
        """Get an iterator past the last record read, whether that is written yet or not."""
        last = self._open_batch.last.seq if self._open_batch.last else self._after
        after = None if int(last) == START else last
        self._iterator = self._tools.streams.iterator(self._stream, self._shard, after)

    def _file(self, records: tuple[Record, ...]) -> None:
        """Add records to the batch, and write it whenever the next one would make it too large."""
        if not records:
            return
        self._tools.ages.heard()
        if self._lossy:
            self._leave_gap(int(records[0].seq))
        for record in records:
            filed = self._filed_record(record)
            size_bytes = self._open_batch.size_bytes
            if size_bytes and size_bytes + filed.size_bytes > self._tools.batch_bytes:
                self._write()
            if not self._open_batch.records:
                self._open_since = self._clock.monotonic()
                self._tools.ages.waits(self._report.where)
            self._open_batch.add(filed)
            if self._open_batch.records >= BATCH_RECORDS_MAX:
                self._write()
        self._read_until = records[-1].arrived_at

    def _filed_record(self, record: Record) -> Filed:
        """Where a record goes; one in Avro waits while the schema registry is away, and is never passed over."""

        def file_once() -> Filed:
            self._halt.check()
            tools = self._tools
            return file_record(self._shard, record, tools.tables, self._from_avro, splits=tools.has_aggregates)

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
        return self._clock.monotonic() >= self._due()

    def _due(self) -> float:
        """When the open batch is old enough to be written."""
        return self._open_since + self._tools.batch_age_seconds if self._open_batch.records else math.inf

    def _pause_seconds(self, page: _Page | None) -> float:
        """From the beginning of the last read to that of the next."""
        if page is None:
            return max(READ_SECONDS, pause_seconds(self._failures, self._tools.chance()))
        return self._tools.pace(behind=not page.at_tip, read_bytes=page.size_bytes)

    def _rest_until(self, moment: float) -> None:
        """Rest; a batch that gets old enough meanwhile is written."""
        while not self._halt.ending and self._clock.monotonic() < moment:
            if self._is_due():
                self._write()
            pause = min(moment, self._due()) - self._clock.monotonic()
            if pause <= 0:
                return
            self._halt.rest(pause)

    def _write(self) -> None:
        """Write what was read, if anything, and checkpoint."""
        if self._open_batch.last is not None:
            self._write_batch(self._open_batch.last.arrived_at)

    def _pass_by(self) -> None:
        """At the tip, cover what can hold no record by a batch without any, that it be no gap once it is dropped."""
        if self._open_batch.records or self._read_until is None:
            return
        if int(self._reached or START) > int(self._after):
            self._write_batch(self._read_until)

    def _write_batch(self, arrived_at: datetime) -> None:
        batch = self._writer.write(self._build())
        self._checkpoint(lambda: self._lease.checkpoint(batch.record.upto, arrived_at))
        self._count(batch)

    def _build(self, closing: Closing | None = None) -> Batch:
        place = Place(self._stream.identity, self._shard, self._after)
        return build(place, self._open_batch, self._tools.tables.values(), closing, self._reached)

    def _leave_gone(self) -> Outcome:
        """End a shard that the stream dropped, with a gap if it may have held what was never read."""
        shards = self._list_shards()
        stream = self._persist("describe the stream", lambda: self._tools.streams.describe(self._stream.name))
        if stream.identity != self._stream.identity or self._shard in {shard.id for shard in shards}:
            return Outcome.GONE
        # Kinesis drops a closed shard once all of it is past retention: who read until less long ago, read it all.
        read_all = (
            self._read_until is not None
            and self.retention is not None
            and not may_have_lost(self._read_until, self._clock.utc(), self.retention)
        )
        self._lossy = self._lossy or not read_all
        self._close(())
        return Outcome.SHARD_END

    def _list_shards(self) -> tuple[Shard, ...]:
        return self._persist("list shards", lambda: self._tools.streams.shards(self._stream))

    def _close(self, children: tuple[str, ...]) -> None:
        """Write the last batch of a closed shard, which names its children, and end its lease."""
        shards = self._list_shards()
        listed = {shard.id for shard in shards if self._shard in shard.parents}
        ending = next((shard.ending for shard in shards if shard.id == self._shard), None)
        closing = Closing(ending, tuple(sorted(listed | set(children))))
        if self._lossy and self._closed_as is None:
            self._leave_gap(max(int(ending or START), int(self._after) + 2))
        # Another worker may have closed the shard before us, or written what we read not knowing that it was the end.
        while self._closed_as is None:
            self._count(self._writer.write(self._build(closing)))
        self._end(self._closed_as.children)

    def _end(self, children: tuple[str, ...]) -> None:
        self._checkpoint(lambda: self._lease.end(children, self._read_until))
        self._log.info("shard end", children=list(children))

    def _note_tip(self, asked_at: datetime) -> None:
        if self._clock.monotonic() < self._tip_due:
            return
        self._pass_by()
        tip = Tip(read_to_tip_at=asked_at, upto=self._after)
        self._writer.write_tip(Place(self._stream.identity, self._shard, self._after), tip)
        self._tip_due = self._clock.monotonic() + TIP_SECONDS

    def _checkpoint(self, action: Callable[[], None]) -> None:
        with metrics.CHECKPOINT_SECONDS.time():
            self._persist("checkpoint", action)

    def _persist(self, operation: str, action: Callable[[], T]) -> T:
        return persist(operation, action, rest=self._halt.rest_writing, chance=self._tools.chance, report=self._report)

    def _count(self, batch: Batch) -> None:
        """Begin the next batch after this one, which is durable."""
        record = batch.record
        self._after, self._open_batch = record.upto, OpenBatch()
        self._tools.ages.written(self._report.where)
        if record.closed:
            self._closed_as = record
        metrics.WRITTEN_BATCHES.inc()
        metrics.EMPTY_RECORDS.inc(record.empty)
        for item in record.objects:
            metrics.WRITTEN_RECORDS.labels(table=item.table).inc(item.records)
            metrics.WRITTEN_BYTES.labels(table=item.table).inc(item.bytes)
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
