"""Rebuild: a table and its history made anew from raw, beside the present ones, by the compactor's own merge.

The contract may have come to name columns after the table was made. They are left out at first and filled afterwards,
as it was then: an event that lacks a column which was not there yet would else be set aside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

from cdc.contract import TableContract
from cdc.epoch import read_epochs
from cdc.errors import FatalFault
from cdc.objects import ObjectStore
from cdc.readers import HISTORY_SUFFIX
from cdc_ops.rebuild_compare import Compared, compare, history_counts
from cdc_ops.rebuild_raw import Nowhere, RawAsOf, from_snapshot, reach
from compactor.compactor import TableCompactor
from compactor.lake.rebuilt import Namespace, first_columns, new_name
from compactor.lake.table import LakeTable
from compactor.pii_key import PiiKey
from compactor.progress import Progress, parse_progress

Tell = Callable[[str], None]
ROUNDS_MAX: Final = 5
"""How often the rebuilt table is brought as far as the present one is by then."""
_NO_SNAPSHOT = (
    "restore raw from the bucket's versions, or have the table read anew (docs/epochs.md): then raw has all rows"
)
_SNAPSHOT = "raw has a complete snapshot, though: with --without-older-history all rows are made anew, not their past"


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What was made, and how it compares with the present table (None: there is none, or it cannot be read).

    `present_at` is the metadata file of the present table, empty where there is none. `history` counts the changes in
    the present history and in the rebuilt one by kind; these may differ (docs/rebuild.md), so they decide nothing.
    """

    name: str
    rows: int
    compared: Compared | None
    present_at: str
    history: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def is_equal(self) -> bool:
        """Whether nothing speaks against putting it in the place of the present table."""
        return self.compared.is_equal if self.compared is not None else not self.present_at


class Rebuild:
    """Makes one table anew from raw.

    Raises:
        FatalFault: when raw does not reach back to the beginning, or a swap of this table was cut off.
    """

    def __init__(
        self,
        namespace: Namespace,
        contract: TableContract,
        raw: ObjectStore,
        pii_key: PiiKey,
        tell: Tell,
        *,
        may_begin_late: bool = False,
    ) -> None:
        self._namespace = namespace
        self._contract = contract
        self._store = RawAsOf(raw)
        self._pii_key = pii_key
        self._tell = tell
        self._may_begin_late = may_begin_late

    def run(self, now: datetime) -> Rebuilt:
        """Make the tables, or go on where an earlier run was cut off, and compare them with the present one."""
        found = self._namespace.load(self._contract.name)
        present = found if found is not None and self._is_readable(found) else None
        begins = self._beginning(present)
        name = self._namespace.unfinished(self._contract.name) or new_name(self._contract.name, now)
        if self._namespace.is_swap_cut_off(name):
            raise FatalFault(
                "a swap of this table was cut off", where=self._contract.name, hint="finish it first: --swap"
            )
        self._tell(f"making {name}")
        rows = 0
        for _ in range(ROUNDS_MAX):
            self._store.offsets = _progress(present).offsets if present is not None else None
            rows = self._make(name, present, begins)
            # The present table moves on meanwhile; a rebuilt one that is not far behind catches up at once.
            later = self._namespace.load(self._contract.name)
            if present is None or later is None or _progress(later).offsets == _progress(present).offsets:
                break
            present = later
        made = self._namespace.load(name)
        assert made is not None
        if present is None:
            return Rebuilt(name, rows, None, found.table.metadata_location if found is not None else "")
        self._check_reached(present, made)
        return Rebuilt(
            name, rows, compare(present, made), present.table.metadata_location, self._history_counts(present, made)
        )

    def _history_counts(self, present: LakeTable, made: LakeTable) -> Mapping[str, tuple[int, int]]:
        before, now = (self._namespace.load(lake.identifier[-1] + HISTORY_SUFFIX) for lake in (present, made))
        return history_counts(before, now) if before is not None and now is not None else {}

    def _is_readable(self, present: LakeTable) -> bool:
        try:
            _progress(present)
        except FatalFault as fault:
            self._tell(f"the present table is not compared: {fault.what}")
            return False
        return True

    def _beginning(self, present: LakeTable | None) -> Progress:
        """Where to begin: at the very beginning, or with the newest snapshot if that may be."""
        found = reach(self._store, _progress(present).offsets if present is not None else {})
        if not found.problems:
            return Progress()
        epochs = read_epochs(self._store, self._contract.name)
        begins = from_snapshot(epochs, found)
        if begins is None or not self._may_begin_late:
            raise FatalFault(
                f"raw no longer reaches back to the beginning: {'; '.join(found.problems)}",
                where=self._contract.name,
                hint="what is older is in the present table and its history alone, so these must not be replaced; "
                + (_NO_SNAPSHOT if begins is None else _SNAPSHOT),
            )
        self._store.left_out = frozenset(begins.evidence)
        self._tell(f"beginning with the snapshot of epoch {begins.snapshot_epoch}; history has nothing of before")
        return begins

    def _make(self, name: str, present: LakeTable | None, begins: Progress) -> int:
        """Merge all that raw has into the tables of this name; how many rows that makes."""
        made = self._namespace.load(name)
        rows = 0
        for contract in self._stages(present, made):
            pair = self._namespace.pair(contract, self._pii_key, name)
            if pair.table_progress() == Progress() != begins:
                pair.commit_progress(begins)
            compactor = TableCompactor(contract, pair, self._store, Nowhere(), self._pii_key.secret)
            while compactor.step().has_moved:
                compactor.maintain(datetime.now(UTC))
                told = compactor.statement(datetime.now(UTC))
                if told is not None:
                    rows = told.row_count
                    self._tell(f"{name}: {rows:,} rows")
            while compactor.maintain(datetime.now(UTC)):
                pass
            told = compactor.statement(datetime.now(UTC))
            rows = told.row_count if told is not None else rows
        return rows

    def _stages(self, present: LakeTable | None, made: LakeTable | None) -> tuple[TableContract, ...]:
        """The contract as it was when the present table was made, then as it is."""
        if present is None:
            return (self._contract,)
        first = first_columns(present) | (_columns(made) if made is not None else frozenset())
        columns = tuple(column for column in self._contract.columns if column.name in first)
        if len(columns) == len(self._contract.columns) or not {*self._contract.key} <= first:
            return (self._contract,)
        return replace(self._contract, columns=columns, on_new_column="hold"), self._contract

    def _check_reached(self, present: LakeTable, made: LakeTable) -> None:
        wanted, reached = _progress(present).offsets, _progress(made).offsets
        short = sorted(shard for shard, offset in wanted.items() if reached.get(shard, 0) < offset)
        if short:
            raise FatalFault(
                f"the rebuilt table does not come as far as the present one in {', '.join(short)}",
                where=self._contract.name,
                hint="a change waits there for another, or an epoch to be recorded; see the log, and docs/epochs.md",
            )


def _progress(lake: LakeTable) -> Progress:
    return parse_progress(lake.properties, lake.name)


def _columns(lake: LakeTable) -> frozenset[str]:
    return frozenset(lake.arrow_schema.names)
