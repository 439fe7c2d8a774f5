from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from cdc.errors import RecordFault
from cdc.position import Position
from cdc.raw import RawLine
from compactor.change import Change, Key, Origin
from compactor.fold import ABSENT, State, fold

NOW = datetime(2026, 11, 21, tzinfo=UTC)
ORIGIN = Origin("s/0", 1, 0, RawLine("0", "1", 0, "", b""))  # type: ignore[arg-type]
FAULT = RecordFault("value-not-held", "no number")


def change(op: str, key: int, lsn: int, *, recorded: bool = False, **values: object) -> Change:
    """A change of a row with a name and a bio; a bio that is not given came unchanged."""
    unchanged = frozenset({"bio"} - values.keys()) if op in "cu" else frozenset[str]()
    row = {} if op in "dtq" else {"id": key, **values}
    its_key: Key = () if op == "t" else (key,)
    return Change(its_key, op, Position(1, lsn), NOW, row, unchanged, None if recorded else ORIGIN)


def rows(*changes: Change, bases: dict[Key, State] | None = None) -> dict[int, object]:
    states = fold(changes, bases or {}, None).states
    return {key[0]: (state.row["nome"], state.row["bio"]) for key, state in states.items() if state.row is not None}


def test_the_newest_position_wins_in_any_order_of_arrival() -> None:
    first, second = change("c", 1, 5, nome="a", bio="x"), change("u", 1, 9, nome="b", bio="y")
    assert rows(first, second) == rows(second, first) == {1: ("b", "y")}


def test_positions_are_compared_as_numbers() -> None:
    assert rows(change("u", 1, 10, nome="new", bio="y"), change("u", 1, 9, nome="old", bio="x")) == {1: ("new", "y")}


def test_an_unchanged_value_comes_from_the_change_before_in_the_same_batch() -> None:
    assert rows(change("c", 1, 5, nome="a", bio="x"), change("u", 1, 6, nome="b")) == {1: ("b", "x")}


def test_an_unchanged_value_comes_from_the_row_of_the_table() -> None:
    base: dict[Key, State] = {(1,): State({"id": 1, "nome": "a", "bio": "kept"}, Position(1, 2), NOW)}
    assert rows(change("u", 1, 6, nome="b"), bases=base) == {1: ("b", "kept")}


def test_an_update_that_overtook_the_one_with_the_value_is_filled_from_it() -> None:
    assert rows(
        change("u", 1, 60, nome="late"),
        change("c", 1, 40, nome="a", bio="old"),
        change("u", 1, 50, nome="b", bio="new"),
    ) == {1: ("late", "new")}


def test_a_key_change_takes_the_unchanged_values_of_the_old_key() -> None:
    assert rows(change("c", 2, 7, nome="b"), change("d", 1, 7), change("c", 1, 5, nome="a", bio="moved")) == {
        2: ("b", "moved")
    }


def test_a_chain_of_key_changes_carries_the_value_along() -> None:
    moves = [
        change("c", 1, 1, nome="a", bio="far"),
        change("d", 1, 2), change("c", 2, 2, nome="a"),
        change("d", 2, 3), change("c", 3, 3, nome="a"),
        change("d", 3, 4), change("c", 1, 4, nome="back"),
    ]  # fmt: skip
    assert rows(*reversed(moves)) == {1: ("back", "far")}


def test_a_key_that_was_deleted_and_inserted_again_does_not_inherit() -> None:
    outcome = fold([change("d", 1, 5), change("u", 1, 6, nome="b")], {(1,): State({"bio": "x"}, Position(1, 1))}, None)
    assert [c.position.lsn for c in outcome.unresolved] == [6]


def test_a_value_that_is_nowhere_leaves_the_change_unresolved_and_the_state_as_it_was() -> None:
    outcome = fold([change("u", 1, 6, nome="b")], {}, None)
    assert outcome.unresolved
    assert outcome.states.get((1,), ABSENT).row is None


def test_nothing_is_filled_across_a_change_that_was_set_aside() -> None:
    aside = change("u", 1, 6, nome="b", bio="lost").set_aside(FAULT)
    outcome = fold([change("c", 1, 5, nome="a", bio="old"), aside, change("u", 1, 7, nome="c")], {}, None)
    assert [(c.op, c.position.lsn) for c in outcome.applied] == [("c", 5), ("q", 6), ("q", 7)]
    # The row stays the one of the change that made it, position and all.
    assert outcome.states[(1,)].position == Position(1, 5)
    after = fold([aside, change("u", 1, 8, nome="d", bio="whole")], {}, None)
    assert after.states[(1,)].row == {"id": 1, "nome": "d", "bio": "whole"}


def test_a_truncate_removes_what_is_below_it_also_when_that_comes_later() -> None:
    outcome = fold([change("t", 0, 50), change("c", 1, 60, nome="n", bio="b")], {}, None)
    assert outcome.floor == Position(1, 50)
    late = fold([change("u", 2, 40, nome="old", bio="b")], {}, outcome.floor)
    assert late.states[(2,)].row is None


def test_a_mark_that_comes_late_undoes_what_was_filled_across_it() -> None:
    told = replace(change("u", 1, 60, recorded=True, nome="c", bio="old"), unchanged=frozenset({"bio"}))
    aside = change("u", 1, 50, nome="b", bio="new").set_aside(FAULT)
    assert rows(change("c", 1, 40, recorded=True, nome="a", bio="old"), aside, told) == {1: ("a", "old")}


def test_nothing_is_filled_across_a_truncate() -> None:
    base: dict[Key, State] = {(1,): State({"id": 1, "nome": "a", "bio": "before"}, Position(1, 5), NOW)}
    outcome = fold([change("t", 0, 10), change("u", 1, 12, nome="b")], base, None)
    assert [c.position.lsn for c in outcome.unresolved] == [12]


def test_what_history_filled_is_kept_when_the_old_key_is_no_longer_looked_at() -> None:
    told = change("c", 2, 7, recorded=True, nome="b", bio="moved")
    told = Change(told.key, told.op, told.position, NOW, told.values, frozenset({"bio"}))
    assert rows(told, change("u", 2, 9, nome="c")) == {2: ("c", "moved")}


def test_a_mark_that_comes_late_undoes_the_key_change_that_was_filled_across_it() -> None:
    told = [
        change("c", 1, 10, nome="a", bio="x", recorded=True),
        change("d", 1, 20, recorded=True),
        replace(change("c", 2, 20, nome="b", bio="x", recorded=True), unchanged=frozenset({"bio"})),
    ]
    assert rows(*told) == {2: ("b", "x")}
    aside = change("u", 1, 15, nome="c", bio="new").set_aside(FAULT)
    assert rows(*told, aside) == {}


def test_a_mark_that_comes_late_for_a_create_undoes_the_update_behind_it() -> None:
    told = [
        change("c", 1, 10, nome="a", bio="x", recorded=True),
        replace(change("u", 1, 60, nome="b", bio="x", recorded=True), unchanged=frozenset({"bio"})),
    ]
    aside = change("c", 1, 50, nome="c", bio="new").set_aside(FAULT)
    assert rows(*told, change("d", 1, 40), aside) == {}
