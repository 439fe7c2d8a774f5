"""Aggregates as the Kinesis Producer Library makes them, by hand, so that they can also be made wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

MAGIC = b"\xf3\x89\x9a\xc2"


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def sub_record(payload: bytes, *, explicit_hash_key: int | None = None, partition_key: int = 0) -> bytes:
    """A sub-record's field: where its keys stand in the tables, then its data."""
    explicit = b"" if explicit_hash_key is None else b"\x10" + varint(explicit_hash_key)
    return field(3, b"\x08" + varint(partition_key) + explicit + field(3, payload))


def sealed(message: bytes) -> bytes:
    """A message between magic bytes and checksum."""
    return MAGIC + message + hashlib.md5(message).digest()


def aggregate(payloads: Sequence[bytes]) -> bytes:
    """A record that holds these payloads under one partition key."""
    return sealed(field(1, b"key") + b"".join(map(sub_record, payloads)))
