"""How much maintenance is done between two rounds of merges, and what a failing step stops."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cdc.errors import FatalFault, TransientFault
from compactor.shift import REST, Shift

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@dataclass
class Table:
    name: str
    work: int
    error: Exception | None = None
    taken: int = 0
    log: list[str] = field(default_factory=list)

    def maintain(self, now: datetime) -> bool:
        if self.error is not None:
            self.log.append("failed")
            raise self.error
        if self.taken == self.work:
            return False
        self.taken += 1
        return True


def test_tables_take_turns_until_nothing_is_left() -> None:
    tables = [Table("a", 3), Table("b", 1), Table("c", 0)]
    Shift(tables, lambda: NOW).run(lambda: False)
    assert [table.taken for table in tables] == [3, 1, 0]


def test_every_table_gets_a_step_though_time_is_over() -> None:
    tables = [Table("a", 3), Table("b", 3)]
    Shift(tables, lambda: NOW).run(lambda: True)
    assert [table.taken for table in tables] == [1, 1]


def test_a_table_whose_step_failed_rests_and_the_others_go_on() -> None:
    for error in (TransientFault("gone"), FatalFault("refused"), OSError("disk")):
        moments = [NOW]
        bad, good = Table("a", 1, error), Table("b", 2)
        shift = Shift([bad, good], lambda: moments[-1])  # noqa: B023 - run in this turn
        shift.run(lambda: False)
        shift.run(lambda: False)
        assert (bad.log, good.taken) == (["failed"], 2)
        moments.append(NOW + REST + timedelta(seconds=1))
        shift.run(lambda: False)
        assert bad.log == ["failed", "failed"]


def test_a_clock_that_was_set_back_makes_no_table_rest_for_long() -> None:
    moments = [NOW]
    table = Table("a", 1, TransientFault("gone"))
    shift = Shift([table], lambda: moments[-1])
    shift.run(lambda: False)
    moments.append(NOW - timedelta(hours=1))
    table.error = None
    shift.run(lambda: False)
    assert table.taken == 1
