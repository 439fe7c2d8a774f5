"""Vanished: rows of older epochs that a complete snapshot did not read are gone at the source, and deleted here.

In bounded steps, each a commit of its own, with a delete in history for each row, at the position of the snapshot: any
streamed change of the new epoch beats it, and it beats all that comes late of older ones. When none is left the floor
rises to that position, so that keys that were absent stay absent whatever comes late.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from cdc.contract import TableContract
from cdc.epoch import EpochEnd, EpochStart
from cdc.position import LSN_OF_BACKFILL, Position
from compactor.epochs import descendants
from compactor.fold import DELETE
from compactor.index import Positions, RowIndex
from compactor.plain import PlainMerge
from compactor.progress import Progress

VANISHED_ROWS_MAX = 50_000
"""How many rows one commit deletes."""


class Keys(Protocol):
    """What is read of the lake: the keys of some rows of a data file."""

    def __call__(self, path: str, columns: Sequence[str], positions: Positions, /) -> pa.Table:
        """Columns of the rows at some places (sorted) of a data file."""
        ...


def is_merged(
    start: EpochStart, end: EpochEnd, progress: Progress, known: AbstractSet[str], children: Mapping[str, Sequence[str]]
) -> bool:
    """Whether every read of an epoch's snapshot is merged, whatever shard it is in.

    `known` are all shards that the consumer has seen, `children` those that followed the closed ones of them.
    """
    later = descendants(end.ends, children)
    streams = {shard.partition("/")[0] for shard in end.ends}
    for shard in known | progress.evidence.keys() | end.ends.keys():
        if shard in end.ends:
            if progress.offsets.get(shard, 0) < int(end.ends[shard]):
                return False
        elif shard.partition("/")[0] in streams and shard not in start.ended and shard not in later:
            evidence = progress.evidence.get(shard)
            if evidence is None or not evidence.closed:
                return False
    return True


def settled(progress: Progress) -> Progress:
    """The progress once no row is left that the newest snapshot did not find."""
    floor = Position(progress.snapshot_epoch, LSN_OF_BACKFILL)
    return replace(progress, floor=max(progress.floor or floor, floor))


def deletes(
    contract: TableContract, history: pa.Schema, index: RowIndex, read: Keys, end: EpochEnd, rows_max: int
) -> PlainMerge | None:
    """Deletes of some rows that the snapshot did not read; None when there is none (left)."""
    gone = index.rows_of_older_epochs(end.epoch, rows_max)
    if not gone:
        return None
    keys = pa.concat_tables([read(path, contract.key, places) for path, places in gone.items()])
    prints = index.prints_of([keys[name] for name in contract.key])
    position, count = Position(end.epoch, LSN_OF_BACKFILL), len(keys)
    stamps: dict[str, Any] = {
        "cdc_op": DELETE,
        "cdc_epoch": position.epoch,
        "cdc_lsn": position.lsn,
        "cdc_ordinal": position.ordinal,
        "cdc_committed_at": end.taken_at,
    }
    schema = pa.schema([field for field in history if field.name != "cdc_unchanged"])
    columns = [
        keys[field.name].cast(field.type)
        if field.name in contract.key
        else pa.array(np.repeat(np.array([stamps[field.name]], object), count), field.type)
        if field.name in stamps
        else pa.nulls(count, field.type)
        for field in schema
    ]
    rows = pa.Table.from_arrays(columns, schema=schema)
    nothing = rows.slice(0, 0).drop_columns(["cdc_op"])
    return PlainMerge(
        history=rows,
        rows=nothing,
        row_prints=prints.take(np.empty(0, np.intp)),
        deleted=prints,
        deleted_at=[position] * count,
        gone=gone,
        duplicates=0,
    )
