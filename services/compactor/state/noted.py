"""Noted: an object store that is only read; what would be recorded in it is remembered here instead."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from cdc.errors import FatalFault
from cdc.objects import ObjectStore
from cdc.raw import BATCHES


class Noted:
    """Raw, with the epochs that the compactor would record there and has not yet.

    Batch records are got once, until they are forgotten: whoever looks for epochs reads them all again.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._noted: dict[str, bytes] = {}
        self._got: dict[str, bytes] = {}

    def get(self, path: str) -> bytes:
        """The content of an object."""
        for known in (self._noted, self._got):
            if path in known:
                return known[path]
        body = self._store.get(path)
        if path.startswith(f"{BATCHES}/"):
            self._got[path] = body
        return body

    def forget(self) -> None:
        """Give back the memory that batch records take."""
        self._got.clear()

    def list_after(self, prefix: str, after: str = "") -> Iterator[str]:
        """The paths under a prefix, in order, that sort after a path."""
        noted = sorted(path for path in self._noted if path.startswith(prefix) and path > after)
        return iter(heapq.merge(self._store.list_after(prefix, after), noted))

    def list_folders(self, prefix: str) -> Iterator[str]:
        """The names directly below a prefix."""
        return self._store.list_folders(prefix)

    def put_if_absent(self, path: str, body: bytes) -> bool:
        """Remember it, unless it is there already; whether it was not."""
        if path in self.list_after(path[:-1]):
            return False
        self._noted[path] = body
        return True

    def put_new(self, path: str, body: bytes) -> None:  # noqa: ARG002
        """Refuse.

        Raises:
            FatalFault: always.
        """
        raise FatalFault("raw is only read here", where=path)

    def put(self, path: str, body: bytes) -> None:
        """Refuse as `put_new` does."""
        self.put_new(path, body)
