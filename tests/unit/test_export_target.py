"""A file that `cdc export` could not write at the end is refused before anything is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdc_ops.cli import main
from tests.state_world import CONTRACT

UNWRITABLE = Path("/sys")  # also for root, as which tests may run


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Settings of an export from a store that does not answer: nothing is read of it here."""
    tables = tmp_path / "tables"
    tables.mkdir()
    (tables / "t.odcs.yaml").write_text(CONTRACT.replace("ID", "bigint"))
    monkeypatch.setenv("CDC_TABLES", str(tables))
    monkeypatch.setenv("CDC_RAW", "s3://raw/raw")


def refused(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["export", "t", "--to", str(path)]) == 2
    return capsys.readouterr().err


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "there").write_text("mine")
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("there", "dangling", "tables"):
        assert "--to: there is such a file" in refused(tmp_path / name, capsys)
    assert (tmp_path / "there").read_text() == "mine"


def test_a_folder_that_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    for name in ("no/such", "file/x"):
        assert "--to: its folder is not there" in refused(tmp_path / name, capsys)


@pytest.mark.skipif(not UNWRITABLE.is_dir(), reason="needs a folder in which nobody can make a file: Linux's /sys")
def test_a_folder_in_which_no_file_can_be_made_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--to: no file can be made in its folder: " in refused(UNWRITABLE / "t.parquet", capsys)


def test_a_name_that_no_file_can_have_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--to: cannot be written: File name too long" in refused(tmp_path / ("x" * 300), capsys)


def test_looking_leaves_nothing_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "no_such_table", "--to", str(tmp_path / "t.parquet")]) == 2
    assert "--to" not in capsys.readouterr().err
    assert [one.name for one in tmp_path.iterdir()] == ["tables"]
