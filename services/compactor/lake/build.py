"""Build: one snapshot in the making; its data files, delete files, manifests and manifest list are written here.

pyiceberg 0.12 writes neither position deletes nor snapshots that replace files, so both are made from its parts.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
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
    data_file_with_partition,
    manifest_entry_schema_with_data_file,
    write_manifest_list,
)
from pyiceberg.partitioning import PartitionFieldValue, PartitionKey
from pyiceberg.schema import Schema
from pyiceberg.table import WriteTask
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Operation, Snapshot, SnapshotSummaryCollector, Summary, update_snapshot_summaries
from pyiceberg.typedef import Record, TableVersion
from pyiceberg.types import StructType

from compactor.index import Positions
from compactor.lake.table import FILE_PATH_ID, LakeTable, data_file_of, partition_of

_CODEC: Final = "deflate"
ENTRIES_MAX: Final = 1000
"""How many files a data manifest names at most where several are written as few."""
ROW_GROUP_ROWS: Final = 100_000
"""How many rows a row group has unless the table says otherwise: a row that is read back costs its whole row group."""
NEW_DICTIONARY_BYTES: Final = 128 * 1024
"""How large a column's dictionary grows in new rows before its values are written as they are.

Tokens, identities and free text differ in every row: to count out more of them takes a fifth longer and saves nothing.
Columns of some thousand values take more room so, until maintenance writes the rows anew, which goes by the table.
"""
_ROW_GROUP_LIMIT: Final = "write.parquet.row-group-limit"
_DICTIONARY_LIMIT: Final = "write.parquet.dict-size-bytes"
_POS_ID = 2147483545
"""The field id that the Iceberg spec reserves for the position in position delete files."""
_DELETE_SCHEMA = pa.schema(
    [
        pa.field(
            "file_path",
            pa.dictionary(pa.int32(), pa.string()),
            nullable=False,
            metadata={b"PARQUET:field_id": str(FILE_PATH_ID).encode()},
        ),
        pa.field("pos", pa.int64(), nullable=False, metadata={b"PARQUET:field_id": str(_POS_ID).encode()}),
    ]
)


@dataclass(frozen=True, slots=True)
class Changes:
    """What one commit does: rows to add, dead positions by data file (all of them, sorted), data files without a live
    row to drop, properties to set, and old snapshots that are no longer to be known.

    `schema` is what the rows are written in where that is not the table's own, and what the table has from then on;
    unless `is_hidden`: then readers see nothing of columns that the table's own does not have.

    `merged` are data manifests (paths) to be written as few. `is_rewrite` says that no row of the table changes: its
    rows only move to other files.
    """

    rows: pa.Table | None = None
    dead: Mapping[str, Positions] = field(default_factory=dict)
    dropped: frozenset[str] = frozenset()
    properties: Mapping[str, str] = field(default_factory=dict)
    schema: Schema | None = None
    is_hidden: bool = False
    expired: Sequence[Snapshot] = ()
    merged: frozenset[str] = frozenset()
    is_rewrite: bool = False


@lru_cache(maxsize=16)
def _entry_schema(partition_type: StructType, format_version: TableVersion) -> Schema:
    """The schema of a manifest's entries: a table's stays the same, and to make it takes longer than to write them."""
    data_file = data_file_with_partition(format_version=format_version, partition_type=partition_type)
    return manifest_entry_schema_with_data_file(format_version=format_version, data_file=data_file)


class _DataManifestWriter(ManifestWriterV2):
    """A manifest of data files."""

    def _with_partition(self, format_version: TableVersion) -> Schema:
        return _entry_schema(self._spec.partition_type(self._schema), format_version)


class _DeleteManifestWriter(_DataManifestWriter):
    """A manifest of delete files; pyiceberg writes only manifests of data files."""

    def content(self) -> ManifestContent:
        return ManifestContent.DELETES

    @property
    def _meta(self) -> dict[str, str]:
        return {**super()._meta, "content": "deletes"}


class Build:
    """One snapshot in the making: writes its data files, delete files, manifests and manifest list."""

    def __init__(self, lake: LakeTable, metadata: TableMetadata, snapshot_id: int) -> None:
        self._lake = lake
        self._metadata = metadata
        self._io = lake.table.io
        self.snapshot_id = snapshot_id
        self._uuid = uuid.uuid4()
        self._files = 0
        self._summary = SnapshotSummaryCollector()

    def add_rows(self, rows: pa.Table | None, *, is_rewrite: bool = False) -> list[DataFile]:
        """Write rows, a file for each partition, and count them in; `is_rewrite`: the table has them already."""
        if rows is None or rows.num_rows == 0:
            return []
        spec, schema = self._metadata.spec(), self._metadata.schema()
        tasks = [
            WriteTask(self._uuid, number, schema, part.combine_chunks().to_batches(), partition_key=key)
            for number, (key, part) in enumerate(_partitions(rows, self._lake))
        ]
        stated = {_ROW_GROUP_LIMIT: str(ROW_GROUP_ROWS)}
        if not is_rewrite:
            stated[_DICTIONARY_LIMIT] = str(NEW_DICTIONARY_BYTES)
        metadata = self._metadata.model_copy(update={"properties": stated | self._metadata.properties})
        files = list(write_file(self._io, metadata, iter(tasks)))
        for file in files:
            file.spec_id = spec.spec_id  # write_file drops it
            self._summary.add_file(file, schema, spec)
        return files

    def manifests(self, added: list[DataFile], changes: Changes) -> list[ManifestFile]:
        """The manifests of the new snapshot: what stays as it is, what is rewritten, what is new."""
        present = self._lake.manifests()
        data = [manifest for manifest in present if manifest.content == ManifestContent.DATA]
        kept = self._kept(data, changes) if changes.dropped or changes.merged else data
        new = (
            [self._write_manifest(_DataManifestWriter, [(ManifestEntryStatus.ADDED, f, None) for f in added])]
            if added
            else []
        )
        if not changes.dead and not changes.dropped:
            return [*new, *kept, *(manifest for manifest in present if manifest.content == ManifestContent.DELETES)]
        return [*new, *kept, *self._deletes(changes)]

    def snapshot(
        self, parent: Snapshot | None, manifests: list[ManifestFile], schema_id: int, *, is_rewrite: bool = False
    ) -> Snapshot:
        """Write the manifest list and describe the snapshot."""
        sequence_number = self._metadata.next_sequence_number()
        path = self._path(f"snap-{self.snapshot_id}-0-{self._uuid}.avro")
        with write_manifest_list(
            2,
            self._io.new_output(path),
            self.snapshot_id,
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
        if is_rewrite:  # pyiceberg counts up the totals of its own operations only
            summary = Summary(Operation.REPLACE, **summary.additional_properties)
        return Snapshot(
            snapshot_id=self.snapshot_id,
            parent_snapshot_id=parent.snapshot_id if parent else None,
            sequence_number=sequence_number,
            # Never before the parent, even when this machine's clock stepped back.
            timestamp_ms=max(int(time.time() * 1000), self._metadata.last_updated_ms + 1),
            manifest_list=path,
            summary=summary,
            schema_id=schema_id,
        )

    def _kept(self, manifests: list[ManifestFile], changes: Changes) -> list[ManifestFile]:
        """Data manifests in which the dropped files are marked deleted; those that change are written as few."""
        kept: list[ManifestFile] = []
        touched: list[ManifestEntry] = []
        for manifest in manifests:
            entries = self._lake.entries_of(manifest)
            is_touched = manifest.manifest_path in changes.merged or any(
                entry.data_file.file_path in changes.dropped for entry in entries
            )
            if is_touched:
                touched += entries
            elif entries:
                kept.append(manifest)
        # A reader that wants some partitions skips the manifests that have none of them.
        touched.sort(key=lambda entry: partition_of(entry.data_file) or 0)
        starts = range(0, len(touched), ENTRIES_MAX)
        parts = (touched[start : start + ENTRIES_MAX] for start in starts)
        return kept + [self._rewrite(_DataManifestWriter, part, changes.dropped) for part in parts]

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
        with kind(spec, schema, output, self.snapshot_id, _CODEC) as writer:
            for status, file, entry in entries:
                if entry is None:
                    writer.add(ManifestEntry.from_args(status=status, snapshot_id=self.snapshot_id, data_file=file))
                elif status == ManifestEntryStatus.DELETED:
                    writer.delete(entry)
                else:
                    writer.existing(entry)
        return writer.to_manifest_file()

    def _write_deletes(self, path: str, dead: Positions) -> DataFile:
        """A position delete file for one data file; its bounds name that file, since v2 has no field to refer to it."""
        # One path for all of them: told as a dictionary it is neither copied nor hashed for each.
        paths = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(dead), np.int32)), pa.array([path]))
        table = pa.table([paths, pa.array(dead, pa.int64())], schema=_DELETE_SCHEMA)
        self._files += 1
        target = self._lake.table.location_provider().new_data_location(f"{self._uuid}-{self._files}-deletes.parquet")
        output = self._io.new_output(target)
        with output.create(overwrite=False) as stream:
            pq.write_table(table, stream, compression="zstd", use_dictionary=["file_path"], store_schema=False)
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
    present = np.unique(days)
    for day in present:
        key = PartitionKey([PartitionFieldValue(partition, int(day))], spec, schema)
        parts.append((key, rows if len(present) == 1 else rows.filter(pa.array(days == day))))
    return parts
