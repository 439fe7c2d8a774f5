"""Maintenance killed before and after every call to the catalog and to the object store: nothing is lost or left."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pyiceberg.io.pyarrow import PyArrowFile

from compactor.lake.storage import S3Storage
from sandbox.aws import Aws
from tests.compactor_world import World
from tests.integration.test_maintenance import EAGER, IN_A_WEEK, merge_some
from tests.lake_files import assert_files_are_exactly_those_named, assert_no_file_is_missing

pytestmark = pytest.mark.slow
CALLS_MAX = 16


@contextmanager
def dying_at(world: World, number: int, *, is_done_first: bool) -> Iterator[list[str]]:
    """Die at the so-many-th call to the outside, before it or right after it; yields the calls that were made."""
    calls: list[str] = []

    def dying(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            is_last = len(calls) == number
            calls.append(name)
            if is_last and not is_done_first:
                raise KeyboardInterrupt
            answer = call(*arguments, **options)
            if is_last:
                raise KeyboardInterrupt
            return answer

        return wrapped

    with pytest.MonkeyPatch.context() as patched:
        for owner, name in (
            (type(world.catalog), "_update_glue_table"),
            (PyArrowFile, "create"),
            (S3Storage, "delete"),
            (S3Storage, "page"),
        ):
            patched.setattr(owner, name, dying(name, getattr(owner, name)))
        yield calls


@pytest.mark.parametrize("is_done_first", [False, True])
def test_killed_at_any_call_it_loses_nothing_and_leaves_nothing(world: World, aws: Aws, *, is_done_first: bool) -> None:
    world.limits = EAGER
    world.restart()
    dice, kills, seen = random.Random(11), 0, set[str]()
    lsn, later = merge_some(world, dice, 0, commits=8), datetime.now(UTC)
    for number in range(int(is_done_first), CALLS_MAX, 2):
        lsn = merge_some(world, dice, lsn, commits=3)
        rows = rows_of(world)
        later += timedelta(days=1)
        with dying_at(world, number, is_done_first=is_done_first) as calls:
            try:
                world.maintain(later)
            except KeyboardInterrupt:
                kills += 1
        seen |= set(calls)
        assert rows_of(world) == rows
        world.restart()
        world.merge()
        world.maintain(later)
        if number % 8 < 2:
            assert_no_file_is_missing(aws, world)
    assert {"_update_glue_table", "create", "delete"} <= seen
    assert kills > CALLS_MAX // 4
    table, history = world.rows(), world.history()
    world.maintain(later + IN_A_WEEK)
    assert_files_are_exactly_those_named(aws, world)
    assert (world.rows(), world.history()) == (table, history)
    merge_some(world, dice, lsn, commits=2)


@pytest.mark.parametrize("is_done_first", [False, True])
def test_killed_while_it_looks_for_orphans_it_looks_again(world: World, aws: Aws, *, is_done_first: bool) -> None:
    world.limits = EAGER
    world.restart()
    merge_some(world, random.Random(16), 0, commits=3)
    world.maintain()
    rows, later = rows_of(world), datetime.now(UTC) + IN_A_WEEK
    for number in range(4):
        with dying_at(world, number, is_done_first=is_done_first) as calls, pytest.raises(KeyboardInterrupt):
            world.maintain(later)
        world.restart()
        world.merge()
        assert set(calls) <= {"page", "delete", "create", "_update_glue_table"}
    world.maintain(later)
    assert_files_are_exactly_those_named(aws, world)
    assert rows_of(world) == rows


def rows_of(world: World) -> list[Any]:
    """The rows of both tables as pyiceberg reads them."""
    pair = world.pair()
    return [
        sorted(lake.table.scan(selected_fields=("id", "nome", "cdc_lsn")).to_arrow().to_pylist(), key=str)
        for lake in (pair.table, pair.history)
    ]


def test_a_commit_whose_answer_is_lost_is_found_in_the_table(
    world: World, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.limits = EAGER
    world.restart()
    lsn = merge_some(world, random.Random(12), 0, commits=10)
    rows, history = world.rows(), world.history()
    commit = type(world.catalog).commit_table

    def landed_but_unanswered(*arguments: Any) -> Any:
        commit(*arguments)
        raise ConnectionError

    with monkeypatch.context() as patched:
        patched.setattr(type(world.catalog), "commit_table", landed_but_unanswered)
        world.maintain(datetime.now(UTC) + IN_A_WEEK)
    assert (world.rows(), world.history()) == (rows, history)
    assert_files_are_exactly_those_named(aws, world)
    merge_some(world, random.Random(13), lsn, commits=2)


def test_what_may_not_be_listed_or_deleted_stops_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.limits = EAGER
    world.restart()
    lsn = merge_some(world, random.Random(14), 0, commits=10)
    rows = world.rows()

    def refused(*_arguments: object) -> None:
        raise OSError("ACCESS_DENIED")

    for name in ("page", "delete"):
        with monkeypatch.context() as patched:
            patched.setattr(S3Storage, name, refused)
            world.maintain(datetime.now(UTC) + IN_A_WEEK)
            lsn = merge_some(world, random.Random(15), lsn, commits=0)
        assert world.compactor._is_loaded
    assert world.rows() == rows
