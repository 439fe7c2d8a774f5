"""References: which files the snapshots of a table name. What a snapshot names never changes, so it is read once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import islice

from pyiceberg.io import FileIO
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Snapshot


class References:
    """The files of the snapshots of one table, learned as they come."""

    def __init__(self) -> None:
        self._manifests: dict[int, frozenset[str]] = {}
        self._files: dict[str, frozenset[str]] = {}

    def learn(self, io: FileIO, snapshots: Sequence[Snapshot], count_max: int | None = None) -> bool:
        """Read what some snapshots name, at most so many that are new; whether all of them are known now."""
        new = [snapshot for snapshot in snapshots if snapshot.snapshot_id not in self._manifests]
        for snapshot in islice(new, count_max):
            manifests = snapshot.manifests(io)
            for manifest in manifests:
                if manifest.manifest_path not in self._files:
                    entries = manifest.fetch_manifest_entry(io, discard_deleted=True)
                    self._files[manifest.manifest_path] = frozenset(entry.data_file.file_path for entry in entries)
            self._manifests[snapshot.snapshot_id] = frozenset(manifest.manifest_path for manifest in manifests)
        return count_max is None or len(new) <= count_max

    def forget(self, kept: Collection[int]) -> None:
        """Forget all but some snapshots."""
        self._manifests = {number: paths for number, paths in self._manifests.items() if number in kept}
        used = frozenset[str]().union(*self._manifests.values())
        self._files = {path: files for path, files in self._files.items() if path in used}

    def of(self, snapshots: Iterable[Snapshot]) -> set[str]:
        """The files that some snapshots name: manifest lists, manifests, data and delete files.

        Raises:
            KeyError: when one of them was not learned: what it names must not be taken for nothing.
        """
        lists: set[str] = set()
        manifests: set[str] = set()
        for snapshot in snapshots:
            lists.add(snapshot.manifest_list)
            manifests |= self._manifests[snapshot.snapshot_id]
        return lists.union(manifests, *(self._files[path] for path in manifests))


def named_by(metadata: TableMetadata, location: str) -> set[str]:
    """The files that a table's metadata itself names, its own older versions among them; not those of snapshots."""
    statistics = {file.statistics_path for file in (*metadata.statistics, *metadata.partition_statistics)}
    return {location, *(log.metadata_file for log in metadata.metadata_log), *statistics}
