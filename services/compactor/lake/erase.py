"""Erase: every file of a table and its history that knows a key is written anew without it (docs/lgpd.md).

The compactor must not run meanwhile. Files that are left behind are named by nothing afterwards, and the compactor
deletes them as the orphans that they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.manifest import ManifestContent

from cdc.errors import CdcError, FatalFault, TransientFault
from compactor.lake.commit import Changes, commit, commit_properties, expire
from compactor.lake.faults import reaching
from compactor.lake.key_value import stored_value
from compactor.lake.landing import CommitConflict
from compactor.lake.table import LakeTable, LiveFile, brought_since
from compactor.progress import HISTORY_SNAPSHOT

_STAYS = "what was erased until then stays erased"
_AGAIN = "run this again"


@dataclass(frozen=True, slots=True)
class Known:
    """What a table and its history know of a key."""

    rows: int
    """Rows of the current snapshots, dead ones counted."""
    files: int
    """Files that these stand in."""
    is_alive: bool
    """Whether the table shows a row of the key."""
    older_files: int
    """Files that only older snapshots name, and that know the key."""

    @property
    def is_nothing(self) -> bool:
        """Whether no file that any snapshot names knows the key."""
        return not self.files and not self.older_files

    @property
    def is_unfinished(self) -> bool:
        """Whether older snapshots alone know the key: an erasure was cut off before they were forgotten."""
        return not self.files and self.older_files > 0


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
            stored[name] = stored_value(value, type_)
        except (pa.ArrowException, ArithmeticError, TypeError, ValueError):
            raise ValueError(f"{name}: is no value of the column's type, {type_}") from None
    return stored


def known(catalog: Catalog, namespace: str, table: str, key: Mapping[str, object]) -> Known:
    """What is known of a key; nothing is changed. `key` as of `erase`."""
    return _known(*_both(catalog, namespace, table), key)


def erase(catalog: Catalog, namespace: str, table: str, key: Mapping[str, object]) -> Known:
    """Erase all states of a key, delete markers included; returns what was known of it.

    `key` has the key's columns as the lake shows them: a masked one as its token.

    Raises:
        FatalFault: before anything is written, when the last merge was cut off, so that the table does not have yet
            what the history has; when the key's row is alive; when nothing is known of the key. Later: when another
            writer committed meanwhile, or the lake refuses us; what was erased until then stays erased.
        TransientFault: when the lake does not answer; what was erased until then stays erased.
    """
    lake, history = _both(catalog, namespace, table)
    merged = lake.properties.get(HISTORY_SNAPSHOT)
    if brought_since(history.table.metadata, int(merged) if merged else None) != frozenset():
        hint = "run `compactor run --once`, which finishes it, and then erase"
        raise FatalFault("the history is ahead of the table", where=lake.name, hint=hint)
    found = _known(lake, history, key)
    if found.is_alive:
        raise FatalFault("the row is alive", where=lake.name, hint="delete it at the source first; nothing was erased")
    if found.is_nothing:
        hint = "a masked column is given as its token; nothing was changed"
        raise FatalFault("nobody has this key", where=lake.name, hint=hint)
    with _told_what_next(lake.name):
        _without(history, key)
        _without(lake, key)
        # The table is merged up to the history as it is now; an older snapshot of it need not be remembered.
        if history.snapshot_id is not None:
            commit_properties(lake, {HISTORY_SNAPSHOT: str(history.snapshot_id)})
        for one in (lake, history):
            older = _older(one)
            if older:
                expire(one, older)
    return found


@contextmanager
def _told_what_next(where: str) -> Iterator[None]:
    """Write; a fault says that what is done stays, and that running again does the rest."""
    try:
        with reaching(where):
            yield
    except CommitConflict:
        hint = f"stop the compactor, and {_AGAIN}"
        raise FatalFault(f"another writer committed meanwhile; {_STAYS}", where=where, hint=hint) from None
    except CdcError as fault:
        kind = TransientFault if isinstance(fault, TransientFault) else FatalFault
        hint = f"{fault.hint}; then {_AGAIN}" if fault.hint else _AGAIN
        raise kind(f"{fault.what}; {_STAYS}", where=fault.where, hint=hint) from fault


def _both(catalog: Catalog, namespace: str, table: str) -> tuple[LakeTable, LakeTable]:
    return _load(catalog, (namespace, table)), _load(catalog, (namespace, f"{table}_history"))


def _load(catalog: Catalog, identifier: tuple[str, str]) -> LakeTable:
    try:
        return LakeTable(catalog, identifier, catalog.load_table(identifier))
    except NoSuchTableError:
        hint = "has the compactor run with this contract?"
        raise FatalFault("the table is not in the catalog", where=".".join(identifier), hint=hint) from None


def _known(lake: LakeTable, history: LakeTable, key: Mapping[str, object]) -> Known:
    in_table, in_history = list(_knowing(lake, key)), list(_knowing(history, key))
    found = [*in_table, *in_history]
    return Known(
        sum(int(theirs.sum()) for _, theirs in found),
        len(found),
        any(bool(np.delete(theirs, file.deleted).any()) for file, theirs in in_table),
        sum(bool(_has_key(one, path, key).any()) for one in (lake, history) for path in _older_files(one)),
    )


def _without(lake: LakeTable, key: Mapping[str, object]) -> None:
    """Write the files that have rows of a key anew without them, and without other dead rows; a commit for each."""
    for file, theirs in _knowing(lake, key):
        kept = ~theirs
        kept[file.deleted] = False
        rows = lake.read(file.path, lake.arrow_schema.names)
        left = rows.filter(pa.array(kept)).combine_chunks() if kept.any() else None
        # For the compactor this is a move of rows: no change was made that it would have to look at.
        commit(lake, Changes(left, dropped=frozenset({file.path}), is_rewrite=True))


def _knowing(lake: LakeTable, key: Mapping[str, object]) -> Iterator[tuple[LiveFile, np.ndarray]]:
    """The files that have rows of a key, dead or alive, and which rows these are."""
    for file in lake.live_files():
        theirs = _has_key(lake, file.path, key)
        if theirs.any():
            yield file, theirs


def _older(lake: LakeTable) -> list[int]:
    """The snapshots that are not the current one."""
    return [one.snapshot_id for one in lake.table.metadata.snapshots if one.snapshot_id != lake.snapshot_id]


def _older_files(lake: LakeTable) -> set[str]:
    """The data files that only older snapshots name."""
    read = {manifest.manifest_path for manifest in lake.manifests()}
    present = {entry.data_file.file_path for entry in lake.entries(ManifestContent.DATA)}
    older: set[str] = set()
    for snapshot in lake.table.metadata.snapshots:
        for manifest in snapshot.manifests(lake.table.io):
            if manifest.content == ManifestContent.DATA and manifest.manifest_path not in read:
                read.add(manifest.manifest_path)
                entries = manifest.fetch_manifest_entry(lake.table.io, discard_deleted=True)
                older.update(entry.data_file.file_path for entry in entries)
    return older - present


def _has_key(lake: LakeTable, path: str, key: Mapping[str, object]) -> np.ndarray:
    """Which rows of a file have a key."""
    rows = lake.read(path, list(key))
    equal = [
        pc.fill_null(pc.equal(rows[name], pa.scalar(value, rows[name].type)), False) for name, value in key.items()
    ]
    return np.array(reduce(pc.and_, equal).to_numpy())
