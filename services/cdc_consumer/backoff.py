"""Backing off: how long to rest after a transient fault, and how to say so without flooding the log."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from cdc.errors import TransientFault
from cdc.telemetry import get_log
from cdc_consumer.metrics import TRANSIENT_FAULTS

T = TypeVar("T")
PAUSE_SECONDS_FIRST = 0.1
PAUSE_SECONDS_MAX = 5.0
"""After a reply of 10 MiB Kinesis refuses the shard's next calls for 5 s (AWS docs: "Quotas and limits")."""
LOG_EVERY_SECONDS = 30.0
_DOUBLINGS_MAX = 16

_log = get_log(__name__)


def pause_seconds(attempt: int, chance: float) -> float:
    """How long to rest after the try number `attempt` (from 0); `chance` in [0, 1) spreads workers apart."""
    longest = min(PAUSE_SECONDS_MAX, PAUSE_SECONDS_FIRST * 2 ** float(min(attempt, _DOUBLINGS_MAX)))
    return longest * (0.5 + 0.5 * chance)


class FaultReport:
    """Counts every transient fault and logs them at a bounded rate, with how many there were since."""

    def __init__(self, monotonic: Callable[[], float], where: str) -> None:
        self._monotonic = monotonic
        self.where = where
        self._unsaid = 0
        self._silent_until = 0.0

    def add(self, operation: str, fault: TransientFault) -> None:
        """Note a fault."""
        TRANSIENT_FAULTS.labels(operation=operation).inc()
        self._unsaid += 1
        now = self._monotonic()
        if now < self._silent_until:
            return
        _log.warning(
            "backing off",
            operation=operation,
            shard=self.where,
            what=fault.what,
            where=fault.where,
            faults=self._unsaid,
        )
        self._unsaid = 0
        self._silent_until = now + LOG_EVERY_SECONDS


def persist(
    operation: str,
    action: Callable[[], T],
    *,
    rest: Callable[[float], bool],
    chance: Callable[[], float],
    report: FaultReport,
) -> T:
    """Do something, again after every transient fault, until it succeeds or `rest` says to give up.

    Raises:
        TransientFault: the last one, when given up.
    """
    attempt = 0
    while True:
        try:
            return action()
        except TransientFault as fault:
            report.add(operation, fault)
            if rest(pause_seconds(attempt, chance())):
                raise
            attempt += 1
