"""Statement: what the table `cdc_status` tells analysts of each table, and when it is told anew. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import msgspec

from cdc.contract import TableContract
from compactor.progress import Progress

LAST_PROOF = "cdc.last-proof"
"""The table property with the source's time (ISO 8601) as of which a reconciliation last found the two equal."""
LAST_RECONCILE = "cdc.last-reconcile"
"""The table property with what the last reconciliation found, also of a sample or where it differed: a JSON object."""
_HELD_COLUMNS, _COLUMNS_SEEN = "cdc.held-columns", "cdc.columns-seen"
REFRESH_MIN = timedelta(minutes=1)
"""A statement that says something new is written at most so often."""
REFRESH_IDLE = timedelta(minutes=10)
"""One that says nothing new but the time, or how far the source is proven, is written so often: each costs requests."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A row of `cdc_status`. Lists and maps are JSON text, which every engine reads; columns are named as in the table.

    `refreshed_at` is when it was true. `quarantined` counts records that the compactor set aside, ever.
    """

    table_name: str
    refreshed_at: datetime
    valid_through: datetime | None
    source_lsn: int | None
    row_count: int
    held_columns: str
    held_shards: str
    set_aside: str
    quarantined: int
    quarantined_by_reason: str
    last_proof_at: datetime | None


def statement(
    contract: TableContract,
    progress: Progress,
    rows: int,
    new_columns: Iterable[str],
    properties: Mapping[str, str],
    now: datetime,
) -> Statement:
    """What can be said of a table now; `new_columns` were seen since the start, `properties` are the table's own."""
    counts = progress.counts
    return Statement(
        table_name=contract.name,
        refreshed_at=now,
        valid_through=progress.valid_through,
        source_lsn=progress.proven.lsn if progress.valid_through is not None else None,
        row_count=rows,
        held_columns=_json(sorted({*held_columns(properties, contract), *new_columns})),
        held_shards=_json(sorted(progress.holds)),
        set_aside=_json(dict(counts.values)),
        quarantined=sum(counts.records.values()),
        quarantined_by_reason=_json(dict(counts.records)),
        last_proof_at=last_proof(properties),
    )


def held_columns(properties: Mapping[str, str], contract: TableContract) -> tuple[str, ...]:
    """The source's names of columns that arrive but stand in no contract, as a table's properties state them.

    What is no such statement tells nothing.
    """
    stated = _decoded(properties.get(_HELD_COLUMNS))
    seen = _decoded(properties.get(_COLUMNS_SEEN))
    followed = seen.get("seen") if isinstance(seen, dict) else None
    # What has no offsets was taken out of the contract and does not arrive any more.
    arriving = followed.items() if isinstance(followed, dict) else ()
    names = {*(stated or ()), *(name for name, one in arriving if isinstance(one, dict) and one.get("offsets"))}
    added = seen.get("added") if isinstance(seen, dict) else None
    named = {*contract.current_names, *contract.left_out, *(added if isinstance(added, dict) else ())}
    return tuple(sorted(names - named - {column.source_name for column in contract.columns}))


def _decoded(text: str | None) -> dict[str, Any] | list[Any] | None:
    try:
        stated = msgspec.json.decode(text or "{}")
    except msgspec.DecodeError:
        return None
    is_names = isinstance(stated, dict | list) and all(isinstance(name, str) for name in stated)
    return stated if is_names else None


def last_proof(properties: Mapping[str, str]) -> datetime | None:
    """When the table was last proven equal to the source; None when it never was."""
    try:
        stated = datetime.fromisoformat(properties.get(LAST_PROOF, ""))
    except ValueError:
        return None
    return stated if stated.tzinfo is not None else None


def is_due(stated: Statement | None, now: Statement) -> bool:
    """Whether a statement is worth writing over the one that stands."""
    if stated is None or now.refreshed_at < stated.refreshed_at:  # the clock was set back
        return True
    # How far the source is proven moves with every heartbeat, also of a table that nobody writes to.
    like_stated = replace(
        now, refreshed_at=stated.refreshed_at, valid_through=stated.valid_through, source_lsn=stated.source_lsn
    )
    says_more = like_stated != stated
    return now.refreshed_at - stated.refreshed_at >= (REFRESH_MIN if says_more else REFRESH_IDLE)


def _json(value: object) -> str:
    return msgspec.json.encode(value, order="sorted").decode()
