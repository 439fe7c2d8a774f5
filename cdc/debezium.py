"""Debezium JSON to change event: the envelope of Debezium 3 with schemas off, as Debezium and our publisher write it.

Source of the facts: debezium.io, "Debezium connector for PostgreSQL", and events recorded from Debezium 3.6. The column
values are left as the message has them; converting them is the compactor's.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from cdc.contract import TableContract
from cdc.errors import RecordFault
from cdc.event import ChangeEvent, Op
from cdc.position import LSN_MAX, LSN_OF_BACKFILL, Position
from cdc.postgres_type import PostgresType

PLACEHOLDER = "__debezium_unavailable_value"
"""What stands for an unchanged TOASTed value, which the log does not carry (`unavailable.value.placeholder`)."""
_PLACEHOLDER_BYTES = base64.b64encode(PLACEHOLDER.encode()).decode()
_PLACEHOLDER_NUMBERS = list(PLACEHOLDER.encode())
_PLACEHOLDER_UUIDS = ["b68a35a7-17ad-35b3-af2a-ae46edb4545a"]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Source(msgspec.Struct):
    schema: str
    table: str
    lsn: int | None = None
    ts_us: int | None = None
    ts_ms: int | None = None
    snapshot: str | bool | None = None


class _Envelope(msgspec.Struct):
    op: str
    source: _Source
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None


_DECODER = msgspec.json.Decoder(_Envelope)


def decode(payload: bytes | memoryview, contract: TableContract, epoch: int) -> ChangeEvent:
    """The change event that a Debezium message states, its placeholders taken out.

    Raises:
        RecordFault: when the message is no change event, or lacks what a merge needs.
    """
    try:
        envelope = _DECODER.decode(payload)
    except (msgspec.DecodeError, RecursionError):
        raise RecordFault("not-debezium", "the payload is no Debezium change event with schemas off") from None
    try:
        op = Op(envelope.op)
    except ValueError:
        raise RecordFault("unknown-op", "the event has an op that is none of r, c, u, d, t") from None
    before, after = envelope.before, envelope.after
    if (before if op is Op.DELETE else after) is None and op is not Op.TRUNCATE:
        raise RecordFault("no-row", "the event carries no row image")
    unchanged = frozenset(_placeholders(after, contract)) if after else frozenset[str]()
    return ChangeEvent(
        schema=envelope.source.schema,
        table=envelope.source.table,
        op=op,
        before=before,
        after={name: value for name, value in after.items() if name not in unchanged} if after else after,
        unchanged=unchanged,
        position=Position(epoch, _lsn(envelope)),
        committed_at=committed_at(envelope.source.ts_us, envelope.source.ts_ms),
    )


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


def _lsn(envelope: _Envelope) -> int:
    if envelope.op == Op.READ.value:
        return LSN_OF_BACKFILL
    if envelope.source.lsn is None or not 0 < envelope.source.lsn <= LSN_MAX:
        raise RecordFault("no-position", "the event has no source.lsn, or one that no server gives")
    return envelope.source.lsn


def _placeholders(after: Mapping[str, Any], contract: TableContract) -> list[str]:
    types = {column.source_name: column.type for column in contract.columns}
    return [name for name, value in after.items() if is_placeholder(value, types.get(name))]


def is_placeholder(value: Any, type_: PostgresType | None) -> bool:
    """Whether a value says "unchanged"; its form depends on the type (Debezium's UnchangedToastedPlaceholder).

    A column that the contract does not name has no type here; then only the text form is known.
    """
    if isinstance(value, str):
        return value == (_PLACEHOLDER_BYTES if type_ is not None and type_.name == "bytea" else PLACEHOLDER)
    if isinstance(value, list) and (type_ is None or type_.is_array):
        return value in ([PLACEHOLDER], _PLACEHOLDER_NUMBERS, _PLACEHOLDER_UUIDS, [_PLACEHOLDER_BYTES])
    return False
