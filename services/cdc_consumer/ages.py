"""Ages: how long the stream has been silent, and how long records that were read wait to become durable.

They are told whenever somebody asks, also while a call hangs.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Ages:
    """Of all shards that this worker reads, each by its own name, on a monotonic clock."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._began: dict[str, float] = {}
        self._heard_at = -math.inf
        self._unwritten: dict[str, float] = {}

    @contextmanager
    def reading(self, shard: str) -> Iterator[None]:
        """A shard is read while inside."""
        with self._lock:
            self._began[shard] = self._monotonic()
        try:
            yield
        finally:
            with self._lock:
                del self._began[shard]
                self._unwritten.pop(shard, None)

    def heard(self) -> None:
        """A record came."""
        self._heard_at = self._monotonic()

    def waits(self, shard: str) -> None:
        """The shard's oldest record that is not durable was read now."""
        with self._lock:
            self._unwritten.setdefault(shard, self._monotonic())

    def written(self, shard: str) -> None:
        """All of the shard's records that were read are durable."""
        with self._lock:
            self._unwritten.pop(shard, None)

    def silence_seconds(self) -> float:
        """Since when nothing came from any shard; not a number while none is read, which tells nothing."""
        with self._lock:
            since = min(self._began.values(), default=math.nan)
        return self._monotonic() - max(since, self._heard_at)

    def unwritten_seconds(self) -> float:
        """How long the oldest record that is not durable waits; 0 when all are."""
        with self._lock:
            since = min(self._unwritten.values(), default=None)
        return 0.0 if since is None else self._monotonic() - since
