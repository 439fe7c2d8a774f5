"""Replication: the walsender's protocol over psycopg's `pq` layer. A thin edge: it reads, waits and confirms.

psycopg has no public API for it; libpq has: START_REPLICATION answers with COPY_BOTH. Source of the facts: Postgres 18
manual, chapter 54.4 "Streaming Replication Protocol".
"""

from __future__ import annotations

import select
import socket
import threading
from struct import Struct
from typing import Final, NamedTuple

import psycopg
from psycopg import pq, sql

from cdc.errors import CdcError, FatalFault, TransientFault
from cdc_publisher.connection import fault_of, is_passing
from cdc_publisher.pgoutput import MICROSECONDS_1970_TO_2000

_WAL_DATA, _KEEPALIVE = b"wk"
_DATA_HEADER = Struct(">xqqq").unpack_from
_KEEPALIVE_BODY = Struct(">xqqB").unpack_from
_STATUS = Struct(">cqqqqB").pack
_DATA_HEADER_BYTES: Final = 25
_COMMAND_POLL_SECONDS: Final = 0.5


class WalData(NamedTuple):
    """One message of the plug-in, at its place in the log."""

    lsn: int
    payload: bytes


class Keepalive(NamedTuple):
    """The walsender lives; nothing of ours is before `wal_end` that was not sent. It may want an answer at once."""

    wal_end: int
    wants_reply: bool


class ReplicationStream:
    """A stream that was started; `read` never waits, `wait` does."""

    def __init__(self, connection: psycopg.Connection, slot: str) -> None:
        self._connection = connection
        self._pgconn = connection.pgconn
        self._slot = slot

    def start(self, publication: str) -> None:
        """Ask the slot for its changes from where it was confirmed.

        Raises:
            SlotBusy: when another connection uses the slot.
            FatalFault: when the slot cannot be read any more.
        """
        options = sql.SQL("proto_version '1', publication_names {names}, messages 'true'").format(
            names=sql.Literal(f'"{publication.replace(chr(34), chr(34) * 2)}"')
        )
        command = sql.SQL("START_REPLICATION SLOT {slot} LOGICAL 0/0 ({options})").format(
            slot=sql.Identifier(self._slot), options=options
        )
        result = self._pgconn.exec_(command.as_bytes(self._connection))
        if result.status != pq.ExecStatus.COPY_BOTH:
            raise self._fault(result, "starting the replication")
        self._pgconn.nonblocking = 1

    def read(self) -> WalData | Keepalive | None:
        """The next message that has arrived; None when there is none now.

        Raises:
            TransientFault: when the connection is lost.
        """
        try:
            length, data = self._pgconn.get_copy_data(1)
            if length == 0:
                self._pgconn.consume_input()
                length, data = self._pgconn.get_copy_data(1)
        except psycopg.Error as error:
            raise fault_of(error, "reading the log", f"slot {self._slot}", _SLOT_HINT) from None
        if length == 0:
            return None
        if length < 0:
            raise self._fault(self._pgconn.get_result(), "reading the log")
        message = bytes(data)
        if message[0] == _WAL_DATA:
            return WalData(_DATA_HEADER(message)[0], message[_DATA_HEADER_BYTES:])
        if message[0] == _KEEPALIVE:
            wal_end, _, wants_reply = _KEEPALIVE_BODY(message)
            return Keepalive(wal_end, bool(wants_reply))
        raise FatalFault(
            f"the replication stream holds an unknown message {message[:1]!r}",
            where=f"slot {self._slot}",
            hint="check that CDC_DATABASE is a Postgres server and no proxy",
        )

    def wait(self, wake: socket.socket, seconds: float, *, for_data: bool) -> None:
        """Sleep until something arrives (with `for_data`), `wake` is readable, or the time is over."""
        readers = [wake.fileno(), self._pgconn.socket] if for_data else [wake.fileno()]
        select.select(readers, [], [], seconds)

    def confirm(self, lsn: int, now_us: int, *, wants_reply: bool) -> None:
        """Tell the walsender that everything before this position is safe: it may forget it."""
        status = _STATUS(b"r", lsn, lsn, lsn, now_us - MICROSECONDS_1970_TO_2000, wants_reply)
        try:
            self._pgconn.put_copy_data(status)
            self._pgconn.flush()
        except psycopg.Error as error:
            raise fault_of(error, "confirming", f"slot {self._slot}", _SLOT_HINT) from None

    def close(self) -> None:
        """End the stream; what was confirmed stays confirmed."""
        self._connection.close()

    def _fault(self, result: pq.abc.PGresult | None, doing: str) -> CdcError:
        code_bytes = result.error_field(pq.DiagnosticField.SQLSTATE) if result is not None else None
        code = (code_bytes or b"").decode()
        if code == "55006":
            return SlotBusy(self._slot)
        if code in {"42704", "55000", "58P01"}:
            return FatalFault(
                f"the slot cannot be read any more ({code}): changes since its position are lost",
                where=f"slot {self._slot}",
                hint=_SLOT_HINT,
            )
        if is_passing(code):
            return TransientFault(f"the database ended {doing} ({code or 'no reason'})", where=f"slot {self._slot}")
        return FatalFault(f"the database refused {doing} ({code})", where=f"slot {self._slot}", hint=_USER_HINT)


class SlotBusy(TransientFault):
    """Another connection uses the slot; after a crash the old walsender may live on for some seconds."""

    def __init__(self, slot: str) -> None:
        super().__init__("the slot is in use", where=f"slot {slot}", hint="stop the other publisher of this slot")


class CreatedSlot(NamedTuple):
    """A new slot: it streams from `lsn` on; `snapshot` shows the tables exactly as they were there."""

    lsn: str
    snapshot: str


def create_slot(connection: psycopg.Connection, slot: str, stop: threading.Event) -> CreatedSlot | None:
    """Make a permanent slot and export its snapshot, valid until the connection's next command.

    It waits until every transaction that is open now has ended; None when asked to stop before that.

    Raises:
        TransientFault: when the connection or the server is lost meanwhile; no slot is left then.
    """
    where = f"slot {slot}"
    command = sql.SQL("CREATE_REPLICATION_SLOT {} LOGICAL pgoutput (SNAPSHOT 'export')").format(sql.Identifier(slot))
    try:
        result = _result(connection.pgconn, command.as_bytes(connection), stop)
    except psycopg.Error as error:
        raise fault_of(error, "making the slot", where, _USER_HINT) from None
    if result is not None and result.status == pq.ExecStatus.TUPLES_OK:
        lsn, snapshot = result.get_value(0, 1), result.get_value(0, 2)
        assert lsn is not None
        assert snapshot is not None
        return CreatedSlot(lsn.decode(), snapshot.decode())
    if stop.is_set():
        return None
    code = ((result.error_field(pq.DiagnosticField.SQLSTATE) if result is not None else None) or b"").decode()
    if is_passing(code):
        raise TransientFault(f"the database ended making the slot ({code or 'no reason'})", where=where)
    raise FatalFault(f"the database did not make a replication slot ({code})", where=where, hint=_USER_HINT)


def _result(pgconn: pq.abc.PGconn, command: bytes, stop: threading.Event) -> pq.abc.PGresult | None:
    """The first result of a command, which is cancelled when asked to stop."""
    pgconn.send_query(command)
    while pgconn.is_busy():
        if stop.is_set():
            pgconn.get_cancel().cancel()
        select.select([pgconn.socket], [], [], _COMMAND_POLL_SECONDS)
        pgconn.consume_input()
    result = pgconn.get_result()
    while pgconn.get_result() is not None:
        pass
    return result


_SLOT_HINT: Final = (
    "start again: where the slot is lost, it makes a new backfill in a new epoch; "
    "raise max_slot_wal_keep_size if the slot was too far behind"
)
_USER_HINT: Final = (
    "set wal_level = logical, leave room in max_replication_slots and max_wal_senders, and give the user REPLICATION"
)
