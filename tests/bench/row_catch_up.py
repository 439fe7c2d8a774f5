"""Row `catch-up`: the memory of one `cdc-consumer` that reads two million records of eight shards, all far ahead.

Half of the shards hold aggregates of the KPL, half plain records; pages are as large as Kinesis gives them. The program
is the real one, with S3 and DynamoDB of the sandbox. The peer is the program itself in the first fifth of its way: memory
that is bounded has its highest there already.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

from sandbox.aws import Aws
from sandbox.process import Command, Process
from tests.bench.events import events
from tests.bench.measure import resident_bytes
from tests.bench.result import Result
from tests.bench.stream_server import Shard, Stream, serving, shard_of
from tests.kpl import aggregate

ROOT = Path(__file__).resolve().parents[2]
CHANGES = 2_000_000
SHARDS = 8
PAGE_BYTES_MAX = 10 * 1024 * 1024
RECORDS_PER_AGGREGATE = 200
RESIDENT_MB_MAX = 300
GROWTH_MAX = 1.25
NAME = "catch-up"
_SECONDS_MAX = 1800


def measure() -> Result:
    """Let the program catch up, watch its memory, and count what it wrote."""
    stream = Stream(_shards())
    changes = sum(shard.changes * shard.pages for shard in stream.shards.values())
    with tempfile.TemporaryDirectory() as name, Aws.start(Path(name) / "aws") as aws, serving(stream) as url:
        aws.create_bucket(NAME)
        began = time.monotonic()
        samples = _watch(aws, url, Path(name), stream)
        seconds = time.monotonic() - began
        written, put_calls = _written(aws)
    if written != changes:
        raise SystemExit(f"catch-up: {written} records in raw instead of {changes}")
    highest_mb = max(resident for _, resident in samples) / 1e6
    early_mb = max(resident for given, resident in samples if given <= changes / 5) / 1e6
    return Result(
        row="catch-up",
        figure=highest_mb,
        unit="MB at the highest",
        peer="in the first fifth",
        peer_figure=early_mb,
        ratio=early_mb / highest_mb,
        target=f"≤ {RESIDENT_MB_MAX} MB and at most {GROWTH_MAX}× the first fifth's",
        met=highest_mb <= RESIDENT_MB_MAX and highest_mb <= GROWTH_MAX * early_mb,
        details={
            "records": changes,
            "shards": SHARDS,
            "stream_mb": stream.bytes_given / 1e6,
            "seconds": seconds,
            "get_records_calls": stream.calls,
            "objects_and_batch_records": put_calls,
        },
    )


def _shards() -> dict[str, Shard]:
    """Pages as full as Kinesis makes them, and as many as hold the changes of a shard."""
    payloads = list(events(10_000))
    packs = [payloads[start : start + RECORDS_PER_AGGREGATE] for start in range(0, 10_000, RECORDS_PER_AGGREGATE)]
    aggregates = list(map(aggregate, packs))
    shards: dict[str, Shard] = {}
    for number in range(SHARDS):
        records, per_record = (payloads, 1) if number % 2 else (aggregates, RECORDS_PER_AGGREGATE)
        page = records[: PAGE_BYTES_MAX // max(map(len, records))]
        per_page = len(page) * per_record
        shards[f"shardId-{number:012d}"] = shard_of(page, per_page, -(-CHANGES // (SHARDS * per_page)))
    return shards


def _watch(aws: Aws, url: str, folder: Path, stream: Stream) -> list[tuple[int, int]]:
    """Run the program to the end; returns how many changes it was given at a time, and its memory then."""
    process = Process(
        Command(
            name="cdc-consumer",
            arguments=(sys.executable, "-m", "cdc_consumer.cli", "run", "--until-caught-up"),
            environment=aws.environment()
            | {
                "PATH": os.defpath,
                "PYTHONPATH": f"{ROOT}:{ROOT / 'services'}",
                "AWS_ENDPOINT_URL_KINESIS": url,
                "CDC_SOURCE": f"kinesis://{NAME}",
                "CDC_TABLES": str(ROOT / "tables"),
                "CDC_RAW": f"s3://{NAME}/raw",
                "CDC_QUARANTINE": f"s3://{NAME}/quarantine",
                "CDC_LEASES": NAME,
            },
            directory=folder,
            log=folder / "consumer.log",
        )
    )
    samples: list[tuple[int, int]] = []
    deadline = time.monotonic() + _SECONDS_MAX
    try:
        while process.exit_status is None and time.monotonic() < deadline:
            samples.append((stream.changes_given, resident_bytes(process.pid)))
            time.sleep(0.05)
        if process.finish(1) != 0:
            raise SystemExit("catch-up: the consumer failed\n" + (folder / "consumer.log").read_text(encoding="utf-8"))
    finally:
        process.stop()
    return samples


def _written(aws: Aws) -> tuple[int, int]:
    """Records in raw by the batch records of chains without a gap, and how many objects there are."""
    client = aws.client("s3")
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=NAME, Prefix="raw/")
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
    records = 0
    covered: dict[str, int] = {}
    for key in sorted(key for key in keys if "/_batches/" in key):
        batch = json.loads(client.get_object(Bucket=NAME, Key=key)["Body"].read())
        if int(batch["after"]) != covered.get(batch["shard"], 0):
            raise SystemExit(f"catch-up: a gap in the chain of {batch['shard']}")
        covered[batch["shard"]] = int(batch["upto"])
        records += sum(ref["records"] for ref in batch["objects"])
    return records, len(keys)
