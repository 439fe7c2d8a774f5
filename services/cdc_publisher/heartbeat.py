"""Heartbeat: writes a sign of life into the source's log now and then, and knows the stream's open shards.

The sign comes back through the replication stream behind every change committed before it, and is then put to every
open shard: evidence that each shard holds all up to that moment. It touches no table.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import psycopg
from botocore.exceptions import BotoCoreError, ClientError

from cdc.errors import CdcError
from cdc.telemetry import get_log
from cdc_publisher.announce import shards_open
from cdc_publisher.envelope import HEARTBEAT

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

_log = get_log(__name__)
SHARDS_SECONDS: Final = 30.0
WATCH_SECONDS: Final = 10.0
_WARNING_SECONDS: Final = 60.0
_EMIT: Final = "SELECT pg_logical_emit_message(true, %s, '')"


def open_shards(client: KinesisClient, stream: str) -> tuple[str, ...]:
    """The first hash key of every shard that can still be written to."""
    return tuple(shards_open(client, stream).values())


class Heartbeat:
    """A thread that emits and looks; it never fails the program: without heartbeats valid-through stands still.

    `watch` is called with the connection now and then.
    """

    def __init__(
        self,
        connect: Callable[[], psycopg.Connection],
        shards: Callable[[], tuple[str, ...]],
        seconds: float,
        clock: Callable[[], float],
        watch: Callable[[psycopg.Connection], None] = lambda _: None,
    ) -> None:
        self._connect = connect
        self._shards = shards
        self._seconds = seconds
        self._clock = clock
        self._watch = watch
        self._watched_at = -WATCH_SECONDS
        self._stop = threading.Event()
        self._connection: psycopg.Connection | None = None
        self._listed_at = -SHARDS_SECONDS
        self._warned_at = -_WARNING_SECONDS
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self.open_shards: tuple[str, ...] = ()

    def start(self) -> None:
        """Begin to beat."""
        self._thread.start()

    def stop(self) -> None:
        """End; returns when the thread has ended, or is stuck in a call, which ends with the program."""
        self._stop.set()
        self._thread.join(timeout=2)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.beat()
            except (psycopg.Error, CdcError, ClientError, BotoCoreError, OSError) as error:
                self._drop()
                self._warn(error)
            self._stop.wait(self._seconds)
        self._drop()

    def beat(self) -> None:
        """One sign of life, and a look at the shards when it is time."""
        if self._clock() - self._listed_at >= SHARDS_SECONDS or not self.open_shards:
            self.open_shards = self._shards()
            self._listed_at = self._clock()
        if self._connection is None:
            self._connection = self._connect()
        self._connection.execute(_EMIT, [HEARTBEAT])
        if self._clock() - self._watched_at >= WATCH_SECONDS:
            self._watched_at = self._clock()
            self._watch(self._connection)

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _warn(self, error: Exception) -> None:
        now = self._clock()
        if now - self._warned_at >= _WARNING_SECONDS:
            self._warned_at = now
            _log.warning(
                "no heartbeat",
                error_type=type(error).__name__,
                hint="valid-through stands still until they come again; check the database and kinesis:ListShards",
            )
