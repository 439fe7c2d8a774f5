from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import REGISTRY

from cdc.contract import parse_contract
from cdc.errors import RecordFault
from compactor.counts import Counts
from compactor.herald import Herald
from compactor.progress import Progress, ShardEvidence
from compactor.statement import Statement, held_columns, is_due, statement
from tests.compactor_world import CONTRACT

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
TABLE = parse_contract(CONTRACT.format(name="t"))


def told(seconds: float = 0, rows: int = 3, progress: Progress | None = None) -> Statement:
    return statement(TABLE, progress or Progress(), rows, (), {}, NOW + timedelta(seconds=seconds))


def test_a_statement_says_what_the_table_and_its_progress_say() -> None:
    progress = Progress(
        evidence={"s/0": ShardEvidence(NOW, 7)},
        counts=Counts().plus([[RecordFault("value-not-held", "NaN", where="saldo")]], {"saldo"}),
        holds={"s/1": 5},
    )
    properties = {"cdc.held-columns": '{"cor": {"first": [1, 2, 0]}}', "cdc.last-proof": "2026-11-20T00:00:00+00:00"}
    assert statement(TABLE, progress, 3, {"apelido"}, properties, NOW) == Statement(
        "t", NOW, NOW - timedelta(seconds=1), 7, 3, '["apelido","cor"]', '["s/1"]', '{"saldo":{"value-not-held":1}}', 1,
        '{"value-not-held":1}', datetime(2026, 11, 20, tzinfo=UTC),
    )  # fmt: skip


def test_nothing_proven_is_told_as_nothing() -> None:
    assert (told().valid_through, told().source_lsn, told().last_proof_at) == (None, None, None)


@pytest.mark.parametrize("stated", ["", "[", "7", '"cor"', "[1]", '{"seen": 7}', "[[]]"])
def test_what_is_no_statement_of_held_columns_tells_none(stated: str) -> None:
    assert held_columns({"cdc.held-columns": stated.replace("seen", "nome"), "cdc.columns-seen": stated}, TABLE) == ()


def test_held_columns_are_those_that_the_contract_does_not_name() -> None:
    assert held_columns({"cdc.held-columns": '["b", "nome", "a"]'}, TABLE) == ("a", "b")
    assert held_columns({"cdc.held-columns": '{"a": {}, "b": 2}'}, TABLE) == ("a", "b")
    seen = {name: {"offsets": {"s/0": "1"}} for name in ("cor", "bio", "x", "y")} | {"gone": {"was_shown": True}}
    stated = json.dumps({"seen": seen, "waiting": {}, "added": {"x": "x"}})
    assert held_columns({"cdc.columns-seen": stated}, replace(TABLE, left_out=("y",))) == ("cor",)


def test_news_is_written_after_a_minute_and_mere_time_after_ten() -> None:
    assert is_due(None, told())
    assert not is_due(told(), told(59, rows=4))
    assert is_due(told(), told(60, rows=4))
    proven = Progress(evidence={"s/0": ShardEvidence(NOW, 7)})
    assert not is_due(told(), told(599, progress=proven))
    assert is_due(told(), told(600, progress=proven))
    assert is_due(told(), told(600))


def test_a_clock_that_was_set_back_does_not_silence_statements() -> None:
    assert is_due(told(3600), told(0))


class MemoryBoard:
    def __init__(self, rows: Mapping[str, Statement]) -> None:
        self.rows = dict(rows)
        self.writes = 0
        self.error: Exception | None = None

    def read(self) -> dict[str, Statement]:
        return dict(self.rows)

    def replace(self, statements: Mapping[str, Statement], now: datetime) -> None:
        if self.error:
            raise self.error
        self.writes += 1
        self.rows = dict(statements)


def test_the_statements_of_other_compactors_stay() -> None:
    other = replace(told(), table_name="other")
    board = MemoryBoard({"other": other})
    Herald(lambda: board).refresh([told(5)], NOW)
    assert board.rows == {"other": other, "t": told(5)}


def test_a_restarted_compactor_does_not_write_more_often() -> None:
    board = MemoryBoard({})
    for second in range(0, 120, 5):
        Herald(lambda: board).refresh([told(second, rows=second)], NOW + timedelta(seconds=second))
    assert board.writes == 2


def test_a_failure_is_counted_and_tried_again_after_a_minute() -> None:
    board = MemoryBoard({})
    herald = Herald(lambda: board)
    failures = REGISTRY.get_sample_value("compactor_status_failures_total") or 0
    board.error = ValueError("whatever is wrong")
    for second in (0, 30, 59):
        herald.refresh([told(second)], NOW + timedelta(seconds=second))
    assert REGISTRY.get_sample_value("compactor_status_failures_total") == failures + 1
    board.error = None
    herald.refresh([told(60)], NOW + timedelta(seconds=60))
    assert board.rows == {"t": told(60)}


def test_where_nothing_is_loaded_nothing_is_opened() -> None:
    def open_board() -> MemoryBoard:
        raise AssertionError

    Herald(open_board).refresh([], NOW)
