"""Upkeep: takes the steps of maintenance on one lake table. No step changes a row of it.

What a table names is never deleted: a file goes only after the commit is in the table by which nothing names it any
more, or, when no snapshot and no metadata names it, once it is older than any commit in flight could be. A step that is
cut off leaves at most files that nothing names; the search for orphans finds them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
from botocore.exceptions import BotoCoreError, ClientError
from pyiceberg.manifest import DataFile, ManifestContent
from pyiceberg.table.metadata import TableMetadata

from cdc.errors import CdcError
from cdc.telemetry import get_log
from compactor.index import NO_POSITIONS, Positions
from compactor.lake.commit import Changes, commit, commit_properties, expire
from compactor.lake.landing import CommitConflict
from compactor.lake.references import References, named_by
from compactor.lake.storage import Storage, Stored, storage_of
from compactor.lake.table import LakeTable, data_file_of, partition_of
from compactor.maintenance import File, Kind, Limits, Snapshot, Step, TableState

ORPHANS_REMOVED_AT = "cdc.orphans-removed-at"
"""The table property with the time (ISO 8601) at which orphans were last removed."""

_LOG = get_log(__name__)
_NOT_REACHED = (OSError, BotoCoreError, ClientError, CdcError)


@dataclass(frozen=True, slots=True)
class Moved:
    """Rows that lie elsewhere now, in the order in which they lie in the new files (path, rows), and the old files."""

    rows: pa.Table
    added: tuple[tuple[str, int], ...]
    gone: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Done:
    """What a step did: rows that it moved, and how many files it deleted."""

    moved: Moved | None = None
    deleted: int = 0


class Upkeep:
    """Maintenance of one table, whose rows are kept in the order of some columns within each file."""

    def __init__(self, lake: LakeTable, order: Sequence[str], limits: Limits, storage: Storage | None = None) -> None:
        self._lake = lake
        self._order = [(name, "ascending") for name in order]
        self._limits = limits
        self._storage = storage
        self._references = References()
        self._named_before: frozenset[str] = frozenset()
        self._location = ""
        self._listed_upto = ""
        self._gave_up_at: datetime | None = None

    def state(self, needed: Collection[int] = ()) -> TableState:
        """What a plan must know of the loaded table; `needed` are snapshots that something else names."""
        metadata = self._lake.table.metadata
        dead = {
            data_file_of(entry.data_file): entry.data_file.record_count
            for entry in self._lake.entries(ManifestContent.DELETES)
        }
        manifests = [m for m in self._lake.manifests() if m.content == ManifestContent.DATA]
        files = (entry.data_file for manifest in manifests for entry in self._lake.entries_of(manifest))
        pinned = {ref.snapshot_id for ref in metadata.refs.values()} | {*needed}
        removed_at = _parsed(metadata.properties.get(ORPHANS_REMOVED_AT))
        looked_at = [moment for moment in (removed_at, self._gave_up_at) if moment is not None]
        return TableState(
            files=[_file(file, dead.get(file.file_path, 0)) for file in files],
            manifests=[(m.manifest_path, len(self._lake.entries_of(m))) for m in manifests],
            snapshots=[
                Snapshot(s.snapshot_id, datetime.fromtimestamp(s.timestamp_ms / 1000, UTC), s.snapshot_id in pinned)
                for s in sorted(metadata.snapshots, key=lambda s: s.timestamp_ms)
            ],
            orphans_removed_at=max(looked_at, default=None),
        )

    def take(self, step: Step, dead: Callable[[str], Positions], now: datetime) -> Done:
        """Take a step; `dead` tells the deleted positions of a data file. Raises as `commit` does."""
        if step.kind == Kind.REWRITE:
            return Done(self._rewrite(step.paths, dead))
        if step.kind == Kind.MANIFESTS:
            commit(self._lake, Changes(merged=frozenset(step.paths), is_rewrite=True))
            return Done()
        if step.kind == Kind.EXPIRE:
            return Done(deleted=self._expire(step.snapshots))
        return Done(deleted=self._remove_orphans(now))

    def trim(self) -> int:
        """Delete the metadata files that fell out of the table's log since the last time; returns how many."""
        location = self._lake.table.metadata_location
        named = frozenset(self._named())
        # Where the table was set back to an older version, nobody knows yet what is still wanted.
        gone = self._named_before - named if self._location in named else frozenset()
        self._named_before, self._location = named, location
        return self._delete(gone)

    def _rewrite(self, paths: Sequence[str], dead: Callable[[str], Positions]) -> Moved:
        """Write the live rows of some files of one day as one file, in order."""
        stated = {file.path: file.dead for file in self.state().files}
        if any(stated.get(path) != len(dead(path)) for path in paths):
            raise CommitConflict("the index is not of the snapshot that is loaded", where=self._lake.name)
        schema = self._lake.arrow_schema
        parts = [self._live_rows(path, dead(path), schema) for path in paths]
        rows = pa.concat_tables(parts).sort_by(self._order).combine_chunks()
        committed = commit(self._lake, Changes(rows, dropped=frozenset(paths), is_rewrite=True))
        return Moved(rows, committed.added, tuple(paths))

    def _live_rows(self, path: str, dead: Positions, schema: pa.Schema) -> pa.Table:
        rows = self._lake.read(path, schema.names)
        if len(dead):
            rows = rows.take(pa.array(np.delete(np.arange(len(rows)), dead)))
        return rows.select(schema.names).cast(schema)

    def _expire(self, snapshot_ids: Sequence[int]) -> int:
        metadata = self._lake.table.metadata
        # What a start has to learn first comes in small steps too.
        if not self._references.learn(self._lake.table.io, metadata.snapshots, 2 * self._limits.snapshots_a_step):
            return 0
        expired = [snapshot for snapshot in metadata.snapshots if snapshot.snapshot_id in snapshot_ids]
        expire(self._lake, snapshot_ids)
        kept = self._lake.table.metadata.snapshots
        self._references.learn(self._lake.table.io, kept)
        unneeded = self._references.of(expired) - self._references.of(kept) - self._named()
        self._references.forget({snapshot.snapshot_id for snapshot in kept})
        return self._delete(unneeded)

    def _remove_orphans(self, now: datetime) -> int:
        """Look at one page of the files below the table; at the end of the last one the table remembers the time."""
        head = self._lake.snapshot_id
        self._lake.refresh()
        if self._lake.snapshot_id != head:
            raise CommitConflict("another writer has committed", where=self._lake.name)
        metadata = self._lake.table.metadata
        if not self._references.learn(self._lake.table.io, metadata.snapshots, 2 * self._limits.snapshots_a_step):
            return 0
        try:
            page = self._store().page(self._listed_upto)
        except _NOT_REACHED as error:
            _LOG.warning(
                "orphans were not looked for",
                table=self._lake.name,
                error_type=type(error).__name__,
                hint="the right to list the lake's bucket is needed; tried again in a day",
            )
            self._listed_upto, self._gave_up_at = "", now
            return 0
        if not page:
            self._listed_upto = ""
            commit_properties(self._lake, {ORPHANS_REMOVED_AT: now.isoformat()})
            return 0
        self._listed_upto = page[-1].path
        named = self._references.of(metadata.snapshots) | self._named()
        return self._delete(orphans(page, named, now - self._limits.orphan_age))

    def _named(self) -> set[str]:
        return named_by(self._lake.table.metadata, self._lake.table.metadata_location)

    def _store(self) -> Storage:
        if self._storage is None:
            self._storage = storage_of(self._lake.table.location(), self._lake.table.io.properties)
        return self._storage

    def _delete(self, paths: Collection[str]) -> int:
        """Delete files of this table; returns how many. What fails is left to the search for orphans."""
        mine = [path for path in paths if path.startswith(f"{self._lake.table.location().rstrip('/')}/")]
        if not mine:
            return 0
        try:
            failed = self._store().delete(mine)
        except _NOT_REACHED as error:
            self._tell_undeleted(len(mine), type(error).__name__)
            return 0
        if failed:
            self._tell_undeleted(failed, "refused")
        return len(mine) - failed

    def _tell_undeleted(self, files: int, why: str) -> None:
        _LOG.warning(
            "files were not deleted",
            table=self._lake.name,
            files=files,
            error_type=why,
            hint="nothing names them; the search for orphans tries again when they are some days old",
        )


def orphans(page: Sequence[Stored], named: Collection[str], before: datetime) -> list[str]:
    """Those of some files that nothing names, and that were written before a moment."""
    return [stored.path for stored in page if stored.written_at < before and stored.path not in named]


def history_needed(metadata: TableMetadata, merged: int | None) -> frozenset[int]:
    """The snapshots of a history without which could not be told what came after the one that the table was merged up
    to: that one, and all after it.
    """
    needed: set[int] = set()
    current = metadata.current_snapshot()
    while current is not None:
        needed.add(current.snapshot_id)
        if current.snapshot_id == merged or current.parent_snapshot_id is None:
            break
        current = metadata.snapshot_by_id(current.parent_snapshot_id)
    return frozenset(needed)


def no_dead(_path: str) -> Positions:
    """The deleted positions of a file in a table that is only appended to."""
    return NO_POSITIONS


def _parsed(moment: str | None) -> datetime | None:
    return datetime.fromisoformat(moment) if moment else None


def _file(file: DataFile, dead: int) -> File:
    return File(file.file_path, partition_of(file), file.record_count, dead, file.file_size_in_bytes)
