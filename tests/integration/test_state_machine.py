"""The rows that raw alone tells are those of the lake, after whatever the machine of the lake has done to both."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pytest

from cdc.errors import FatalFault
from compactor.state import current_state
from tests.lake_machine.columns_change import ColumnsChange
from tests.lake_machine.contract import COMPOSITE_KEYS
from tests.lake_machine.dms import DmsMachine
from tests.lake_machine.epochs_begin import EpochsBegin
from tests.lake_machine.lively import lively_run, prepare
from tests.lake_machine.machine import PII_KEY, LakeMachine

pytestmark = pytest.mark.slow

RUNS = 3 * int(os.environ.get("TORTURE_RUNS", "0")) or 4
"""How many random runs of each machine."""


class Exported(LakeMachine):
    """At the end, raw is asked for what the lake has."""

    outcomes: ClassVar[Counter[str]]

    def _end(self) -> None:
        super()._end()
        try:
            found = current_state(self.contract, self.raw, PII_KEY)
        except FatalFault as fault:
            self.outcomes[fault.what] += 1
            return
        rows = found.rows
        lake = self.pair().table.table.scan().to_arrow()
        # Columns that the lake has added by itself are in no contract, and those that wait for their values not in it.
        both = [name for name in rows.column_names if name in lake.column_names]
        assert by_key(rows.select(both), self.key_names) == by_key(lake.select(both), self.key_names)
        self.outcomes["equal"] += 1
        self.outcomes["rows"] += rows.num_rows
        self.outcomes["folded"] += found.folded
        self.outcomes["lines"] += found.lines


def by_key(rows: pa.Table, key: list[str]) -> dict[tuple[Any, ...], dict[str, Any]]:
    found = {tuple(row[name] for name in key): row for row in rows.to_pylist()}
    assert len(found) == rows.num_rows
    return found


class Whole(Exported, EpochsBegin):
    """Snapshots begin anew."""


class Columns(Exported, EpochsBegin, ColumnsChange):
    """Columns come and go as well."""


class Plain(Exported):
    """One epoch."""


class Composite(Exported):
    """A key of a text and a number."""

    key_columns = (("ramo", "text"), ("id", "bigint"))
    keys = COMPOSITE_KEYS


class Dms(Exported, DmsMachine):
    """DMS is the producer: the law reads every line."""


@pytest.mark.parametrize("machine", [Plain, Whole, Columns, Composite, Dms])
def test_raw_alone_tells_the_rows_of_the_lake(machine: type[Exported], tmp_path: Path) -> None:
    machine.outcomes = Counter()
    prepare(machine, tmp_path)
    for run in range(RUNS):
        lively_run(machine, run)
    # At the end of a run nothing is on its way any more and every epoch is recorded: there is no reason to refuse.
    assert machine.outcomes["equal"] == RUNS, machine.outcomes
