"""The command `cdc status` as an operator runs it: against S3 and the catalog, with its settings in the environment."""

from __future__ import annotations

import json
import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jsonschema
import pytest

from cdc import aws as clients
from cdc.objects import S3Objects
from cdc.settings import S3Location, load
from cdc_consumer.lease import Lease
from cdc_consumer.lease_table import DynamoLeaseTable
from cdc_ops.cli import main
from compactor.lake.catalog import open_catalog
from compactor.lake.status_table import StatusTable
from compactor.loop import run
from compactor.settings import CompactorSettings
from sandbox.aws import Aws
from tests.compactor_world import CONTRACT, NAMES
from tests.conftest import PII_KEY
from tests.raw_zone import ShardWriter, event
from tests.store_contents import contents

pytestmark = pytest.mark.slow
SCHEMA = Path(__file__).resolve().parents[2] / "docs" / "status.schema.json"


def created(key: int) -> bytes:
    return event("c", 5, {"id": key, "nome": "Joaquim", "bio": "Xavier"}, table="t", seconds=0)


@pytest.fixture
def environment(aws: Aws, aws_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The settings of a lake of its own; returns its table's name."""
    name = next(NAMES)
    (tmp_path / "t.odcs.yaml").write_text(CONTRACT.format(name=name).replace("value: 60", "value: 3600"))
    aws.create_bucket(f"raw-{name}")
    settings = {
        "CDC_TABLES": str(tmp_path), "CDC_RAW": f"s3://raw-{name}/raw", "CDC_QUARANTINE": f"s3://raw-{name}/quarantine",
        "CDC_PII_KEY": PII_KEY,
    }  # fmt: skip
    for variable in [variable for variable in os.environ if variable.startswith("CDC_")]:
        monkeypatch.delenv(variable)
    for variable, value in settings.items():
        monkeypatch.setenv(variable, value)
    return name


def fill(name: str) -> None:
    """A raw zone with a merged and a waiting batch."""
    store = S3Objects(clients.s3(), S3Location(f"raw-{name}", "raw"))
    shard = ShardWriter(store)
    proof = datetime.now(UTC) - timedelta(seconds=5)  # the command looks at the real clock
    shard.batch([created(1), created(2), b"{}"], table=name, evidence=proof)
    run(load(CompactorSettings, os.environ), threading.Event(), once=True)
    shard.batch([created(3)], table=name, evidence=proof)
    tip = {"read_to_tip_at": datetime.now(UTC).isoformat(), "upto": "4"}
    store.put(f"_tips/{shard.stream}/{shard.shard}.json", json.dumps(tip).encode())


def test_the_document_keeps_to_its_schema_and_nothing_is_written(
    environment: str, aws: Aws, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(environment)
    before = contents(aws)
    capsys.readouterr()
    assert main(["status", "--json", "--verify=checksums"]) == 0
    told = capsys.readouterr().out
    assert contents(aws) == before
    report = json.loads(told)
    jsonschema.validate(report, json.loads(SCHEMA.read_text()))
    (table,) = report["tables"]
    assert (table["table"]["live_rows"], table["quarantined"]) == (2, {"not-debezium": 1})
    assert [merging["batches_waiting"] for merging in table["shards"]] == [1]
    assert "Joaquim" not in told
    assert "Xavier" not in told


def test_what_is_wrong_ends_with_1_and_is_told_to_people(
    environment: str, aws: Aws, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(environment)
    s3 = aws.client("s3")
    listed = s3.list_objects_v2(Bucket=f"raw-{environment}", Prefix="raw/postgres/")["Contents"]
    s3.delete_object(Bucket=f"raw-{environment}", Key=listed[0]["Key"])
    capsys.readouterr()
    assert main(["status"]) == 0
    assert main(["status", "--verify", "sizes"]) == 1
    assert "missing-object" in capsys.readouterr().out


def test_leases_are_told_where_their_table_is_set(
    environment: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(environment)
    leases = DynamoLeaseTable(clients.dynamodb(), f"leases-{environment}")
    leases.ensure()
    leases.create(Lease("s/shardId-0", owner="worker-1", checkpoint="42"))
    monkeypatch.setenv("CDC_LEASES", f"leases-{environment}")
    capsys.readouterr()
    assert main(["status", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["leases"] == [{"shard": "s/shardId-0", "owner": "worker-1", "checkpoint": "42"}]


def test_of_kafka_no_table_of_leases_is_looked_for(
    environment: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """There the same setting names the consumers' group."""
    fill(environment)
    monkeypatch.setenv("CDC_LEASES", f"group-{environment}")
    monkeypatch.setenv("CDC_SOURCE", "kafka://127.0.0.1:9092/t")
    monkeypatch.setenv("CDC_KAFKA_SECURITY_PROTOCOL", "SSL")
    capsys.readouterr()
    assert main(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["leases"] is None


def test_the_compactor_states_the_table_in_cdc_status(environment: str) -> None:
    fill(environment)
    said = StatusTable(open_catalog("lake"), "lake").read()[environment]
    assert (said.row_count, said.quarantined) == (2, 1)
    assert said.valid_through is not None


def test_every_problem_of_the_settings_is_named_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for variable in [variable for variable in os.environ if variable.startswith("CDC_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("CDC_RAW", "nowhere")
    assert main(["status"]) == 2
    told = capsys.readouterr().err
    assert all(name in told for name in ("CDC_TABLES", "CDC_RAW", "CDC_QUARANTINE"))


def test_a_table_cdc_status_that_cannot_be_written_stops_no_merge(
    environment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_arguments: object) -> None:
        raise PermissionError

    monkeypatch.setattr("compactor.loop.StatusTable", refused)
    fill(environment)
    assert open_catalog("lake").load_table(("lake", environment)).scan().to_arrow().num_rows == 2
