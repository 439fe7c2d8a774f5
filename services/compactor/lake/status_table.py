"""The Iceberg table `cdc_status`: one row a table in one small file, which every refresh replaces.

Its old snapshots are expired in the same commit, and their files deleted once that has landed: only files below the
table's own location, that an expired snapshot names and no kept one. A crash in between leaves a few small files that
nothing names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.manifest import ManifestContent
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.types import LongType, NestedField, StringType, TimestamptzType

from compactor.lake.commit import Changes, commit
from compactor.lake.references import References, named_by
from compactor.lake.storage import storage_of
from compactor.lake.table import LakeTable
from compactor.statement import Statement

NAME = "cdc_status"
KEPT = timedelta(minutes=15)
"""How long a snapshot stays, for readers that began with it."""
_PROPERTIES = {
    "format-version": "2",
    "write.parquet.compression-codec": "zstd",
    "write.metadata.previous-versions-max": "20",
}
# No lists, maps or reserved words: Athena, Redshift Spectrum and every other engine read this as it is.
_SCHEMA = Schema(
    NestedField(1, "table_name", StringType(), required=True, doc="the lake table that the row speaks of"),
    NestedField(2, "refreshed_at", TimestamptzType(), required=True, doc="when the row was true, by our clock"),
    NestedField(3, "valid_through", TimestamptzType(), doc="all committed at the source until then is in the table"),
    NestedField(4, "source_lsn", LongType(), doc="the log sequence number that goes with valid_through"),
    NestedField(5, "row_count", LongType(), required=True, doc="rows of the table"),
    NestedField(6, "held_columns", StringType(), required=True, doc="JSON list: arrive, but stand in no contract"),
    NestedField(7, "held_shards", StringType(), required=True, doc="JSON list: wait for a change of another shard"),
    NestedField(8, "set_aside", StringType(), required=True, doc="JSON: column, reason, changes it ever kept out"),
    NestedField(9, "quarantined", LongType(), required=True, doc="records that were ever set aside"),
    NestedField(10, "quarantined_by_reason", StringType(), required=True, doc="JSON: the same by reason"),
    NestedField(11, "last_proof_at", TimestamptzType(), doc="when the table was last found equal to the source"),
)


class StatusTable:
    """The table `cdc_status` of a namespace, made where it is missing."""

    def __init__(self, catalog: Catalog, namespace: str) -> None:
        identifier = (namespace, NAME)
        self._lake = LakeTable(catalog, identifier, _open(catalog, identifier))
        self._references = References()
        self._storage = storage_of(self._lake.table.location(), self._lake.table.io.properties)

    def read(self) -> dict[str, Statement]:
        """The statements that stand, by table."""
        rows = self._lake.table.scan().to_arrow().select(_SCHEMA.column_names).to_pylist()
        return {row["table_name"]: Statement(**{name: _in_utc(value) for name, value in row.items()}) for row in rows}

    def replace(self, statements: Mapping[str, Statement], now: datetime) -> None:
        """Let these statements stand, in one commit; what another writer stated since the last load is a conflict.

        Raises:
            CommitConflict: another writer committed; open the table anew.
            TransientFault: whether it landed cannot be told now.
        """
        rows = [asdict(told) for _, told in sorted(statements.items())]
        replaced = frozenset(entry.data_file.file_path for entry in self._lake.entries(ManifestContent.DATA))
        before = self._lake.table.metadata
        expired = _expired(before, now)
        io, location = self._lake.table.io, self._lake.table.location()
        self._references.learn(io, before.snapshots)
        named = named_by(before, self._lake.table.metadata_location)
        changes = Changes(pa.Table.from_pylist(rows, self._lake.arrow_schema), dropped=replaced, expired=expired)
        commit(self._lake, changes)
        after = self._lake.table.metadata
        self._references.learn(io, after.snapshots)
        needed = self._references.of(after.snapshots) | named_by(after, self._lake.table.metadata_location)
        unneeded = (self._references.of(expired) | named) - needed
        self._references.forget({snapshot.snapshot_id for snapshot in after.snapshots})
        self._storage.delete([path for path in unneeded if path.startswith(f"{location}/")])


def _lineage(metadata: TableMetadata) -> tuple[Snapshot, ...]:
    """The current snapshot and its ancestors, newest first."""
    found: list[Snapshot] = []
    current = metadata.current_snapshot()
    while current is not None:
        found.append(current)
        parent = current.parent_snapshot_id
        current = metadata.snapshot_by_id(parent) if parent is not None else None
    return tuple(found)


def _expired(metadata: TableMetadata, now: datetime) -> tuple[Snapshot, ...]:
    """The snapshots to expire; none where another writer left branches or tags, whose files would be needed."""
    lineage = _lineage(metadata)
    if len(lineage) != len(metadata.snapshots) or len(metadata.refs) > 1:
        return ()
    oldest = (now - KEPT).timestamp() * 1000
    return tuple(snapshot for snapshot in lineage[1:] if snapshot.timestamp_ms < oldest)


def _open(catalog: Catalog, identifier: tuple[str, str]) -> Table:
    try:
        return catalog.load_table(identifier)
    except NoSuchTableError:
        return catalog.create_table_if_not_exists(identifier, _SCHEMA, properties=_PROPERTIES)


def _in_utc(value: Any) -> Any:
    return value.astimezone(UTC) if isinstance(value, datetime) else value
