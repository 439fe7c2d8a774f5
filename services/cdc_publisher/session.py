"""Session: one life of the connection to the source: checks, backfill, streaming; begun anew when it is lost."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from random import Random
from typing import Final

import msgspec
import psycopg

from cdc.errors import TransientFault
from cdc.position import format_lsn
from cdc.raw import SnapshotWord
from cdc.telemetry import get_log
from cdc_publisher import backfill, envelope, metrics, slot
from cdc_publisher.announce import Announce
from cdc_publisher.catalog import Catalog, Name, SourceTable
from cdc_publisher.connection import cancelling, connect
from cdc_publisher.envelope import Event, TableFormat
from cdc_publisher.heartbeat import Heartbeat
from cdc_publisher.identity import identity
from cdc_publisher.new_columns import stated_columns
from cdc_publisher.outbox import Record
from cdc_publisher.pgoutput import Relation
from cdc_publisher.publisher import FINISH_SECONDS, Clocks, Publisher
from cdc_publisher.replication import ReplicationStream, SlotBusy, create_slot
from cdc_publisher.sink import Putter, Sink
from cdc_publisher.tables import backfill_format, label, prepare, streamed_format

_log = get_log(__name__)
SLOT_BUSY_SECONDS: Final = 90.0
"""How long an old walsender may live on: wal_sender_timeout is 60 s by default."""
_SLOT_BUSY_RETRY_SECONDS: Final = 1.0
_RECONNECT_SECONDS: Final = 1.0
_RECONNECT_SECONDS_MAX: Final = 30.0
_STEADY_SECONDS: Final = 60.0
_ROOM_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Job:
    """What to publish and with what: the source, the slot (and publication), the tables, and the way to the stream.

    `named` are the columns of each table that its contract names or leaves out, by their source names; of any other it
    is stated what the catalogs know.
    """

    dsn: str
    slot: str
    tables: tuple[Name, ...]
    heartbeat: Heartbeat
    put: Putter
    announce: Announce
    clocks: Clocks
    random: Random
    named: Mapping[Name, frozenset[str]] = field(default_factory=dict)


def run(job: Job, stop: threading.Event) -> None:
    """Publish until asked to stop; a lost connection begins a new session, later and later while it stays lost."""
    job.heartbeat.start()
    failures = 0
    try:
        while not stop.is_set():
            began_at = job.clocks.monotonic()
            try:
                _session(job, stop)
            except TransientFault as fault:
                if stop.is_set():
                    break
                metrics.RECONNECTS.inc()
                failures = 1 if job.clocks.monotonic() - began_at > _STEADY_SECONDS else failures + 1
                seconds = min(_RECONNECT_SECONDS_MAX, _RECONNECT_SECONDS * 2 ** min(failures - 1, 10))
                _log.warning(
                    "lost the source", what=fault.what, where=fault.where, hint=fault.hint, again_in_seconds=seconds
                )
                stop.wait(seconds)
    finally:
        job.heartbeat.stop()


def _session(job: Job, stop: threading.Event) -> None:
    with ExitStack() as stack:
        connection = stack.enter_context(closing(connect(job.dsn)))
        sink = stack.enter_context(Sink(job.put, job.random, job.clocks.monotonic))
        catalog = Catalog(connection)
        stack.callback(sink.finish, FINISH_SECONDS)  # a call that lands later would come behind what follows
        state = slot.read_state(connection, job.slot)
        begin = slot.decide(job.slot, state)
        with cancelling(connection, stop):
            tables = prepare(catalog, job.slot, job.tables)
        stack.callback(metrics.CONNECTED.set, 0)
        metrics.CONNECTED.set(1)
        _log.info("tables checked", tables=[label(*table) for table in job.tables], begin=begin.name.lower())
        if begin is slot.Begin.STREAM:
            slot.drop_backfill_slot(connection, job.slot)
            slot.mark(connection, job.slot)
        else:
            if begin is slot.Begin.NEW_EPOCH:
                hint = "all tables are read anew; see docs/epochs.md"
                _log.warning("the slot was lost, and changes with it: a new epoch begins", slot=job.slot, hint=hint)
                metrics.NEW_EPOCHS.inc()
                slot.drop_lost_slots(connection, job.slot)
            if not _backfill(job, begin, state, catalog, tables, sink, stop):
                return
        stream = _started(job, stack, stop)
        if stream is None:
            return
        streaming = slot.read_state(connection, job.slot).slot
        _log.info("streaming", slot=job.slot, lsn=format_lsn(streaming.confirmed_lsn if streaming else 0))
        formats, clock = _formats(job, catalog), job.clocks.monotonic
        publisher = Publisher(stream, sink, catalog.database, formats, lambda: job.heartbeat.open_shards, job.clocks)
        began_at = clock()
        stack.callback(metrics.SILENCE_SECONDS.set_function, lambda: 0.0)
        metrics.SILENCE_SECONDS.set_function(lambda: clock() - max(began_at, sink.taken_at))
        publisher.run(stop)


def _started(job: Job, stack: ExitStack, stop: threading.Event) -> ReplicationStream | None:
    """The stream, once nobody else uses the slot; None when asked to stop before that."""
    deadline = job.clocks.monotonic() + SLOT_BUSY_SECONDS
    connection = stack.enter_context(closing(connect(job.dsn, replication=True)))
    stream = ReplicationStream(connection, job.slot)
    while True:
        try:
            stream.start(job.slot)
        except SlotBusy:
            if job.clocks.monotonic() > deadline:
                raise
            _log.info("the slot is in use, waiting", slot=job.slot)
            if stop.wait(_SLOT_BUSY_RETRY_SECONDS):
                return None
        else:
            return stream


def _formats(job: Job, catalog: Catalog) -> Callable[[Relation], TableFormat | None]:
    wanted = frozenset(job.tables)

    def format_of(relation: Relation) -> TableFormat | None:
        if (relation.schema, relation.table) not in wanted:
            _log.warning(
                "a published table has no contract and is left out", table=label(relation.schema, relation.table)
            )
            return None
        name = (relation.schema, relation.table)
        stated = stated_columns(catalog, job.slot, relation, job.named[name]) if name in job.named else ()
        return replace(streamed_format(catalog, job.slot, relation), stated=stated)

    return format_of


def _backfill(
    job: Job,
    begin: slot.Begin,
    state: slot.SourceState,
    catalog: Catalog,
    tables: tuple[SourceTable, ...],
    sink: Sink,
    stop: threading.Event,
) -> bool:
    """Send every row and make the slot that streams; False when asked to stop before that."""
    with ExitStack() as stack:
        reader = stack.enter_context(closing(connect(job.dsn)))
        stack.enter_context(cancelling(reader, stop))
        reading = _open(job, begin, reader, stack, stop)
        if reading is None:
            return False
        _log.info("backfill begins", lsn=format_lsn(reading.lsn), kind=begin.name.lower())
        began_lsn = state.backfill_slot.confirmed_lsn if state.backfill_slot and not begin.makes_slot else reading.lsn
        word = _first_word(job, began_lsn, reading)
        if not _announced(job, catalog, word, reading, stop):
            return False
        formats = ((backfill_format(catalog, table), backfill.rows_of(reader, table)) for table in tables)
        reads = Counter[Name]()
        events = counted(backfill.events(catalog.database, reading, formats, job.clocks.now_ns), reads)
        rows = backfill.send(events, _offer(sink, reading.lsn, stop), stop, job.clocks.monotonic)
        if rows is None or not _drained(sink, stop):
            return False
        found = tuple((*name, reads[name]) for name in job.tables)
        complete = msgspec.structs.replace(word, tables=found, is_complete=True)
        if not _announced(job, catalog, complete, reading, stop):
            return False
    with closing(connect(job.dsn)) as connection:
        # A new connection: the first one idled for as long as the backfill took.
        slot.complete_backfill(connection, job.slot)
    _log.info("backfill complete", rows=rows)
    return True


def _first_word(job: Job, lsn: int, reading: backfill.Reading) -> SnapshotWord:
    """What is said ahead of the backfill. Its id is that of the slot, so that a repeated backfill is the same one."""
    taken_at = datetime.fromtimestamp(reading.taken_at_us / 1e6, UTC)
    tables = tuple((*name, 0) for name in job.tables)
    return SnapshotWord(f"{job.slot}-{lsn:016X}", (), tables, taken_at, source=identity(job.dsn))


def _announced(
    job: Job, catalog: Catalog, word: SnapshotWord, reading: backfill.Reading, stop: threading.Event
) -> bool:
    """Tell every shard; False when asked to stop before all are told."""

    def event_of(shards: tuple[str, ...]) -> Event:
        told = msgspec.structs.replace(word, shards=shards)
        return envelope.snapshot_word(catalog.database, told, reading.lsn, job.clocks.now_ns())

    is_told = job.announce(event_of, stop)
    if is_told:
        _log.info("the shards are told of the snapshot", snapshot=word.snapshot, is_complete=word.is_complete)
    return is_told


def counted(events: Iterable[tuple[TableFormat, Event]], reads: Counter[Name]) -> Iterator[tuple[TableFormat, Event]]:
    """The same events, counted by table."""
    for table, event in events:
        reads[table.schema, table.table] += 1
        yield table, event


def _open(
    job: Job, begin: slot.Begin, reader: psycopg.Connection, stack: ExitStack, stop: threading.Event
) -> backfill.Reading | None:
    if begin is slot.Begin.REPEATED_BACKFILL:
        return backfill.open_snapshot(reader, None, None)
    # The exported snapshot lives as long as this connection does nothing else.
    maker = stack.enter_context(closing(connect(job.dsn, replication=True)))
    name = job.slot + slot.BACKFILL_SUFFIX
    _log.info("making the slot", slot=name, hint="this waits for every transaction that is open now")
    made = create_slot(maker, name, stop)
    return None if made is None else backfill.open_snapshot(reader, made.snapshot, made.lsn)


def _offer(sink: Sink, lsn: int, stop: threading.Event) -> Callable[[TableFormat, Event], None]:
    def offer(table: TableFormat, event: Event) -> None:
        sink.offer(Record(event.partition_key, event.data), table, lsn)
        sink.pump(flush=False)
        while not sink.has_room and not stop.is_set():
            sink.rest(_ROOM_SECONDS)
            sink.pump(flush=True)

    return offer


def _drained(sink: Sink, stop: threading.Event) -> bool:
    """Wait until the stream has everything; False when asked to stop before that."""
    while not sink.is_empty:
        if stop.is_set():
            return False
        sink.pump(flush=True)
        sink.rest(_ROOM_SECONDS)
    return True
