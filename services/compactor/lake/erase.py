"""Erase: every file of a table and its history that knows a key is written anew without it (docs/lgpd.md).

The compactor must not run meanwhile. Files that are left behind are named by nothing afterwards, and the compactor
deletes them as the orphans that they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError

from cdc.errors import FatalFault
from compactor.lake.commit import Changes, commit, commit_properties, expire
from compactor.lake.table import LakeTable, LiveFile, brought_since
from compactor.progress import HISTORY_SNAPSHOT


@dataclass(frozen=True, slots=True)
class Known:
    """What a table and its history know of a key: rows, dead ones counted, and the files that they stand in."""

    rows: int
    files: int


def as_stored(catalog: Catalog, namespace: str, table: str, key: Mapping[str, object]) -> dict[str, Any]:
    """A key's values as the table's columns have them, from texts or values of JSON.

    Raises:
        ValueError: when one is none of its column's type; it names the column, and no value.
    """
    schema = _load(catalog, (namespace, table)).arrow_schema
    stored = {}
    for name, value in key.items():
        type_ = schema.field(name).type
        try:
            stored[name] = (pa.scalar(value).cast(type_) if isinstance(value, str) else pa.scalar(value, type_)).as_py()
        except (pa.ArrowException, TypeError, ValueError):
            raise ValueError(f"{name}: is no value of the column's type, {type_}") from None
    return stored


def known(catalog: Catalog, namespace: str, table: str, key: Mapping[str, object]) -> Known:
    """What is known of a key; nothing is changed. `key` as of `erase`."""
    found = [
        int(theirs.sum())
        for name in (f"{table}_history", table)
        for _, _, theirs in _knowing(_load(catalog, (namespace, name)), key)
    ]
    return Known(sum(found), len(found))


def erase(catalog: Catalog, namespace: str, table: str, key: Mapping[str, object]) -> Known:
    """Erase all states of a key, delete markers included; returns what was known of it.

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
    gone = [*_without(history, key), *_without(lake, key)]
    # The table is merged up to the history as it is now; an older snapshot of it need not be remembered.
    if history.snapshot_id is not None:
        commit_properties(lake, {HISTORY_SNAPSHOT: str(history.snapshot_id)})
    for one in (lake, history):
        older = [s.snapshot_id for s in one.table.metadata.snapshots if s.snapshot_id != one.snapshot_id]
        if older:
            expire(one, older)
    return Known(sum(gone), len(gone))


def _load(catalog: Catalog, identifier: tuple[str, str]) -> LakeTable:
    try:
        return LakeTable(catalog, identifier, catalog.load_table(identifier))
    except NoSuchTableError:
        hint = "has the compactor run with this contract?"
        raise FatalFault("the table is not in the catalog", where=".".join(identifier), hint=hint) from None


def _without(lake: LakeTable, key: Mapping[str, object]) -> Iterator[int]:
    """Write the files that have rows of a key, alive or dead, anew without them; each in a commit of its own, after
    which it is told how many went.
    """
    for file, rows, theirs in _knowing(lake, key):
        kept = ~theirs
        kept[file.deleted] = False
        left = rows.filter(pa.array(kept)).combine_chunks() if kept.any() else None
        # For the compactor this is a move of rows: no change was made that it would have to look at.
        commit(lake, Changes(left, dropped=frozenset({file.path}), is_rewrite=True))
        yield int(theirs.sum())


def _knowing(lake: LakeTable, key: Mapping[str, object]) -> Iterator[tuple[LiveFile, pa.Table, np.ndarray]]:
    """The files that have rows of a key, alive or dead, with all their rows and which of them are the key's."""
    for file in lake.live_files():
        rows = lake.read(file.path, lake.arrow_schema.names)
        theirs = _has_key(rows, key)
        if theirs.any():
            yield file, rows, theirs


def _has_key(rows: pa.Table, key: Mapping[str, object]) -> np.ndarray:
    equal = [
        pc.fill_null(pc.equal(rows[name], pa.scalar(value, rows[name].type)), False) for name, value in key.items()
    ]
    return np.array(reduce(pc.and_, equal).to_numpy())
