"""Model: what the table must be, from what was told up to its offsets, as a database would replay it.

It shares no code with the merge: one dict, all keys together, in the order of the positions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.lake_machine.source import Key, Row, Sent

Identity = tuple[Key, int, bool]


@dataclass(frozen=True)
class Shown:
    """A row as readers see it: its values without the key, and the change that made it so."""

    values: tuple[tuple[str, Any], ...]
    lsn: int
    committed_at: datetime


def unique(told: Iterable[Sent]) -> dict[Identity, Sent]:
    """Every change once."""
    return {sent.identity: sent for sent in told}


def expected_rows(told: Iterable[Sent], aside: set[Identity]) -> dict[Key, Shown]:
    """The rows after some changes, of which those in `aside` are told to be set aside.

    Raises:
        AssertionError: when a change lacks a value that nothing told so far can give it, and nothing was set aside:
            it should have been waited for.
    """
    rows: dict[Key, tuple[Row, int, datetime]] = {}
    doubtful: set[Key] = set()
    left: dict[int, tuple[Row | None, bool]] = {}
    for sent in sorted(unique(told).values(), key=lambda sent: (sent.lsn, sent.op != "d")):
        if sent.op == "t":
            rows.clear()
            continue
        old, is_doubtful = rows.get(sent.key), sent.key in doubtful
        if sent.op == "d":
            left[sent.lsn] = old[0] if old else None, is_doubtful
            rows.pop(sent.key, None)
            doubtful.discard(sent.key)
            continue
        if sent.identity in aside:
            doubtful.add(sent.key)
            continue
        values = dict(sent.values)
        if sent.unchanged:
            giver, is_doubtful = (
                (old[0] if old else None, is_doubtful) if sent.op == "u" else left.get(sent.lsn, (None, False))
            )
            if is_doubtful:
                doubtful.add(sent.key)
                continue
            assert giver is not None, f"the change at {sent.lsn} should have been waited for"
            values |= {name: giver[name] for name in sent.unchanged}
        rows[sent.key] = values, sent.lsn, sent.committed_at
        doubtful.discard(sent.key)
    return {key: shown(row, lsn, moment) for key, (row, lsn, moment) in rows.items()}


def differences(some: dict[Key, Shown], others: dict[Key, Shown]) -> dict[Key, tuple[Shown | None, Shown | None]]:
    """The keys whose rows differ, with both."""
    return {
        key: (some.get(key), others.get(key)) for key in some.keys() | others.keys() if some.get(key) != others.get(key)
    }


def shown(row: Row, lsn: int, moment: datetime) -> Shown:
    """A row as it is compared."""
    return Shown(tuple(sorted(row.items())), lsn, moment)


def spoilt_keys(told: Iterable[Sent]) -> dict[Key, int]:
    """The keys whose values may be unknown from an LSN on: of a change that is not held, and of key changes from there."""
    changes = sorted(unique(told).values(), key=lambda sent: (sent.lsn, sent.op != "d"))
    spoilt: dict[Key, int] = {}
    left: set[int] = set()
    for sent in changes:
        if not sent.is_held:
            spoilt.setdefault(sent.key, sent.lsn)
        if sent.op == "d" and sent.key in spoilt:
            left.add(sent.lsn)
        elif sent.op == "c" and sent.lsn in left:
            spoilt.setdefault(sent.key, sent.lsn)
    return spoilt
