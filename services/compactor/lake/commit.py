"""Commit to a lake table: one snapshot with new rows, consolidated position deletes and properties, or nothing.

pyiceberg 0.12 cannot write position deletes, so the snapshot is built here and given to `catalog.commit_table`. Three
rules keep a table safe: a lost answer is settled by looking for our own snapshot; no file is ever deleted here; and a
head that moved is a conflict, for the caller to plan anew.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import write_file
from pyiceberg.manifest import (
    DataFile,
    DataFileContent,
    FileFormat,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestFile,
    ManifestWriterV2,
    write_manifest_list,
)
from pyiceberg.partitioning import PartitionFieldValue, PartitionKey
from pyiceberg.schema import Schema
from pyiceberg.table import WriteTask
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.refs import MAIN_BRANCH, SnapshotRefType
from pyiceberg.table.snapshots import Operation, Snapshot, SnapshotSummaryCollector, Summary, update_snapshot_summaries
from pyiceberg.table.update import (
    AddSnapshotUpdate,
    RemoveSnapshotsUpdate,
    SetPropertiesUpdate,
    SetSnapshotRefUpdate,
    TableUpdate,
)
from pyiceberg.typedef import Record

from compactor.index import Positions
from compactor.lake.landing import requirements, until_landed, with_schema
from compactor.lake.table import FILE_PATH_ID, LakeTable, data_file_of

_CODEC: Final = "deflate"
_POS_ID = 2147483545
"""The field id that the Iceberg spec reserves for the position in position delete files."""
_DELETE_SCHEMA = pa.schema(
    [
        pa.field("file_path", pa.string(), nullable=False, metadata={b"PARQUET:field_id": str(FILE_PATH_ID).encode()}),
        pa.field("pos", pa.int64(), nullable=False, metadata={b"PARQUET:field_id": str(_POS_ID).encode()}),
    ]
)


@dataclass(frozen=True, slots=True)
class Changes:
    """What one commit does: rows to add, dead positions by data file (all of them, sorted), data files without a live
    row to drop, properties to set, and old snapshots that are no longer to be known.

    `schema` is what the rows are written in where that is not the table's own, and what the table has from then on;
    unless `is_hidden`: then readers see nothing of columns that the table's own does not have.
    """

    rows: pa.Table | None = None
    dead: Mapping[str, Positions] = field(default_factory=dict)
    dropped: frozenset[str] = frozenset()
    properties: Mapping[str, str] = field(default_factory=dict)
    schema: Schema | None = None
    is_hidden: bool = False
    expired: Sequence[Snapshot] = ()


@dataclass(frozen=True, slots=True)
class Committed:
    """What a commit made: its snapshot, and the added files as (path, rows), in the order of the rows given."""

    snapshot_id: int
    added: tuple[tuple[str, int], ...]


class _DeleteManifestWriter(ManifestWriterV2):
    """A manifest of delete files; pyiceberg writes only manifests of data files."""

    def content(self) -> ManifestContent:
        return ManifestContent.DELETES

    @property
    def _meta(self) -> dict[str, str]:
        return {**super()._meta, "content": "deletes"}


def commit(lake: LakeTable, changes: Changes, sleep: Callable[[float], None] = time.sleep) -> Committed:
    """Commit against the loaded snapshot; afterwards `lake` is at the new one.

    Raises:
        CommitConflict: another writer moved the head; nothing of ours is in the table.
        TransientFault: whether it landed cannot be told now; load the table and look before trying again.
    """
    table = lake.table
    snapshot_id = table.metadata.new_snapshot_id()
    parent = table.metadata.current_snapshot()
    metadata, schema_updates = with_schema(table.metadata, changes.schema, is_hidden=changes.is_hidden)
    build = _Build(lake, metadata, snapshot_id)
    added = build.add_rows(changes.rows)
    manifests = build.manifests(added, changes)
    seen = table.metadata if changes.is_hidden else metadata
    updates: tuple[TableUpdate, ...] = (
        *schema_updates,
        AddSnapshotUpdate(snapshot=build.snapshot(parent, manifests, seen.current_schema_id)),
        SetSnapshotRefUpdate(
            ref_name=MAIN_BRANCH,
            type=SnapshotRefType.BRANCH,
            snapshot_id=snapshot_id,
            max_ref_age_ms=None,
            max_snapshot_age_ms=None,
            min_snapshots_to_keep=None,
        ),
        SetPropertiesUpdate(updates=dict(changes.properties)),
    )
    if changes.expired:
        updates += (RemoveSnapshotsUpdate(snapshot_ids=[snapshot.snapshot_id for snapshot in changes.expired]),)
    until_landed(
        lake,
        lambda: lake.catalog.commit_table(table, requirements(table.metadata), updates),
        lambda: any(snapshot.snapshot_id == snapshot_id for snapshot in lake.table.metadata.snapshots),
        snapshot_id,
        sleep,
    )
    return Committed(snapshot_id, tuple((file.file_path, file.record_count) for file in added))


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
        lambda: lake.catalog.commit_table(table, requirements(table.metadata), updates),
        lambda: properties.items() <= lake.properties.items(),
        lake.snapshot_id,
        sleep,
    )


class _Build:
    """One snapshot in the making: writes its data files, delete files, manifests and manifest list."""

    def __init__(self, lake: LakeTable, metadata: TableMetadata, snapshot_id: int) -> None:
        self._lake = lake
        self._metadata = metadata
        self._io = lake.table.io
        self._snapshot_id = snapshot_id
        self._uuid = uuid.uuid4()
        self._files = 0
        self._summary = SnapshotSummaryCollector()

    def add_rows(self, rows: pa.Table | None) -> list[DataFile]:
        """Write the new rows, a file for each partition, and count them in."""
        if rows is None or rows.num_rows == 0:
            return []
        spec, schema = self._metadata.spec(), self._metadata.schema()
        tasks = [
            WriteTask(self._uuid, number, schema, part.combine_chunks().to_batches(), partition_key=key)
            for number, (key, part) in enumerate(_partitions(rows, self._lake))
        ]
        files = list(write_file(self._io, self._metadata, iter(tasks)))
        for file in files:
            file.spec_id = spec.spec_id  # write_file drops it
            self._summary.add_file(file, schema, spec)
        return files

    def manifests(self, added: list[DataFile], changes: Changes) -> list[ManifestFile]:
        """The manifests of the new snapshot: what stays as it is, what is rewritten, what is new."""
        present = self._lake.manifests()
        data = [manifest for manifest in present if manifest.content == ManifestContent.DATA]
        kept = self._without_dropped(data, changes.dropped) if changes.dropped else data
        new = (
            [self._write_manifest(ManifestWriterV2, [(ManifestEntryStatus.ADDED, f, None) for f in added])]
            if added
            else []
        )
        if not changes.dead and not changes.dropped:
            return [*new, *kept, *(manifest for manifest in present if manifest.content == ManifestContent.DELETES)]
        return [*new, *kept, *self._deletes(changes)]

    def snapshot(self, parent: Snapshot | None, manifests: list[ManifestFile], schema_id: int) -> Snapshot:
        """Write the manifest list and describe the snapshot."""
        sequence_number = self._metadata.next_sequence_number()
        path = self._path(f"snap-{self._snapshot_id}-0-{self._uuid}.avro")
        with write_manifest_list(
            2,
            self._io.new_output(path),
            self._snapshot_id,
            parent.snapshot_id if parent else None,
            sequence_number,
            _CODEC,
        ) as writer:
            writer.add_manifests(manifests)
        counted = self._summary.build()
        only_adds = not any(
            name.startswith(("removed", "deleted", "added-delete", "added-position")) for name in counted
        )
        summary = update_snapshot_summaries(
            Summary(Operation.APPEND if only_adds else Operation.OVERWRITE, **counted),
            parent.summary.additional_properties if parent and parent.summary else None,
        )
        return Snapshot(
            snapshot_id=self._snapshot_id,
            parent_snapshot_id=parent.snapshot_id if parent else None,
            sequence_number=sequence_number,
            # Never before the parent, even when this machine's clock stepped back.
            timestamp_ms=max(int(time.time() * 1000), self._metadata.last_updated_ms + 1),
            manifest_list=path,
            summary=summary,
            schema_id=schema_id,
        )

    def _without_dropped(self, manifests: list[ManifestFile], dropped: frozenset[str]) -> list[ManifestFile]:
        """Data manifests in which the dropped files are marked deleted."""
        kept: list[ManifestFile] = []
        for manifest in manifests:
            entries = manifest.fetch_manifest_entry(self._io, discard_deleted=True)
            if not entries:
                continue
            if not any(entry.data_file.file_path in dropped for entry in entries):
                kept.append(manifest)
                continue
            kept.append(self._rewrite(ManifestWriterV2, entries, dropped))
        return kept

    def _deletes(self, changes: Changes) -> list[ManifestFile]:
        """One manifest with a single delete file for each data file that has dead rows: readers want no more."""
        entries = list(self._lake.entries(ManifestContent.DELETES))
        replaced = changes.dead.keys() | changes.dropped
        gone = frozenset(entry.data_file.file_path for entry in entries if data_file_of(entry.data_file) in replaced)
        new = [
            self._write_deletes(path, dead)
            for path, dead in sorted(changes.dead.items())
            if path not in changes.dropped
        ]
        if not entries and not new:
            return []
        return [self._rewrite(_DeleteManifestWriter, entries, gone, new)]

    def _rewrite(
        self,
        writer: type[ManifestWriterV2],
        entries: list[ManifestEntry],
        gone: frozenset[str],
        new: list[DataFile] | None = None,
    ) -> ManifestFile:
        marked: list[tuple[ManifestEntryStatus, DataFile, ManifestEntry | None]] = []
        for entry in entries:
            if entry.data_file.file_path in gone:
                self._summary.remove_file(entry.data_file, self._metadata.schema(), self._metadata.spec())
                marked.append((ManifestEntryStatus.DELETED, entry.data_file, entry))
            else:
                marked.append((ManifestEntryStatus.EXISTING, entry.data_file, entry))
        marked += [(ManifestEntryStatus.ADDED, file, None) for file in new or []]
        return self._write_manifest(writer, marked)

    def _write_manifest(
        self,
        kind: type[ManifestWriterV2],
        entries: list[tuple[ManifestEntryStatus, DataFile, ManifestEntry | None]],
    ) -> ManifestFile:
        self._files += 1
        output = self._io.new_output(self._path(f"{self._uuid}-m{self._files}.avro"))
        spec, schema = self._metadata.spec(), self._metadata.schema()
        with kind(spec, schema, output, self._snapshot_id, _CODEC) as writer:
            for status, file, entry in entries:
                if entry is None:
                    writer.add(ManifestEntry.from_args(status=status, snapshot_id=self._snapshot_id, data_file=file))
                elif status == ManifestEntryStatus.DELETED:
                    writer.delete(entry)
                else:
                    writer.existing(entry)
        return writer.to_manifest_file()

    def _write_deletes(self, path: str, dead: Positions) -> DataFile:
        """A position delete file for one data file; its bounds name that file, since v2 has no field to refer to it."""
        table = pa.table(
            [pa.array(np.full(len(dead), path), pa.string()), pa.array(dead, pa.int64())], schema=_DELETE_SCHEMA
        )
        self._files += 1
        target = self._lake.table.location_provider().new_data_location(f"{self._uuid}-{self._files}-deletes.parquet")
        output = self._io.new_output(target)
        with output.create(overwrite=False) as stream:
            pq.write_table(table, stream, compression="zstd", use_dictionary=["file_path"])
        bound_pos = [int(value).to_bytes(8, "little", signed=True) for value in (dead[0], dead[-1])]
        file = DataFile.from_args(
            content=DataFileContent.POSITION_DELETES,
            file_path=target,
            file_format=FileFormat.PARQUET,
            partition=Record(),
            record_count=len(dead),
            file_size_in_bytes=len(output),
            lower_bounds={FILE_PATH_ID: path.encode(), _POS_ID: bound_pos[0]},
            upper_bounds={FILE_PATH_ID: path.encode(), _POS_ID: bound_pos[1]},
        )
        file.spec_id = self._metadata.default_spec_id
        self._summary.add_file(file, self._metadata.schema(), self._metadata.spec())
        return file

    def _path(self, name: str) -> str:
        return self._lake.table.location_provider().new_metadata_location(name)


def _partitions(rows: pa.Table, lake: LakeTable) -> list[tuple[PartitionKey | None, pa.Table]]:
    """The rows by partition; only the day of a time column is ever partitioned by."""
    spec, schema = lake.table.metadata.spec(), lake.table.metadata.schema()
    if spec.is_unpartitioned():
        return [(None, rows)]
    (partition,) = spec.fields
    times = rows[schema.find_column_name(partition.source_id)].cast(pa.int64()).to_numpy()
    days = times // 86_400_000_000
    parts: list[tuple[PartitionKey | None, pa.Table]] = []
    for day in np.unique(days):
        key = PartitionKey([PartitionFieldValue(partition, int(day))], spec, schema)
        parts.append((key, rows.filter(pa.array(days == day))))
    return parts
