"""The commands of docs/aws.md start the tasks that they name, with what was written after it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.infra.checkers import ROOT, need

BLOCK = re.compile(r"^## Tasks that run once$.*?^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
AWS = """\
#!/bin/sh
jq -nc '$ARGS.positional' --args -- "$@" >> "$CALLS"
"""


def calls(folder: Path, more: str = "") -> list[list[str]]:
    """The arguments of each call of `aws` that the document's block makes, with more lines behind it."""
    (block,) = BLOCK.findall((ROOT / "docs" / "aws.md").read_text(encoding="utf-8"))
    stub, told = folder / "aws", folder / "calls"
    stub.write_text(AWS, "utf-8")
    stub.chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "CALLS": str(told), "ENV": "production"}
    subprocess.run(["bash", "-c", f"set -eu\n{block}\n{more}"], env=environment, check=True, capture_output=True)
    return [json.loads(line) for line in told.read_text("utf-8").splitlines()]


def started(calls: list[list[str]]) -> list[tuple[str, str, list[str]]]:
    """Definition, container and command of each task that was started."""
    found = []
    for call in calls:
        if call[:2] == ["ecs", "run-task"]:
            (override,) = json.loads(call[call.index("--overrides") + 1])["containerOverrides"]
            found.append((call[call.index("--task-definition") + 1], override["name"], override["command"]))
    return found


@pytest.fixture(autouse=True)
def tools() -> None:
    need("bash", "jq")


def test_each_task_is_given_its_command_with_all_options(tmp_path: Path) -> None:
    name = "usuarios-cdc-production"
    assert started(calls(tmp_path)) == [
        (f"{name}-tool", "tool", ["status", "--verify=checksums"]),
        (f"{name}-tool", "tool", ["epoch", "usuarios"]),
        (
            f"{name}-tool",
            "tool",
            ["replay", "--from", "quarantine", "--table", "usuarios", "--to", f"kinesis://{name}"],
        ),
        (f"{name}-reconcile", "reconcile", ["reconcile", "usuarios", "--json"]),
        (f"{name}-rebuild", "rebuild", ["rebuild", "usuarios"]),
        (f"{name}-rebuild", "rebuild", ["erase", "usuarios", "--key", "id=42"]),
    ]


def test_nothing_is_started_where_the_command_cannot_be_written(tmp_path: Path) -> None:
    more = "jq() { return 3; }\nrun tool status && exit 9 || test $? = 3"
    assert len(started(calls(tmp_path, more))) == 6
