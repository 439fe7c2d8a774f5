"""Rebuild's raw: the raw zone as of some offsets, only read; and whether it reaches back to the beginning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final

from cdc import raw
from cdc.epoch import Epochs
from cdc.errors import FatalFault
from cdc.objects import ObjectStore
from compactor.chain import Shard, parse_link, shards
from compactor.progress import Progress, ShardEvidence

_LINKS_MAX: Final = 1000


class RawAsOf:
    """A raw zone without the batches past some offsets (None: with all of them), and without those of some shards;
    nothing can be written to it.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.offsets: Mapping[str, int] | None = None
        self.left_out: frozenset[str] = frozenset()

    def get(self, path: str) -> bytes:
        """The content of an object."""
        return self._store.get(path)

    def list_after(self, prefix: str, after: str = "") -> Iterator[str]:
        """As the raw zone lists it, but for what is past the offsets."""
        return (path for path in self._store.list_after(prefix, after) if not self._is_past(path))

    def list_folders(self, prefix: str) -> Iterator[str]:
        """As the raw zone lists them."""
        return self._store.list_folders(prefix)

    def put_if_absent(self, path: str, body: bytes) -> bool:  # noqa: ARG002
        """Leave it to the compactor, which records epochs."""
        return False

    def put_new(self, path: str, body: bytes) -> None:  # noqa: ARG002
        """Refuse.

        Raises:
            FatalFault: always.
        """
        raise FatalFault("a rebuild writes nothing to raw", where=path)

    def put(self, path: str, body: bytes) -> None:
        """Refuse as `put_new` does."""
        self.put_new(path, body)

    def _is_past(self, path: str) -> bool:
        if not path.startswith(f"{raw.BATCHES}/"):
            return False
        _, stream, shard, _ = path.split("/", 3)
        if f"{stream}/{shard}" in self.left_out:
            return True
        if self.offsets is None:
            return False
        link = parse_link(path)
        return link is not None and link.after >= self.offsets.get(f"{stream}/{shard}", raw.START)


class Nowhere:
    """The quarantine of a rebuild: what is set aside lies in the quarantine already, from the first time."""

    def get(self, path: str) -> bytes:
        """There is nothing."""
        raise KeyError(path)

    def put_new(self, path: str, body: bytes) -> None:
        """Forget it."""

    def put_if_absent(self, path: str, body: bytes) -> bool:  # noqa: ARG002
        """Forget it."""
        return True

    def put(self, path: str, body: bytes) -> None:
        """Forget it."""

    def list_after(self, prefix: str, after: str = "") -> Iterator[str]:  # noqa: ARG002
        """There is nothing."""
        return iter(())

    def list_folders(self, prefix: str) -> Iterator[str]:  # noqa: ARG002
        """There is nothing."""
        return iter(())


@dataclass(frozen=True, slots=True)
class Reach:
    """How far raw reaches back: `begins` says after which sequence number the chain of each shard begins, 0 where it is
    whole; `gone` are shards of which the present table has records and raw has none.
    """

    begins: Mapping[str, int]
    gone: tuple[str, ...]

    @property
    def problems(self) -> list[str]:
        """Where raw does not reach back to the beginning, in words."""
        late = [f"{shard} begins after {after}" for shard, after in sorted(self.begins.items()) if after > raw.START]
        return late + [f"{shard} is gone, and the table has records of it" for shard in self.gone]


def reach(store: ObjectStore, merged: Mapping[str, int]) -> Reach:
    """How far raw reaches back; `merged` are the offsets of the present table."""
    begins = {shard.id: _begins_after(store, shard) for shard in shards(store)}
    gone = (shard for shard, offset in sorted(merged.items()) if offset > raw.START and shard not in begins)
    return Reach(begins, tuple(gone))


def from_snapshot(epochs: Epochs, reach: Reach) -> Progress | None:
    """Where the newest snapshot begins, as the progress of a table that has nothing of before.

    None when that snapshot is not complete, or raw does not reach back to it in all shards: rows would be missing.
    """
    start = epochs.start(epochs.with_snapshot)
    if start is None or start.epoch not in epochs.ends or start.discarded:
        return None
    offsets = {shard: int(first) - 1 for shard, first in start.starts.items()}
    is_whole = all(
        after <= offsets.get(shard, raw.START) for shard, after in reach.begins.items() if shard not in start.ended
    )
    if not is_whole or not {shard for shard in start.starts if offsets[shard] > raw.START} <= reach.begins.keys():
        return None
    closed = {shard: ShardEvidence(closed=True) for shard in start.ended}
    return Progress(offsets, closed, epoch=epochs.newest, snapshot_epoch=epochs.with_snapshot)


def _begins_after(store: ObjectStore, shard: Shard) -> int:
    # Batches that overlap are next to each other; the first in order need not begin first.
    listed = islice(store.list_after(raw.batch_prefix(shard.stream, shard.name)), _LINKS_MAX)
    return min((link.after for link in map(parse_link, listed) if link is not None), default=raw.START)
