"""Aggregates of the KPL through a real stream, read by the program, with plain records and damage between them."""

from __future__ import annotations

import base64
import gzip
import json
import os
import sys
import uuid
from pathlib import Path

import pytest
from aws_kinesis_agg.aggregator import RecordAggregator

from sandbox.aws import Aws
from sandbox.process import Command, Process

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 90  # a limit for what has gone wrong; nothing right takes as long


def event(number: int) -> bytes:
    source = {"schema": "public", "table": "Usuários", "lsn": number, "ts_us": 1_700_000_000_000_000 + number}
    value = {"before": None, "after": {"id": number, "nome": "José"}, "source": source, "op": "c"}
    return json.dumps(value, ensure_ascii=False).encode()


def packed(*payloads: bytes) -> bytes:
    """A record made by the library's own aggregator, with keys of all shards in it."""
    aggregator = RecordAggregator()
    for number, payload in enumerate(payloads):
        aggregator.add_user_record(f"key-{number}", payload)
    data: bytes = aggregator.clear_and_get().get_contents()[2]
    return data


def catch_up(aws: Aws, name: str, folder: Path) -> None:
    settings = {
        "PATH": os.defpath,
        "PYTHONPATH": f"{ROOT}:{ROOT / 'services'}",
        "CDC_SOURCE": f"kinesis://{name}",
        "CDC_TABLES": str(ROOT / "tables"),
        "CDC_RAW": f"s3://{name}/raw",
        "CDC_QUARANTINE": f"s3://{name}/quarantine",
        "CDC_LEASES": name,
    }
    arguments = (sys.executable, "-m", "cdc_consumer.cli", "run", "--until-caught-up")
    process = Process(Command("cdc-consumer", arguments, aws.environment() | settings, folder, folder / "log"))
    try:
        assert process.finish(PATIENCE_SECONDS) == 0, process.command.log.read_text(encoding="utf-8")
    finally:
        process.kill()


def lines(aws: Aws, bucket: str, prefix: str) -> list[dict[str, object]]:
    client = aws.client("s3")
    keys = [entry["Key"] for entry in client.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", ())]
    bodies = [client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys]
    return [json.loads(line) for body in bodies for line in gzip.decompress(body).splitlines()]


def test_every_payload_is_in_raw_or_in_the_quarantine_with_its_place(aws: Aws, tmp_path: Path) -> None:
    name = f"aggregates-{uuid.uuid4().hex[:12]}"
    aws.create_stream(name, 2)
    aws.create_bucket(name)
    damaged = bytearray(packed(event(900), event(901)))
    damaged[20] ^= 1
    put = {
        "plain": event(1),
        "whole": packed(*map(event, range(100, 400))),
        "mixed": packed(event(2), b"", b"no json", event(3)),
        "damaged": bytes(damaged),
        "last": event(4),
    }
    client = aws.client("kinesis")
    places = {
        key: client.put_record(StreamName=name, Data=data, PartitionKey=key)["SequenceNumber"]
        for key, data in put.items()
    }
    catch_up(aws, name, tmp_path)
    found = {(line["seq"], line["sub"]): line["event"] for line in lines(aws, name, "raw/postgres/")}
    expected = {(places["whole"], number): event(100 + number) for number in range(300)} | {
        (places["plain"], 0): event(1),
        (places["mixed"], 0): event(2),
        (places["mixed"], 3): event(3),
        (places["last"], 0): event(4),
    }
    assert found == {place: json.loads(payload) for place, payload in expected.items()}
    aside = {
        (line["seq"], line["sub"], line["reason"]): base64.b64decode(str(line["payload"]))
        for line in lines(aws, name, "quarantine/")
    }
    assert aside == {
        (places["mixed"], 2, "not-json"): b"no json",
        (places["damaged"], 0, "aggregate-checksum"): bytes(damaged),
    }
