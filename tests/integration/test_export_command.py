"""The command `cdc export` as an operator runs it: a process of its own, on S3; the lake has the same rows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cdc import aws as clients
from cdc.epoch import EpochEnd, EpochStart, record_end, record_start
from cdc.objects import S3Objects
from cdc.settings import S3Location, load
from compactor.lake.catalog import open_catalog
from compactor.loop import run
from compactor.settings import CompactorSettings
from sandbox.aws import Aws
from tests.compactor_world import CONTRACT, NAMES
from tests.conftest import PII_KEY, ROOT
from tests.raw_zone import PLACEHOLDER, ShardWriter, at, event

pytestmark = pytest.mark.slow
MASKED = (
    "{name: nome, physicalType: text, classification: restricted, customProperties: [{property: mask, value: token}]}"
)


@pytest.fixture
def name(aws: Aws, aws_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A table with changes in raw, and the settings in the environment; nothing is merged."""
    name = next(NAMES)
    masked = CONTRACT.replace(
        "{{name: nome, physicalType: text, classification: internal}}",
        MASKED.replace("{", "{{").replace("}", "}}"),
    )
    (tmp_path / "t.odcs.yaml").write_text(masked.format(name=name))
    aws.create_bucket(f"raw-{name}")
    for variable in [variable for variable in os.environ if variable.startswith("CDC_")]:
        monkeypatch.delenv(variable)
    settings = {
        "CDC_TABLES": str(tmp_path), "CDC_RAW": f"s3://raw-{name}/raw", "CDC_PII_KEY": PII_KEY,
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "services"))),
    }  # fmt: skip
    for variable, value in settings.items():
        monkeypatch.setenv(variable, value)
    store = S3Objects(clients.s3(), S3Location(f"raw-{name}", "raw"))
    first, other = ShardWriter(store), ShardWriter(store, "shardId-000000000001")
    rows = [{"id": key, "nome": "Joaquim", "bio": f"Xavier {key}"} for key in range(1, 6)]
    first.batch([event("c", 11 + place, row, table="t") for place, row in enumerate(rows)], table=name)
    other.batch([event("d", 21, {"id": 2}, table="t"), event("u", 20, rows[2] | {"bio": "new"}, table="t")], table=name)
    other.batch([event("u", 30, rows[4] | {"nome": "Josefina", "bio": PLACEHOLDER}, table="t")], table=name)
    return name


def cdc(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = "import sys; from cdc_ops.cli import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", program, "export", *arguments], capture_output=True, text=True, check=False
    )


def test_the_rows_are_those_that_the_compactor_makes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = cdc(name, "--to", str(tmp_path / "t.parquet"), "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["rows"], told["lines"], told["folded"], told["rejected"]) == (4, 8, 1, 0)
    rows = pq.read_table(tmp_path / "t.parquet").to_pylist()
    monkeypatch.setenv("CDC_QUARANTINE", f"s3://raw-{name}/quarantine")
    run(load(CompactorSettings, os.environ), threading.Event(), once=True)
    table = open_catalog("lake").load_table(("lake", name))
    assert rows == table.scan().to_arrow().sort_by("id").to_pylist()
    assert told["offsets"] == json.loads(table.properties["cdc.offsets"])
    assert not any(value in done.stdout + done.stderr for value in ("Joaquim", "Josefina", "Xavier", PII_KEY))
    text = cdc(name, "--to", str(tmp_path / "again.parquet"))
    assert text.stdout.startswith(f"{name}: 4 rows; raw lines: 8; keys folded: 1\n")


def test_raw_that_does_not_reach_back_is_refused_and_no_file_is_left(name: str, tmp_path: Path) -> None:
    store = S3Objects(clients.s3(), S3Location(f"raw-{name}", "raw"))
    store.delete(next(path for path in store.list_after("_batches/") if "shardId-000000000001" in path))
    done = cdc(name, "--to", str(tmp_path / "t.parquet"))
    assert done.returncode == 1
    assert "raw reaches back neither to the beginning nor to a complete snapshot" in done.stderr
    assert not (tmp_path / "t.parquet").exists()


def test_where_raw_begins_at_a_whole_snapshot_the_rows_are_those_that_it_found_and_what_came_since(
    name: str, tmp_path: Path
) -> None:
    store = S3Objects(clients.s3(), S3Location(f"raw-{name}", "raw"))
    older = list(store.list_after("_batches/"))
    first, other = (ShardWriter(store, f"shardId-00000000000{place}", upto=upto) for place, upto in ((0, 5), (1, 3)))
    rows = [{"id": key, "nome": "Joaquim", "bio": "read"} for key in (1, 3)]
    first.batch([event("r", 0, row, table="t") for row in rows], table=name)
    other.batch([event("u", 12, rows[1] | {"bio": PLACEHOLDER}, table="t")], table=name)
    begins = {f"{writer.stream}/{writer.shard}": upto for writer, upto in ((first, "6"), (other, "4"))}
    record_start(store, EpochStart(name, 2, begins, origin="s2"))
    record_end(store, EpochEnd(name, 2, {**begins, f"{first.stream}/{first.shard}": "7"}, at(0), 2, origin="s2"))
    for path in older:
        store.delete(path)
    done = cdc(name, "--to", str(tmp_path / "t.parquet"))
    assert done.returncode == 0, done.stderr
    assert "beginning with the snapshot of epoch 2\n" in done.stderr
    assert done.stdout.startswith(f"{name}: 2 rows; raw lines: 3; keys folded: 1\n")
    table = pq.read_table(tmp_path / "t.parquet")
    assert list(zip(*(table[column].to_pylist() for column in ("id", "bio", "cdc_epoch", "cdc_lsn")), strict=True)) == [
        (1, "read", 2, 0),
        (3, "read", 2, 12),
    ]


def test_what_cannot_be_merged_is_told_without_its_values(name: str, tmp_path: Path) -> None:
    store = S3Objects(clients.s3(), S3Location(f"raw-{name}", "raw"))
    third = ShardWriter(store, "shardId-000000000002")
    odd = {"id": 1, "nome": "Joaquim", "bio": 7}
    third.batch([event("u", 40, odd, table="t"), b'{"Quincas": "Borba"}'], table=name)
    done = cdc(name, "--to", str(tmp_path / "t.parquet"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"{name}: 4 rows; raw lines: 10; keys folded: 2",
        "valid through: nothing is proven yet",
        "1 keys show what was before a change that cannot be merged (value-not-held in bio: 1)",
        "at least 1 records could not be read at all; see the quarantine",
    ]
    told = json.loads(cdc(name, "--to", str(tmp_path / "again.parquet"), "--json").stdout)
    assert (told["keys_set_aside"], told["rejected"]) == (1, 1)
    assert told["set_aside"] == [{"column": "bio", "reason": "value-not-held", "keys": 1}]
    assert not any(value in done.stdout + done.stderr for value in ("Joaquim", "Quincas", "Borba"))


def test_an_object_that_is_missing_is_told(name: str, tmp_path: Path) -> None:
    store = S3Objects(clients.s3(), S3Location(f"raw-{name}", "raw"))
    path = next(iter(store.list_after("postgres/")))
    store.delete(path)
    done = cdc(name, "--to", str(tmp_path / "t.parquet"))
    assert done.returncode == 1
    assert path in done.stderr
    assert [one.name for one in tmp_path.iterdir()] == ["t.odcs.yaml"]


def test_wrong_usage_and_settings_are_told_at_once(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = tmp_path / "t.parquet"
    there.write_text("mine")
    wrong = cdc("no_such_table", "--to", str(there))
    assert wrong.returncode == 2
    assert "no contract has that name" in wrong.stderr
    assert "nothing is overwritten" in wrong.stderr
    assert there.read_text() == "mine"
    monkeypatch.delenv("CDC_PII_KEY")
    assert "CDC_PII_KEY: is not set, but the contract masks" in cdc(name, "--to", str(tmp_path / "no" / "t")).stderr
    monkeypatch.delenv("CDC_RAW")
    assert "CDC_RAW: is not set" in cdc(name, "--to", str(tmp_path / "u")).stderr
