"""The drill of memory that runs short: a compactor in a mount namespace, where a file of ours is the container's limit."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cdc.vitals import LIMITS
from sandbox.aws import Aws
from sandbox.process import wait_until
from tests.compactor_world import NAMES, change
from tests.drill import PATIENCE_SECONDS, LakeScene

pytestmark = pytest.mark.slow

LIMIT = next((path for path in LIMITS if path.exists()), LIMITS[0])
UNDER_THE_LIMIT = """mount --bind "$0" "$1" && shift && exec "$@" """
"""Shell: the file $0 is the limit $1 of the program that follows, and of nobody else."""
NAMESPACE = (
    shutil.which("unshare") or "unshare",
    "--user",
    "--map-root-user",
    "--mount",
    "/bin/sh",
    "-c",
    UNDER_THE_LIMIT,
)
CHANGES = 30_000


@pytest.fixture
def limit(tmp_path: Path) -> Path:
    """A file that tells a program how much memory it may have."""
    file = tmp_path / "limit"
    file.write_text("max", encoding="ascii")
    tried = subprocess.run([*NAMESPACE, str(file), str(LIMIT), "/bin/true"], check=False, capture_output=True)
    if tried.returncode:
        pytest.skip("this machine lets its users make no mount namespace, or has no cgroups")
    return file


@pytest.fixture
def scene(aws: Aws, tmp_path: Path, limit: Path) -> Iterator[LakeScene]:
    made = LakeScene(aws, tmp_path, f"drill_{next(NAMES)}", launcher=(*NAMESPACE, str(limit), str(LIMIT)))
    try:
        yield made
    finally:
        made.stop()


READINGS = 20


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_table_grows_until_its_compactor_has_too_little_memory(scene: LakeScene, limit: Path) -> None:
    shard, sees = scene.shard(), scene.monitor
    scene.put(shard, change("c", 5, 0, "a", "x"))
    process = scene.start()
    scene.wait_for_rows(1)
    seen: list[int] = []

    def is_at_rest() -> bool:
        seen.append(resident_bytes(process.pid))
        return len(seen) > READINGS and max(seen[-READINGS:]) < 1.01 * min(seen[-READINGS:])

    # What its first merge has begun still takes memory for a while.
    wait_until(is_at_rest, PATIENCE_SECONDS, "the compactor's memory stands still", scene.log)
    limit.write_text(str(int(resident_bytes(process.pid) / 0.8)), encoding="ascii")
    wait_until(lambda: sees.values("program_memory_ratio")[0] > 0.7, PATIENCE_SECONDS, "the limit is seen", scene.log)
    sees.wait_until_over("memory-short")
    scene.put(shard, *(change("c", 5 + key, key, "a" * 200, "x" * 500) for key in range(1, CHANGES)))
    scene.wait_for_rows(CHANGES)
    sees.wait("memory-short")
    limit.write_text(str(4 * resident_bytes(process.pid)), encoding="ascii")
    sees.wait_until_over("memory-short")
