"""Pace: when each record of a replay is due, in seconds from its begin. Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

Due = Callable[[int, datetime], float]
"""When the record is due that comes after so many others and had arrived at this time."""


def at_once(_before: int, _arrived_at: datetime) -> float:
    """As fast as it goes."""
    return 0.0


def steady(records_per_second: float) -> Due:
    """So many records a second."""
    return lambda before, _arrived_at: before / records_per_second


def as_recorded(factor: float) -> Due:
    """As the records had arrived, so many times as fast."""
    begun_at: datetime | None = None

    def due(_before: int, arrived_at: datetime) -> float:
        nonlocal begun_at
        begun_at = arrived_at if begun_at is None else begun_at
        return (arrived_at - begun_at).total_seconds() / factor

    return due
