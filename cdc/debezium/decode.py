"""Decode: a Debezium message, with a schema or without, flattened or not → the change event that it states.

Column values are left as the message has them; the event's forms tell how to read them, and `compactor.convert` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import msgspec

from cdc.contract import TableContract, faults_of_names, under_current_names
from cdc.debezium.avro_names import source_names
from cdc.debezium.avro_schema import as_in_raw, connect_schema
from cdc.debezium.flat import Stated, read_flat
from cdc.debezium.forms import SchemaField, forms_of_modes, forms_of_schema
from cdc.debezium.identity import check_old_key, is_filler, is_whole
from cdc.debezium.placeholder import placeholders
from cdc.doubled_name import refuse_doubled_names_of_compact
from cdc.errors import RecordFault
from cdc.event import ChangeEvent, Op
from cdc.form import Forms
from cdc.position import LSN_MAX, LSN_OF_BACKFILL, Position
from cdc.producer import DEFAULT_PLACEHOLDER

PUBLISHER_VERSION = "usuarios-cdc"
"""How `source.version` ends where our own publisher wrote the event: then its modes are known."""
SPELT = f'"\\u005f{DEFAULT_PLACEHOLDER[1:]}"'.encode()
"""How our publisher writes a row's own text that equals the placeholder; Debezium never escapes an underscore."""
_MARKED = f'"\\u0000{DEFAULT_PLACEHOLDER}"'.encode()  # Postgres has no NUL in any text
SCHEMAS_KEPT_MAX = 64
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)
_NONE = (b"", b"null")


class _Source(msgspec.Struct):
    schema: str
    table: str
    lsn: int | None = None
    ts_us: int | None = None
    ts_ms: int | None = None
    snapshot: str | bool | None = None
    version: str | None = None


class _Envelope(msgspec.Struct):
    op: str | None = None
    source: _Source | None = None
    before: msgspec.Raw = msgspec.Raw()
    after: msgspec.Raw = msgspec.Raw()
    schema: msgspec.Raw = msgspec.Raw()
    payload: msgspec.Raw = msgspec.Raw()


_ENVELOPE = msgspec.json.Decoder(_Envelope)
_ROW = msgspec.json.Decoder(dict[str, Any])
_SCHEMA = msgspec.json.Decoder(SchemaField)


class Decoder:
    """Decodes the messages of one table; it remembers the schemas that it has seen."""

    def __init__(self, contract: TableContract) -> None:
        modes = contract.producer
        self._contract = contract
        self._by_modes = forms_of_modes(contract, modes)
        self._placeholders = {column.source_name: placeholders(column.type, modes) for column in contract.columns}
        self._unnamed = placeholders(None, modes)
        self._current_names = contract.current_names
        self._key = frozenset(contract.column(name).source_name for name in contract.key)
        self._forms_of_schema = lru_cache(maxsize=SCHEMAS_KEPT_MAX)(self._read_schema)
        self._dialect_of_avro = lru_cache(maxsize=SCHEMAS_KEPT_MAX)(self._read_avro_schema)
        self._nulled = lru_cache(maxsize=2 * SCHEMAS_KEPT_MAX)(_nulled)

    def decode(
        self, payload: bytes | memoryview | msgspec.Raw, epoch: int, avro_schema: str | None = None
    ) -> ChangeEvent:
        """The change event that a message states, its placeholders taken out; one in Avro is read by its schema.

        Raises:
            RecordFault: when the message is no change event, or lacks what a merge needs.
        """
        raw = bytes(payload)
        if avro_schema is not None:
            return self._event(*self._stated_in_avro(raw, avro_schema), epoch)
        if SPELT not in raw:
            return self._event(*self._stated(raw), epoch)
        event = self._event(*self._stated(raw.replace(SPELT, _MARKED)), epoch)
        return replace(event, before=_unmarked(event.before), after=_unmarked(event.after))

    def _stated_in_avro(self, payload: bytes, schema: str) -> tuple[Stated, Forms]:
        names, forms = self._dialect_of_avro(schema)
        stated, _ = self._stated(payload)
        if names:
            stated = replace(stated, before=_renamed(stated.before, names), after=_renamed(stated.after, names))
        return stated, forms

    def _stated(self, payload: bytes | memoryview | msgspec.Raw) -> tuple[Stated, Forms | None]:
        envelope, schema = self._unwrapped(payload)
        source = envelope.source
        if source is None or envelope.op is None:
            body = envelope.payload if schema is not None else payload
            flat = read_flat(_row(body), self._contract)
            return flat, self._by_modes if schema is None else self._forms_of_schema(schema)
        stated = Stated(
            schema=source.schema,
            table=source.table,
            op=envelope.op,
            before=_image(envelope.before),
            after=_image(envelope.after),
            lsn=source.lsn,
            ts_us=source.ts_us,
            ts_ms=source.ts_ms,
        )
        if schema is not None:
            return stated, self._forms_of_schema(schema)
        is_ours = source.version is not None and source.version.endswith(PUBLISHER_VERSION)
        return stated, None if is_ours else self._by_modes

    @staticmethod
    def _unwrapped(payload: bytes | memoryview | msgspec.Raw) -> tuple[_Envelope, bytes | None]:
        """The envelope, and the schema where there is one: it and the payload are then all that the message has."""
        envelope = _envelope(payload)
        body = bytes(envelope.payload)
        if envelope.op is not None or envelope.source is not None or not body.startswith(b"{"):
            return envelope, None
        schema = bytes(envelope.schema)
        inner = _envelope(body)
        if schema in _NONE:
            return inner, None
        inner.payload = envelope.payload
        return inner, schema

    def _read_schema(self, schema: bytes) -> Forms:
        try:
            fields = _SCHEMA.decode(schema).fields or []
        except _UNREADABLE:
            raise RecordFault("not-debezium", "the message's schema is none of Kafka Connect's") from None
        return forms_of_schema(_row_fields(fields), self._contract)

    def _read_avro_schema(self, schema: str) -> tuple[Mapping[str, str], Forms]:
        """The columns that have other names in the message, and the forms of all."""
        row = [as_in_raw(field) for field in _row_fields(connect_schema(schema).fields or [])]
        names = source_names(row, [column.source_name for column in self._contract.columns])
        renamed = [msgspec.structs.replace(field, field=names.get(field.field or "", field.field)) for field in row]
        return names, forms_of_schema(renamed, self._contract)

    def _event(self, stated: Stated, forms: Forms | None, epoch: int) -> ChangeEvent:
        try:
            op = Op(stated.op)
        except ValueError:
            raise RecordFault("unknown-op", "the event has an op that is none of r, c, u, d, t") from None
        faults = self._faults_of_names(stated.before if op is Op.DELETE else stated.after)
        before, after = self._renamed(stated.before), self._renamed(stated.after)
        if (before if op is Op.DELETE else after) is None and op is not Op.TRUNCATE:
            hint = "the table needs REPLICA IDENTITY DEFAULT or FULL and a primary key"
            raise RecordFault("no-row", "the event carries no row image", hint=hint)
        if op is Op.DELETE and before and forms is not None:
            check_old_key(before, self._key)
        unchanged = doubtful = frozenset[str]()
        if after and op is not Op.READ:  # a read has every value, and a text that equals the placeholder is the row's
            unchanged = frozenset(self._unchanged(after))
        if after:
            whole = before if op is Op.UPDATE and before and self._is_whole(before, after, unchanged) else None
            # A create with placeholders is the second half of a key change, and lacks what an update lacks.
            may_lack = whole is None and (op is Op.UPDATE or (op is Op.CREATE and bool(unchanged)))
            if unchanged:
                after, unchanged = self._filled(after, whole, unchanged)
            if forms is not None:
                doubtful = self._doubtful(after, self._nulled(forms, may_lack=may_lack))
        return ChangeEvent(
            schema=stated.schema,
            table=stated.table,
            op=op,
            before=before,
            after=after,
            unchanged=unchanged,
            position=Position(epoch, _lsn(op, stated.lsn)),
            committed_at=committed_at(stated.ts_us, stated.ts_ms),
            faults=faults,
            forms=forms,
            doubtful=doubtful,
        )

    def _faults_of_names(self, row: Mapping[str, Any] | None) -> tuple[RecordFault, ...]:
        return faults_of_names(row, self._contract) if row and self._current_names else ()

    def _renamed(self, row: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        return under_current_names(row, self._current_names) if row and self._current_names else row

    def _unchanged(self, row: Mapping[str, Any]) -> Iterable[str]:
        known, unnamed = self._placeholders, self._unnamed
        for name, value in row.items():
            # Nothing but these types stands for "unchanged", and a number is not worth the look.
            if value.__class__ in _PLACEHOLDER_CLASSES and value in known.get(name, unnamed):
                yield name

    def _is_whole(self, before: Mapping[str, Any], after: Mapping[str, Any], unchanged: frozenset[str]) -> bool:
        return is_whole(before, {name: after[name] for name in after.keys() - unchanged}, self._key)

    def _filled(
        self, after: Mapping[str, Any], whole: Mapping[str, Any] | None, unchanged: frozenset[str]
    ) -> tuple[Mapping[str, Any], frozenset[str]]:
        """The row without its placeholders; with REPLICA IDENTITY FULL the image before has the values."""
        row = {name: value for name, value in after.items() if name not in unchanged}
        if whole:
            gone = frozenset(self._unchanged(whole))
            known = {name for name in unchanged if not is_filler(whole.get(name)) and name not in gone}
            row |= {name: whole[name] for name in known}
            unchanged -= known
        return row, unchanged

    @staticmethod
    def _doubtful(after: Mapping[str, Any], nulled: frozenset[str]) -> frozenset[str]:
        """The nulls that may stand for a value."""
        return frozenset(name for name in nulled if name in after and after[name] is None) if nulled else nulled


def _envelope(body: bytes | memoryview | msgspec.Raw) -> _Envelope:
    """The envelope; one without anything where the body is none, as a flattened row with a column `source` is."""
    try:
        return _ENVELOPE.decode(body)
    except _UNREADABLE:
        return _Envelope()


def _row_fields(fields: list[SchemaField]) -> list[SchemaField]:
    """The fields of a row in the schema of an envelope, or of a flattened row."""
    row = next((field.fields for field in fields if field.field == "after" and field.fields), None)
    before = next((field.fields for field in fields if field.field == "before" and field.fields), None)
    return row or before or fields


def _renamed(row: Mapping[str, Any] | None, names: Mapping[str, str]) -> Mapping[str, Any] | None:
    return None if row is None else {names.get(name, name): value for name, value in row.items()}


def _nulled(forms: Forms, *, may_lack: bool) -> frozenset[str]:
    """The columns whose nulls may stand for a value, in a change that may lack what is unchanged or in any."""
    return frozenset(
        name
        for name, form in forms.by_column.items()
        if form.is_null_when_unread or (may_lack and form.is_null_when_unchanged)
    )


_PLACEHOLDER_CLASSES: frozenset[type] = frozenset({str, list, dict})


def decode(payload: bytes | memoryview, contract: TableContract, epoch: int) -> ChangeEvent:
    """The change event that one message states; for many, keep a `Decoder`.

    Raises:
        RecordFault: when the message is no change event, or lacks what a merge needs.
    """
    return Decoder(contract).decode(payload, epoch)


def committed_at(ts_us: int | None, ts_ms: int | None) -> datetime:
    """The commit time at the source out of `source.ts_us` or, in events of older versions, `source.ts_ms`.

    Raises:
        RecordFault: when the event has neither, or one that is no time.
    """
    microseconds = ts_us if ts_us is not None else ts_ms * 1000 if ts_ms is not None else None
    if microseconds is None:
        raise RecordFault("no-commit-time", "the event has no source.ts_us and no source.ts_ms")
    try:
        return _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        raise RecordFault("no-commit-time", "the event's source time is out of any range") from None


def _lsn(op: Op, lsn: int | None) -> int:
    if op is Op.READ:
        return LSN_OF_BACKFILL
    if lsn is None or not 0 < lsn <= LSN_MAX:
        raise RecordFault("no-position", "the event has no source.lsn, or one that no server gives")
    return lsn


def _image(body: msgspec.Raw) -> dict[str, Any] | None:
    raw = bytes(body)
    return None if raw in _NONE else _row(raw)


def _unmarked(row: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The row with its own texts that equal the placeholder as they are."""
    own = f"\0{DEFAULT_PLACEHOLDER}"

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(item) for item in value]
        return DEFAULT_PLACEHOLDER if value == own else value

    return None if row is None else {name: plain(value) for name, value in row.items()}


def _row(body: bytes | memoryview | msgspec.Raw) -> dict[str, Any]:
    """A row; one that names a column twice is refused, since readers differ in which of the two they take."""
    raw = bytes(body)
    try:
        row = _ROW.decode(raw)
        refuse_doubled_names_of_compact(raw, len(row))
    except _UNREADABLE:
        raise RecordFault("not-debezium", "the payload is no Debezium change event") from None
    return row
