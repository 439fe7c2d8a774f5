"""Backfill: reads every row of every table in one snapshot and hands it on as Debezium's `r` events.

The snapshot is the one exported with the slot, so that the stream joins it without a gap; when the backfill is repeated
after a crash it is a later one, and the stream repeats what lies between, which beats any read.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple, TypeVar

import psycopg
from psycopg import sql

from cdc.position import parse_lsn
from cdc.telemetry import get_log
from cdc_publisher import envelope, metrics
from cdc_publisher.catalog import SourceTable
from cdc_publisher.connection import fault_of
from cdc_publisher.envelope import Event, Moment, TableFormat
from cdc_publisher.pgoutput import Value
from cdc_publisher.tables import label

_log = get_log(__name__)
PROGRESS_SECONDS: Final = 5.0
_TRANSACTION_TIMEOUT_SINCE: Final = 170000
_MARKERS: Final = ("first", "first_in_data_collection", "true", "last_in_data_collection", "last")

Row = Sequence[Value]
T = TypeVar("T")


class Reading(NamedTuple):
    """The snapshot that is read: where it lies in the log, its transaction and its time."""

    lsn: int
    xid: int
    taken_at_us: int


def open_snapshot(connection: psycopg.Connection, snapshot: str | None, lsn: str | None) -> Reading:
    """Begin the transaction in which every table is read; nothing can be written in it.

    `snapshot` and `lsn` are those of the slot just made; without them the snapshot is the present one.
    """
    try:
        if connection.info.server_version >= _TRANSACTION_TIMEOUT_SINCE:
            connection.execute("SET transaction_timeout = 0")
        connection.execute("SET lock_timeout = 0")  # to wait for one table is cheaper than to read all others again
        connection.execute("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        if snapshot is not None:
            connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(snapshot)))
        row = connection.execute(
            "SELECT pg_current_wal_lsn()::text, pg_snapshot_xmax(pg_current_snapshot())::text::bigint, "
            "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
        ).fetchone()
    except psycopg.Error as error:
        raise fault_of(error, "opening the snapshot", "backfill", "start again") from None
    assert row is not None
    return Reading(parse_lsn(lsn or row[0]), row[1] % 2**32, row[2])


def rows_of(connection: psycopg.Connection, table: SourceTable) -> Iterator[Row]:
    """Every row of a table in the order of its primary key, as Postgres's text; one at a time, so memory is bounded."""
    query = sql.SQL("COPY (SELECT {columns} FROM {only}{table} ORDER BY {key}) TO STDOUT").format(
        columns=sql.SQL(", ").join(sql.Identifier(column.name) for column in table.columns),
        only=sql.SQL("" if table.is_partitioned else "ONLY "),
        table=sql.Identifier(table.schema, table.name),
        key=sql.SQL(", ").join(sql.Identifier(name) for name in table.key),
    )
    try:
        with connection.cursor() as cursor, cursor.copy(query) as copy:
            yield from copy.rows()
    except psycopg.Error as error:
        hint = "give the user SELECT on the table; if that is not it, see the server's log"
        raise fault_of(error, "reading a table", label(table.schema, table.name), hint) from None


def events(
    database: str, reading: Reading, tables: Iterable[tuple[TableFormat, Iterable[Row]]], now_ns: Callable[[], int]
) -> Iterator[tuple[TableFormat, Event]]:
    """The `r` events of all rows, each marked with its place in the whole as Debezium does."""
    moments = {marker: envelope.moment(database, marker, reading.taken_at_us, reading.xid) for marker in _MARKERS}
    for marker, (table, row) in marked(tables):
        yield table, _event(moments[marker], reading.lsn, table, row, now_ns())


def marked(tables: Iterable[tuple[T, Iterable[Row]]]) -> Iterator[tuple[str, tuple[T, Row]]]:
    """Each row with Debezium's marker: last beats first, the whole beats the table.

    A row is held back until the next is known, so that the very last one is marked even before empty tables.
    """
    held: tuple[T, Row] | None = None
    is_first, is_first_of_table = True, True
    for table, rows in tables:
        is_new_table = True
        for row in rows:
            if held is not None:
                yield _marker(is_first, is_first_of_table, is_last_of_table=is_new_table), held
                is_first, is_first_of_table = False, is_new_table
            held, is_new_table = (table, row), False
    if held is not None:
        yield "last", held


def _marker(is_first: bool, is_first_of_table: bool, *, is_last_of_table: bool) -> str:  # noqa: FBT001
    if is_first:
        return "first"
    if is_last_of_table:
        return "last_in_data_collection"
    return "first_in_data_collection" if is_first_of_table else "true"


def _event(moment: Moment, lsn: int, table: TableFormat, row: Row, now_ns: int) -> Event:
    source = envelope.source(moment, table.source, None, lsn)
    return envelope.change(table.key_of(row), "r", None, table.row(row), source, now_ns)


def send(
    rows: Iterable[tuple[TableFormat, Event]],
    offer: Callable[[TableFormat, Event], None],
    stop: threading.Event,
    clock: Callable[[], float],
) -> int | None:
    """Hand every event on, telling of the progress now and then; how many rows, or None when asked to stop."""
    count = 0
    told_at = clock()
    for table, event in rows:
        if stop.is_set():
            return None
        offer(table, event)
        count += 1
        metrics.BACKFILL_ROWS.inc()
        if count % 256 == 0 and clock() - told_at >= PROGRESS_SECONDS:
            told_at = clock()
            _log.info("backfill progress", rows=count, table=f"{table.schema}.{table.table}")
    return count
