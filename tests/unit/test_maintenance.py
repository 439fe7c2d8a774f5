"""What is most worth doing for a lake table."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from compactor.maintenance import File, Kind, Limits, Snapshot, Step, TableState, plan

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
TODAY = (NOW - datetime(1970, 1, 1, tzinfo=UTC)).days
LIMITS = Limits()
QUIET = TableState(orphans_removed_at=NOW)


def small(count: int, *, day: int | None = None, records: int = 100, name: str = "s") -> list[File]:
    return [File(f"{name}{number:03}", day, records, 0, records * 60) for number in range(count)]


def snapshots(count: int, age: timedelta, *, needed: int | None = None) -> list[Snapshot]:
    return [Snapshot(n, NOW - age + timedelta(seconds=n), n == needed) for n in range(count)]


def test_a_table_in_order_is_left_alone() -> None:
    base = File("base", None, 1_000_000, 99_999, 60_000_000)
    assert plan(replace(QUIET, files=[base, *small(LIMITS.files_alike - 1)]), LIMITS, NOW) is None


def test_small_files_alike_are_merged() -> None:
    step = plan(replace(QUIET, files=small(LIMITS.files_alike)), LIMITS, NOW)
    assert step == Step(Kind.REWRITE, paths=tuple(file.path for file in small(LIMITS.files_alike)))


def test_files_of_other_sizes_are_no_reason_to_merge() -> None:
    mixed = small(7) + small(7, records=50_000, name="m") + small(7, records=200_000, name="l")
    assert plan(replace(QUIET, files=mixed), LIMITS, NOW) is None


def test_files_of_other_days_are_never_merged_together() -> None:
    spread = [file for day in range(20) for file in small(1, day=TODAY - day, name=f"d{day}-")]
    assert plan(replace(QUIET, files=spread), LIMITS, NOW) is None


@pytest.mark.parametrize(("age", "is_due"), [(0, False), (1, False), (2, True)])
def test_a_day_that_is_over_keeps_one_file_of_each_size(age: int, *, is_due: bool) -> None:
    step = plan(replace(QUIET, files=small(2, day=TODAY - age)), LIMITS, NOW)
    assert (step is not None) == is_due


def test_a_file_of_which_a_tenth_is_dead_is_written_anew() -> None:
    base = File("base", None, 1_000_000, 100_000, 60_000_000)
    assert plan(replace(QUIET, files=[base]), LIMITS, NOW) == Step(Kind.REWRITE, paths=("base",))


def test_a_few_dead_rows_of_a_small_file_are_no_reason() -> None:
    assert plan(replace(QUIET, files=[File("tiny", None, 100, 99, 6000)]), LIMITS, NOW) is None


@pytest.mark.parametrize(
    "file", [File("f", None, 400_000, 0, 1_000_000), File("f", None, 1000, 0, LIMITS.step_bytes * 4 // 10)]
)
def test_a_step_takes_no_more_than_it_may(file: File) -> None:
    files = [replace(file, path=f"f{number}") for number in range(12)]
    step = plan(replace(QUIET, files=files), LIMITS, NOW)
    assert step is not None
    assert len(step.paths) == 2


def test_files_that_together_are_too_large_for_a_step_are_left_alone() -> None:
    files = [File(f"f{n}", None, 499_999, 0, LIMITS.step_bytes // 2 + n - 20) for n in range(3)]
    assert plan(replace(QUIET, files=[*files, *small(2)]), LIMITS, NOW) is None


def test_a_backlog_of_files_is_taken_in_portions() -> None:
    step = plan(replace(QUIET, files=small(5000, records=1)), LIMITS, NOW)
    assert step is not None
    assert len(step.paths) == LIMITS.files_a_step


def test_many_small_manifests_are_merged_and_full_ones_are_not() -> None:
    few = [(f"m{n:02}", 1) for n in range(LIMITS.manifests)]
    full = [("full", LIMITS.manifest_files)]
    assert plan(replace(QUIET, manifests=[*few, *full]), LIMITS, NOW) == Step(
        Kind.MANIFESTS, paths=tuple(path for path, _ in few)
    )
    assert plan(replace(QUIET, manifests=[*few[1:], *full]), LIMITS, NOW) is None


def test_manifests_are_merged_in_portions() -> None:
    larger = [(f"m{n:02}", LIMITS.manifest_files - 1) for n in range(LIMITS.manifests)]
    step = plan(replace(QUIET, manifests=larger), LIMITS, NOW)
    assert step == Step(Kind.MANIFESTS, paths=("m00", "m01", "m02", "m03"))
    many = plan(replace(QUIET, manifests=[(f"m{n}", 1) for n in range(500)]), LIMITS, NOW)
    assert many is not None
    assert len(many.paths) < 100


def test_old_snapshots_expire_in_portions_and_the_newest_stay() -> None:
    step = plan(replace(QUIET, snapshots=snapshots(50, timedelta(hours=1))), LIMITS, NOW)
    assert step == Step(Kind.EXPIRE, snapshots=tuple(range(LIMITS.snapshots_a_step)))
    few = snapshots(LIMITS.snapshots_min + LIMITS.snapshots_a_step - 1, timedelta(hours=1))
    assert plan(replace(QUIET, snapshots=few), LIMITS, NOW) is None


def test_young_snapshots_stay_for_those_who_read_them() -> None:
    assert plan(replace(QUIET, snapshots=snapshots(500, timedelta(minutes=29))), LIMITS, NOW) is None


def test_snapshots_that_waited_long_expire_though_they_are_few() -> None:
    step = plan(replace(QUIET, snapshots=snapshots(11, timedelta(days=1))), LIMITS, NOW)
    assert step == Step(Kind.EXPIRE, snapshots=(0,))


def test_a_snapshot_that_something_names_stays() -> None:
    step = plan(replace(QUIET, snapshots=snapshots(50, timedelta(hours=1), needed=3)), LIMITS, NOW)
    assert step is not None
    assert 3 not in step.snapshots
    assert len(step.snapshots) == LIMITS.snapshots_a_step


@pytest.mark.parametrize(
    ("last", "is_due"),
    [
        (None, True),
        (NOW - timedelta(hours=23), False),
        (NOW - timedelta(days=1), True),
        (NOW + timedelta(days=9), True),
    ],
)
def test_orphans_are_looked_for_once_a_day(last: datetime | None, *, is_due: bool) -> None:
    assert plan(TableState(orphans_removed_at=last), LIMITS, NOW) == (Step(Kind.ORPHANS) if is_due else None)


def test_what_slows_every_commit_comes_first() -> None:
    state = TableState(
        small(20), [(f"m{n}", 1) for n in range(20)], snapshots(50, timedelta(hours=1)), orphans_removed_at=None
    )
    kinds = []
    for state_ in (state, replace(state, snapshots=()), replace(state, snapshots=(), manifests=())):
        step = plan(state_, LIMITS, NOW)
        assert step is not None
        kinds.append(step.kind)
    assert kinds == [Kind.EXPIRE, Kind.MANIFESTS, Kind.REWRITE]


def test_rewriting_a_growing_table_costs_each_row_a_few_times_only() -> None:
    files: list[File] = []
    written = 0
    for commit in range(2000):
        files.append(File(f"c{commit}", None, 100, 0, 6000))
        while (step := plan(replace(QUIET, files=files), LIMITS, NOW)) is not None:
            merged = [file for file in files if file.path in step.paths]
            records = sum(file.records for file in merged)
            written += records
            files = [file for file in files if file not in merged]
            files.append(File(f"r{written}", None, records, 0, records * 60))
    assert sum(file.records for file in files) == 200_000
    assert len(files) <= 3 * LIMITS.files_alike
    # From one row a commit up to a hundredth of a step, 8 commits' rows join all others of that size.
    assert written / 200_000 < 15
