"""`cdc status` does not give up at the first call that fails for now."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cdc.errors import FatalFault, TransientFault
from cdc_ops.report import Report
from cdc_ops.status_run import PAUSE_SECONDS, TRIES_MAX, read_patiently

REPORT = Report(datetime(2026, 11, 21, tzinfo=UTC), True, (), (), (), (), {}, None, None)


def reads(*outcomes: Report | Exception) -> tuple[list[float], Report]:
    left = list(outcomes)
    pauses: list[float] = []

    def read() -> Report:
        outcome = left.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    report = read_patiently(read, pauses.append)
    assert not left
    return pauses, report


def test_what_does_not_answer_is_asked_again_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    pauses, report = reads(TransientFault("the lake does not answer"), REPORT)
    assert (pauses, report) == ([PAUSE_SECONDS], REPORT)
    told = capsys.readouterr()
    assert told.out == ""
    assert "trying again" in told.err


def test_it_gives_up_after_some_tries() -> None:
    with pytest.raises(TransientFault, match="no answer 3"):
        reads(*(TransientFault(f"no answer {number}") for number in range(TRIES_MAX)))


def test_what_is_refused_is_not_asked_again() -> None:
    with pytest.raises(FatalFault, match="refused"):
        reads(FatalFault("refused"), REPORT)
