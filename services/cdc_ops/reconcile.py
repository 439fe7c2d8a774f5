"""Reconcile: one table of the lake compared with its source, row by row.

The lake is read first, into digests; then the source page by page. Rows that look different, and rows of the lake that
were not met, are looked at again (`reconcile_recheck`).
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

import numpy as np

from cdc.errors import FatalFault
from cdc_ops.reconcile_digest import LakeDigests, digests
from cdc_ops.reconcile_outcome import Outcome, counted
from cdc_ops.reconcile_recheck import Difference, Row, Suspect, Suspects, recheck
from cdc_ops.reconcile_source import PAGE_ROWS, Page, Source
from compactor.change import Key
from compactor.lake.proof import ComparedTable

LAKE_POLL_SECONDS: Final = 2.0

Tell = Callable[[int], None]
"""Is told how many rows of the source were read so far."""


class Lake:
    """The lake's side of looking again."""

    def __init__(self, table: ComparedTable, wait_seconds: float, sleep: Callable[[float], None]) -> None:
        self._table = table
        self._wait_seconds = wait_seconds
        self._sleep = sleep

    def wait_past(self, moment: datetime) -> bool:
        """Load the table once everything committed up to a moment is in it; False when that takes too long."""
        ends = time.monotonic() + self._wait_seconds
        while True:
            self._table.refresh()
            proven = self._table.progress.valid_through
            if proven is not None and proven >= moment:
                return True
            if time.monotonic() > ends:
                return False
            self._sleep(LAKE_POLL_SECONDS)

    def find(self, keys: Sequence[Key]) -> Mapping[Key, Sequence[Row]]:
        """The rows of some keys."""
        return self._table.find(keys)


def reconcile(
    table: ComparedTable,
    source: Source,
    fraction: float,
    wait_seconds: float,
    tell: Tell,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[Outcome, list[Difference]]:
    """Compare a table with its source; `fraction` is how much of it (1: all), `wait_seconds` how long the lake may take
    to come past a moment.

    Raises:
        FatalFault: when the table proves nothing of the source, so that no difference could be told from a delay.
    """
    table.refresh()
    if table.progress.valid_through is None:
        raise FatalFault(
            "no heartbeat of the source has passed through every shard yet",
            where=table.name,
            hint="see docs/adr/0005 for what the producer must send, so that a delay can be told from a loss",
        )
    # Not the server's clock: a replica that lags shows no more than what it has replayed, so no more is proven.
    salt, began_at = secrets.token_bytes(16), source.horizon()
    columns, key = tuple(column.name for column in table.shown.columns), table.shown.key
    lake = LakeDigests((digests(rows, key, salt), digests(rows, columns, salt)) for rows in table.live_rows(columns))
    is_sample = fraction < 1
    pages = _sample(table, source, lake, fraction) if is_sample else source.pages()
    suspects = Suspects()
    rows_read, unreadable = 0, 0
    for page in pages:
        rows_read += len(page.keys) + len(page.not_held) + page.unreadable_keys
        unreadable += page.unreadable_keys
        is_found = lake.found(digests(page.rows, key, salt), digests(page.rows, columns, salt))
        lake_keys = _keys(page, key)
        for at in np.flatnonzero(~is_found):
            suspects.add(Suspect(lake_keys[at], page.keys[at]))
        for suspect, _ in page.not_held:
            suspects.add(suspect)
        tell(rows_read)
    if not is_sample and lake.unseen_count:
        table.refresh()  # maintenance may have removed the files of what was read first, long ago
        for rows in table.live_rows(key):
            for at in np.flatnonzero(lake.unseen(digests(rows, key, salt))):
                its = tuple(rows[name][at].as_py() for name in key)
                suspects.add(Suspect(its, source.unmasked(its)))
    found, undecided = recheck(suspects, source, Lake(table, wait_seconds, sleep), columns)
    kinds, by_column = counted(found, unreadable)
    outcome = Outcome(
        table=table.shown.name,
        began_at=began_at,
        ended_at=source.clock(),
        rows_at_source=rows_read,
        rows_in_lake=len(lake),
        differences=kinds,
        columns=by_column,
        rechecked=len(suspects),
        undecided=len(undecided) + suspects.left,
        is_sample=is_sample,
    )
    return outcome, found


def _keys(page: Page, key: Sequence[str]) -> list[Key]:
    return list(zip(*(page.rows[name].to_pylist() for name in key), strict=True))


def _sample(table: ComparedTable, source: Source, lake: LakeDigests, fraction: float) -> Iterator[Page]:
    """Pages that begin at rows of the lake taken at random, until so much of the table was read."""
    wanted = max(round(len(lake) * fraction / PAGE_ROWS), 1)
    chosen = sorted(random.sample(range(len(lake)), min(wanted, len(lake))))
    table.refresh()
    # All at once: what is read slowly between two files of the lake gives maintenance time to remove the next.
    for key in list(_keys_at(table, chosen)):
        start = source.unmasked(key)
        if start is None:
            raise FatalFault(
                "no sample can be taken of a table whose key is masked", where=table.name, hint="compare all of it"
            )
        yield from source.pages(start, min(PAGE_ROWS, max(round(len(lake) * fraction), 1)))


def _keys_at(table: ComparedTable, places: Sequence[int]) -> Iterator[Key]:
    """The keys of some rows of the lake by their number, ascending."""
    passed = 0
    for rows in table.live_rows(table.shown.key):
        for place in places:
            if passed <= place < passed + len(rows):
                yield tuple(rows[name][place - passed].as_py() for name in table.shown.key)
        passed += len(rows)
