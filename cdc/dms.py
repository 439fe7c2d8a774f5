"""DMS: the JSON records of AWS DMS to change events. docs/dms.md has the settings it needs and what is set aside.

Source of the facts: AWS DMS user guide, "Using Amazon Kinesis Data Streams as a target" and "Using a PostgreSQL
database as a source"; records of a real task (tests/golden/dms_postgres_field_samples.jsonl). The values come out in
the forms that Debezium has for them (`cdc.dms_value`), so that one converter serves both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from cdc.contract import Column, TableContract, faults_of_names, under_current_names
from cdc.dms_lob import may_be_cut
from cdc.dms_number import number
from cdc.dms_value import normaliser
from cdc.doubled_name import refuse_doubled_names
from cdc.errors import RecordFault
from cdc.event import ChangeEvent, Op
from cdc.position import LSN_OF_BACKFILL, Position, parse_lsn

_OPS = {"load": Op.READ, "insert": Op.CREATE, "update": Op.UPDATE, "delete": Op.DELETE}
_OTHERS = frozenset({"data", "metadata", "control"})
_BEFORE_PREFIX = "BI_"
_STREAM_POSITION = re.compile(
    r"(?P<lsn>[0-9A-F]{1,8}/[0-9A-F]{1,8})\.\d+\.[0-9A-F]{1,8}/[0-9A-F]{1,8}", re.ASCII | re.IGNORECASE
)
_NUMBER_MAX = 2**63 - 1
_METADATA_KEY = b'"metadata"'
_Row = Mapping[str, Any]


class _Head(msgspec.Struct, rename="kebab"):
    operation: Any = None
    record_type: Any = None


class _Shape(msgspec.Struct):
    metadata: _Head
    op: Any = None
    source: Any = None


class _Metadata(msgspec.Struct, rename="kebab"):
    record_type: str
    operation: str
    schema_name: str = ""
    table_name: str = ""
    timestamp: str | None = None
    commit_timestamp: str | None = None
    stream_position: str | None = None
    transaction_record_id: int | None = None


_SHAPE = msgspec.json.Decoder(_Shape)
# With the hook no number passes through a double, which would take its last digits.
_RECORD = msgspec.json.Decoder(dict[str, Any], float_hook=number)
# A number of thousands of digits is a ValueError of Python's own.
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)


def is_dms(payload: bytes | memoryview) -> bool:
    """Whether a message has the shape of DMS: metadata that names an operation, and nothing of Debezium's envelope."""
    if _METADATA_KEY not in bytes(payload):
        return False
    try:
        shape = _SHAPE.decode(payload)
    except _UNREADABLE:
        return False
    head = shape.metadata
    return shape.op is None and shape.source is None and (head.operation is not None or head.record_type is not None)


def decode(payload: bytes | memoryview, contract: TableContract, epoch: int) -> tuple[ChangeEvent, ...]:
    """The change events of a DMS record: one; of a key change the delete and the create; of a control record none.

    Both events of a key change have the position of their record, as Debezium's have.

    Raises:
        RecordFault: when the record is none of DMS's, or its key or position cannot be told. What else is wrong with a
            change becomes its `faults`.
    """
    metadata, record = _parsed(payload)
    if metadata.record_type == "control":
        return ()  # a task's own drop-table at its start looks like one at the source: neither says anything of rows
    op = _OPS.get(metadata.operation)
    if metadata.record_type != "data" or op is None:
        raise RecordFault("unknown-op", "the record's operation is none of load, insert, update, delete")
    data = record.get("data")
    if data is None:
        raise RecordFault("no-row", "the record carries no data")
    ambiguous = faults_of_names(data, contract)
    row = under_current_names(data, contract.current_names)
    key = _key(row, contract)
    position, committed_at = _position(op, metadata, epoch), _committed_at(op, metadata)

    def event(op: Op, before: _Row | None, after: _Row | None, faults: tuple[RecordFault, ...] = ()) -> ChangeEvent:
        return ChangeEvent(
            metadata.schema_name,
            metadata.table_name,
            op,
            before,
            after,
            frozenset(),
            position,
            committed_at,
            faults=faults,
            omits_nulls=True,
        )

    if op is Op.DELETE:
        # Of the other columns DMS says null, nothing, or the old value, depending on the source: none is looked at.
        return (event(op, key, None),)
    old_key: _Row | None = None
    images_are_full = op is not Op.UPDATE
    try:
        if op is Op.UPDATE:
            before = _before(record)
            before = before and under_current_names(before, contract.current_names)
            old_key = _other_key(before, row, key, contract)
            # Under REPLICA IDENTITY FULL there is a before image of every update; an empty one says it is not full.
            images_are_full = contract.dms_full_images and before != {}
    except RecordFault as raised:
        return (event(op, None, {**_unknown(row, contract), **key}, (raised,)),)
    after, faults = _image(row, key, contract, images_are_full=images_are_full)
    faults = (*ambiguous, *faults)
    if old_key is None:
        return (event(op, None, after, faults),)
    return event(Op.DELETE, old_key, None), event(Op.CREATE, None, after, faults)


def _parsed(payload: bytes | memoryview) -> tuple[_Metadata, dict[str, _Row]]:
    """The metadata and all parts that are objects; one that is a plain value, as a later DMS may add, says nothing."""
    raw = bytes(payload)
    try:
        record = _RECORD.decode(raw)
        parts: dict[str, _Row] = {name: part for name, part in record.items() if isinstance(part, dict)}
        refuse_doubled_names(raw, len(record) + sum(map(len, parts.values())))
        metadata = msgspec.convert(parts.get("metadata"), _Metadata)
    except _UNREADABLE:
        raise _not_dms() from None
    if any(isinstance(part, list) for part in record.values()):
        raise _not_dms()
    return metadata, parts


def _not_dms() -> RecordFault:
    return RecordFault("not-dms", "the payload is no record of AWS DMS in JSON")


def _position(op: Op, metadata: _Metadata, epoch: int) -> Position:
    if op is Op.READ:
        return Position(epoch, LSN_OF_BACKFILL)
    if metadata.stream_position is None or metadata.transaction_record_id is None:
        raise RecordFault(
            "dms-no-position",
            "the record has no stream-position or no transaction-record-id: IncludeTransactionDetails is off",
            hint="set IncludeTransactionDetails on the DMS endpoint and reload the table",
        )
    match = _STREAM_POSITION.fullmatch(metadata.stream_position)
    lsn = parse_lsn(match["lsn"]) if match is not None else 0
    if not 0 < lsn <= _NUMBER_MAX or not 0 <= metadata.transaction_record_id <= _NUMBER_MAX:
        raise RecordFault("dms-no-position", "the record's stream-position has not the form that Postgres gives it")
    return Position(epoch, lsn, metadata.transaction_record_id)


def _committed_at(op: Op, metadata: _Metadata) -> datetime:
    text = metadata.timestamp if op is Op.READ else metadata.commit_timestamp
    try:
        moment = datetime.fromisoformat(text or "")
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    if op is Op.READ:
        raise RecordFault("no-commit-time", "the record has no timestamp with zone, which DMS gives to every record")
    raise RecordFault(
        "no-commit-time",
        "the record has no commit-timestamp with zone: IncludeTransactionDetails is off",
        hint="set IncludeTransactionDetails on the DMS endpoint and reload the table",
    )


def _keys(contract: TableContract) -> list[Column]:
    return [contract.column(name) for name in contract.key]


def _key(data: _Row, contract: TableContract) -> dict[str, Any]:
    columns = _keys(contract)
    if any(data.get(column.source_name) is None for column in columns):
        raise RecordFault("no-key", "a column of the primary key is null or missing")
    return {column.source_name: _value(column, data, contract) for column in columns}


def _before(record: Mapping[str, _Row]) -> _Row | None:
    """The before image: whatever stands beside data and metadata, for BeforeImageSettings may name it as it likes."""
    others = [name for name in record if name not in _OTHERS]
    if len(others) > 1:
        raise RecordFault("not-dms", "the record has more parts than data, metadata and one before image")
    return record[others[0]] if others else None


def _other_key(before: _Row | None, data: _Row, key: _Row, contract: TableContract) -> dict[str, Any] | None:
    """The key that the row had before, if it had another one and the before image tells."""
    names = {column.source_name for column in contract.columns}
    if any(_BEFORE_PREFIX + name in data and _BEFORE_PREFIX + name not in names for name in names):
        raise RecordFault(
            "dms-before-columns",
            "the record has its before image in columns BI_…, which may hold another key",
            hint="remove add-before-image-columns from the task and set BeforeImageSettings instead",
        )
    columns = _keys(contract)
    # A key is never null, so null says no more than absent.
    stated = [column for column in columns if (before or {}).get(column.source_name) is not None]
    if before is None or not stated:
        return None
    if len(stated) < len(columns):
        raise RecordFault("dms-partial-key", "the before image has some columns of the key but not all")
    old = {column.source_name: _value(column, before, contract) for column in columns}
    return None if old == key else old


def _image(
    data: _Row, key: _Row, contract: TableContract, *, images_are_full: bool
) -> tuple[dict[str, Any], tuple[RecordFault, ...]]:
    """The row's values in Debezium's forms, and the faults of the columns that have none."""
    values = {**_unknown(data, contract), **key}
    faults: list[RecordFault] = []
    for column in contract.columns:
        if column.source_name in values:
            continue
        try:
            values[column.source_name] = _image_value(column, data, contract, images_are_full=images_are_full)
        except RecordFault as fault:
            faults.append(fault)
    return values, tuple(faults)


def _image_value(column: Column, data: _Row, contract: TableContract, *, images_are_full: bool) -> Any:
    if column.source_name not in data:
        raise RecordFault(
            "dms-column-absent",
            "a column of the contract is absent: IncludeNullAndEmpty is off, the task leaves the column out, or "
            "the source has dropped it",
            where=column.name,
            hint="set IncludeNullAndEmpty on the DMS endpoint and reload the table; `cdc contract --check` tells "
            "whether the column is there",
        )
    if data[column.source_name] is None and not images_are_full and column.type.can_be_toasted:
        raise RecordFault(
            "dms-ambiguous-null",
            "a null that may stand for an unchanged TOASTed value; dms.fullImages of the contract is not stated",
            where=column.name,
            hint="set REPLICA IDENTITY FULL and test_decoding, then dms.fullImages; see docs/dms.md",
        )
    return None if data[column.source_name] is None else _value(column, data, contract)


def _unknown(data: _Row, contract: TableContract) -> dict[str, Any]:
    """Columns that the contract does not name: as they came, so that they are noticed."""
    known = {column.source_name for column in contract.columns}
    return {name: value for name, value in data.items() if name not in known}


def _value(column: Column, row: _Row, contract: TableContract) -> Any:
    value = row[column.source_name]
    if isinstance(value, str) and may_be_cut(value, column.type, contract.dms_lob_max_size):
        raise RecordFault(
            "dms-cut-off",
            "a value just as long as LobMaxSize lets through, which may have been cut",
            where=column.name,
            hint="set LobMaxSize above the longest value, and dms.lobMaxSize of the contract to the same",
        )
    try:
        return normaliser(column.type)(value)
    except RecordFault as fault:
        raise RecordFault(fault.reason, fault.what, where=column.name) from None
