"""A lake table as the merge needs it: its properties, its live rows by file and position, and rows read back."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.expressions import And, In
from pyiceberg.manifest import (
    DataFile,
    DataFileContent,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestFile,
)
from pyiceberg.table import CommitTableResponse, Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Operation

from cdc.errors import FatalFault
from compactor.index import NO_POSITIONS, Positions

FILE_PATH_ID = 2147483546
"""The field id that the Iceberg spec reserves for the path in position delete files."""
# pyiceberg makes predicates in __new__, where type checkers see the constructor of pydantic.
_is_in: Any = In
_both: Any = And
_LITERALS_MAX = 1000
"""Keys asked for in one scan; more literals make a scan's filter slower than the scan."""


@dataclass(frozen=True, slots=True)
class LiveFile:
    """A data file, how many rows it has, and which of them are deleted (sorted)."""

    path: str
    records: int
    deleted: Positions


class LakeTable:
    """One Iceberg table, at the snapshot that was current when it was last loaded, or that our last commit made."""

    def __init__(self, catalog: Catalog, identifier: tuple[str, str], table: Table) -> None:
        self.catalog = catalog
        self.identifier = identifier
        self.table = table
        self._entries: dict[str, list[ManifestEntry]] = {}
        self._manifests: tuple[int | None, list[ManifestFile]] = None, []

    def refresh(self) -> None:
        """Load the current metadata."""
        self.table = self.catalog.load_table(self.identifier)

    def take_answer(self, answer: CommitTableResponse) -> bool:
        """Take the metadata that a commit of ours has made, which saves loading it.

        False where the table must be loaded all the same: a REST catalog gives the keys to the files only then, and
        only for an hour.
        """
        if isinstance(self.catalog, RestCatalog):
            return False
        identifier = self.table.name()
        self.table = Table(identifier, answer.metadata, answer.metadata_location, self.table.io, self.catalog)
        return True

    @property
    def name(self) -> str:
        """Namespace and name, for people."""
        return ".".join(self.identifier)

    @property
    def properties(self) -> Mapping[str, str]:
        """The table's properties at the loaded snapshot."""
        return self.table.metadata.properties

    @property
    def snapshot_id(self) -> int | None:
        """The loaded snapshot; None while the table is empty."""
        return self.table.metadata.current_snapshot_id

    @property
    def arrow_schema(self) -> pa.Schema:
        """The table's schema in Arrow."""
        return self.table.schema().as_arrow()

    def manifests(self) -> list[ManifestFile]:
        """The manifests of the loaded snapshot."""
        snapshot_id, present = self._manifests
        if snapshot_id is None or snapshot_id != self.snapshot_id:
            snapshot = self.table.metadata.current_snapshot()
            present = snapshot.manifests(self.table.io) if snapshot else []
            self._manifests = self.snapshot_id, present
            paths = {manifest.manifest_path for manifest in present}
            self._entries = {path: entries for path, entries in self._entries.items() if path in paths}
        return present

    def entries_of(self, manifest: ManifestFile) -> list[ManifestEntry]:
        """The live entries of one manifest of the loaded snapshot; each is read once, since none ever changes."""
        known = self._entries.get(manifest.manifest_path)
        if known is None:
            known = manifest.fetch_manifest_entry(self.table.io, discard_deleted=True)
            self._entries[manifest.manifest_path] = known
        return known

    def entries(self, content: ManifestContent) -> Iterator[ManifestEntry]:
        """The live entries of all manifests of one content."""
        for manifest in self.manifests():
            if manifest.content == content:
                yield from self.entries_of(manifest)

    def live_files(self) -> list[LiveFile]:
        """Every data file with its deleted positions."""
        deleted: dict[str, list[Positions]] = {}
        for entry in self.entries(ManifestContent.DELETES):
            if entry.data_file.content != DataFileContent.POSITION_DELETES:
                raise FatalFault(
                    "the table holds equality deletes, which another engine wrote",
                    where=self.name,
                    hint="rewrite the table with that engine; two writers are one too many",
                )
            _assert_one_data_file(entry.data_file, self.name)
            rows = self.read_deletes(entry.data_file.file_path)
            paths = rows["file_path"].unify_dictionaries().combine_chunks()
            positions, codes = rows["pos"].to_numpy(), paths.indices.to_numpy()
            for code, path in enumerate(paths.dictionary.to_pylist()):
                deleted.setdefault(path, []).append(positions[codes == code])
        return [
            LiveFile(
                file.file_path,
                file.record_count,
                np.unique(np.concatenate(deleted[file.file_path])) if file.file_path in deleted else NO_POSITIONS,
            )
            for file in (entry.data_file for entry in self.entries(ManifestContent.DATA))
        ]

    def read(self, path: str, columns: Sequence[str], positions: Positions | None = None) -> pa.Table:
        """Columns of one data file as the table has them now: all rows, or those at some positions (sorted).

        They are found by their field ids, for a name may have been another column's when the file was written.
        """
        with self.table.io.new_input(path).open() as stream, pq.ParquetFile(stream) as file:
            present = {
                int(field.metadata[b"PARQUET:field_id"]): field.name for field in file.schema_arrow if field.metadata
            }
            schema, types = self.table.schema(), self.arrow_schema
            ids = {name: schema.find_field(name).field_id for name in columns}
            names = {name: present[ids[name]] for name in columns if ids[name] in present}
            rows = _read_rows(file, list(names.values()), positions)
            count = len(positions) if positions is not None else file.metadata.num_rows
            return pa.table(
                {
                    name: rows[names[name]].cast(types.field(name).type)
                    if name in names
                    else pa.nulls(count, types.field(name).type)
                    for name in columns
                }
            )

    def live_rows(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Columns of the live rows, file by file."""
        for file in self.live_files():
            rows = self.read(file.path, columns)
            yield rows.take(pa.array(np.delete(np.arange(file.records), file.deleted)))

    def read_deletes(self, path: str) -> pa.Table:
        """The rows of a position delete file."""
        with (
            self.table.io.new_input(path).open() as stream,
            pq.ParquetFile(stream, read_dictionary=["file_path"]) as file,
        ):
            return file.read(columns=["file_path", "pos"])

    def find(self, column: str, values: Sequence[Any], columns: Sequence[str] = ("*",)) -> list[dict[str, Any]]:
        """The live rows whose column has one of some values, one by one."""
        return list(self.find_rows(column, values, columns).to_pylist())

    def find_where(self, values: Mapping[str, Collection[Any]], columns: Sequence[str]) -> list[dict[str, Any]]:
        """The live rows each of whose named columns has one of its values, one by one."""
        wanted = reduce(_both, (_is_in(column, set(some)) for column, some in values.items()))
        return list(self.table.scan(row_filter=wanted, selected_fields=tuple(columns)).to_arrow().to_pylist())

    def find_rows(self, column: str, values: Sequence[Any], columns: Sequence[str] = ("*",)) -> pa.Table:
        """The live rows whose column has one of some values."""
        found: list[pa.Table] = []
        for start in range(0, max(len(values), 1), _LITERALS_MAX):
            wanted = _is_in(column, set(values[start : start + _LITERALS_MAX]))
            found.append(self.table.scan(row_filter=wanted, selected_fields=tuple(columns)).to_arrow())
        return pa.concat_tables(found, promote_options="permissive")

    def added_since(self, snapshot_id: int | None, columns: Sequence[str]) -> pa.Table:
        """The rows that were appended after a snapshot (None: all), read from the files that later snapshots added.

        Raises:
            FatalFault: when the snapshot is no ancestor of the loaded one, so that what followed it is unknown.
        """
        later = brought_since(self.table.metadata, snapshot_id)
        if later is None:
            raise FatalFault(
                "the history no longer knows the snapshot up to which the table was merged",
                where=self.name,
                hint="the table must be rebuilt from its history and from raw",
            )
        tables = [
            self.read(entry.data_file.file_path, columns)
            for entry in self.entries(ManifestContent.DATA)
            if (snapshot_id is None or entry.snapshot_id in later) and entry.status != ManifestEntryStatus.DELETED
        ]
        fields = self.arrow_schema
        empty = pa.schema([fields.field(column) for column in columns]).empty_table()
        return pa.concat_tables([empty, *tables], promote_options="permissive")


def brought_since(metadata: TableMetadata, snapshot_id: int | None) -> frozenset[int] | None:
    """The snapshots after one (None: all) that may have brought rows: those that only moved rows are left out.

    None when that snapshot is no ancestor of the current one.
    """
    brought: set[int] = set()
    current = metadata.current_snapshot()
    while current is not None and current.snapshot_id != snapshot_id:
        if current.summary is None or current.summary.operation != Operation.REPLACE:
            brought.add(current.snapshot_id)
        parent = current.parent_snapshot_id
        current = metadata.snapshot_by_id(parent) if parent is not None else None
    return None if current is None and snapshot_id is not None else frozenset(brought)


def partition_of(file: DataFile) -> int | None:
    """The day that a file of the history is of, counted from 1970; None in a table without partitions."""
    day: int | None = file.partition[0] if len(file.partition) else None
    return day


def _read_rows(file: pq.ParquetFile, columns: list[str], positions: Positions | None) -> pa.Table:
    """Rows of a file out of the row groups that hold them."""
    if positions is None:
        return file.read(columns=columns)
    starts = np.cumsum([0, *(file.metadata.row_group(i).num_rows for i in range(file.num_row_groups))])
    groups = np.unique(np.searchsorted(starts, positions, side="right") - 1)
    # Positions count rows of the file; in the rows read they are moved by the row groups left out.
    sizes = np.diff(starts)[groups]
    moved = starts[groups] - np.cumsum([0, *sizes[:-1]])
    which = np.searchsorted(groups, np.searchsorted(starts, positions, side="right") - 1)
    rows = file.read_row_groups(groups.tolist(), columns=columns)
    return rows.take(pa.array(positions - moved[which]))


def data_file_of(delete_file: DataFile) -> str | None:
    """The one data file that a delete file speaks of, by its bounds; None when it may speak of several."""
    lower = (delete_file.lower_bounds or {}).get(FILE_PATH_ID)
    upper = (delete_file.upper_bounds or {}).get(FILE_PATH_ID)
    return lower.decode() if lower is not None and lower == upper else None


def _assert_one_data_file(delete_file: DataFile, where: str) -> None:
    if data_file_of(delete_file) is None:
        raise FatalFault(
            "a delete file speaks of several data files, which another engine wrote",
            where=where,
            hint="let that engine rewrite the table (Athena: OPTIMIZE … REWRITE DATA); two writers are one too many",
        )
