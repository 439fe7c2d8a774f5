"""Reconcile's source: the table read page by page in the order of its key, slowly, as the lake would show it.

Each page is a short read-only transaction of its own; between two the reader rests at least as long as the page took.
Values become the lake's by our publisher's rendering and the compactor's conversion and masks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, LiteralString

import msgspec
import psycopg
import pyarrow as pa
from psycopg import sql

from cdc.contract import TableContract
from cdc.errors import FatalFault, RecordFault, TransientFault
from cdc.lake_name import source_table
from cdc_ops.connection import WHERE
from cdc_ops.reconcile_recheck import NotHeld, Row, Suspect
from cdc_publisher.catalog import Catalog, SourceTable
from cdc_publisher.connection import fault_of
from cdc_publisher.tables import backfill_format
from compactor.change import Key, lake_value

PAGE_ROWS: Final = 2000
PAGE_ROWS_MIN: Final = 20
LOOK_KEYS: Final = 500
_REPLICA_SECONDS_MAX: Final = 120.0
_REPLICA_POLL_SECONDS: Final = 0.5
_CUT_OFF = (psycopg.errors.QueryCanceled, psycopg.errors.SerializationFailure)
"""It took longer than it may, or a replica had to replay what removes rows that it was reading."""
_ROW_ESTIMATE: LiteralString = """
SELECT c.reltuples::bigint FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s
"""
_HINT = "give the user SELECT on the table; if that is not it, see the server's log"
_SESSION = {
    "default_transaction_read_only": "on", "lock_timeout": "2s", "DateStyle": "ISO,YMD",
    "IntervalStyle": "iso_8601", "TimeZone": "UTC", "extra_float_digits": "1", "bytea_output": "hex",
    "lc_monetary": "C", "xmloption": "content",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pace:
    """How gently is read: at most so many rows a second, and no statement longer than that."""

    rows_per_second: float
    statement_seconds_max: float


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows of the source as the lake would show them; of those that it cannot hold the columns at fault.

    `keys` are the rows' keys as Postgres writes them; `not_held` are told by their suspects.
    """

    rows: pa.Table
    keys: list[tuple[str, ...]]
    not_held: list[tuple[Suspect, NotHeld]]
    unreadable_keys: int = 0


class Source:
    """One table at the source; `contract` has the columns to read, `schema` their types in the lake.

    Raises:
        FatalFault: when the table is not as the contract says.
    """

    def __init__(
        self,
        connection: psycopg.Connection,
        contract: TableContract,
        schema: pa.Schema,
        pii_key: bytes,
        pace: Pace,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._connection = connection
        self._schema = schema
        self._pace = pace
        self._sleep = sleep
        self._page_rows = PAGE_ROWS
        self._contract = contract
        self._key_names = contract.key
        # What is redacted is null in the lake, whatever it is at the source: it is not even read.
        columns = tuple(column for column in contract.columns if column.mask != "redact")
        catalog = Catalog(connection)
        table = _as_stated(catalog.table(contract.source_schema, contract.source_table, ""), contract)
        by_name = {column.name: column for column in table.columns}
        self._table = replace(table, columns=tuple(by_name[column.source_name] for column in columns))
        self._format = backfill_format(catalog, self._table)
        self._convert = {column.name: lake_value(column, None, pii_key) for column in columns}
        self._sources = {column.name: column.source_name for column in columns}
        is_replica = self._one("SELECT pg_is_in_recovery()")
        self._horizon = "pg_last_xact_replay_timestamp()" if is_replica else "clock_timestamp()"
        self._is_replica = bool(is_replica)

    @property
    def row_estimate(self) -> int:
        """About how many rows the table has, as the planner thinks; 0 where it does not know."""
        return max(int(self._one(_ROW_ESTIMATE, [self._table.schema, self._table.name]) or 0), 0)

    def pages(self, start: tuple[str, ...] | None = None, rows_max: int | None = None) -> Iterator[Page]:
        """The table from a key on (None: all of it), in the order of its key; rests after each page."""
        after, is_first, left = start, start is not None, rows_max
        while left is None or left > 0:
            began = time.monotonic()
            rows = self._read_page(after, self._page_rows if left is None else min(left, self._page_rows), is_first)
            took = time.monotonic() - began
            if not rows:
                return
            yield self._page(rows)
            after, is_first = self._key_of(rows[-1]), False
            left = None if left is None else left - len(rows)
            self._rest(took, len(rows))

    def horizon(self) -> datetime:
        """What a read begun now sees at least: of a replica what it has replayed."""
        found: datetime | None = self._one(f"SELECT {self._horizon}")
        if found is None:
            raise TransientFault("the replica has replayed nothing yet", where=WHERE, hint="run it again later")
        return found

    def clock(self) -> datetime:
        """The server's time."""
        now: datetime = self._one("SELECT clock_timestamp()")
        return now

    def wait_seen(self, moment: datetime) -> None:
        """Return once a replica has replayed what was committed up to a moment.

        Raises:
            TransientFault: when it falls too far behind.
        """
        ends = time.monotonic() + _REPLICA_SECONDS_MAX
        while self._is_replica and self.horizon() < moment:
            if time.monotonic() > ends:
                hint = "read the primary, or another replica; with nothing committed at the source nothing is replayed"
                raise TransientFault("the replica does not keep up", where=WHERE, hint=hint)
            self._sleep(_REPLICA_POLL_SECONDS)

    def look(self, suspects: Sequence[Suspect]) -> Mapping[Key, Row | NotHeld]:
        """The rows of some suspects that are there; those whose key is only known masked are searched in all keys."""
        known = [suspect.source_key or self.unmasked(suspect.key) for suspect in suspects]
        sought = {suspect.key for suspect, key in zip(suspects, known, strict=True) if key is None}
        keys = [key for key in known if key is not None]
        if sought:
            keys += [key for key, shown in self._all_keys() if shown in sought]
        found: dict[Key, Row | NotHeld] = {}
        for start in range(0, len(keys), LOOK_KEYS):
            began = time.monotonic()
            page = self._page(self._read_or_stop(self._having(keys[start : start + LOOK_KEYS])))
            self._rest(time.monotonic() - began, LOOK_KEYS)
            found |= {tuple(row[name] for name in self._key_names): row for row in page.rows.to_pylist()}
            found |= {suspect.key: fault for suspect, fault in page.not_held}
        return found

    def _read_page(self, after: tuple[str, ...] | None, limit: int, is_first: bool) -> list[tuple[str | None, ...]]:  # noqa: FBT001
        while True:
            try:
                return self._read(self._following(after, limit, is_first=is_first))
            except _CUT_OFF:
                if limit <= PAGE_ROWS_MIN:
                    raise self._too_slow(limit) from None
                limit = self._page_rows = max(limit // 4, PAGE_ROWS_MIN)

    def _read_or_stop(
        self, condition: sql.Composable, columns: Sequence[str] | None = None
    ) -> list[tuple[str | None, ...]]:
        try:
            return self._read(condition, columns)
        except _CUT_OFF:
            raise self._too_slow(LOOK_KEYS) from None

    def _too_slow(self, rows: int) -> TransientFault:
        hint = "raise --statement-seconds, or read when there is less to do"
        return TransientFault(f"{rows} rows take longer than a statement may", where=self._label, hint=hint)

    def _read(self, condition: sql.Composable, columns: Sequence[str] | None = None) -> list[tuple[str | None, ...]]:
        names = columns or [column.name for column in self._table.columns]
        query = sql.SQL("COPY (SELECT {columns} FROM {only}{table} {condition}) TO STDOUT").format(
            columns=sql.SQL(", ").join(map(sql.Identifier, names)),
            only=sql.SQL("" if self._table.is_partitioned else "ONLY "),
            table=sql.Identifier(self._table.schema, self._table.name),
            condition=condition,
        )
        try:
            with self._connection.cursor() as cursor, cursor.copy(query) as copy:
                return list(copy.rows())
        except _CUT_OFF:
            raise
        except psycopg.Error as error:
            raise fault_of(error, "reading the table", self._label, _HINT) from None

    def _following(self, after: tuple[str, ...] | None, limit: int, *, is_first: bool) -> sql.Composable:
        key = sql.SQL(", ").join(map(sql.Identifier, self._table.key))
        bound: sql.Composable = sql.SQL("")
        if after is not None:
            values = sql.SQL(", ").join(map(sql.Literal, after))
            bound = sql.SQL("WHERE ({}) {} ({}) ").format(key, sql.SQL(">=" if is_first else ">"), values)
        return sql.SQL("{}ORDER BY {} LIMIT {}").format(bound, key, sql.Literal(limit))

    def _having(self, keys: Sequence[tuple[str, ...]]) -> sql.Composable:
        rows = (sql.SQL("({})").format(sql.SQL(", ").join(map(sql.Literal, key))) for key in keys)
        key = sql.SQL(", ").join(map(sql.Identifier, self._table.key))
        return sql.SQL("WHERE ({}) IN ({})").format(key, sql.SQL(", ").join(rows))

    def _page(self, rows: Sequence[tuple[str | None, ...]]) -> Page:
        good: list[dict[str, Any]] = []
        keys: list[tuple[str, ...]] = []
        not_held: list[tuple[Suspect, NotHeld]] = []
        unreadable = 0
        for row in rows:
            sent = msgspec.json.decode(msgspec.json.encode(self._format.row(row)))
            shown, at_fault = self._shown(sent, self._convert)
            if not at_fault:
                good.append(shown)
                keys.append(self._key_of(row))
            elif set(at_fault).isdisjoint(self._key_names):
                suspect = Suspect(tuple(shown[name] for name in self._key_names), self._key_of(row))
                not_held.append((suspect, NotHeld(at_fault)))
            else:
                unreadable += 1
        return Page(pa.Table.from_pylist(good, self._schema), keys, not_held, unreadable)

    def _shown(self, sent: Mapping[str, Any], names: Iterable[str]) -> tuple[dict[str, Any], tuple[str, ...]]:
        """What the lake shows of some columns, and those that it cannot hold."""
        shown: dict[str, Any] = {}
        at_fault = []
        for name in names:
            value = sent[self._sources[name]]
            try:
                shown[name] = None if value is None else self._convert[name](value)
            except RecordFault:
                at_fault.append(name)
        return shown, tuple(at_fault)

    def _key_of(self, row: Sequence[str | None]) -> tuple[str, ...]:
        return tuple(str(row[place]) for place in self._format.key)

    def unmasked(self, key: Key) -> tuple[str, ...] | None:
        """A key of the lake as Postgres writes it; None where a part of it is masked."""
        if any(self._contract.column(name).mask != "clear" for name in self._key_names):
            return None
        by_source = {self._sources[name]: _as_text(value) for name, value in zip(self._key_names, key, strict=True)}
        return tuple(by_source[name] for name in self._table.key)

    def _all_keys(self) -> Iterator[tuple[tuple[str, ...], Key]]:
        """Every key of the table, as Postgres writes it and as the lake shows it."""
        after: tuple[str, ...] | None = None
        key_table = replace(self._table, columns=tuple(c for c in self._table.columns if c.name in self._table.key))
        format_ = backfill_format(Catalog(self._connection), key_table)
        order = [column.name for column in key_table.columns]
        while True:
            began = time.monotonic()
            rows = self._read_or_stop(self._following(after, self._page_rows, is_first=False), order)
            took = time.monotonic() - began
            for row in rows:
                text = dict(zip(order, row, strict=True))
                after = tuple(str(text[name]) for name in self._table.key)
                shown, at_fault = self._shown(
                    msgspec.json.decode(msgspec.json.encode(format_.row(row))), self._key_names
                )
                if not at_fault:
                    yield after, tuple(shown[name] for name in self._key_names)
            if not rows:
                return
            self._rest(took, len(rows))

    def _rest(self, took_seconds: float, rows: int) -> None:
        self._sleep(max(took_seconds, rows / self._pace.rows_per_second - took_seconds))

    @property
    def _label(self) -> str:
        return source_table(self._table.schema, self._table.name)

    def _one(self, query: str, parameters: Sequence[object] = ()) -> Any:
        try:
            row = self._connection.execute(query, parameters).fetchone()
        except psycopg.Error as error:
            raise fault_of(error, "answering", WHERE, "see the server's log") from None
        return row[0] if row else None


def session(pace: Pace) -> str:
    """The options of a connection that reads with this pace."""
    stated = {**_SESSION, "statement_timeout": f"{round(pace.statement_seconds_max * 1000)}ms"}
    return " ".join(f"-c {name}={value}" for name, value in stated.items())


def _as_stated(table: SourceTable | None, contract: TableContract) -> SourceTable:
    hint = "see what `cdc contract --check` tells, and mend the contract or --dsn first"
    if table is None:
        raise FatalFault("there is no such table at the source", where=contract.source_name, hint=hint)
    present = {column.name for column in table.columns}
    if missing := [column.source_name for column in contract.columns if column.source_name not in present]:
        raise FatalFault(f"the source lacks columns: {', '.join(missing)}", where=contract.source_name, hint=hint)
    if set(table.key) != {contract.column(name).source_name for name in contract.key}:
        raise FatalFault("the source has another primary key", where=contract.source_name, hint=hint)
    return table


def _as_text(value: Any) -> str:
    """A value of a key as Postgres reads it."""
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    return (
        value.isoformat() if hasattr(value, "isoformat") else format(value, "f") if _is_decimal(value) else str(value)
    )


def _is_decimal(value: Any) -> bool:
    return hasattr(value, "as_tuple")
