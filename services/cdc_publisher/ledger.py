"""Ledger: knows up to where the slot may be confirmed, which is the end of the last transaction that is wholly safe.

Transactions are entered in the order of their commits, which is the order in which the log streams them; each counts
its records that the stream has not acknowledged yet. Pure: no clock, no I/O.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple


class Evidence(NamedTuple):
    """A heartbeat that came back through the log: all that was committed before it is in front of it."""

    lsn: int
    committed_at_us: int
    xid: int
    last_commit_lsn: int | None


class Entry:
    """One transaction: how many records are `open`, and where it ended (`end_lsn`, None while it streams)."""

    __slots__ = ("end_lsn", "evidence", "open")

    def __init__(self) -> None:
        self.open = 0
        self.end_lsn: int | None = None
        self.evidence: Evidence | None = None


class Ledger:
    """The transactions that are not safe yet, oldest first."""

    def __init__(self, confirmed_lsn: int) -> None:
        self.confirmed_lsn = confirmed_lsn
        self._entries: deque[Entry] = deque()

    @property
    def is_empty(self) -> bool:
        """Whether everything that was entered is safe."""
        return not self._entries

    def begin(self) -> Entry:
        """Enter a transaction whose changes begin to stream."""
        entry = Entry()
        self._entries.append(entry)
        return entry

    def commit(self, entry: Entry, end_lsn: int) -> None:
        """Note where the transaction ended that streamed last."""
        entry.end_lsn = end_lsn
        if entry.open == 0 and entry.evidence is None and len(self._entries) > 1:
            # Nothing of it is left to wait for: its end is safe as soon as the one before is. So memory is bounded
            # however many transactions pass that concern none of our tables, while the stream is out of reach.
            self._entries.pop()
            self._entries[-1].end_lsn = end_lsn

    def mark(self, lsn: int) -> None:
        """Note that the log held nothing for us up to here, outside of any transaction."""
        last = self._entries[-1] if self._entries else None
        if last is None:
            self.begin().end_lsn = lsn
        elif last.end_lsn is not None:
            # A keepalive may say less than the commit before it.
            last.end_lsn = max(lsn, last.end_lsn)

    def settle(self) -> list[Evidence]:
        """Move on past all that is safe by now; returns the heartbeats that this proves."""
        proven = []
        entries = self._entries
        while entries and entries[0].open == 0 and entries[0].end_lsn is not None:
            entry = entries.popleft()
            self.confirmed_lsn = max(self.confirmed_lsn, entry.end_lsn or 0)
            if entry.evidence is not None:
                proven.append(entry.evidence)
        return proven
