"""Row `consumer`: aggregates of the KPL → validated gzip raw objects, on one core.

The peer reads the same records with the library of aws-kinesis-agg, validates with json and compresses with gzip at
level 6. What both write is compared, line by line, before anything is measured.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from aws_kinesis_agg.deaggregator import iter_deaggregate_records

from cdc_consumer.batch import OpenBatch, Place, build
from cdc_consumer.filing import file_record
from cdc_consumer.memory import hold_memory_flat
from cdc_consumer.stream import Record
from tests.bench.events import TABLES, events
from tests.bench.measure import best_cpu_seconds, stay_on_one_core
from tests.bench.result import Result
from tests.kpl import aggregate

RECORDS = 40_000
RECORDS_PER_AGGREGATE = 200
REPETITIONS = 7
BATCH_BYTES = 8 * 1024 * 1024
RECORDS_PER_SECOND_MIN = 200_000
RATIO_MIN = 5
SHARD = "shardId-000000000000"
ARRIVED_AT = datetime(2026, 11, 21, 12, 0, 3, 471000, tzinfo=UTC)


def measure() -> Result:
    """Compare, then measure."""
    hold_memory_flat()  # as the program does
    stay_on_one_core()
    payloads = list(events(RECORDS))
    packs = [payloads[start : start + RECORDS_PER_AGGREGATE] for start in range(0, RECORDS, RECORDS_PER_AGGREGATE)]
    packed = _records([aggregate(pack) for pack in packs])
    plain = _records(payloads)
    ours, theirs = _consume(packed), _consume_naively(packed)
    _compare(ours, theirs)
    seconds = best_cpu_seconds(
        {
            "ours": lambda: _consume(packed),
            "peer": lambda: _consume_naively(packed),
            "plain": lambda: _consume(plain),
        },
        REPETITIONS,
    )
    figure, peer_figure = RECORDS / seconds["ours"], RECORDS / seconds["peer"]
    ratio = figure / peer_figure
    return Result(
        row="consumer",
        figure=figure,
        unit="records/s",
        peer="library + json + gzip-6",
        peer_figure=peer_figure,
        ratio=ratio,
        target=f"≥ {RECORDS_PER_SECOND_MIN:,} records/s per core and ≥ {RATIO_MIN}×",
        met=figure >= RECORDS_PER_SECOND_MIN and ratio >= RATIO_MIN,
        details={
            "plain_records_per_second": RECORDS / seconds["plain"],
            "record_bytes_mean": sum(map(len, payloads)) / RECORDS,
            "object_bytes": sum(map(len, ours)),
            "peer_object_bytes": sum(map(len, theirs)),
        },
    )


def _records(payloads: Sequence[bytes]) -> list[Record]:
    first = 49680427872712061244468797459882596227026785126995460114
    return [Record(str(first + number * 1000), ARRIVED_AT, data) for number, data in enumerate(payloads)]


def _consume(records: Sequence[Record]) -> list[bytes]:
    """What the thread of a shard does with records, without reading them and without writing the objects."""
    objects: list[bytes] = []
    after = "0"
    batch = OpenBatch()

    def finish() -> None:
        nonlocal after, batch
        built = build(Place("usuarios-20261121T120000Z", SHARD, after), batch, TABLES.values())
        objects.extend(body for _, body in built.objects)
        after, batch = built.record.upto, OpenBatch()

    for record in records:
        filed = file_record(SHARD, record, TABLES)
        if batch.size_bytes + filed.size_bytes > BATCH_BYTES:
            finish()
        batch.add(filed)
    finish()
    return objects


def _consume_naively(records: Sequence[Record]) -> list[bytes]:
    objects: list[bytes] = []
    lines: list[bytes] = []
    size_bytes = 0
    for record in records:
        # The library wants boto3's form, and changes what it is given.
        given: dict[str, Any] = {
            "SequenceNumber": record.seq,
            "PartitionKey": "key",
            "ApproximateArrivalTimestamp": record.arrived_at,
            "Data": record.data,
        }
        for user_record in iter_deaggregate_records([given], data_format="Boto3"):
            part = user_record["kinesis"]
            payload = base64.b64decode(part["data"])
            event = json.loads(payload)
            if (event["source"]["schema"], event["source"]["table"]) not in TABLES:
                continue
            head = {
                "shard": SHARD,
                "seq": part["sequenceNumber"],
                "sub": part["subSequenceNumber"],
                "arrived_at": "2026-11-21T12:00:03.471Z",
            }
            line = json.dumps(head, separators=(",", ":"))[:-1].encode() + b',"event":' + payload + b"}\n"
            if size_bytes + len(line) > BATCH_BYTES:
                objects.append(gzip.compress(b"".join(lines), 6))
                lines, size_bytes = [], 0
            lines.append(line)
            size_bytes += len(line)
    objects.append(gzip.compress(b"".join(lines), 6))
    return objects


def _compare(ours: Sequence[bytes], theirs: Sequence[bytes]) -> None:
    lines, expected = (b"".join(map(gzip.decompress, objects)) for objects in (ours, theirs))
    if lines != expected or lines.count(b"\n") != RECORDS:
        raise SystemExit("consumer: the two ways do not write the same lines; nothing was measured")
