"""Herald: keeps the table `cdc_status` true to the tables. Whatever fails here never stops a merge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from cdc.telemetry import get_log
from compactor import metrics
from compactor.statement import REFRESH_MIN, Statement, is_due

_LOG = get_log(__name__)


class Board(Protocol):
    """Where statements stand: the table `cdc_status`."""

    def read(self) -> dict[str, Statement]:
        """The statements that stand, by table."""

    def replace(self, statements: Mapping[str, Statement], now: datetime) -> None:
        """Let these statements stand, all or none."""


class Herald:
    """Writes statements that are due; what stands is read at the first refresh and after every failure."""

    def __init__(self, open_board: Callable[[], Board]) -> None:
        self._open_board = open_board
        self._board: Board | None = None
        self._stated: dict[str, Statement] = {}
        self._resting_until: datetime | None = None

    def refresh(self, statements: Sequence[Statement], now: datetime) -> None:
        """State what is true of some tables now; those of other compactors stay as they are."""
        if not statements or (self._resting_until is not None and now < self._resting_until <= now + REFRESH_MIN):
            return
        try:
            self._refresh(statements, now)
        except Exception as error:  # noqa: BLE001 - a merge must go on, whatever is wrong with the table cdc_status
            metrics.STATUS_FAILURES.inc()
            self._board = None
            self._resting_until = now + REFRESH_MIN
            _LOG.warning(
                "cdc_status was not refreshed",
                error_type=type(error).__name__,
                hint="merging goes on; the row's refreshed_at tells how old its statement is; tried again in a minute",
            )

    def _refresh(self, statements: Sequence[Statement], now: datetime) -> None:
        if self._board is None:
            self._board = self._open_board()
            self._stated = self._board.read()
        if any(is_due(self._stated.get(told.table_name), told) for told in statements):
            rows = {**self._stated, **{told.table_name: told for told in statements}}
            self._board.replace(rows, now)
            self._stated = rows
        self._resting_until = None
