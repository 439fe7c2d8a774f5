"""Commit to a lake table: one snapshot with new rows, consolidated position deletes and properties, or nothing.

The snapshot is built beside pyiceberg and given to `catalog.commit_table`. Three rules keep a table safe: a lost answer
is settled by looking for our own snapshot; no file is ever deleted here; and a head that moved is a conflict, for the
caller to plan anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from pyiceberg.manifest import DataFile, ManifestFile
from pyiceberg.table import Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.refs import MAIN_BRANCH, SnapshotRefType
from pyiceberg.table.update import (
    AddSnapshotUpdate,
    RemoveSnapshotsUpdate,
    SetPropertiesUpdate,
    SetSnapshotRefUpdate,
    TableUpdate,
)

from compactor.lake.build import Build, Changes
from compactor.lake.landing import requirements, until_landed, with_schema
from compactor.lake.table import LakeTable

__all__ = [
    "Changes",
    "Committed",
    "Written",
    "commit",
    "commit_properties",
    "commit_schema",
    "expire",
    "land",
    "write",
]


NOTHING_MORE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Committed:
    """What a commit made: its snapshot, and the added files as (path, rows), in the order of the rows given."""

    snapshot_id: int
    added: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Written:
    """The files of a commit that is still to land, and the metadata of the table that they were written for."""

    base: Table
    metadata: TableMetadata
    changes: Changes
    build: Build
    added: Sequence[DataFile]
    manifests: list[ManifestFile]
    schema_updates: tuple[TableUpdate, ...]


def write(lake: LakeTable, changes: Changes) -> Written:
    """Write the files of a commit against the loaded snapshot; no reader sees them before they have landed."""
    table = lake.table
    metadata, schema_updates = with_schema(table.metadata, changes.schema, is_hidden=changes.is_hidden)
    build = Build(lake, metadata, table.metadata.new_snapshot_id())
    added = build.add_rows(changes.rows, is_rewrite=changes.is_rewrite)
    return Written(table, metadata, changes, build, added, build.manifests(added, changes), schema_updates)


def land(
    lake: LakeTable,
    written: Written,
    properties: Mapping[str, str] = NOTHING_MORE,
    sleep: Callable[[float], None] = time.sleep,
) -> Committed:
    """Commit what was written, with more properties; afterwards `lake` is at the new snapshot.

    Raises:
        CommitConflict: another writer moved the head; nothing of ours is in the table.
        TransientFault: whether it landed cannot be told now; load the table and look before trying again.
    """
    base, changes, snapshot_id = written.base.metadata, written.changes, written.build.snapshot_id
    seen = base if changes.is_hidden else written.metadata
    snapshot = written.build.snapshot(
        base.current_snapshot(), written.manifests, seen.current_schema_id, is_rewrite=changes.is_rewrite
    )
    updates: tuple[TableUpdate, ...] = (
        *written.schema_updates,
        AddSnapshotUpdate(snapshot=snapshot),
        SetSnapshotRefUpdate(
            ref_name=MAIN_BRANCH,
            type=SnapshotRefType.BRANCH,
            snapshot_id=snapshot_id,
            max_ref_age_ms=None,
            max_snapshot_age_ms=None,
            min_snapshots_to_keep=None,
        ),
        SetPropertiesUpdate(updates={**changes.properties, **properties}),
    )
    if changes.expired:
        updates += (RemoveSnapshotsUpdate(snapshot_ids=[snapshot.snapshot_id for snapshot in changes.expired]),)
    until_landed(
        lake,
        base,
        lambda: lake.catalog.commit_table(written.base, requirements(base), updates),
        lambda: any(snapshot.snapshot_id == snapshot_id for snapshot in lake.table.metadata.snapshots),
        snapshot_id,
        sleep,
    )
    return Committed(snapshot_id, tuple((file.file_path, file.record_count) for file in written.added))


def commit(lake: LakeTable, changes: Changes, sleep: Callable[[float], None] = time.sleep) -> Committed:
    """Write and land at once. Raises as `land` does."""
    return land(lake, write(lake, changes), sleep=sleep)


def commit_schema(lake: LakeTable, changes: Changes, sleep: Callable[[float], None] = time.sleep) -> None:
    """Change the schema, with a snapshot of no change where there is one: some readers take a snapshot's own schema.

    Raises as `commit` does.
    """
    if lake.snapshot_id is not None:
        commit(lake, changes, sleep)
        return
    table = lake.table
    metadata, schema_updates = with_schema(table.metadata, changes.schema, is_hidden=changes.is_hidden)
    updates = (*schema_updates, SetPropertiesUpdate(updates=dict(changes.properties)))
    schema = metadata.schema()
    until_landed(
        lake,
        table.metadata,
        lambda: lake.catalog.commit_table(table, requirements(table.metadata), updates),
        lambda: schema in (lake.table.metadata.schemas if changes.is_hidden else [lake.table.schema()]),
        None,
        sleep,
    )


def commit_properties(
    lake: LakeTable, properties: Mapping[str, str], sleep: Callable[[float], None] = time.sleep
) -> None:
    """Set properties where no row changes: no snapshot, one metadata file. Raises as `commit` does."""
    table = lake.table
    updates = (SetPropertiesUpdate(updates=dict(properties)),)
    until_landed(
        lake,
        table.metadata,
        lambda: lake.catalog.commit_table(table, requirements(table.metadata), updates),
        lambda: properties.items() <= lake.properties.items(),
        lake.snapshot_id,
        sleep,
    )


def expire(lake: LakeTable, snapshot_ids: Collection[int], sleep: Callable[[float], None] = time.sleep) -> None:
    """Let the table forget some snapshots; their files stay for the caller to delete. Raises as `commit` does."""
    table = lake.table
    updates = (RemoveSnapshotsUpdate(snapshot_ids=list(snapshot_ids)),)
    until_landed(
        lake,
        table.metadata,
        lambda: lake.catalog.commit_table(table, requirements(table.metadata), updates),
        lambda: not any(snapshot.snapshot_id in snapshot_ids for snapshot in lake.table.metadata.snapshots),
        lake.snapshot_id,
        sleep,
    )
