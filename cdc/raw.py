"""Raw zone: names and contents of raw objects, batch records and tips. docs/raw-format.md has the format for people.

A raw object holds the records of one table, shard and micro-batch as gzip JSON Lines. A batch record, written after its
objects, names them; the batch records of a shard form a chain, since each starts where the one before ended.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
from isal import igzip, isal_zlib

from cdc.errors import FatalFault, RawFault, RecordFault
from cdc.gzip_lines import GZIP_WBITS

BATCHES = "_batches"
TIPS = "_tips"
SCHEMAS = "_schemas"
OBJECT_BYTES_MAX = 10 * 1024 * 1024
"""A raw object before compression; a single larger record is alone in its own."""
SEQUENCE_DIGITS = 56
"""The length of the sequence numbers that Kinesis gives; names are zero-padded to it, so that they sort as numbers."""
HEARTBEAT_PREFIX = "cdc.heartbeat"
"""The prefix of the logical messages that a publisher sends to every shard once all before them is acknowledged."""
SNAPSHOT_PREFIX = "cdc.snapshot"
"""The prefix of the messages by which a publisher tells every shard that a snapshot begins, and that it is complete."""
START = 0
"""The sequence number before the first record of a shard: the `after` of the first batch."""


class RawLine(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One record as it came: its place in the stream, and the payload untouched.

    One that came in Avro is the JSON that Debezium would have sent with decimals as text; `schema_id` names its schema,
    which lies at `schema_path`.
    """

    shard: str
    seq: str
    sub: int
    arrived_at: str
    event: msgspec.Raw
    schema_id: int | None = None


class ObjectRef(msgspec.Struct, frozen=True):
    """A raw object as its batch record names it; `bytes` is its compressed size, `sha256` that of these bytes.

    `plain_bytes` is the size of its lines before compression; 0: the record does not say.
    """

    path: str
    table: str
    records: int
    bytes: int
    sha256: str
    plain_bytes: int = 0


class Evidence(msgspec.Struct, frozen=True):
    """How far the source itself is known to have come: the latest heartbeat of the source in the batch.

    Commit times of other records prove nothing: a producer may have to send an earlier one again after a later one.
    """

    committed_at: datetime
    lsn: int


class SnapshotWord(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a publisher tells every open shard of its stream when a snapshot begins, ahead of its first read, and when
    it is complete, behind its last one.

    `snapshot` is its id, `shards` are all shards that are told, `tables` the source's tables (schema and name) with how
    many rows were read of each. `taken_at` is the snapshot's time. `source` tells the database from any other:
    `<system identifier>/<oid of the database>`.
    """

    snapshot: str
    shards: tuple[str, ...]
    tables: tuple[tuple[str, str, int], ...]
    taken_at: datetime
    is_complete: bool = False
    source: str | None = None


class SnapshotMark(msgspec.Struct, frozen=True):
    """A publisher's word as it stands in a shard, at this sequence number."""

    seq: str
    word: SnapshotWord


class BatchRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """A micro-batch of one shard: every record in (after, upto]. It exists once this record does.

    `tables` are the lake tables that had a contract then; records of any other were left out. `arrived_at` is when its
    last record came to the stream: with the stream's retention it tells whether what follows can still be there. The
    batch record holds only what a second try at the same records would write again: no clock of ours, no worker's name.
    """

    stream: str
    shard: str
    after: str
    upto: str
    objects: tuple[ObjectRef, ...] = ()
    quarantined: int = 0
    left_out: int = 0
    empty: int = 0
    arrived_at: datetime | None = None
    evidence: Evidence | None = None
    closed: bool = False
    children: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    marks: tuple[SnapshotMark, ...] = ()
    version: int = 1


class Tip(msgspec.Struct, frozen=True):
    """The holder of the lease read the shard to its tip at this time; overwritten now and then.

    It exists, without a time, from when the shard was first seen and before any shard of its stream is read: so a
    reader of raw knows of every shard whose records are still to come.
    """

    read_to_tip_at: datetime | None
    upto: str


_DO_NOT_SKIP = "restore the object from the bucket's versions or replay the shard from the stream; do not skip it"
_LINES = msgspec.json.Decoder(RawLine)
# The stubs of isal say less than the modules.
_decompress: Callable[[bytes], bytes] = igzip.decompress
_decompress_member: Callable[[bytes, int, int], bytes] = isal_zlib.decompress
_GZIP_SIZE_BYTES = 4
"""A gzip member ends in the size of its text, modulo 2^32 (RFC 1952, 2.3.1)."""
_EXPANSION_MAX = 1032
"""A byte of deflate becomes no more than so many (zlib's technical details)."""
_CORRUPT: type[Exception] = isal_zlib.error  # type: ignore[assignment]


def padded(sequence_number: int) -> str:
    """A sequence number as it stands in names.

    Raises:
        FatalFault: when it is longer than Kinesis's are, since names would no longer sort as numbers.
    """
    text = str(sequence_number).zfill(SEQUENCE_DIGITS)
    if len(text) > SEQUENCE_DIGITS:
        raise FatalFault(
            f"a sequence number has {len(text)} digits, more than the {SEQUENCE_DIGITS} that raw names hold",
            hint="raise SEQUENCE_DIGITS for a new raw prefix; do not mix both in one",
        )
    return text


def object_path(table: str, stream: str, shard: str, after: int, upto: int, arrived_at: datetime) -> str:
    """Where a raw object lies, partitioned by the arrival date (UTC) of its first record so that Athena can read it."""
    day = arrived_at.astimezone(UTC).strftime("%Y/%m/%d")
    return f"postgres/json/{table}/{day}/{stream}~{shard}~{padded(after)}~{padded(upto)}.json.gz"


def batch_prefix(stream: str, shard: str) -> str:
    """Where the batch records of a shard lie."""
    return f"{BATCHES}/{stream}/{shard}/"


def batch_path(stream: str, shard: str, after: int, upto: int) -> str:
    """Where a batch record lies: `upto` first, so that what is new is one listing past the merged offset."""
    return f"{batch_prefix(stream, shard)}{padded(upto)}~{padded(after)}.json"


def batches_past(stream: str, shard: str, offset: int) -> str:
    """The path after which batch records hold something new: no batch that ends at `offset` or before sorts later."""
    return f"{batch_prefix(stream, shard)}{padded(offset)}~~"


def tip_prefix(stream: str) -> str:
    """Where the tips of a stream's shards lie."""
    return f"{TIPS}/{stream}/"


def tip_path(stream: str, shard: str) -> str:
    """Where the tip of a shard lies."""
    return f"{tip_prefix(stream)}{shard}.json"


def schema_path(stream: str, schema_id: int) -> str:
    """Where the Avro schema lies by which records of a stream were written, under the id that its registry gave it."""
    return f"{SCHEMAS}/{stream}/{schema_id}.json"


def encode_lines(lines: list[bytes]) -> bytes:
    """An object of lines that are all there already: gzip, with no clock in it, so that a second try writes the same.

    The consumer, whose lines come one by one, has cdc.gzip_lines.
    """
    return gzip.compress(b"\n".join(lines) + b"\n", compresslevel=6, mtime=0)


def decode_object(body: bytes, ref: ObjectRef) -> list[RawLine]:
    """The lines of a raw object, after its checksum and counts were found right.

    Raises:
        RawFault: when the object is not what its batch record says; nothing of it may be merged.
    """
    return decode_text(unpack(body, ref), ref)


def unpack(body: bytes, ref: ObjectRef) -> bytes:
    """The text of a raw object, after its checksum was found right. Raises as `decode_object` does."""
    if len(body) != ref.bytes or sha256(body) != ref.sha256:
        raise RawFault("a raw object is not the one that its batch record names", where=ref.path, hint=_DO_NOT_SKIP)
    try:
        if 0 < ref.plain_bytes <= _EXPANSION_MAX * len(body):
            # Into memory of the right size at once; what lets it grow copies, and reads the text again for its CRC.
            text = _decompress_member(body, GZIP_WBITS, ref.plain_bytes)
            if len(text) == ref.plain_bytes == int.from_bytes(body[-_GZIP_SIZE_BYTES:], "little"):
                return text
        return _decompress(body)  # perhaps of several members, or of 4 GiB
    except (OSError, EOFError, _CORRUPT):
        raise RawFault("a raw object cannot be read", where=ref.path, hint=_DO_NOT_SKIP) from None


def decode_text(text: bytes, ref: ObjectRef) -> list[RawLine]:
    """The lines in the text of a raw object, after their number was found right. Raises as `decode_object` does."""
    try:
        lines = _LINES.decode_lines(text)
    except msgspec.DecodeError:
        raise RawFault("a raw object cannot be read", where=ref.path, hint=_DO_NOT_SKIP) from None
    if len(lines) != ref.records:
        raise RawFault(
            f"a raw object has {len(lines)} records instead of {ref.records}", where=ref.path, hint=_DO_NOT_SKIP
        )
    return lines


def sha256(body: bytes) -> str:
    """The hexadecimal SHA-256 of some bytes."""
    return hashlib.sha256(body).hexdigest()


def one_line(payload: bytes) -> bytes:
    """A JSON payload on one line. Line breaks in JSON stand only between tokens, so a space says the same.

    Raises:
        RecordFault: when the bytes are not UTF-8; whether they are JSON is the caller's to check.
    """
    try:
        payload.decode("utf-8")
    except UnicodeDecodeError:
        raise RecordFault("not-utf8", "the payload is not UTF-8") from None
    return payload.strip().replace(b"\r", b" ").replace(b"\n", b" ")
