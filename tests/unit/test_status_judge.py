from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from cdc_ops.report import (
    Files,
    Finding,
    LeaseStatus,
    Merging,
    Pile,
    Reconciled,
    Report,
    ShardStatus,
    TableStatus,
    Verification,
)
from cdc_ops.status_judge import judge
from cdc_ops.status_run import TOLD_SECONDS, progress
from cdc_ops.status_text import status_text

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
FILES = Files(1_234_567, 12, 3, 2, 45_600_000, 20, 34_000, NOW - timedelta(seconds=10))
MERGING = Merging("s/0", "7" * 56, 0, 0, True, None, None, NOW, False)
RECONCILED = Reconciled(NOW, NOW, 1000, 1001, {"differing": 2, "surplus": 1}, {"nome": 2}, 0, is_sample=False)
SHARD = ShardStatus("s/0", "9" * 56, NOW, NOW, is_closed=False, children=())


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def table(**changes: Any) -> TableStatus:
    sound = TableStatus(
        "usuarios", is_made=True, freshness_seconds_max=60, valid_through=ago(20), valid_through_age_seconds=20,
        source_lsn="141926872", table=FILES, history=FILES, shards=(MERGING,),
    )  # fmt: skip
    return msgspec.structs.replace(sound, **changes)


def merging(**changes: Any) -> TableStatus:
    return table(shards=(msgspec.structs.replace(MERGING, **changes),))


def shard(**changes: Any) -> ShardStatus:
    return msgspec.structs.replace(SHARD, **changes)


def judged(*things: TableStatus | ShardStatus, damage: tuple[Finding, ...] = ()) -> tuple[list[str], list[str]]:
    tables = [thing for thing in things if isinstance(thing, TableStatus)]
    shards = [thing for thing in things if isinstance(thing, ShardStatus)]
    problems, notes = judge(tables, shards, {}, damage, NOW)
    return [problem.kind for problem in problems], [note.kind for note in notes]


def test_what_is_sound_is_fine() -> None:
    assert judged(table(), SHARD) == ([], [])


@pytest.mark.parametrize(
    ("thing", "problem"),
    [
        (table(is_made=False), "not-made"),
        (table(waits_for_epoch=("s/0",)), "waits-for-epoch"),
        (table(refused_snapshots={"a": "1/2"}), "refused-snapshot"),
        (table(last_reconciled=RECONCILED), "unequal"),
        (table(valid_through_age_seconds=61), "late"),
        (merging(batches_waiting=1, waiting_since=ago(61)), "behind"),
        (merging(batches_waiting=1, waiting_since=ago(61), held_before="5"), "held"),
        (table(is_cut_off=True, history=msgspec.structs.replace(FILES, snapshot_at=ago(61))), "cut-off"),
        (shard(read_to_tip_at=ago(901), last_arrived_at=None), "unread"),
    ],
)
def test_what_is_wrong_is_a_problem(thing: TableStatus | ShardStatus, problem: str) -> None:
    assert judged(thing) == ([problem], [])


@pytest.mark.parametrize(
    "thing",
    [
        merging(batches_waiting=1, waiting_since=ago(59)),
        merging(batches_waiting=1, waiting_since=ago(5), held_before="5"),
        table(is_cut_off=True),  # a merge is between its commits
        shard(read_to_tip_at=ago(901), last_arrived_at=ago(5)),
        shard(read_to_tip_at=ago(901), last_arrived_at=ago(901), is_closed=True),
    ],
)
def test_what_is_on_its_way_is_no_problem(thing: TableStatus | ShardStatus) -> None:
    assert judged(thing) == ([], [])


@pytest.mark.parametrize(
    ("thing", "note"),
    [
        (table(valid_through=None, valid_through_age_seconds=None), "unproven"),
        (table(held_columns=("cor",)), "held-column"),
        (table(waiting_columns={"cor": "2 row(s) are older"}), "waiting-column"),
        (table(set_aside={"saldo": {"value-not-held": 2}}), "set-aside"),
        (shard(upto=None, last_arrived_at=None, read_to_tip_at=None), "announced"),
        (shard(verification=Verification(1, 0, "5")), "begins-later"),
    ],
)
def test_what_should_be_known_is_a_note(thing: TableStatus | ShardStatus, note: str) -> None:
    assert judged(thing) == ([], [note])


def test_one_gap_at_which_two_tables_wait_is_one_problem() -> None:
    gap = Finding("gap", "9~5", "missing")
    assert judged(damage=(gap, gap)) == (["gap"], [])


def report(**changes: Any) -> Report:
    quarantine = {"not-json": Pile(3, 12_345, is_counted_whole=True), "no-key": Pile(1, 9, is_counted_whole=False)}
    told = table(held_columns=("cor",), set_aside={"saldo": {"value-not-held": 2}}, quarantined={"value-not-held": 2})
    held = msgspec.structs.replace(
        MERGING, batches_waiting=2, records_waiting=5, is_counted_whole=False, waiting_since=ago(30), held_before="5"
    )
    problems, notes = judge([told], [SHARD], quarantine, (), NOW)
    whole = Report(
        NOW, not problems, problems, notes, (msgspec.structs.replace(told, shards=(held,)),),
        (shard(verification=Verification(4, 1, "0", 4, 400, 40, 1, 2, 3)),), quarantine,
        (LeaseStatus("s/0", None, "TRIM_HORIZON"),), "sizes",
    )  # fmt: skip
    return msgspec.structs.replace(whole, **changes)


def test_the_text_tells_people_what_they_ask_first() -> None:
    text = status_text(report())
    for line in (
        "  rows             1,234,567",
        "  valid through    2026-11-21 11:59:40 UTC, 20 s ago (promised: 60 s)",
        "  held columns     cor",
        "  ever set aside   value-not-held 2",
        "    by column      saldo: value-not-held 2",
        "  table files      3 data, 2 delete, 45.6 MB; 12 dead rows; 20 snapshots, metadata 34.0 kB",
        "  commits          history and table agree",
        "  last proof       never",
        "    verified         4 batches, 1 overlap, 4 objects of 400 B with 40 records; 1 quarantined, 2 left out, 3 empty",
        "  not-json  3 objects, 12.3 kB",
        "  no-key    at least 1 object, 9 B",
    ):
        assert line in text.splitlines()
    assert "waiting: 2 batches, at least 5 records, the oldest since 30 s; held back before 5" in text
    assert text.endswith("\nfine\n")


def test_problems_stand_last_with_what_to_do() -> None:
    gap = Finding("gap", "9~5", "no batch has it", "restore it")
    text = status_text(report(is_fine=False, problems=(gap,)))
    assert text.endswith("problems\n  gap: 9~5: no batch has it\n    restore it\n\n1 problem\n")


def test_names_cannot_move_the_cursor_of_a_terminal() -> None:
    assert "\x1b" not in status_text(report(tables=(table(held_columns=("a\x1b[2Jb\nfine",)),)))


def test_a_table_that_is_not_made_is_told_so() -> None:
    assert "state  not made yet" in status_text(report(tables=(table(is_made=False, table=None, history=None),)))


def test_the_last_reconciliation_is_told_also_where_nothing_differs() -> None:
    assert "1,000 rows; differing 2, surplus 1 differ" in status_text(
        report(tables=(table(last_reconciled=RECONCILED),))
    )
    equal = msgspec.structs.replace(RECONCILED, differences={}, undecided=3, is_sample=True)
    assert "a sample, 1,000 rows; none differ, 3 undecided" in status_text(
        report(tables=(table(last_reconciled=equal),))
    )
    assert judged(table(last_reconciled=equal), SHARD) == ([], [])


def test_a_long_verification_tells_how_far_it_is_now_and_then() -> None:
    out, clock = io.StringIO(), iter([0.0, 0.5, TOLD_SECONDS, TOLD_SECONDS, TOLD_SECONDS + 0.1])
    tell = progress(out, lambda: next(clock))
    tell("s/0", 64)
    tell("s/0", 1280)
    tell("s/0", 1344)
    assert out.getvalue() == "verifying s/0: 1,280 batches\n"


def test_the_schema_in_docs_is_that_of_the_document() -> None:
    documented = json.loads((Path(__file__).resolve().parents[2] / "docs" / "status.schema.json").read_text())
    stated = json.loads(msgspec.json.encode(msgspec.json.schema(Report)))
    assert documented == {"$schema": documented["$schema"], "title": documented["title"], **stated}
    jsonschema.validate(json.loads(msgspec.json.encode(report())), documented)
