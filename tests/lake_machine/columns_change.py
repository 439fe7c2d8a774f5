"""Columns change: the source's table is altered while the machine runs, and new versions of the contract follow it."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis.stateful import rule

from tests.lake_machine.columns import DEFAULTS, Added, with_added
from tests.lake_machine.contract import COLUMNS
from tests.lake_machine.machine import DICE, LakeMachine
from tests.lake_machine.model import spoilt_keys

COLUMNS_MAX = 3
EFFECTS_OF_COLUMNS = frozenset({
    "column added", "column added with a default", "column named", "column not named any more", "column dropped",
    "named column renamed", "column that nobody named renamed", "named column widened", "crash at a change of columns",
    "added column compared",
})  # fmt: skip


class ColumnsChange(LakeMachine):
    """A machine whose source adds columns, with defaults and without, renames, widens and drops them.

    Where a column is shown the contract follows first: it names a new name, a wider type, or the column no more, and then the
    source is altered. A column that was added is held back until some version names it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bare = self.contract
        self.named: set[str] = set()
        self.columns_added = 0

    def acts(self, dice: random.Random) -> list[tuple[int, Callable[[], object]]]:
        """Columns change often."""
        return [*super().acts(dice), (6, lambda: self.change_columns(dice))]

    @rule(dice=DICE)
    def change_columns(self, dice: random.Random) -> None:
        """The source's columns change, or the contract's, or first the one and then the other."""
        if self.view.history.snapshot_id is None:
            return  # a table that has no snapshot yet takes the first one that is announced for its first epoch
        added = list(self.source.added.values())
        held = [column for column in added if column.name not in self.named]
        acts: list[Callable[[], None]] = []
        if len(added) < COLUMNS_MAX:
            acts += [lambda: self._add(dice)] * 2
        if held:
            acts += [lambda: self._name(dice.choice(held), dice)] * 3
            acts += [lambda: self._rename(dice.choice(held), dice)]
        if self.named:
            acts += [lambda: self._name_no_more(dice.choice(sorted(self.named)), dice)]
            acts += [lambda: self._rename(self.source.added[dice.choice(sorted(self.named))], dice)] * 2
        if narrow := [column for column in added if column.type == "integer" and column.name in self.named]:
            acts += [lambda: self._widen(dice.choice(narrow), dice)] * 4
        if added:
            acts += [lambda: self._drop(dice.choice(added), dice)]
        dice.choice(acts)()

    def _add(self, dice: random.Random) -> None:
        self.columns_added += 1
        has_narrow = any(column.type == "integer" for column in self.source.added.values())
        name, type_ = f"c{self.columns_added}", "text" if has_narrow else "integer"
        column = Added(name, type_, dice.choice(DEFAULTS[type_]), f"C{self.columns_added}")
        self._alter(name, column)
        self.defaults[name] = column.default
        self.done["column added"] += 1
        self.done["column added with a default"] += column.default is not None and bool(self.source.rows)

    def _name(self, column: Added, dice: random.Random) -> None:
        self.named.add(column.name)
        self._follow(self.source.added.values(), dice)
        self.done["column named"] += 1

    def _name_no_more(self, name: str, dice: random.Random) -> None:
        self.named.discard(name)
        self._follow(self.source.added.values(), dice)
        self.done["column not named any more"] += 1

    def _rename(self, column: Added, dice: random.Random) -> None:
        renamed = column.renamed(f"{column.source_name}x")
        if column.name in self.named:
            self._follow({**self.source.added, column.name: renamed}.values(), dice)
            self.deliver(dice)
        self._alter(column.name, renamed)
        self.done["named column renamed" if column.name in self.named else "column that nobody named renamed"] += 1

    def _widen(self, column: Added, dice: random.Random) -> None:
        self._follow({**self.source.added, column.name: column.widened()}.values(), dice)
        self._alter(column.name, column.widened())
        self.done["named column widened"] += 1

    def _drop(self, column: Added, dice: random.Random) -> None:
        if column.name in self.named:
            self._name_no_more(column.name, dice)
        self._alter(column.name, None)
        self.done["column dropped"] += 1

    def _alter(self, name: str, column: Added | None) -> None:
        """ALTER TABLE waits until no transaction is open that changed the table."""
        while self.source.open:
            self._commit(0, 0.5)
        self.source.alter(name, column)

    def _follow(self, columns: Iterable[Added], dice: random.Random) -> None:
        """A new version of the contract, and compactors that know it; what they do first may be cut off anywhere."""
        self.contract = with_added(self.bare, [column for column in columns if column.name in self.named])
        left = [dice.randrange(6)]
        commit_table = type(self.catalog).commit_table

        def crashing(catalog: Any, *arguments: Any) -> Any:
            left[0] -= 1
            answer = commit_table(catalog, *arguments) if left[0] else None
            if left[0] <= 0:
                self.done["crash at a change of columns"] += 1
                raise KeyboardInterrupt
            return answer

        with pytest.MonkeyPatch.context() as patches:
            if dice.random() < 0.4:
                patches.setattr(type(self.catalog), "commit_table", crashing)
            with contextlib.suppress(KeyboardInterrupt):
                self._start_anew()
                self.compactor.step()
        self._start_anew()
        self.check()
        self.step()

    def _start_anew(self) -> None:
        """All compactors of a table have the same contract."""
        self.compactor, self.rival = self._new_compactor(), self._new_compactor()
        self.view = self.pair()

    def check(self) -> None:
        """What is shown of columns that were added counts as compared."""
        super().check()
        shown = set(self.readers.columns(self.view.table.table)) - set(COLUMNS)
        self.done["added column compared"] += bool(shown and self.source.rows)

    def _end(self) -> None:
        super()._end()
        shown = set(self.readers.columns(self.view.table.table))
        # A value that was left unchanged may be asked of a row that is not known.
        assert shown == {*COLUMNS, *self.named} or spoilt_keys(self.sent, self.lost), "a column waits"
