"""A change that was set aside and comes again: in the end the table is the source's, whatever the order and the cuts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc.contract import Column, TableContract
from cdc.errors import RecordFault
from cdc.position import Position
from cdc.postgres_type import parse_type
from cdc.producer import ProducerModes
from cdc.raw import RawLine
from compactor.change import SET_ASIDE, Change, Key, Origin
from compactor.fold import State
from compactor.holds import resolve
from compactor.index import NO_POSITIONS, Located, Mark, RowIndex, entries_of, marks
from compactor.merge import Merged, fold_anew, markers, merge

NOW = datetime(2026, 11, 21, tzinfo=UTC)
ORIGIN = Origin("s/0", 1, 0, RawLine("0", "1", 0, "", b""))  # type: ignore[arg-type]
FAULT = RecordFault("value-not-held", "no value of its type", where="nome")
TEXT, NUMBER = parse_type("text"), parse_type("bigint")
assert TEXT is not None
assert NUMBER is not None
CONTRACT = TableContract(
    "t", "public", "T",
    (Column("id", "id", NUMBER, "internal", "clear"), Column("nome", "nome", TEXT, "internal", "clear"), Column("bio", "bio", TEXT, "internal", "clear")),
    ("id",), "hold", 60.0, ProducerModes(),
)  # fmt: skip
STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "small", "delete", "move"]), st.integers(0, 2), st.integers(0, 2), st.booleans()),
    min_size=1, max_size=14,
)  # fmt: skip


@dataclass
class MemoryLake:
    """Table and history in memory, with the compactor's own index over them."""

    history: list[Change] = field(default_factory=list)
    rows: dict[Key, State] = field(default_factory=dict)
    files: list[list[State]] = field(default_factory=list)
    index: RowIndex = field(default_factory=lambda: RowIndex([pa.int64()]))

    def rows_at(self, located: Mapping[Key, Located]) -> dict[Key, dict[str, Any]]:
        found = {}
        for key, place in located.items():
            state = self.files[int(place.path)][place.row]
            assert state.row is not None
            found[key] = {**state.row, "cdc_committed_at": state.committed_at}
        return found

    def history_of(self, column: str, values: Sequence[Any]) -> list[dict[str, Any]]:
        rows = (self._history_row(change) for change in self.history)
        return [row for row in rows if row[column] in values]

    @staticmethod
    def _history_row(change: Change) -> dict[str, Any]:
        epoch, lsn, ordinal = change.position
        stamp = {"cdc_op": change.op, "cdc_epoch": epoch, "cdc_lsn": lsn, "cdc_ordinal": ordinal}
        told = {"cdc_committed_at": change.committed_at, "cdc_unchanged": sorted(change.unchanged) or None}
        return {"nome": None, "bio": None, "id": change.key[0], **change.values, **stamp, **told}

    def merge(self, changes: Sequence[Change]) -> Merged:
        # Nothing else is on its way: what cannot be resolved is given up at once.
        merged = resolve(changes, lambda some: merge(some, self.index, self, CONTRACT, None), {}).merged
        self.history += [replace(change, origin=None) for change in merged.history]
        self.commit(merged)
        return merged

    def commit(self, merged: Merged) -> None:
        """The table's commit, and what the compactor tells the index of it."""
        for key in merged.gone:
            del self.rows[key]
        self.rows |= merged.rows
        self.index.remove(self.index.prints_of_keys(list(merged.gone)))
        if merged.rows:
            path = str(len(self.files))
            self.files.append(list(merged.rows.values()))
            self.index.add_file(path, len(merged.rows), NO_POSITIONS)
            self.index.put(self.index.prints_of_keys(list(merged.rows)), self._entries(path, merged.rows))
        marked = [
            (change, Mark.SET_ASIDE if change.op == SET_ASIDE else Mark.DELETED) for change in markers(merged.history)
        ]
        self._mark(marked)

    def restart(self) -> None:
        """Build the index from the tables, as a start does."""
        self.index, self.files = RowIndex([pa.int64()]), []
        kept, self.rows = self.rows, {}
        self.commit(Merged([], {}, kept, [], 0, None))
        self._mark(
            [
                (change, Mark.SET_ASIDE if change.op == SET_ASIDE else Mark.DELETED)
                for change in self.history
                if change.op in {SET_ASIDE, "d"}
            ]
        )

    def _mark(self, marked: Sequence[tuple[Change, Mark]]) -> None:
        if marked:
            prints = self.index.prints_of_keys([change.key for change, _ in marked])
            self.index.mark(prints, marks([(change.position, mark) for change, mark in marked]))

    def _entries(self, path: str, rows: Mapping[Key, State]) -> Any:
        positions = [state.position for state in rows.values()]
        assert all(position is not None for position in positions)
        columns = {
            name: [position[place] for position in positions if position is not None]
            for place, name in enumerate(("cdc_epoch", "cdc_lsn", "cdc_ordinal"))
        }
        return entries_of(self.index, path, pa.array(range(len(rows))).to_numpy(), pa.table(columns))

    def shown(self) -> dict[int, tuple[Any, Any]]:
        return {
            key[0]: (state.row["nome"], state.row["bio"]) for key, state in self.rows.items() if state.row is not None
        }

    def folded(self) -> dict[int, tuple[Any, Any]]:
        """The table as history alone tells it."""
        anew = fold_anew({change.key for change in self.history}, RowIndex([pa.int64()]), self, CONTRACT, None)
        return {key[0]: (state.row["nome"], state.row["bio"]) for key, state in anew.rows.items() if state.row}


def source(steps: list[tuple[str, int, int, bool]]) -> tuple[list[Change], list[Change], dict[int, tuple[str, str]]]:
    """The changes of a source as first read, some with a value that could not be held; as read later; its rows."""
    rows: dict[int, tuple[str, str]] = {}
    first: list[Change] = []
    mended: list[Change] = []

    def emit(
        op: str, key: int, lsn: int, values: dict[str, str], *, unchanged: bool = False, bad: bool = False
    ) -> None:
        missing = frozenset({"bio"}) if unchanged else frozenset[str]()
        change = Change((key,), op, Position(1, lsn), NOW, {"id": key, **values}, missing, ORIGIN)
        mended.append(change)
        first.append(change.set_aside(FAULT) if bad and op != "d" else change)

    for lsn, (what, key, other, bad) in enumerate(steps, 1):
        nome, bio = f"n{lsn}", f"b{lsn}"
        if key not in rows or what == "put":
            emit("u" if key in rows else "c", key, lsn, {"nome": nome, "bio": bio}, bad=bad)
            rows[key] = (nome, bio)
        elif what == "small":
            emit("u", key, lsn, {"nome": nome}, unchanged=True, bad=bad)
            rows[key] = (nome, rows[key][1])
        elif what == "move" and other not in rows:
            emit("d", key, lsn, {})
            emit("c", other, lsn, {"nome": nome}, unchanged=True, bad=bad)
            rows[other] = (nome, rows.pop(key)[1])
        elif what == "delete":
            emit("d", key, lsn, {})
            del rows[key]
    return first, mended, rows


def cut(changes: list[Change], cuts: Sequence[int]) -> list[list[Change]]:
    bounds = [0, *sorted({place for place in cuts if place < len(changes)}), len(changes)]
    return [changes[start:end] for start, end in pairwise(bounds)]


@settings(max_examples=200, deadline=None)
@given(
    steps=STEPS,
    dice=st.randoms(use_true_random=False),
    cuts=st.lists(st.integers(0, 28), max_size=4),
    restarts=st.booleans(),
    shuffles=st.booleans(),
)
def test_a_replay_of_what_was_set_aside_brings_the_table_to_the_source(
    *, steps: list[tuple[str, int, int, bool]], dice: Any, cuts: list[int], restarts: bool, shuffles: bool
) -> None:
    first, mended, rows = source(steps)
    lake = MemoryLake()
    if shuffles:
        dice.shuffle(first)  # a mark that comes late undoes what was filled across it
    for part in cut(first, cuts):
        lake.merge(part)
    marked = {change.identity for change in lake.history if change.op == SET_ASIDE}
    quarantined = [change for change in mended if change.identity in marked]
    # Replayed in any order and in any batches: what still lacks a value is set aside again, and no record is lost.
    dice.shuffle(quarantined)
    for part in cut(quarantined, cuts):
        if restarts:
            lake.restart()
        lake.merge(part)
        assert lake.folded() == lake.shown()
    # A second replay, in the order of the positions, brings in what came before the values that it needs.
    lake.merge(sorted(quarantined, key=lambda change: change.position))
    assert lake.shown() == lake.folded() == rows
    # History has each change once, and its mark at most once.
    told = [(change.identity, change.op == SET_ASIDE) for change in lake.history]
    assert len(told) == len(set(told))
    assert {change.identity for change in mended} == {
        change.identity for change in lake.history if change.op != SET_ASIDE
    }
    # And all of it again changes nothing.
    before = list(lake.history)
    assert lake.merge([*first, *mended]).healed == 0
    assert (lake.history, lake.shown()) == (before, rows)
