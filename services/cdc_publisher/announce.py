"""Announce: tells every open shard of the stream that a snapshot begins, or is complete, and knows that each was told.

Who reads the stream takes what comes behind the first mark of a shard for the new epoch, so no read is sent before all
of them have it; docs/epochs.md has the rest.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from cdc.errors import TransientFault
from cdc.telemetry import get_log
from cdc_publisher.envelope import Event
from cdc_publisher.outbox import Record
from cdc_publisher.sink import FATAL_CODES, KinesisPutter, backoff_seconds, entry

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

_log = get_log(__name__)


class Announce(Protocol):
    """Tells every open shard; the one real implementation is `KinesisAnnouncer`."""

    def __call__(self, event_of: Callable[[tuple[str, ...]], Event], stop: threading.Event, /) -> bool:
        """Put the event, made for the names of all open shards, to each of them; False when asked to stop before."""
        ...


class KinesisAnnouncer:
    """Tells the shards of a Kinesis stream, one by one."""

    def __init__(self, client: KinesisClient, stream: str, random: Random) -> None:
        self._client = client
        self._stream = stream
        self._random = random

    def __call__(self, event_of: Callable[[tuple[str, ...]], Event], stop: threading.Event) -> bool:
        """Tell all; where the stream was resharded meanwhile, all over again: the words name who is told.

        Raises:
            FatalFault: when Kinesis refuses for good.
        """
        attempt = 0
        while not stop.is_set():
            try:
                if self._tell(event_of):
                    return True
            except ClientError as error:
                code = error.response.get("Error", {}).get("Code", "unknown")
                if code in FATAL_CODES:
                    raise KinesisPutter(self._client, self._stream).fatal(code) from None
                self._warn(code)
            except BotoCoreError as error:
                self._warn(type(error).__name__)
            attempt += 1
            stop.wait(backoff_seconds(attempt, self._random))
        return False

    def _tell(self, event_of: Callable[[tuple[str, ...]], Event]) -> bool:
        shards = shards_open(self._client, self._stream)
        if not shards:
            raise TransientFault("the stream has no open shard", where=f"stream {self._stream}")
        event = event_of(tuple(sorted(shards)))
        for shard, hash_key in shards.items():
            # PutRecords, so that the role needs no other right than for the events.
            record = Record(event.partition_key, event.data, None, hash_key)
            (result,) = self._client.put_records(StreamName=self._stream, Records=[entry(record)])["Records"]
            if result.get("ErrorCode"):
                self._warn(result["ErrorCode"])
                return False
            if result["ShardId"] != shard:
                _log.info("the stream is being resharded, its shards are told again", stream=self._stream)
                return False
        return True

    def _warn(self, code: str) -> None:
        _log.warning("shards are not told yet", stream=self._stream, code=code, hint="tried again; reads wait")


def shards_open(client: KinesisClient, stream: str) -> dict[str, str]:
    """The first hash key of every shard that can still be written to, by the shard's name."""
    hash_keys: dict[str, str] = {}
    answer = client.list_shards(StreamName=stream)
    while True:
        hash_keys |= {
            shard["ShardId"]: shard["HashKeyRange"]["StartingHashKey"]
            for shard in answer["Shards"]
            if "EndingSequenceNumber" not in shard["SequenceNumberRange"]
        }
        if "NextToken" not in answer:
            return hash_keys
        answer = client.list_shards(NextToken=answer["NextToken"])
