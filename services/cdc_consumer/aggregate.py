"""Records that the Kinesis Producer Library (KPL) packed into one: what is in them, each with its place.

Source of the format: "KPL Aggregated Record Format" in awslabs/amazon-kinesis-producer: magic bytes, a protobuf
message, its MD5. The message types are those of aws-kinesis-agg; its reader is not used, since it drops all that
follows a fault.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError

MAGIC = b"\xf3\x89\x9a\xc2"
"""How an aggregate begins. No UTF-8 does, so no JSON can be mistaken for one."""
SUB_RECORDS_MAX = 100_000
"""In one aggregate: a sub-record may be of two bytes, and what is made of it takes a hundred times that in memory."""
PARSED_BYTES_MAX = 1024 * 1024
"""A larger message, which no KPL sends, is walked through piece by piece; parsed it could take far more memory."""
_DIGEST_BYTES = 16
_RECORDS_FIELD = 3
_VARINT, _FIXED64, _LENGTH_DELIMITED, _FIXED32 = 0, 1, 2, 5
_TAG_BYTES_MAX, _VARINT_BYTES_MAX = 5, 10


def _message_types() -> Any:
    """The message types; the generated module asks for its sibling by a bare name, so their folder must be searched."""
    spec = importlib.util.find_spec("aws_kinesis_agg")
    assert spec is not None
    folders = list(spec.submodule_search_locations or ())
    sys.path[:0] = folders
    try:
        return importlib.import_module("aws_kinesis_agg.messages_pb2")
    finally:
        for folder in folders:
            sys.path.remove(folder)


_MESSAGES = _message_types()
_parse_aggregate = _MESSAGES.AggregatedRecord.FromString
_parse_record = _MESSAGES.Record.FromString


@dataclass(frozen=True, slots=True)
class Split:
    """The payloads of an aggregate in order; `damaged` gives the reason for those that are no payload, by place."""

    payloads: Sequence[bytes]
    damaged: Mapping[int, str]


class _Broken(Exception):
    """The bytes are no protobuf from here on."""


def split(data: bytes) -> Split | None:
    """What is in an aggregate, or None when the record is none.

    A wrong checksum makes the whole record the one damaged piece. With the right one, each sub-record that cannot be
    parsed is a damaged piece by itself; where the next one cannot be found any more, all that is left is one.
    """
    if not data.startswith(MAGIC) or len(data) < len(MAGIC) + _DIGEST_BYTES:
        return None
    message = memoryview(data)[len(MAGIC) : -_DIGEST_BYTES]
    if hashlib.md5(message, usedforsecurity=False).digest() != data[-_DIGEST_BYTES:]:
        return Split((data,), {0: "aggregate-checksum"})
    if len(message) <= PARSED_BYTES_MAX:
        try:
            records = _parse_aggregate(message).records
        except DecodeError:
            return _walk(message)
        if len(records) <= SUB_RECORDS_MAX:
            payloads = [record.data for record in records]
            if b"" in payloads:  # a tombstone, or a sub-record without the field that it must have
                lacking = {place: _DAMAGED for place, record in enumerate(records) if not record.HasField("data")}
                return Split(payloads, lacking)
            return Split(payloads, {})
    return _walk(message)


_DAMAGED = "aggregate-damaged"


def _walk(message: memoryview) -> Split:
    """The same as parsing the message, one sub-record at a time; what is damaged is kept beside what is not."""
    payloads: list[bytes] = []
    damaged: dict[int, str] = {}
    end = 0
    try:
        for part, after in _parts(message):
            if len(payloads) == SUB_RECORDS_MAX:
                damaged[len(payloads)] = "aggregate-too-many"
                break
            try:
                record = _parse_record(part)
            except DecodeError:
                record = None
            if record is None or not record.HasField("data"):
                damaged[len(payloads)] = _DAMAGED
            payloads.append(bytes(part) if record is None else record.data)
            end = after
        else:
            return Split(payloads, damaged)
    except _Broken:
        damaged[len(payloads)] = _DAMAGED
    payloads.append(bytes(message[end:]))
    return Split(payloads, damaged)


def _parts(message: memoryview) -> Iterator[tuple[memoryview, int]]:
    """The bytes of every sub-record, and where they end.

    Raises:
        _Broken: where the next field cannot be found.
    """
    position = 0
    while position < len(message):
        tag, position = _varint(message, position, _TAG_BYTES_MAX)
        field, wire_type = tag >> 3, tag & 7
        start = position
        if wire_type == _VARINT:
            _, position = _varint(message, position, _VARINT_BYTES_MAX)
        elif wire_type == _LENGTH_DELIMITED:
            length, start = _varint(message, position, _TAG_BYTES_MAX)
            position = start + length
        elif wire_type in {_FIXED64, _FIXED32}:
            position += 8 if wire_type == _FIXED64 else 4
        else:
            raise _Broken
        if not field or position > len(message):
            raise _Broken
        if field == _RECORDS_FIELD and wire_type == _LENGTH_DELIMITED:
            yield message[start:position], position


def _varint(message: memoryview, position: int, bytes_max: int) -> tuple[int, int]:
    value = 0
    for shift, octet in enumerate(message[position : position + bytes_max]):
        value |= (octet & 0x7F) << (7 * shift)
        if octet < 0x80:
            return value, position + shift + 1
    raise _Broken
