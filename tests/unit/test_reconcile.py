"""What counts as a difference when source and lake are looked at again, and what digests tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from cdc_ops.reconcile_digest import LakeDigests, digests
from cdc_ops.reconcile_outcome import counted
from cdc_ops.reconcile_recheck import LOOKS_MAX, NotHeld, Suspect, Suspects, difference, is_same, recheck
from compactor.lake.proof import COMMITTED_AT

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=1)
ONE = Suspect((1,), ("1",))


def lake_row(nome: str, committed_at: datetime = LONG_AGO) -> dict[str, Any]:
    return {"id": 1, "nome": nome, COMMITTED_AT: committed_at}


class Sides:
    """Source and lake with one row, which has a value at each look; time goes on a second a look."""

    def __init__(self, at_source: Sequence[Any], in_lake: Sequence[Any], reaches: int = 100) -> None:
        self.at_source, self.in_lake, self.reaches = at_source, in_lake, reaches
        self.looks = 0
        self.waited = 0

    def horizon(self) -> datetime:
        return NOW + timedelta(seconds=self.looks)

    clock = horizon

    def look(self, suspects: Sequence[Suspect]) -> Mapping[tuple[Any, ...], Any]:
        nome = self.at_source[min(self.looks, len(self.at_source) - 1)]
        self.looks += 1
        return {} if nome is None else {(1,): nome if isinstance(nome, NotHeld) else {"id": 1, "nome": nome}}

    def find(self, keys: Sequence[tuple[Any, ...]]) -> Mapping[tuple[Any, ...], Sequence[dict[str, Any]]]:
        found = self.in_lake[min(self.looks - 1, len(self.in_lake) - 1)]
        rows = found if isinstance(found, list) else [found] if found is not None else []
        return {(1,): [row if isinstance(row, dict) else lake_row(row) for row in rows]} if rows else {}

    def wait_past(self, moment: datetime) -> bool:
        return self.looks <= self.reaches

    def wait_seen(self, moment: datetime) -> None:
        self.waited += 1


@pytest.mark.parametrize(
    ("at_source", "in_lake", "kind", "columns"),
    [
        (["a"], ["b"], "differing", ("nome",)),
        (["a"], [None], "missing", ()),
        ([None], ["b"], "surplus", ()),
        ([NotHeld(("saldo",))], ["b"], "not-held", ("saldo",)),
        (["a"], [["a", "a"]], "twice", ()),
    ],
)
def test_what_is_the_same_at_two_looks_and_differs_is_a_difference(
    at_source: Sequence[Any], in_lake: Sequence[Any], kind: str, columns: tuple[str, ...]
) -> None:
    sides = Sides(at_source, in_lake)
    found, undecided = recheck([ONE], sides, sides, ["id", "nome"])
    assert [(one.kind, one.columns) for one in found] == [(kind, columns)]
    assert (undecided, sides.looks) == ([], 2)


@pytest.mark.parametrize(
    ("at_source", "in_lake"),
    [
        (["a"], ["b", "a"]),  # it was on its way
        (["a", "b"], ["b"]),  # it changed meanwhile
        (["a", None], [None]),  # it was deleted meanwhile
        (["a", "b", "c"], ["z", "y", "c"]),  # it changes all the time
        ([None], [None]),
    ],
)
def test_what_comes_is_no_difference(at_source: Sequence[Any], in_lake: Sequence[Any]) -> None:
    sides = Sides(at_source, in_lake)
    assert recheck([ONE], sides, sides, ["id", "nome"]) == ([], [])


def test_a_row_of_the_lake_that_is_newer_than_the_look_decides_nothing() -> None:
    sides = Sides(["a"], [[lake_row("b", NOW + timedelta(days=1))]])
    assert recheck([ONE], sides, sides, ["id", "nome"]) == ([], [ONE])
    assert sides.looks == LOOKS_MAX


def test_a_row_that_is_another_at_each_look_is_undecided() -> None:
    sides = Sides([f"a{n}" for n in range(20)], ["b"])
    assert recheck([ONE], sides, sides, ["id", "nome"]) == ([], [ONE])


def test_nothing_is_decided_where_the_lake_does_not_come_past_the_look() -> None:
    sides = Sides(["a"], ["b"], reaches=1)
    assert recheck([ONE], sides, sides, ["id", "nome"]) == ([], [ONE])


def test_a_replica_is_waited_for_only_when_it_is_looked_at_again() -> None:
    sides = Sides(["a"], ["a"])
    recheck([ONE], sides, sides, ["id", "nome"])
    assert sides.waited == 0
    sides = Sides(["a"], ["b", "a"])
    recheck([ONE], sides, sides, ["id", "nome"])
    assert sides.waited == 1


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (float("nan"), float("nan"), True), (Decimal("1.50"), Decimal("1.5"), False), (1, 1.0, False), (True, 1, False),
        (0.0, -0.0, False), (None, None, True), (["a", None], ["a", None], True), ("é", "e\u0301", False),
        (NOW, NOW.replace(tzinfo=None), False),
    ],
)  # fmt: skip
def test_same_is_same_in_type_value_and_scale(one: Any, other: Any, same: bool) -> None:  # noqa: FBT001
    assert is_same(one, other) is same


def test_a_row_that_is_not_there_on_either_side_does_not_differ() -> None:
    assert difference(ONE, None, [], ["id"]) is None


def test_of_too_many_suspects_only_the_number_is_kept() -> None:
    suspects = Suspects(2)
    for key in (1, 2, 1, 3, 4):
        suspects.add(Suspect((key,)))
    assert [suspect.key for suspect in suspects] == [(1,), (2,)]
    assert (suspects.left, len(suspects)) == (2, 4)


def test_differences_are_counted_by_kind_and_column() -> None:
    sides = Sides(["a"], ["b"])
    found, _ = recheck([ONE], sides, sides, ["id", "nome"])
    assert counted(found, 2) == ({"differing": 1, "not-held": 2}, {"nome": 1})


def table(*rows: tuple[int, str]) -> pa.Table:
    return pa.table({"id": [row[0] for row in rows], "nome": [row[1] for row in rows]})


def test_digests_find_what_is_the_same_once_and_remember_what_was_met() -> None:
    salt = b"salt"
    rows = table((1, "a"), (2, "b"), (3, "c"), (3, "c"), (4, "d"))
    lake = LakeDigests([(digests(rows, ["id"], salt), digests(rows, ["id", "nome"], salt))])
    source = table((1, "a"), (2, "other"), (3, "c"), (5, "new"))
    keys = digests(source, ["id"], salt)
    assert lake.found(keys, digests(source, ["id", "nome"], salt)).tolist() == [True, False, False, False]
    assert lake.has(keys).tolist() == [True, True, True, False]
    assert lake.unseen(digests(rows, ["id"], salt)).tolist() == [False, False, True, True, True]
    assert (len(lake), lake.unseen_count) == (5, 3)


def test_rows_that_came_to_the_lake_after_it_was_read_are_not_taken_for_those_that_were_there() -> None:
    salt = b"salt"
    rows = table(*((n, "a") for n in range(100)))
    lake = LakeDigests([(digests(rows, ["id"], salt), digests(rows, ["id", "nome"], salt))])
    lake.found(*(digests(rows.slice(0, 90), columns, salt) for columns in (["id"], ["id", "nome"])))
    later = table(*((n, "a") for n in range(80, 300)))
    unseen = lake.unseen(digests(later, ["id"], salt))
    assert [n for n, is_unseen in zip(range(80, 300), unseen, strict=True) if is_unseen] == list(range(90, 100))
    assert not LakeDigests([]).unseen(digests(later, ["id"], salt)).any()


def test_an_empty_lake_has_nothing() -> None:
    source = table((1, "a"))
    lake = LakeDigests([])
    assert lake.found(digests(source, ["id"], b"s"), digests(source, ["nome"], b"s")).tolist() == [False]
    assert (len(lake), lake.unseen_count) == (0, 0)
