"""The whole path on real servers: typed values at their limits, a truncate, records that nobody can read."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import psycopg
import pytest

from cdc_ops.cli import main
from sandbox import usuarios
from sandbox.aws import LAKE_BUCKET
from sandbox.compare import compare
from sandbox.pipeline import PII_KEY, STREAM, Pace, Pipeline

pytestmark = pytest.mark.slow

LIMITS = """
INSERT INTO "Usuários" VALUES
 (9223372036854775807, 'José 😀 "aspas" \\ barra', 'ç@x', '001', '', '0001-01-01',
  '{"a": [1, 2.5, 1e30, {"é": null}]}', 9999999999.99, true, '9999-12-31 23:59:59.999999+00', '0001-01-01 00:00:00',
  ARRAY['x,y', '"q"', NULL, '{}', '', 'ção'], '6f9619ff-8b86-d011-b42d-00c04fc964ff', repeat('á😀', 5000)),
 (-9223372036854775808, '', NULL, NULL, NULL, '9999-12-31', 'null', -9999999999.99, false,
  '1969-12-31 23:59:59.999999+00', '9999-12-31 23:59:59.999999', '{}', NULL, ''),
 (0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)
"""


def quarantined(pipeline: Pipeline) -> dict[str, int]:
    """Records in quarantine, by reason."""
    s3 = pipeline.aws.client("s3")
    counts: dict[str, int] = {}
    for entry in s3.list_objects_v2(Bucket=LAKE_BUCKET, Prefix="quarantine/").get("Contents", []):
        body = gzip.decompress(s3.get_object(Bucket=LAKE_BUCKET, Key=entry["Key"])["Body"].read())
        for line in map(json.loads, body.splitlines()):
            assert f"quarantine/{line['reason']}/" in entry["Key"]
            counts[line["reason"]] = counts.get(line["reason"], 0) + 1
    return counts


def test_the_lake_equals_the_source_and_what_cannot_be_merged_is_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Pipeline(tmp_path, Pace(shards=2)) as pipeline:
        with psycopg.connect(pipeline.postgres.dsn, autocommit=True) as source:
            usuarios.create(source, 50, Random(3), datetime.now(UTC))
            pipeline.start()
            pipeline.wait_until_complete(pipeline.source_clock(), 120)
            assert differences(pipeline) == (50, 0)

            # What is no JSON, beside changes of the same shards.
            kinesis = pipeline.aws.client("kinesis")
            for number, garbage in enumerate((b"{no json", b"\xff\xfe", b'{"a": 1}', b"[" * 100_000)):
                kinesis.put_record(StreamName=STREAM, Data=garbage, PartitionKey=str(number))
            source.execute(LIMITS)
            pipeline.wait_until_complete(pipeline.source_clock(), 120)
            assert differences(pipeline) == (53, 0)
            assert quarantined(pipeline) == {"not-json": 1, "not-utf8": 1, "no-table": 1, "too-deep": 1}

            # A text may be the very one that stands for "unchanged".
            same = "__debezium_unavailable_value"
            source.execute('UPDATE "Usuários" SET bio = %s, nome = %s, tags = %s WHERE id = 0', (same, same, [same]))
            pipeline.wait_until_complete(pipeline.source_clock(), 120)
            assert differences(pipeline) == (53, 0)

            # Exact, or set aside loudly: no decimal of the lake holds NaN.
            source.execute("UPDATE \"Usuários\" SET saldo = 'NaN', bio = 'new' WHERE id = 0")
            source.execute('UPDATE "Usuários" SET id = 4242 WHERE id = 9223372036854775807')
            pipeline.wait_until_complete(pipeline.source_clock(), 120)
            assert differences(pipeline) == (53, 1)
            assert quarantined(pipeline)["value-not-held"] == 1
            source.execute('UPDATE "Usuários" SET saldo = NULL WHERE id = 0')
            pipeline.wait_until_complete(pipeline.source_clock(), 120)
            assert differences(pipeline) == (53, 0)

            source.execute('BEGIN; INSERT INTO "Usuários" (id) VALUES (7007); TRUNCATE "Usuários"; COMMIT')
            source.execute("INSERT INTO \"Usuários\" (id, nome) VALUES (8, 'depois')")
            pipeline.wait_until_complete(pipeline.source_clock(), 120)
            assert differences(pipeline) == (1, 0)
            for name, value in pipeline.environment().items():
                monkeypatch.setenv(name, value)
            told = status(capsys)
        pipeline.stop()
        logs = "".join(
            (tmp_path / f"{name}.log").read_text() for name in ("cdc-publisher", "cdc-consumer", "compactor")
        )
    # No value of a row, no secret: not even of the rows that were set aside.
    assert not any(
        value in logs + told for value in ("depois", "aspas", "6f9619ff", "no json", PII_KEY, "9223372036854775807")
    )


def status(capsys: pytest.CaptureFixture[str]) -> str:
    """What `cdc status` says, found to be what happened; how late things are depends on the machine."""
    capsys.readouterr()
    main(["status", "--json", "--verify=checksums"])
    told, complaint = capsys.readouterr()
    assert told, complaint
    report = json.loads(told)
    assert {problem["kind"] for problem in report["problems"]} <= {"late", "behind", "held"}
    (table,) = report["tables"]
    assert (table["table"]["live_rows"], table["set_aside"]) == (1, {"saldo": {"value-not-held": 1}})
    assert {reason: pile["objects"] for reason, pile in report["quarantine"].items()} == {
        "not-json": 1, "not-utf8": 1, "no-table": 1, "too-deep": 1, "value-not-held": 1,
    }  # fmt: skip
    assert sum(shard["verification"]["quarantined"] for shard in report["shards"]) == 4
    assert len(report["leases"]) == len(report["shards"]) == 2
    return told


def differences(pipeline: Pipeline) -> tuple[int, int]:
    outcome = compare(pipeline.postgres.dsn, pipeline.lake(), pipeline.contract, PII_KEY)
    return outcome.rows, outcome.differences
