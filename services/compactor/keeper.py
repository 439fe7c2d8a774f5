"""Keeper: maintains a table and its history in small steps between merges, and lets the index follow."""

from __future__ import annotations

import time
from datetime import datetime

from cdc.contract import TableContract
from cdc.telemetry import get_log
from compactor import metrics
from compactor.index import RowIndex, put_rows
from compactor.lake.pair import TablePair
from compactor.lake.table import LakeTable
from compactor.lake.upkeep import Moved, Upkeep, history_needed, no_dead
from compactor.maintenance import Limits, plan
from compactor.progress import HISTORY_SNAPSHOT

_LOG = get_log(__name__)
_POSITION = ("cdc_epoch", "cdc_lsn", "cdc_ordinal")


class Keeper:
    """Maintains one contract's tables."""

    def __init__(self, contract: TableContract, pair: TablePair, limits: Limits) -> None:
        self._contract = contract
        self._pair = pair
        self._limits = limits
        # A history is asked by key; changes of one key come in the order of their positions.
        self._table = Upkeep(pair.table, contract.key, self._limits)
        self._history = Upkeep(pair.history, (*contract.key, *_POSITION), self._limits)

    def step(self, index: RowIndex, now: datetime) -> bool:
        """Do what is most worth doing for each of the two tables; False when nothing is. Raises as `commit` does."""
        if self._pair.is_cut_off():
            return False  # what came to history and not to the table is told by the snapshots that brought it
        is_busy = False
        for lake, upkeep in ((self._pair.table, self._table), (self._pair.history, self._history)):
            metrics.DELETED_FILES.labels(lake.identifier[-1]).inc(upkeep.trim())
            is_busy |= self._step(lake, upkeep, index, now)
        return is_busy

    def _step(self, lake: LakeTable, upkeep: Upkeep, index: RowIndex, now: datetime) -> bool:
        is_table = upkeep is self._table
        merged = self._pair.table.properties.get(HISTORY_SNAPSHOT)
        needed = () if is_table else history_needed(lake.table.metadata, int(merged) if merged else None)
        step = plan(upkeep.state(needed), self._limits, now) if lake.snapshot_id is not None else None
        if step is None:
            return False
        name, began = lake.identifier[-1], time.monotonic()
        with metrics.MAINTENANCE_SECONDS.labels(name, step.kind).time():
            done = upkeep.take(step, index.dead if is_table else no_dead, now)
            if done.moved is not None and is_table:
                self._follow(done.moved, index)
        metrics.DELETED_FILES.labels(name).inc(done.deleted)
        rows = len(done.moved.rows) if done.moved else 0
        metrics.MAINTAINED_ROWS.labels(name).inc(rows)
        metrics.REPLACED_FILES.labels(name).inc(len(done.moved.gone) if done.moved else 0)
        _LOG.info(
            "maintained",
            table=name,
            step=str(step.kind),
            seconds=round(time.monotonic() - began, 3),
            files=len(step.paths),
            snapshots=len(step.snapshots),
            rows=rows,
            deleted_files=done.deleted,
        )
        return True

    def _follow(self, moved: Moved, index: RowIndex) -> None:
        put_rows(index, moved.rows, moved.added, self._contract.key)
        for path in moved.gone:
            index.drop_file(path)
