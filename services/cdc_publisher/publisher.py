"""The publisher: reads the log, writes change events, and confirms to the source only what the stream has.

Read `Publisher.run` first: it is the whole program in ten lines. Everything waits in one place (`_rest`), so that
feedback to the source goes out in time however slow the stream is.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Final, NamedTuple

from cdc.errors import TransientFault
from cdc.position import format_lsn
from cdc.telemetry import get_log
from cdc_publisher import envelope, metrics
from cdc_publisher.envelope import HEARTBEAT, Event, Moment, Row, TableFormat
from cdc_publisher.ledger import Entry, Evidence, Ledger
from cdc_publisher.outbox import Record
from cdc_publisher.pgoutput import (
    UNCHANGED,
    Begin,
    Commit,
    Delete,
    Insert,
    LogicalMessage,
    Message,
    Relation,
    Truncate,
    Update,
    Value,
    parse,
)
from cdc_publisher.replication import Keepalive, ReplicationStream, WalData
from cdc_publisher.sink import Sink

_log = get_log(__name__)

BURST_MESSAGES: Final = 500
STATUS_SECONDS: Final = 10.0
"""At least so often the walsender hears of us; it gives up after wal_sender_timeout, 60 s by default."""
STATUS_SECONDS_MIN: Final = 1.0
REST_SECONDS: Final = 1.0
FINISH_SECONDS: Final = 5.0
LOOK_AGAIN_SECONDS: Final = 5.0
SILENCE_SECONDS: Final = 90.0
"""A source that says nothing for so long, although it is asked every ten seconds, is taken for lost."""


class Clocks(NamedTuple):
    """The time: `now_ns` since 1970, and a `monotonic` one in seconds."""

    now_ns: Callable[[], int]
    monotonic: Callable[[], float]


class _Transaction(NamedTuple):
    """The transaction whose changes are streaming."""

    begin: Begin
    moment: Moment
    entry: Entry


class _ToState(NamedTuple):
    """A table whose new columns are to be stated: as it was described, the LSN of the first change after that (0 before
    it came), and when to look at the catalogs again, where they did not tell which columns those are.
    """

    relation: Relation
    first_lsn: int = 0
    again_at: float = -math.inf


class Publisher:
    """Turns one replication stream into events, from its start to a stop or a fault."""

    def __init__(
        self,
        stream: ReplicationStream,
        sink: Sink,
        database: str,
        format_of: Callable[[Relation], TableFormat | None],
        open_shards: Callable[[], tuple[str, ...]],
        clocks: Clocks,
    ) -> None:
        self._stream = stream
        self._sink = sink
        self._database = database
        self._format_of = format_of
        self._open_shards = open_shards
        self._clocks = clocks
        self._ledger = Ledger(confirmed_lsn=0)
        self._formats: dict[int, TableFormat | None] = {}
        self._transaction: _Transaction | None = None
        self._last_commit_lsn: int | None = None
        self._heard_lsn = 0
        self._heard_at = self._status_at = clocks.monotonic()
        self._status_lsn = 0
        self._wants_status = False
        self._is_stating = False
        self._to_state: dict[int, _ToState] = {}
        self._waiting: WalData | None = None

    def run(self, stop: threading.Event) -> None:
        """Publish until asked to stop; then finish what is on its way, and confirm it.

        Raises:
            TransientFault: when the source is lost, or silent for too long.
        """
        while not stop.is_set():
            has_more = self._read()
            could_not_read = not self._may_read
            self._sink.pump(flush=not has_more)
            self._confirm()
            can_read_now = could_not_read and self._may_read
            if not has_more and not can_read_now:
                self._rest()
        self._sink.finish(FINISH_SECONDS)
        self._confirm(is_last=True)

    @property
    def _may_read(self) -> bool:
        """Whether there is room for more, and what must be ahead of it is in the stream."""
        # A shard keeps the order of what was put before and what after; the records of one call may change places.
        return self._sink.has_room and (not self._is_stating or self._sink.is_empty)

    def _read(self) -> bool:
        """Handle what has arrived, as far as there is room; whether more may be waiting."""
        if self._sink.is_empty:
            self._is_stating = False
        for number in range(BURST_MESSAGES):
            if not self._may_read:
                self._heard_at = self._clocks.monotonic()  # who does not listen cannot complain
                return False
            message = self._waiting or self._stream.read()
            self._waiting = None
            if message is None:
                self._check_silence()
                return False
            if number == 0:
                self._heard_at = self._clocks.monotonic()
            if isinstance(message, WalData):
                self._heard_lsn = max(self._heard_lsn, message.lsn)
                parsed = parse(message.payload)
                if self._to_state and self._must_wait(message.lsn, parsed):
                    self._waiting = message
                else:
                    self._handle(message.lsn, parsed)
            else:
                self._heed(message)
        return True

    def _check_silence(self) -> None:
        silent_seconds = self._clocks.monotonic() - self._heard_at
        if silent_seconds > SILENCE_SECONDS:
            raise TransientFault(
                f"the source has said nothing for {silent_seconds:.0f} s, not even when asked",
                where="replication stream",
                hint="tried again; look whether its host or the way there hangs",
            )

    def _rest(self) -> None:
        seconds = self._sink.seconds_to_next_try(REST_SECONDS)
        self._stream.wait(self._sink.wake, seconds, for_data=self._may_read)

    def _handle(self, lsn: int, message: Message) -> None:
        match message:
            case Insert():
                self._insert(lsn, message)
            case Update():
                self._update(lsn, message)
            case Delete():
                self._delete(lsn, message)
            case Begin():
                moment = envelope.moment(self._database, "false", message.committed_at_us, message.xid)
                self._transaction = _Transaction(message, moment, self._ledger.begin())
            case Commit():
                self._commit(lsn, message)
            case Relation():
                self._relation(message)
            case Truncate():
                self._truncate(lsn, message)
            case LogicalMessage():
                self._message(lsn, message)
            case _:
                pass  # the name of a type, or where a change first came from: nothing is lost

    def _insert(self, lsn: int, message: Insert) -> None:
        table = self._formats[message.relation]
        if table is None:
            metrics.SKIPPED.labels(reason="no-contract").inc()
            return
        self._publish(lsn, table, table.key_of(message.new), "c", None, table.row(message.new))

    def _update(self, lsn: int, message: Update) -> None:
        table = self._formats[message.relation]
        if table is None:
            metrics.SKIPPED.labels(reason="no-contract").inc()
            return
        old = message.old
        new = message.new if old is None else completed(message.new, old)
        key = table.key_of(new)
        if old is None:
            self._publish(lsn, table, key, "u", None, table.row(new))
            return
        old_key = table.key_of(old)
        if old_key == key:
            self._publish(lsn, table, key, "u", table.row(old), table.row(new))
            return
        # Debezium tells a change of the key as the end of one row and the beginning of another.
        self._publish_delete(lsn, table, old_key, old)
        self._publish(lsn, table, key, "c", None, table.row(new))

    def _delete(self, lsn: int, message: Delete) -> None:
        table = self._formats[message.relation]
        if table is None:
            metrics.SKIPPED.labels(reason="no-contract").inc()
            return
        self._publish_delete(lsn, table, table.key_of(message.old), message.old)

    def _publish_delete(self, lsn: int, table: TableFormat, key: bytes, old: list[Value]) -> None:
        self._publish(lsn, table, key, "d", table.row(old), None)
        self._offer(table, lsn, envelope.tombstone(key))

    def _truncate(self, lsn: int, message: Truncate) -> None:
        for relation in message.relations:
            table = self._formats[relation]
            if table is None:
                metrics.SKIPPED.labels(reason="no-contract").inc()
            else:
                self._publish(lsn, table, None, "t", None, None)

    def _publish(
        self, lsn: int, table: TableFormat, key: bytes | None, op: str, before: Row | None, after: Row | None
    ) -> None:
        assert self._transaction is not None
        source = envelope.source(self._transaction.moment, table.source, self._last_commit_lsn, lsn)
        self._offer(table, lsn, envelope.change(key, op, before, after, source, self._clocks.now_ns()))
        _CHANGES[op].inc()

    def _offer(self, table: TableFormat, lsn: int, event: Event) -> None:
        assert self._transaction is not None
        record = Record(event.partition_key, event.data, self._transaction.entry)
        self._sink.offer(record, table, lsn)

    def _message(self, lsn: int, message: LogicalMessage) -> None:
        transaction = self._transaction
        if message.prefix != HEARTBEAT or not message.is_transactional or transaction is None:
            metrics.SKIPPED.labels(reason="logical-message").inc()
            return
        begin = transaction.begin
        transaction.entry.evidence = Evidence(lsn, begin.committed_at_us, begin.xid, self._last_commit_lsn)

    def _commit(self, lsn: int, message: Commit) -> None:
        assert self._transaction is not None
        self._ledger.commit(self._transaction.entry, message.end_lsn)
        self._transaction = None
        self._last_commit_lsn = lsn

    def _heed(self, message: Keepalive) -> None:
        self._heard_lsn = max(self._heard_lsn, message.wal_end)
        self._wants_status = self._wants_status or message.wants_reply
        if self._transaction is None:
            self._ledger.mark(message.wal_end)

    def _confirm(self, *, is_last: bool = False) -> None:
        for evidence in self._ledger.settle():
            if not is_last:  # at the end nothing more is sent
                self._beat(evidence)
        confirmed = self._ledger.confirmed_lsn
        now = self._clocks.monotonic()
        waited = now - self._status_at
        if (
            is_last
            or self._wants_status
            or waited >= STATUS_SECONDS
            or (confirmed > self._status_lsn and waited >= STATUS_SECONDS_MIN)
        ):
            wants_reply = now - self._heard_at >= STATUS_SECONDS
            self._stream.confirm(confirmed, self._clocks.now_ns() // 1000, wants_reply=wants_reply)
            self._status_at, self._status_lsn, self._wants_status = now, confirmed, False
            if confirmed:
                metrics.CONFIRMED_LSN.set(confirmed)
                metrics.LAG_BYTES.set(max(0, self._heard_lsn - confirmed))
                _log.debug("confirmed", lsn=format_lsn(confirmed))

    def _relation(self, relation: Relation) -> None:
        self._to_state.pop(relation.oid, None)
        self._formats[relation.oid] = table = self._format_of(relation)
        if table is not None and table.stated:
            self._to_state[relation.oid] = _ToState(relation)

    def _must_wait(self, lsn: int, message: Message) -> bool:
        """Whether a change must wait until the stream has what is stated of its table's new columns.

        Where it was not sure which columns those are, it is looked at again: had anything happened to the table since
        it was described, this change would have come with a description of its own.
        """
        if not isinstance(message, (Insert, Update, Delete)) or message.relation not in self._to_state:
            return False
        relation, first_lsn, again_at = self._to_state[message.relation]
        now = self._clocks.monotonic()
        if now < again_at:
            return False
        table = self._format_of(relation) if first_lsn else self._formats[message.relation]
        assert table is not None
        if table.is_sure:
            del self._to_state[message.relation]
        else:
            self._to_state[message.relation] = _ToState(relation, first_lsn or lsn, now + LOOK_AGAIN_SECONDS)
        if table.is_sure or not first_lsn:
            self._state(first_lsn or lsn, table)
            return True
        return False

    def _state(self, lsn: int, table: TableFormat) -> None:
        """Put what is known of new columns to every shard; nothing else goes to the stream until it is there."""
        assert self._transaction is not None
        transaction, now_ns = self._transaction, self._clocks.now_ns()
        event = envelope.stated_columns(transaction.moment, table, table.stated, self._last_commit_lsn, lsn, now_ns)
        for hash_key in self._open_shards() or (None,):
            self._sink.offer(Record(event.partition_key, event.data, transaction.entry, hash_key), table, lsn)
        self._is_stating = True

    def _beat(self, evidence: Evidence) -> None:
        """Put a heartbeat to every shard: the stream has all that was committed before it."""
        event = envelope.heartbeat(
            self._database,
            evidence.last_commit_lsn,
            evidence.lsn,
            evidence.committed_at_us,
            evidence.xid,
            self._clocks.now_ns(),
        )
        shards = self._open_shards()
        for hash_key in shards:
            self._sink.offer_heartbeat(Record(event.partition_key, event.data, None, hash_key))
        if shards:
            metrics.HEARTBEATS.inc()
            metrics.HEARTBEAT_SECONDS.set(evidence.committed_at_us / 1e6)


def completed(new: list[Value], old: list[Value]) -> list[Value]:
    """The new row, its unchanged TOASTed values taken from the old image where that has them (FULL, or the key)."""
    if UNCHANGED not in new:
        return new
    return [was if value is UNCHANGED and was is not None else value for value, was in zip(new, old, strict=True)]


_CHANGES: Final = {op: metrics.CHANGES.labels(op=op) for op in "rcudt"}
