"""Erase: every file of a table and its history that knows a key is written anew without it (docs/lgpd.md).

The compactor must not run meanwhile. Files that are left behind are named by nothing afterwards, and the compactor
deletes them as the orphans that they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog import Catalog

from cdc.errors import FatalFault
from compactor.lake.commit import Changes, commit, commit_properties, expire
from compactor.lake.table import LakeTable, brought_since
from compactor.progress import HISTORY_SNAPSHOT


def erase(catalog: Catalog, namespace: str, table: str, key: Mapping[str, object]) -> int:
    """Erase all states of a key, delete markers included; returns how many rows went, dead ones counted.

    `key` has the key's columns as the lake shows them: a masked one as its token.

    Raises:
        FatalFault: when the last merge was cut off, so that the table does not have yet what the history has.
        CommitConflict: when another writer committed meanwhile; what was erased until then stays erased.
    """
    lake, history = (_load(catalog, (namespace, name)) for name in (table, f"{table}_history"))
    merged = lake.properties.get(HISTORY_SNAPSHOT)
    if brought_since(history.table.metadata, int(merged) if merged else None) != frozenset():
        hint = "run `compactor run --once`, which finishes it, and then erase"
        raise FatalFault("the history is ahead of the table", where=lake.name, hint=hint)
    gone = _without(history, key) + _without(lake, key)
    # The table is merged up to the history as it is now; an older snapshot of it need not be remembered.
    if history.snapshot_id is not None:
        commit_properties(lake, {HISTORY_SNAPSHOT: str(history.snapshot_id)})
    for one in (lake, history):
        older = [s.snapshot_id for s in one.table.metadata.snapshots if s.snapshot_id != one.snapshot_id]
        if older:
            expire(one, older)
    return gone


def _load(catalog: Catalog, identifier: tuple[str, str]) -> LakeTable:
    return LakeTable(catalog, identifier, catalog.load_table(identifier))


def _without(lake: LakeTable, key: Mapping[str, object]) -> int:
    """Write the files that have rows of a key, alive or dead, anew without them; each in a commit of its own."""
    gone = 0
    for file in lake.live_files():
        rows = lake.read(file.path, lake.arrow_schema.names)
        theirs = _has_key(rows, key)
        if not theirs.any():
            continue
        gone += int(theirs.sum())
        kept = ~theirs
        kept[file.deleted] = False
        left = rows.filter(pa.array(kept)).combine_chunks() if kept.any() else None
        # For the compactor this is a move of rows: no change was made that it would have to look at.
        commit(lake, Changes(left, dropped=frozenset({file.path}), is_rewrite=True))
    return gone


def _has_key(rows: pa.Table, key: Mapping[str, object]) -> np.ndarray:
    equal = [
        pc.fill_null(pc.equal(rows[name], pa.scalar(value, rows[name].type)), False) for name, value in key.items()
    ]
    return np.array(reduce(pc.and_, equal).to_numpy())
