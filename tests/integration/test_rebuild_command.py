"""The command `cdc rebuild` as an operator runs it: a process of its own, on S3 and the catalog."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cdc import aws as clients
from cdc.objects import S3Objects
from cdc.settings import S3Location, load
from compactor.lake.catalog import open_catalog
from compactor.loop import run
from compactor.settings import CompactorSettings
from sandbox.aws import Aws
from tests.compactor_world import CONTRACT, NAMES
from tests.conftest import PII_KEY, ROOT
from tests.raw_zone import ShardWriter, event

pytestmark = pytest.mark.slow


@pytest.fixture
def name(aws: Aws, aws_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A merged table of a lake of its own, with the settings of its programs in the environment."""
    name = next(NAMES)
    (tmp_path / "t.odcs.yaml").write_text(CONTRACT.format(name=name))
    aws.create_bucket(f"raw-{name}")
    for variable in [variable for variable in os.environ if variable.startswith("CDC_")]:
        monkeypatch.delenv(variable)
    settings = {
        "CDC_TABLES": str(tmp_path), "CDC_RAW": f"s3://raw-{name}/raw", "CDC_QUARANTINE": f"s3://raw-{name}/quarantine",
        "CDC_PII_KEY": PII_KEY, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "services"))),
    }  # fmt: skip
    for variable, value in settings.items():
        monkeypatch.setenv(variable, value)
    merge(name, 1, 2)
    return name


def merge(name: str, *keys: int) -> None:
    shard = ShardWriter(S3Objects(clients.s3(), S3Location(f"raw-{name}", "raw")), f"shardId-{keys[0]:012}")
    events = [event("c", 5 + key, {"id": key, "nome": "Joaquim", "bio": "Xavier"}, table="t") for key in keys]
    shard.batch(events, table=name)
    run(load(CompactorSettings, os.environ), threading.Event(), once=True)


def cdc(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = "import sys; from cdc_ops.cli import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", program, "rebuild", *arguments], capture_output=True, text=True, check=False
    )


def test_a_table_is_rebuilt_compared_and_swapped(name: str) -> None:
    made = cdc(name, "--json")
    assert made.returncode == 0, made.stderr
    told = json.loads(made.stdout)
    assert (told["is_equal"], told["rows"], told["compared"]["rows_present"]) == (True, 2, 2)
    assert "Joaquim" not in made.stdout + made.stderr
    uuid = open_catalog("lake").load_table(("lake", told["rebuilt"])).metadata.table_uuid
    merge(name, 3)  # the compactor goes on meanwhile
    swapped = cdc(name, "--swap")
    assert swapped.returncode == 0, swapped.stderr
    assert f"{told['rebuilt']} equals {name}" in swapped.stdout
    table = open_catalog("lake").load_table(("lake", name))
    assert table.metadata.table_uuid == uuid
    merge(name, 4)
    table.refresh()
    assert sorted(table.scan().to_arrow()["id"].to_pylist()) == [1, 2, 3, 4]
    assert cdc(name, "--give-up").stderr == f"there is no rebuilt table of {name}\n"


def test_what_was_made_is_given_up(name: str) -> None:
    assert cdc(name).returncode == 0
    assert "is removed" in cdc(name, "--give-up").stderr
    tables = {identifier[-1] for identifier in open_catalog("lake").list_tables("lake")}
    assert not any("__rebuilt_" in table for table in tables if table.startswith(name))


def test_wrong_usage_and_settings_are_told_at_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = cdc("no_such_table", "--accept-differences")
    assert wrong.returncode == 2
    assert "no contract has that name" in wrong.stderr
    assert "--accept-differences: goes with --swap only" in wrong.stderr
    monkeypatch.delenv("CDC_RAW")
    assert "CDC_RAW: is not set" in cdc(name).stderr
