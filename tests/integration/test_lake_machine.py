"""Random histories and faults against the real compactor: after every commit the lake is what was told up to its offsets.

`make torture` makes many runs more, other ones each time.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.lake_machine.columns_change import EFFECTS_OF_COLUMNS, ColumnsChange
from tests.lake_machine.contract import COMPOSITE_KEYS
from tests.lake_machine.dms import EFFECTS_OF_DMS, DmsMachine
from tests.lake_machine.effects import EFFECTS
from tests.lake_machine.epochs_begin import EFFECTS_OF_EPOCHS, EpochsBegin
from tests.lake_machine.lively import lively_run, prepare
from tests.lake_machine.machine import LakeMachine

pytestmark = pytest.mark.slow

RUNS = int(os.environ.get("TORTURE_RUNS", "0"))
"""How many random runs of each machine; 0: the same few each time."""

LIVELY_RUNS = 3 * RUNS or 12


class Whole(EpochsBegin, ColumnsChange):
    """Whatever can happen at the source, on the way and in the lake."""

    effects: ClassVar[frozenset[str]] = EFFECTS | EFFECTS_OF_COLUMNS | EFFECTS_OF_EPOCHS


class ByColumn(Whole):
    """Plain changes go by column."""


class OneByOne(Whole):
    """All changes are folded one by one."""

    is_one_by_one = True


class Composite(Whole):
    """A key of a text and a number."""

    key_columns = (("ramo", "text"), ("id", "bigint"))
    keys = COMPOSITE_KEYS


class Dms(DmsMachine):
    """DMS is the producer."""

    effects: ClassVar[frozenset[str]] = EFFECTS_OF_DMS


MACHINES: tuple[type[LakeMachine], ...] = (ByColumn, OneByOne, Composite, Dms)


@pytest.mark.parametrize("machines", [(ByColumn, OneByOne, Composite), (Dms,)], ids=["whole", "dms"])
def test_after_every_commit_the_lake_is_the_model(machines: tuple[type[LakeMachine], ...], tmp_path: Path) -> None:
    done: Counter[str] = Counter()
    for place, machine in enumerate(machines):
        folder = tmp_path / machine.__name__
        folder.mkdir()
        prepare(machine, folder)
        for run in range(LIVELY_RUNS // len(machines)):
            lively_run(machine, run * len(machines) + place)
        done += machine.done
    # A rule that never had an effect has shown nothing.
    without_effect = {effect for effect in machines[0].effects if not done[effect]}
    assert not without_effect


@pytest.mark.parametrize("machine", MACHINES)
def test_no_small_history_breaks_the_lake(machine: type[LakeMachine], tmp_path: Path) -> None:
    prepare(machine, tmp_path)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=RUNS or 5, stateful_step_count=60, derandomize=not RUNS, database=None, deadline=None,
            suppress_health_check=list(HealthCheck), phases=(Phase.generate, Phase.shrink),
        ),
    )  # fmt: skip
