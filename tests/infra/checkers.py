"""The programs that tests of infra/ need: those of the machine, and those that make installs."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
_CACHE = ROOT / ".cache"
_INSTALL_SECONDS = 900


def need(*programs: str) -> None:
    """Skip the test where a program is not installed; in CI, where nobody reads what was skipped, fail it."""
    for program in programs:
        if shutil.which(program) is None:
            missing = f"{program} is not installed: what infra/ says cannot be tried"
            if os.environ.get("CI"):
                pytest.fail(missing)
            pytest.skip(missing)


def installed(folder: str) -> Path:
    """A folder of checkers, made by its make target where it is not yet; tests run side by side in several processes."""
    _CACHE.mkdir(exist_ok=True)
    with (_CACHE / "checkers.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(["make", "--silent", f"{folder}/.ready"], cwd=ROOT, check=True, timeout=_INSTALL_SECONDS)
    return ROOT / folder
