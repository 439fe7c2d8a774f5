"""The sandbox's AWS: reached by environment variables alone, on 127.0.0.1 alone, empty at each start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from sandbox.aws import LAKE_BUCKET, REGION, Aws

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    with Aws.start(tmp_path_factory.mktemp("aws")) as services:
        services.create_bucket(LAKE_BUCKET)
        yield services


def test_it_listens_on_one_port_of_localhost(aws: Aws) -> None:
    aws.client("kinesis").list_streams()
    process = Path(f"/proc/{aws.process.pid}")
    descriptors = [str(path.readlink()) for path in (process / "fd").iterdir()]
    rows = [line.split() for name in ("tcp", "tcp6") for line in (process / "net" / name).read_text().splitlines()[1:]]
    listening = [row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in descriptors]
    assert listening == [f"0100007F:{aws.port:04X}"]
    assert (process / "task" / process.name / "children").read_text() == ""


def test_a_stream_is_active_with_its_shards(aws: Aws) -> None:
    aws.create_stream("cdc", 3)
    kinesis = aws.client("kinesis")
    assert len(kinesis.list_shards(StreamName="cdc")["Shards"]) == 3
    sequence_numbers = [
        kinesis.put_record(StreamName="cdc", Data=b"x", PartitionKey="k")["SequenceNumber"] for _ in range(2)
    ]
    assert int(sequence_numbers[0]) < int(sequence_numbers[1])


def test_a_second_write_of_the_same_object_is_refused_when_asked_for(aws: Aws) -> None:
    s3 = aws.client("s3")
    s3.put_object(Bucket=LAKE_BUCKET, Key="a", Body=b"1", IfNoneMatch="*")
    with pytest.raises(ClientError, match="PreconditionFailed"):
        s3.put_object(Bucket=LAKE_BUCKET, Key="a", Body=b"2", IfNoneMatch="*")


def test_pyiceberg_reaches_glue_and_s3_by_the_environment_alone(aws: Aws) -> None:
    program = """
import boto3, json, pyarrow
from pyiceberg.catalog import load_catalog
catalog = load_catalog("lake")
catalog.create_namespace("banco")
table = catalog.create_table("banco.t", pyarrow.schema([("a", pyarrow.int64()), ("b", pyarrow.string())]))
table.append(pyarrow.table({"a": [1, 2], "b": ["ção", None]}))
buckets = [bucket["Name"] for bucket in boto3.client("s3").list_buckets()["Buckets"]]
print(json.dumps({
    "catalog": type(catalog).__name__,
    "rows": catalog.load_table("banco.t").scan().to_arrow().to_pylist(),
    "location": table.metadata_location,
    "buckets": buckets,
    "region": boto3.client("kinesis").meta.region_name,
    "arn": boto3.client("sts").get_caller_identity()["Arn"],
}))
"""
    # As on a laptop whose owner also works with the real AWS.
    strangers = {"PATH": os.defpath, "AWS_PROFILE": "producao", "AWS_SESSION_TOKEN": "real"}
    answer = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=strangers | aws.environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr == ""
    seen = json.loads(answer.stdout)
    assert seen["catalog"] == "GlueCatalog"
    assert seen["rows"] == [{"a": 1, "b": "ção"}, {"a": 2, "b": None}]
    assert seen["location"].startswith(f"s3://{LAKE_BUCKET}/warehouse/")
    assert seen["buckets"] == [LAKE_BUCKET]
    assert seen["region"] == REGION
    assert seen["arn"].startswith("arn:aws:")
    glue = aws.client("glue")
    assert glue.get_table(DatabaseName="banco", Name="t")["Table"]["Parameters"]["table_type"] == "ICEBERG"


def test_a_client_ignores_the_profile_of_its_process(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "producao")
    assert aws.client("dynamodb").meta.endpoint_url == aws.endpoint_url


def test_each_start_is_empty_unless_asked_otherwise_and_ends_for_good(tmp_path: Path) -> None:
    def start(*, persist: bool) -> list[str]:
        with Aws.start(tmp_path, persist=persist) as services:
            found = [bucket["Name"] for bucket in services.client("s3").list_buckets()["Buckets"]]
            if not found:
                services.create_bucket("guardado")
        assert not Path(f"/proc/{services.process.pid}").exists()
        return found

    assert start(persist=False) == []
    assert start(persist=True) == []
    assert start(persist=True) == ["guardado"]
    assert start(persist=False) == []
    assert list((tmp_path / "tmp").iterdir()) == []
