"""Record: one record that was kept and is to be put back, where it stood in its stream, and as a line of a file."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from cdc.errors import FatalFault, RecordFault
from cdc.raw import one_line


@dataclass(frozen=True, slots=True)
class Record:
    """A record of shard `<stream>/<shard>` at a sequence number and sub-sequence number.

    `payload` is what is put back. Where `schema_id` is set it is JSON that was made of Avro, so not what came. `table`
    is the lake table where it is known, `reason` why it was quarantined (None: it was not), `path` the object it is in.
    """

    shard: str
    number: int
    sub: int
    arrived_at: datetime
    payload: bytes
    path: str
    table: str | None = None
    reason: str | None = None
    schema_id: int | None = None

    @property
    def place(self) -> tuple[int, int]:
        """Where it stood in its shard."""
        return self.number, self.sub


class _Line(msgspec.Struct, frozen=True, omit_defaults=True):
    stream: str
    shard: str
    seq: str
    sub: int
    arrived_at: str
    table: str | None = None
    reason: str | None = None
    schema_id: int | None = None
    event: msgspec.Raw = msgspec.Raw()
    payload: str | None = None


_LINE = msgspec.json.Decoder(_Line)
_JSON = msgspec.json.Decoder(msgspec.Raw)


def encode_line(record: Record) -> bytes:
    """A record as a line: its payload as `event` where it is JSON on one line, else in base64 as `payload`."""
    stream, _, shard = record.shard.rpartition("/")
    arrived_at = record.arrived_at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    line: dict[str, Any] = {
        "stream": stream, "shard": shard, "seq": str(record.number), "sub": record.sub, "arrived_at": arrived_at,
    }  # fmt: skip
    stated: Mapping[str, Any] = {"table": record.table, "reason": record.reason, "schema_id": record.schema_id}
    line |= {name: value for name, value in stated.items() if value is not None}
    if _is_json_on_one_line(record.payload):
        line["event"] = msgspec.Raw(record.payload)
    else:
        line["payload"] = base64.b64encode(record.payload).decode()
    return msgspec.json.encode(line)


def decode_line(line: bytes, path: str, number: int) -> Record:
    """The record of a line; `path` and `number` (from 1) are for the error.

    Raises:
        FatalFault: when it is no such line.
    """
    try:
        told = _LINE.decode(line)
        payload = bytes(told.event) if told.payload is None else payload_of_base64(told.payload)
        arrived_at = datetime.fromisoformat(told.arrived_at)
        place = int(told.seq), told.sub
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise _no_line(path, number) from None
    if not payload or arrived_at.tzinfo is None:
        raise _no_line(path, number)
    shard = f"{told.stream}/{told.shard}"
    return Record(shard, *place, arrived_at, payload, path, told.table, told.reason, told.schema_id)


def _no_line(path: str, number: int) -> FatalFault:
    return FatalFault(
        f"line {number} is no record as `cdc replay` writes it to a file",
        where=path,
        hint="docs/replay.md has the fields; change nothing but `event` or `payload` when you mend a record",
    )


def payload_of_base64(text: str) -> bytes:
    """The bytes of a payload in base64.

    Raises:
        ValueError: when it is none.
    """
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError("no base64") from None


def _is_json_on_one_line(payload: bytes) -> bool:
    try:
        _JSON.decode(payload)
        return one_line(payload) == payload
    except (msgspec.MsgspecError, RecordFault, ValueError, RecursionError):
        return False
