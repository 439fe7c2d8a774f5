"""Kinesis as a target: the publisher's outbox keeps the order of each partition key, whatever the stream refuses."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from cdc.errors import TransientFault
from cdc_consumer.aws_fault import AwsError, aws_fault
from cdc_ops.replay_record import Record
from cdc_ops.replay_target import FROM_AVRO
from cdc_publisher.outbox import RECORDS_MAX, Outbox
from cdc_publisher.outbox import Record as Entry
from cdc_publisher.sink import Putter, backoff_seconds

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

TOO_LARGE = "too-large"
"""The record is larger than the stream takes."""
GIVE_UP_SECONDS = 300.0
"""How long a stream may refuse everything."""
_RECORD_KIB = 1024


class KinesisTarget:
    """A stream; one call at a time, refused records again after a while.

    `rest` waits so many seconds and says whether to go on; `record_bytes_max` counts the partition key in.
    """

    def __init__(
        self,
        put: Putter,
        record_bytes_max: int,
        random: Random,
        clock: Callable[[], float],
        rest: Callable[[float], bool],
    ) -> None:
        self._put = put
        self._record_bytes_max = record_bytes_max
        self._clock = clock
        self._rest = rest
        self._outbox = Outbox(lambda attempt: backoff_seconds(attempt, random))
        self._accepted_at = clock()

    def obstacle(self, record: Record) -> str | None:
        """What Kinesis cannot take."""
        if record.schema_id is not None:
            return FROM_AVRO
        return TOO_LARGE if len(record.payload) + _KEY_BYTES > self._record_bytes_max else None

    def put(self, record: Record, partition_key: str) -> None:
        """Take a record; some are put when a call is full."""
        if not self._outbox.records:
            self._accepted_at = self._clock()
        self._outbox.add(Entry(partition_key, record.payload))
        if self._outbox.ready_count >= RECORDS_MAX:
            self._call()

    def flush(self) -> None:
        """Put everything.

        Raises:
            TransientFault: when told to stop, or when the stream has refused everything for long.
        """
        while self._outbox.records:
            self._call()

    def close(self, *, is_whole: bool) -> None:
        """Nothing is held open."""

    def _call(self) -> None:
        entries = self._outbox.take(self._clock())
        if not entries:
            due = self._outbox.next_due()
            if due is not None and not self._rest(max(0.0, due - self._clock())):
                raise TransientFault("stopped before the stream had taken everything")
            return
        outcome = self._put(entries)
        now = self._clock()
        self._outbox.settle(entries, outcome.refused, now)
        if len(outcome.refused) < len(entries):
            self._accepted_at = now
        elif now - self._accepted_at > GIVE_UP_SECONDS:
            raise TransientFault(
                f"the stream has refused everything for {GIVE_UP_SECONDS:.0f} s: {outcome.code}",
                hint="look at the stream and its limits, then go on with --resume",
            )


_KEY_BYTES = 64
"""A partition key is a SHA-256 in hexadecimal, or shorter."""


def record_bytes_max(client: KinesisClient, stream: str) -> int:
    """How large a record the stream takes (AWS API model: MaxRecordSizeInKiB, 1 MiB unless raised).

    Raises:
        CdcError: when the stream cannot be asked.
    """
    try:
        summary = client.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]
    except AwsError as error:
        hint = "check the stream's name in --to, the region and the role's permissions"
        raise aws_fault("describe the stream", stream, error, hint) from None
    return int(summary.get("MaxRecordSizeInKiB") or _RECORD_KIB) * 1024
