"""The settings that Terraform gives the programs are settings that the programs take."""

from __future__ import annotations

import os

import pytest

from cdc.contract import load_folder
from cdc.settings import load
from cdc_consumer.settings import ConsumerSettings
from cdc_ops.cli import main
from cdc_ops.epoch_command import EpochSettings
from cdc_ops.rebuild_command import RebuildSettings
from cdc_ops.reconcile_command import ReconcileSettings
from cdc_ops.replay_command import QuarantineSettings, RawSettings
from cdc_ops.status_command import StatusSettings
from cdc_publisher.settings import PublisherSettings
from compactor.lake.schema import history_schema, table_schema
from compactor.settings import CompactorSettings
from tests.infra.checkers import ROOT
from tests.infra.terraform_tools import Account
from tests.infra.test_terraform_applied import environment, settings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.mark.parametrize(
    ("program", "model", "secrets"),
    [
        ("publisher", PublisherSettings, {"CDC_DATABASE": "postgresql://cdc:x@db:5432/app"}),
        ("consumer", ConsumerSettings, {}),
        ("compactor", CompactorSettings, {}),
        ("tool", StatusSettings, {}),
        ("tool", EpochSettings, {}),
        ("tool", QuarantineSettings, {}),
        ("tool", RawSettings, {}),
        ("reconcile", ReconcileSettings, {"CDC_DATABASE": "postgresql://reader:x@replica:5432/app"}),
        ("rebuild", RebuildSettings, {}),
    ],
)
def test_a_program_starts_with_what_its_task_has(
    account: Account, program: str, model: type, secrets: dict[str, str]
) -> None:
    # CDC_TABLES is set in the image, where the contracts are.
    load(model, {**environment(account, program), **secrets, "CDC_TABLES": str(ROOT / "tables")})


@pytest.mark.parametrize("task", ["tool", "reconcile"])
def test_a_task_has_a_command_with_options_that_there_are(
    account: Account, task: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in os.environ if name.startswith("CDC_")]:
        monkeypatch.delenv(name)
    # Settings are looked at after the command line: what lacks nothing but these has a command line that is right.
    assert main(settings(account, task)["command"]) == 2
    _, *problems = capsys.readouterr().err.splitlines()
    assert problems
    assert [problem for problem in problems if not problem.startswith("  - CDC_")] == []


def test_a_rebuild_that_is_not_told_of_what_tells_its_usage(
    account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    command = settings(account, "rebuild")["command"]
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert (command, ended.value.code) == (["rebuild", "--help"], 0)
    assert capsys.readouterr().out.startswith("usage: cdc rebuild ")


@pytest.mark.parametrize("program", ["compactor", "tool", "reconcile", "rebuild"])
def test_pyiceberg_finds_the_catalog_that_a_program_is_told(
    account: Account, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyiceberg.utils.config import Config  # noqa: PLC0415  # its environment is read when it is asked

    told = environment(account, program)
    for name, value in told.items():
        if name.startswith("PYICEBERG_"):
            monkeypatch.setenv(name, value)
    catalog = Config().get_catalog_config(told["CDC_CATALOG"])
    assert catalog is not None
    assert catalog["type"] == "glue"
    assert str(catalog["warehouse"]).startswith("s3://usuarios-cdc-production-lake-")


def test_grants_name_every_column_that_the_compactor_adds() -> None:
    (contract,) = load_folder(ROOT / "tables")
    ours = {column.name for column in contract.columns}
    added = {field.name for field in history_schema(contract).fields} - ours
    assert {field.name for field in table_schema(contract).fields} - ours < added
    text = (ROOT / "infra" / "terraform" / "modules" / "catalog" / "grants.tf").read_text(encoding="utf-8")
    assert {name for name in added if f'"{name}"' in text} == added
