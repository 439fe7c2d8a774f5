"""Shift: how much maintenance is done between two rounds of merges. Whatever fails here never stops a merge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from cdc.errors import CdcError
from cdc.telemetry import get_log
from compactor import metrics

REST = timedelta(minutes=1)
"""How long a table is let be after a step that failed."""
_LOG = get_log(__name__)


class Maintained(Protocol):
    """A table that can be maintained in small steps."""

    @property
    def name(self) -> str:
        """The table's name in the lake."""

    def maintain(self, now: datetime) -> bool:
        """Take one small step; False when there is nothing to do."""


class Shift:
    """Takes steps of maintenance, the tables in turn; a table whose step failed rests for a while."""

    def __init__(self, tables: Sequence[Maintained], clock: Callable[[], datetime]) -> None:
        self._tables = tables
        self._clock = clock
        self._resting_until: dict[str, datetime] = {}

    def run(self, is_over: Callable[[], bool]) -> None:
        """One step of every table that has something to do, and more of them until it is over."""
        busy = list(self._tables)
        while busy:
            busy = [table for table in busy if self._step(table)]
            if is_over():
                return

    def _step(self, table: Maintained) -> bool:
        now = self._clock()
        until = self._resting_until.get(table.name)
        if until is not None and now < until <= now + REST:
            return False
        try:
            return table.maintain(now)
        except (CdcError, OSError) as error:
            metrics.MAINTENANCE_FAILURES.labels(table.name).inc()
            self._resting_until[table.name] = now + REST
            what, hint = (error.what, error.hint) if isinstance(error, CdcError) else (type(error).__name__, "")
            _LOG.warning("maintenance failed", table=table.name, what=what, hint=hint or "tried again in a minute")
            return False
