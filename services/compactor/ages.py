"""Ages: how old what is known of a table is, told whenever somebody asks: also while a merge hangs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from compactor import metrics

_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


class Ages:
    """The ages of one table, on the clock that valid-through is compared with; shown as metrics from the start."""

    def __init__(self, table: str, freshness_seconds_max: float, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._freshness_seconds_max = freshness_seconds_max
        self._merged_at = self._maintained_at = self._started_at = clock()
        self._valid_through: datetime | None = None
        self._proven_at: datetime | None = None
        metrics.MERGE_AGE.labels(table).set_function(lambda: self._since(self._merged_at))
        metrics.VALID_THROUGH_AGE.labels(table).set_function(self.valid_through_seconds)
        metrics.OVERDUE.labels(table).set_function(self.overdue_seconds)
        metrics.PROOF_AGE.labels(table).set_function(lambda: self._since(self._proven_at or _NEVER))
        metrics.MAINTENANCE_BEHIND.labels(table).set_function(lambda: self._since(self._maintained_at))

    def merged(self, valid_through: datetime | None, proven_at: datetime | None) -> None:
        """A merge came to its end: what the table is complete up to, and when it was last proven."""
        self._merged_at = self._clock()
        self._valid_through, self._proven_at = valid_through, proven_at

    def maintained(self) -> None:
        """Nothing is left to maintain."""
        self._maintained_at = self._clock()

    def valid_through_seconds(self) -> float:
        """The age of valid-through; while nothing is proven, that of this process: so it cannot go unnoticed."""
        return self._since(self._valid_through or self._started_at)

    def overdue_seconds(self) -> float:
        """How much older it is than the contract promises."""
        return max(0.0, self.valid_through_seconds() - self._freshness_seconds_max)

    def _since(self, moment: datetime) -> float:
        return max(0.0, (self._clock() - moment).total_seconds())
