"""Our contracts are documents of the Open Data Contract Standard, by its own JSON schema and by its own tool."""

from __future__ import annotations

import json
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest
import yaml

from cdc.postgres_type import PostgresType
from cdc_ops.contract_text import contract_text
from cdc_ops.draft import draft
from cdc_ops.live_table import LiveColumn, LiveTable
from tests.conftest import ROOT

NUMBER, TEXTS = PostgresType("bigint"), PostgresType("text", (), is_array=True)
WRITTEN = contract_text(
    draft(
        LiveTable(
            "public", 'Tão "estranha"',
            (
                LiveColumn("Número", "bigint", NUMBER, description="linha: 1\nlinha 2"),
                LiveColumn("e-mails", "text[]", TEXTS),
                LiveColumn("rede", "inet", None),
            ),
            ("Número",), "",
        ),
        None,
        60,
    )
)  # fmt: skip
CONTRACTS = {"founding": (ROOT / "tables" / "usuarios.odcs.yaml").read_text(encoding="utf-8"), "written": WRITTEN}
LINTER = shutil.which("datacontract")


@pytest.mark.parametrize("name", CONTRACTS)
def test_the_standards_schema_takes_it(name: str) -> None:
    schema = json.loads(files("open_data_contract_standard").joinpath("schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft201909Validator(schema).validate(yaml.safe_load(CONTRACTS[name]))


@pytest.mark.skipif(LINTER is None, reason="datacontract (datacontract-cli 1.2.8) is not installed on this machine")
@pytest.mark.parametrize("name", CONTRACTS)
def test_datacontract_lint_takes_it(name: str, tmp_path: Path) -> None:
    assert LINTER is not None
    file = tmp_path / "t.odcs.yaml"
    file.write_text(CONTRACTS[name], encoding="utf-8")
    linted = subprocess.run([LINTER, "lint", str(file)], capture_output=True, text=True, check=False)
    assert linted.returncode == 0, linted.stdout
