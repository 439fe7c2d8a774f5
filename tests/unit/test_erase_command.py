"""The key of `cdc erase`: given whole, personal ones never on a command line, and no value of one in what is told."""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path

import pytest

from cdc.contract import parse_contract
from cdc_ops.cli import main
from cdc_ops.erase_command import given_key
from tests.compactor_world import CONTRACT

SECRET = "52998224725"
PLAIN = parse_contract(CONTRACT.format(name="plain"))
MASKED_TEXT = CONTRACT.replace(
    "{{name: id, physicalType: bigint, primaryKey: true, classification: internal}}",
    "{{name: id, physicalType: text, primaryKey: true, classification: restricted, customProperties: [{{property: mask, value: token}}]}}",
)
MASKED = parse_contract(MASKED_TEXT.format(name="masked"))


def given(*, key: list[str] | None = None, key_from: str | None = None, contract: object = PLAIN) -> tuple[object, str]:
    problems: list[str] = []
    found = given_key(argparse.Namespace(key=key, key_from=key_from), contract, problems)  # type: ignore[arg-type]
    return found, "; ".join(problems)


def test_a_key_that_is_not_personal_may_stand_on_the_command_line() -> None:
    assert given(key=["id=4=2"]) == ({"id": "4=2"}, "")


def test_a_personal_key_is_refused_on_the_command_line_and_not_repeated() -> None:
    _, problems = given(key=[f"id={SECRET}"], contract=MASKED)
    assert "use --key-from" in problems
    assert SECRET not in problems


def test_a_personal_key_is_read_from_a_file_or_stdin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = json.dumps({"id": SECRET})
    (tmp_path / "key.json").write_text(text)
    assert given(key_from=str(tmp_path / "key.json"), contract=MASKED) == ({"id": SECRET}, "")
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert given(key_from="-", contract=MASKED) == ({"id": SECRET}, "")


@pytest.mark.parametrize("key", [["name=a"], ["id=1", "name=a"], ["id=1", "id=2"]])
def test_a_key_has_each_of_its_columns_once_and_no_other(key: list[str]) -> None:
    assert given(key=key)[1] == "--key: must have each column of the key once, and no other: id"


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"id": [1]}', '{"id": true}', '{"id": null}', f"{{{SECRET}", '{"id": 1, "id": 2}', '{"id": 1.5}'],
)
def test_a_file_that_is_no_key_is_told_without_what_is_in_it(text: str, tmp_path: Path) -> None:
    (tmp_path / "key.json").write_text(text)
    _, problems = given(key_from=str(tmp_path / "key.json"))
    assert problems == "--key-from: cannot be read, or is not one JSON object of texts and integers, each name once"


def test_every_problem_is_told_at_once_before_anything_is_touched(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "masked.odcs.yaml").write_text(MASKED_TEXT.format(name="masked"), "utf-8")
    monkeypatch.setenv("CDC_TABLES", str(tmp_path))
    assert main(["erase", "another", "--yes"]) == 2
    told = capsys.readouterr().err
    assert "no contract has that name" in told
    assert "--key or --key-from" in told
    assert main(["erase", "masked", "--key", f"id={SECRET}", "--yes"]) == 2
    assert SECRET not in capsys.readouterr().err
