"""Known bugs of this kind of pipeline, each put into the code: something catches every one of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cdc.errors import CdcError
from tests.lake_machine import plants
from tests.lake_machine.columns_change import ColumnsChange
from tests.lake_machine.dms import DmsMachine
from tests.lake_machine.epochs_begin import EpochsBegin
from tests.lake_machine.lively import lively_run, prepare
from tests.lake_machine.machine import LakeMachine
from tests.lake_machine.plants import BY_SUBPROCESS, PLANTED, Plant

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
RUNS_MAX = 20


class Catcher(LakeMachine):
    """The machine that is to catch a bug, where all changes go one by one."""

    is_one_by_one = True


class CatcherByColumn(LakeMachine):
    """The machine that is to catch a bug of the plain way."""


class CatcherOfColumns(ColumnsChange):
    """The machine that is to catch a bug of columns that come and go."""


class CatcherOfEpochs(EpochsBegin):
    """The machine that is to catch a bug of epochs."""


BY_MACHINE: tuple[tuple[Plant, type[LakeMachine]], ...] = (
    (plants.one_change_of_a_position, Catcher),
    (plants.positions_as_text, Catcher),
    (plants.placeholder_is_a_value, CatcherByColumn),
    (plants.no_text_is_spelt_out, CatcherByColumn),
    (plants.old_row_of_a_key_change_stays, Catcher),
    (plants.arrival_is_the_order, Catcher),
    (plants.offsets_pass_what_is_held, Catcher),
    (plants.deletes_are_forgotten, Catcher),
    (plants.replays_are_news, Catcher),
    (plants.no_answer_is_a_success, Catcher),
    (plants.a_late_change_is_dropped, Catcher),
    (plants.heartbeats_prove_too_much, Catcher),
    (plants.a_truncate_leaves_no_floor, Catcher),
    (plants.the_old_key_is_not_looked_for, Catcher),
    (plants.a_cut_off_merge_is_left, Catcher),
    (plants.marks_are_filled_across, Catcher),
    (plants.history_lacks_what_a_key_change_took_over, CatcherOfEpochs),
    (plants.nothing_is_waited_for, Catcher),
    (plants.late_is_not_noticed_by_column, CatcherByColumn),
    (plants.new_columns_are_shown_unfilled, CatcherOfColumns),
    (plants.vanished_rows_are_left, CatcherOfEpochs),
    (plants.ordinals_are_ignored, DmsMachine),
)
BY_TEST = {
    "slot_is_confirmed_before_the_stream_has_it": "tests/unit/test_publisher_publisher.py::test_nothing_is_confirmed_before_the_stream_has_it",
    "refused_records_are_overtaken": "tests/unit/test_publisher_outbox.py",
    "checkpoint_before_the_batch": "tests/unit/test_consumer_shard.py::test_a_crash_before_or_after_any_write_loses_nothing",
    "values_are_filled_across_epochs": "tests/integration/test_compactor_epochs.py::test_a_value_left_unchanged_is_never_taken_from_an_older_epoch",
    "children_do_not_wait_with_their_parents": "tests/integration/test_compactor_epochs.py::test_a_child_waits_with_its_parent_until_every_shard_is_told",
    "one_parent_proves_for_both": "tests/integration/test_compactor_found.py::test_a_child_of_two_shards_proves_nothing_that_only_one_of_them_has_proven",
}


@pytest.mark.parametrize(("plant", "machine"), BY_MACHINE, ids=[plant.__name__ for plant, _ in BY_MACHINE])
def test_the_machine_catches(plant: Plant, machine: type[LakeMachine], tmp_path: Path) -> None:
    prepare(machine, tmp_path)
    with pytest.MonkeyPatch.context() as patches:
        plant(patches)
        with pytest.raises((AssertionError, CdcError)):  # noqa: PT012 - whichever run it is
            for seed in range(RUNS_MAX):
                lively_run(machine, seed)


@pytest.mark.parametrize("plant", BY_SUBPROCESS)
def test_the_suite_catches(plant: str) -> None:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        plants.__name__,
        "-p",
        "no:cacheprovider",
        BY_TEST[plant],
    ]
    environment = {**os.environ, PLANTED: plant, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'services'}"}
    outcome = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert outcome.returncode == pytest.ExitCode.TESTS_FAILED, outcome.stdout[-2000:] + outcome.stderr[-2000:]
