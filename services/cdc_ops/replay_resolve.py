"""Resolving: objects of the quarantine whose records were all put back are moved aside, and never deleted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from cdc.objects import ObjectStore
from cdc_ops.replay_selection import REPLAYED


class DeletingStore(ObjectStore, Protocol):
    """An object store out of which things may be taken."""

    def delete(self, path: str) -> None:
        """Remove an object."""


def move_replayed(store: DeletingStore, paths: Iterable[str]) -> int:
    """Move objects to `_replayed/`; returns how many. Killed between copy and removal, it is done again by the next."""
    moved = 0
    for path in sorted(path for path in paths if not path.startswith(f"{REPLAYED}/")):
        store.put_new(f"{REPLAYED}/{path}", store.get(path))
        store.delete(path)
        moved += 1
    return moved
