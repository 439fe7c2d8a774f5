"""Each gate over infra/terraform refuses a copy with one planted mistake, and passes the copy without."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.infra.checkers import ROOT, installed
from tests.infra.terraform_tools import tools

GATES = ("terraform-fmt", "terraform-validate", "terraform-test", "terraform-checkov")
ZONES = "infra/terraform/modules/zones/main.tf"
PLANTS = [
    pytest.param("terraform-fmt", ZONES, "  for_each      = var.names", "  for_each = var.names", id="not formatted"),
    pytest.param("terraform-validate", ZONES, "block_public_acls ", "block_public_alcs ", id="argument misspelt"),
    pytest.param("terraform-validate", "infra/terraform/main.tf", "module.key.arn", "module.kye.arn", id="no such module"),
    pytest.param("terraform-test", ZONES, '"raw/postgres/"', '"raw/"', id="schemas and epochs expire"),
    pytest.param(
        "terraform-test",
        "infra/terraform/environments/production.tfvars",
        'image_tag     = "0.1.0"',
        'image_tag     = "0.1.0"\nkept_days     = { raw = 3650 }',
        id="raw kept for ten years",
    ),
    pytest.param(
        "terraform-checkov", ZONES, "block_public_policy     = true", "block_public_policy     = false", id="public policy"
    ),
    pytest.param(
        "terraform-checkov",
        "infra/terraform/modules/leases/main.tf",
        "    enabled = true\n",
        "    enabled = false\n",
        id="no point-in-time recovery",
    ),
]  # fmt: skip

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module", autouse=True)
def _tools() -> None:
    tools()
    installed(".venv-infra")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    # The gates refuse a folder without the files of the others.
    for name in ("tables", "infra/terraform", "infra/docker", ".github"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns(".terraform*"))
    for name in ("infra/alarms.yaml", "docker-compose.yml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def run(root: Path, gate: str) -> subprocess.CompletedProcess[str]:
    command = [str(ROOT / "infra" / "gates" / "run"), "--only", gate, str(root)]
    return subprocess.run(command, env=os.environ, capture_output=True, text=True, check=False, timeout=1200)


@pytest.mark.parametrize("gate", GATES)
def test_a_gate_passes_what_is_right(gate: str, copy: Path) -> None:
    done = run(copy, gate)
    assert (done.returncode, f"gate {gate}: passed" in done.stdout) == (0, True), done.stdout + done.stderr


@pytest.mark.parametrize(("gate", "file", "right", "wrong"), PLANTS)
def test_a_gate_refuses_a_planted_mistake(gate: str, file: str, right: str, wrong: str, copy: Path) -> None:
    path = copy / file
    text = path.read_text(encoding="utf-8")
    assert right in text, "the plant must find its place"
    path.write_text(text.replace(right, wrong), encoding="utf-8")
    done = run(copy, gate)
    assert (done.returncode, f"gate {gate}: FAILED" in done.stdout) == (1, True), done.stdout + done.stderr


def test_every_gate_has_a_plant() -> None:
    assert {plant.values[0] for plant in PLANTS} == set(GATES)
