"""The fold gives one answer, whatever the order of arrival and wherever batches are cut."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from cdc.position import Position
from cdc.raw import RawLine
from compactor.change import Change, Key, Origin
from compactor.fold import Fold, State, fold

NOW = datetime(2026, 11, 21, tzinfo=UTC)
ORIGIN = Origin("s/0", 1, 0, RawLine("0", "1", 0, "", b""))  # type: ignore[arg-type]
KEYS = st.integers(0, 4)
STEPS = st.lists(st.tuples(st.sampled_from(["put", "small", "delete", "move", "move"]), KEYS, KEYS), max_size=40)


def history(steps: list[tuple[str, int, int]]) -> tuple[list[Change], dict[int, tuple[str, str]]]:
    """Changes of a source that obeys its own rules, and its rows in the end."""
    rows: dict[int, tuple[str, str]] = {}
    changes: list[Change] = []

    def emit(op: str, key: int, lsn: int, values: dict[str, str], *, unchanged: bool = False) -> None:
        missing = frozenset({"bio"}) if unchanged else frozenset[str]()
        changes.append(Change((key,), op, Position(1, lsn), NOW, {"id": key, **values}, missing, ORIGIN))

    for lsn, (what, key, other) in enumerate(steps, 1):
        nome, bio = f"n{lsn}", f"b{lsn}"
        if key not in rows or what == "put":
            emit("u" if key in rows else "c", key, lsn, {"nome": nome, "bio": bio})
            rows[key] = (nome, bio)
        elif what == "small":
            emit("u", key, lsn, {"nome": nome}, unchanged=True)
            rows[key] = (nome, rows[key][1])
        elif what == "move" and other not in rows:
            emit("d", key, lsn, {})
            emit("c", other, lsn, {"nome": nome}, unchanged=True)
            rows[other] = (nome, rows.pop(key)[1])
        elif what == "delete":
            emit("d", key, lsn, {})
            del rows[key]
    return changes, rows


def shown(outcome: Fold) -> dict[int, tuple[object, object]]:
    rows = ((key[0], state.row) for key, state in outcome.states.items())
    return {key: (row["nome"], row["bio"]) for key, row in rows if row is not None}


@given(STEPS, st.randoms())
def test_any_order_of_arrival_gives_the_source_rows(steps: list[tuple[str, int, int]], dice: object) -> None:
    changes, rows = history(steps)
    dice.shuffle(changes)  # type: ignore[attr-defined]
    outcome = fold(changes, {}, None)
    assert outcome.unresolved == []
    assert shown(outcome) == rows


@given(STEPS, st.integers(0, 50))
def test_a_cut_between_batches_changes_nothing(steps: list[tuple[str, int, int]], cut: int) -> None:
    changes, rows = history(steps)
    # A key change is one moment at the source; when its halves are cut apart, the merge holds the second back.
    first = [change for change in changes if change.position.lsn <= cut]
    before = fold(first, {}, None)
    bases: dict[Key, State] = dict(before.states)
    after = fold([change for change in changes if change.position.lsn > cut], bases, None)
    assert shown(Fold(states={**before.states, **after.states})) == rows
