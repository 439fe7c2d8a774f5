"""The tests of infra/ run in CI: each job has what its steps need, and a missing program is no skipped test there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.infra.checkers import need

ROOT = Path(__file__).resolve().parent.parent.parent
WORKFLOW: dict[str, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
NEEDS_TERRAFORM = re.compile(r"make (gates|test)\b|tests/infra")


def steps(job: str) -> str:
    return "\n".join(step.get("run", "") for step in WORKFLOW["jobs"][job]["steps"])


@pytest.mark.parametrize("job", [job for job in WORKFLOW["jobs"] if NEEDS_TERRAFORM.search(steps(job))])
def test_a_job_that_runs_gates_or_tests_has_terraform(job: str) -> None:
    used = [step.get("uses", "").partition("@")[0] for step in WORKFLOW["jobs"][job]["steps"]]
    assert "hashicorp/setup-terraform" in used


def test_jobs_that_need_terraform_are_found() -> None:
    assert {job for job in WORKFLOW["jobs"] if NEEDS_TERRAFORM.search(steps(job))} == {"check", "test", "terraform"}


def test_tests_are_left_out_by_file_and_not_by_a_word_in_their_names() -> None:
    assert "-k" not in steps("terraform").split()
    left_out = re.findall(r"--ignore=(\S+)", steps("terraform"))
    assert left_out == ["tests/infra/test_containers.py"]
    assert all((ROOT / path).is_file() for path in left_out)


def test_there_is_one_version_of_debezium() -> None:
    files = (
        "docker-compose.yml",
        "infra/docker/stand-ins/compose.yml",
        "infra/terraform/variables.tf",
        "docs/containers.md",
    )
    named = {
        path: set(re.findall(r"\d+\.\d+\.\d+\.Final", (ROOT / path).read_text(encoding="utf-8"))) for path in files
    }
    assert named == {path: {"3.6.3.Final"} for path in files}


def test_a_missing_program_is_skipped_here_and_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception):
        need("no-such-program")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception):
        need("no-such-program")
