"""The distribution holds every package of the product, which an editable install would not show."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_package_is_in_the_distribution() -> None:
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    found = [
        file.parent.relative_to(root)
        for root, folder in ((ROOT, ROOT / "cdc"), (ROOT / "services", ROOT / "services"))
        for file in folder.rglob("__init__.py")
    ]
    assert sorted(stated) == sorted(".".join(package.parts) for package in found)
