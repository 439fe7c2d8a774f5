"""The file with the keys that differ: made first, for its owner alone, and never over another."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cdc.errors import FatalFault, SettingsFault
from cdc_ops.reconcile_outcome import Outcome
from cdc_ops.reconcile_recheck import Difference, Suspect
from cdc_ops.reconcile_run import new_keys_file, write_keys

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
OUTCOME = Outcome("usuarios", NOW, NOW, 1, 1, {"surplus": 1}, {}, 1, 0, is_sample=False)


def test_the_file_is_there_for_its_owner_alone_before_a_key_is_known(tmp_path: Path) -> None:
    path = tmp_path / "keys.jsonl"
    with new_keys_file(path) as file:
        assert path.stat().st_mode & 0o777 == 0o600
        write_keys(file, OUTCOME, [Difference("surplus", Suspect((7,), ("7",)))], ["id"])
        assert json.loads(path.read_text())["key"] == ["7"]


def test_a_file_that_came_meanwhile_is_not_written_to(tmp_path: Path) -> None:
    path = tmp_path / "keys.jsonl"
    path.write_text("another's")
    with pytest.raises(SettingsFault), new_keys_file(path):
        pytest.fail("it was opened")
    assert path.read_text() == "another's"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "keys.jsonl"
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SettingsFault), new_keys_file(path):
        pytest.fail("it was opened")
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_that_cannot_be_made_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(FatalFault, match="cannot write the keys"), new_keys_file(tmp_path / "none" / "keys.jsonl"):
        pytest.fail("it was opened")


def cut_off(path: Path, found: Sequence[Difference]) -> None:
    with new_keys_file(path) as file:
        write_keys(file, OUTCOME, found, ["id"])
        raise KeyboardInterrupt


@pytest.mark.parametrize("found", [[], [Difference("surplus", Suspect((7,), ("7",)))]])
def test_what_ends_by_an_error_leaves_keys_and_no_empty_file(tmp_path: Path, found: list[Difference]) -> None:
    path = tmp_path / "keys.jsonl"
    with pytest.raises(KeyboardInterrupt):
        cut_off(path, found)
    assert path.exists() is bool(found)
