from __future__ import annotations

import os
from datetime import date
from pathlib import Path

import pytest

from cdc.settings import Source
from cdc_ops.cli import main
from cdc_ops.command_line import Parser
from cdc_ops.replay_command import RECORDS_PER_SECOND, Plan, add_parser, read_plan

TO = ("--to", "kinesis://usuarios")


def plan(*words: str) -> Plan:
    parser = Parser()
    add_parser(parser.add_subparsers())
    return read_plan(parser.parse_args(["replay", *words]))


def test_a_replay_of_the_quarantine_spares_the_stream_unless_told_otherwise() -> None:
    told = plan("--from", "quarantine", *TO, "--reason", "no-key", "--table", "t", "--day", "2026-11-21", "--resolve")
    assert (told.kept, told.target, told.resolves) == ("quarantine", Source("kinesis", ("usuarios",)), True)
    assert (told.records_per_second, told.speed) == (RECORDS_PER_SECOND, None)
    assert told.selection.days == (date(2026, 11, 21), date(2026, 11, 21))
    assert plan("--from", "quarantine", *TO, "--records-per-second", "0").records_per_second == 0
    assert plan("--from", "quarantine", *TO, "--speed", "2.5").speed == 2.5
    assert plan("--from", "quarantine", "--to", "a.jsonl").records_per_second == 0


def test_a_dry_run_has_no_target_and_moves_nothing() -> None:
    told = plan("--from", "quarantine", *TO, "--dry-run", "--resolve", "--speed", "1")
    assert (told.target, told.resolves, told.speed, told.records_per_second) == (None, False, None, 0)
    assert plan("--from", "a.jsonl.gz", "--dry-run").origin == Path("a.jsonl.gz")


def test_replays_of_other_things_are_not_the_same() -> None:
    words = {
        plan("--from", "quarantine", *TO, *more).words
        for more in ((), ("--table", "x"), ("--reason", "x"), ("--path", "x"), ("--day", "2026-11-21"))
    }
    assert len(words) == 5
    assert plan("--from", "quarantine", *TO, "--speed", "2").words in words


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--from", "elsewhere", *TO), "--from: must be"),
        (("--from", "quarantine"), "--to: is missing"),
        (("--from", "quarantine", "--to", "a.txt"), "--to: must be"),
        (("--from", "quarantine", "--to", "redis://x"), "--to: must look like"),
        (("--from", "quarantine", "--to", "kinesis://a,b"), "--to: must name one stream"),
        (("--from", "raw", *TO), "--from raw: say which part"),
        (("--from", "raw", "--path", "x", *TO, "--reason", "no-key"), "--reason: is of the quarantine"),
        (("--from", "raw", "--path", "x", *TO, "--resolve"), "--resolve: is of the quarantine"),
        (("--from", "quarantine", "--to", "a.jsonl", "--resolve"), "--resolve: only what is put back on a stream"),
        (("--from", "quarantine", "--to", "a.jsonl", "--resume", "f"), "--resume: only a replay to a stream"),
        (("--from", "quarantine", *TO, "--day", "secret"), "--day: must look like"),
        (("--from", "quarantine", *TO, "--batch", "secret"), "--batch: must look like"),
        (("--from", "a.jsonl", *TO, "--path", "x"), "select objects"),
        (("--from", "quarantine", *TO, "--speed", "0"), "--speed: must be"),
        (("--from", "quarantine", *TO, "--speed", "nan"), "--speed: must be"),
        (("--from", "quarantine", *TO, "--records-per-second", "-1"), "--records-per-second: must be"),
    ],
)
def test_wrong_usage_is_named_without_quoting_it(
    words: tuple[str, ...], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", *words]) == 2
    told = capsys.readouterr().err
    assert problem in told
    assert "secret" not in told


def test_all_problems_are_named_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "--from", "raw", "--to", "x", "--reason", "a", "--resolve", "--speed", "-1"]) == 2
    assert capsys.readouterr().err.count("  - ") == 6


def test_settings_that_are_missing_are_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CDC_TABLES", "CDC_RAW", "CDC_QUARANTINE"):
        monkeypatch.delenv(name, raising=False)
    assert main(["replay", "--from", "raw", "--day", "2026-11-21", "--dry-run"]) == 2
    told = capsys.readouterr().err
    assert "CDC_TABLES: is not set" in told
    assert "CDC_RAW: is not set" in told
    assert "CDC_QUARANTINE" not in told


def test_nothing_goes_on_a_stream_without_the_epochs_that_raw_has_unless_that_is_wanted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("CDC_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CDC_TABLES", "tables")
    monkeypatch.setenv("CDC_QUARANTINE", "s3://lake/quarantine")
    assert main(["replay", "--from", "quarantine", *TO]) == 2
    assert "CDC_RAW: is missing" in capsys.readouterr().err
    assert plan("--from", "quarantine", *TO, "--any-epoch").takes_any_epoch
    assert not plan("--from", "quarantine", *TO).takes_any_epoch
