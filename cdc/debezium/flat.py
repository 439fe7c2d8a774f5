"""Flat: events that Debezium's ExtractNewRecordState has flattened to the bare row and some metadata.

Source of the facts: debezium.io, "New Record State Extraction", and events recorded from Debezium 3.6.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cdc.contract import TableContract, under_current_names
from cdc.errors import RecordFault
from cdc.event import Op

HINT = (
    "send whole envelopes, or let ExtractNewRecordState add.fields=op,table,lsn,source.schema,source.ts_us "
    "with delete.tombstone.handling.mode=rewrite"
)
_METADATA = "__"


@dataclass(frozen=True, slots=True)
class Stated:
    """What a message states, before it is judged."""

    schema: str
    table: str
    op: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    lsn: int | None
    ts_us: int | None
    ts_ms: int | None


def read_flat(members: Mapping[str, Any], contract: TableContract) -> Stated:
    """What a flattened event states.

    Raises:
        RecordFault: `flattened` where it lacks op, position or commit time; `not-debezium` where it is no row at all.
    """
    columns = {name for column in contract.columns for name in (column.source_name, *column.former_names)}
    metadata = {name: members[name] for name in members if name.startswith(_METADATA) and name not in columns}
    row = {name: value for name, value in members.items() if name not in metadata}
    keys = {contract.column(name).source_name for name in contract.key}
    if not metadata and not keys <= under_current_names(members, contract.current_names).keys():
        raise RecordFault("not-debezium", "the payload is no Debezium change event")
    is_deleted = metadata.get("__deleted") in ("true", True)
    op: Any = Op.DELETE.value if is_deleted else metadata.get("__op")
    is_read = op == Op.READ.value
    lsn = _integer(metadata, "__lsn", "__source_lsn")
    ts_ns = _integer(metadata, "__source_ts_ns")
    ts_us = _integer(metadata, "__source_ts_us")
    ts_ms = _integer(metadata, "__source_ts_ms")
    if not isinstance(op, str) or (lsn is None and not is_read):
        raise RecordFault("flattened", "the event is flattened and carries no op or no position", hint=HINT)
    if ts_us is None and ts_ms is None and ts_ns is None:
        raise RecordFault("flattened", "the event is flattened and carries no commit time", hint=HINT)
    return Stated(
        schema=_text(metadata, "__schema", "__source_schema") or contract.source_schema,
        table=_text(metadata, "__table", "__source_table") or contract.source_table,
        op=op,
        before=row if op == Op.DELETE.value else None,
        after=None if op == Op.DELETE.value else row,
        lsn=lsn,
        ts_us=ts_us if ts_us is not None or ts_ns is None else ts_ns // 1000,
        ts_ms=ts_ms,
    )


def _integer(metadata: Mapping[str, Any], *names: str) -> int | None:
    return next((metadata[name] for name in names if type(metadata.get(name)) is int), None)


def _text(metadata: Mapping[str, Any], *names: str) -> str | None:
    return next((metadata[name] for name in names if isinstance(metadata.get(name), str)), None)
