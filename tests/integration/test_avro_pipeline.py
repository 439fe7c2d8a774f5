"""Real Debezium's values in Avro, from a stream through consumer and compactor as programs into Iceberg."""

from __future__ import annotations

import gzip
import json
import os
import sys
import uuid
from datetime import date
from decimal import Decimal
from pathlib import Path
from urllib.parse import quote

import pytest

from compactor.lake.catalog import open_catalog
from sandbox.aws import Aws
from sandbox.process import Command, Process
from tests.golden_avro import recorded_avro
from tests.schema_registry import schema_registry

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 90  # a limit for what has gone wrong; nothing right takes as long
LOGIN = "ana:seg/redo @1"
CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: urn:test
version: 1.0.0
status: active
schema:
  - name: {name}
    customProperties: [{{property: sourceTable, value: 'public."Usuários"'}}]
    properties:
      - {{name: id, physicalType: bigint, primaryKey: true, classification: internal}}
      - {{name: preco, physicalName: preço-total, physicalType: 'numeric(12,2)', classification: internal}}
      - {{name: nome, physicalName: 1º nome, physicalType: text, classification: internal}}
      - {{name: acao, physicalName: ação, physicalType: date, classification: internal}}
      - {{name: foto, physicalType: bytea, classification: internal}}
slaProperties: [{{property: latency, value: 60, unit: s}}]
"""


def run(program: str, *arguments: str, folder: Path, environment: dict[str, str]) -> str:
    """Run a program to its end; its log."""
    log = folder / f"{program}-{uuid.uuid4().hex[:6]}.log"
    command = Command(
        name=program,
        arguments=(sys.executable, "-m", f"{program}.cli", "run", *arguments),
        environment=environment,
        directory=folder,
        log=log,
    )
    process = Process(command)
    try:
        code = process.finish(PATIENCE_SECONDS)
    finally:
        process.kill()
    text = log.read_text(encoding="utf-8")
    assert code == 0, text
    return text


def test_avro_from_the_stream_to_the_lake(aws: Aws, aws_environment: dict[str, str], tmp_path: Path) -> None:
    name = f"avro_{uuid.uuid4().hex[:8]}"
    bucket = name.replace("_", "-")
    aws.create_stream(name, 1)
    aws.create_bucket(bucket)
    (tmp_path / "t.odcs.yaml").write_text(CONTRACT.format(name=name), encoding="utf-8")
    values = recorded_avro("names")
    unknown = b"\0" + (2**31).to_bytes(4, "big") + b"\0"
    with schema_registry() as registry:
        registry.login = LOGIN
        registry.answers += [(503, {}), (500, {})]  # it is away at first
        for value in values:
            registry.add(value.schema, value.schema_id)
        kinesis = aws.client("kinesis")
        for data in (*(value.data for value in values), values[0].data[:40], unknown):
            kinesis.put_record(StreamName=name, Data=data, PartitionKey="x")
        environment = aws_environment | {
            "PATH": os.defpath,
            "PYTHONPATH": f"{ROOT}:{ROOT / 'services'}",
            "CDC_SOURCE": f"kinesis://{name}",
            "CDC_TABLES": str(tmp_path),
            "CDC_RAW": f"s3://{bucket}/raw",
            "CDC_QUARANTINE": f"s3://{bucket}/quarantine",
            "CDC_LEASES": bucket,
            "CDC_LEASE_SECONDS": "5",
            "CDC_SCHEMA_REGISTRY": registry.url.replace("//", f"//{quote(LOGIN, safe=':')}@"),
        }
        log = run("cdc_consumer", "--until-caught-up", folder=tmp_path, environment=environment)
        assert len(registry.requests) == 3  # two in vain, one for the schema of all these values
    assert "seg" not in log
    # The registry is gone: raw alone has all that the compactor needs, now and years later.
    run("compactor", "--once", folder=tmp_path, environment=environment)
    rows = open_catalog("lake").load_table(f"lake.{name}").scan().to_arrow().sort_by("id").to_pylist()
    assert [(row["id"], row["preco"], row["nome"], row["acao"], row["foto"]) for row in rows] == [
        (1, Decimal("99.90"), "José", date(2024, 2, 29), b"\xde\xad\xbe\xef"),
        (30, Decimal("0.00"), '\n"', date(1969, 12, 31), b""),
    ]
    s3 = aws.client("s3")
    keys = [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket, Prefix="quarantine/")["Contents"]]
    assert sorted(key.split("/")[1] for key in keys) == ["avro-unknown-schema", "not-avro"]
    lines = [
        json.loads(line)
        for key in keys
        for line in gzip.decompress(s3.get_object(Bucket=bucket, Key=key)["Body"].read()).splitlines()
    ]
    assert len(lines) == 2
