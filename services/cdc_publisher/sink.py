"""Sink: puts the outbox's records to a Kinesis stream, a few calls at once, and tells when they are acknowledged.

Calls run in threads and do nothing but call; all decisions are taken by the one thread that owns the outbox. The
threads are daemons and no pool's, whose threads Python waits for at its end: a call that hangs must not delay a stop.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Final, Protocol, Self

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
)

from cdc.errors import FatalFault
from cdc.position import format_lsn
from cdc.telemetry import get_log
from cdc_publisher import metrics
from cdc_publisher.envelope import TableFormat
from cdc_publisher.outbox import RECORDS_MAX, Outbox, Record

if TYPE_CHECKING:
    from types import TracebackType

    from mypy_boto3_kinesis import KinesisClient
    from mypy_boto3_kinesis.type_defs import PutRecordsRequestEntryTypeDef

_log = get_log(__name__)

RECORD_BYTES_MAX: Final = 2**20
"""Kinesis takes a record of so many bytes, its partition key included."""
PENDING_BYTES_MAX: Final = 32 * 2**20
PENDING_RECORDS_MAX: Final = 20_000
CALLS_MAX: Final = 4
_BACKOFF_SECONDS: Final = 0.1
_BACKOFF_SECONDS_MAX: Final = 10.0
_WARNING_SECONDS: Final = 30.0
FATAL_CODES: Final = frozenset({
    "ResourceNotFoundException", "AccessDeniedException", "ValidationException", "InvalidArgumentException",
    "UnrecognizedClientException", "InvalidSignatureException", "MissingAuthenticationTokenException",
    "InvalidClientTokenId", "InvalidAccessKeyId", "SignatureDoesNotMatch", "IncompleteSignature",
    "MissingAuthenticationToken", "AccessDenied", "NotAuthorized", "OptInRequired",
    "KMSAccessDeniedException", "KMSDisabledException", "KMSInvalidStateException", "KMSNotFoundException",
    "KMSOptInRequired",
})  # fmt: skip
"""Errors of a whole call that trying again does not mend; credentials that expired are fetched anew by boto3."""
_MISCONFIGURED: Final = (NoCredentialsError, PartialCredentialsError, ProfileNotFound)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended: the places of the records that were refused, and why (the first error code)."""

    refused: frozenset[int]
    code: str = ""


class Putter(Protocol):
    """Puts records to the stream in one call; the one real implementation is `KinesisPutter`."""

    def __call__(self, records: Sequence[Record], /) -> Outcome:
        """Put the records; raises FatalFault when trying again is in vain."""
        ...


@dataclass(frozen=True, slots=True)
class KinesisPutter:
    """PutRecords of one stream."""

    client: KinesisClient
    stream: str

    def __call__(self, records: Sequence[Record], /) -> Outcome:
        """Put the records in one call."""
        try:
            with metrics.PUT_SECONDS.time():
                answer = self.client.put_records(StreamName=self.stream, Records=[entry(record) for record in records])
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "unknown")
            if code in FATAL_CODES:
                raise self.fatal(code) from None
            return Outcome(frozenset(range(len(records))), code)
        except _MISCONFIGURED as error:
            raise self.fatal(type(error).__name__) from None
        except BotoCoreError as error:
            return Outcome(frozenset(range(len(records))), type(error).__name__)
        if not answer["FailedRecordCount"]:
            return Outcome(frozenset())
        codes = {
            place: result["ErrorCode"] for place, result in enumerate(answer["Records"]) if result.get("ErrorCode")
        }
        return Outcome(frozenset(codes), next(iter(codes.values()), ""))

    def fatal(self, code: str) -> FatalFault:
        """What is told when trying again does not mend an error."""
        return FatalFault(
            f"Kinesis refused a call for good: {code}",
            where=f"stream {self.stream}",
            hint="check that the stream exists and that the credentials in AWS_* are right and may kinesis:PutRecords",
        )


class Sink:
    """The way to the stream: `offer` records, `pump` now and then, look at the ledger for what is acknowledged.

    `taken_at` is when the stream last took a record, on the clock that is given.
    """

    def __init__(self, put: Putter, random: Random, clock: Callable[[], float], calls_max: int = CALLS_MAX) -> None:
        self._put = put
        self._clock = clock
        self._outbox = Outbox(lambda attempt: backoff_seconds(attempt, random))
        self._calls: dict[Future[Outcome], Sequence[Record]] = {}
        self._calls_max = calls_max
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        self._warned_at = -_WARNING_SECONDS
        self.taken_at = clock()

    @property
    def wake(self) -> socket.socket:
        """Readable when a call has ended; `pump` empties it."""
        return self._wake_reader

    @property
    def has_room(self) -> bool:
        """Whether more records may be offered; memory is bounded by asking first."""
        return self._outbox.records < PENDING_RECORDS_MAX and self._outbox.bytes < PENDING_BYTES_MAX

    @property
    def is_empty(self) -> bool:
        """Whether everything that was offered is acknowledged."""
        return self._outbox.records == 0

    @property
    def is_calling(self) -> bool:
        """Whether calls are on their way."""
        return bool(self._calls)

    def offer(self, record: Record, table: TableFormat, lsn: int) -> None:
        """Take a record to be put after all earlier ones of its partition key; table and LSN are for the error.

        Raises:
            FatalFault: when it is larger than the stream takes.
        """
        if record.size > RECORD_BYTES_MAX:
            raise FatalFault(
                f"a change is too large for the stream: {record.size} bytes, Kinesis takes {RECORD_BYTES_MAX}",
                where=f"{table.schema}.{table.table}, position {format_lsn(lsn)}",
                hint="leave the wide column out of the publication, then make a new backfill in a new epoch",
            )
        if record.entry is not None:
            record.entry.open += 1
        self._outbox.add(record)

    def offer_heartbeat(self, record: Record) -> None:
        """Take a heartbeat for one shard; it counts for nothing in the ledger."""
        self._outbox.add(record)

    def pump(self, *, flush: bool) -> None:
        """Learn of calls that ended and start new ones; without `flush` only those that are full, or when all rest."""
        self._collect()
        while len(self._calls) < self._calls_max:
            if not flush and self._calls and self._outbox.ready_count < RECORDS_MAX:
                break
            call = self._outbox.take(self._clock())
            if not call:
                break
            future = Future[Outcome]()
            self._calls[future] = call
            future.add_done_callback(self._signal)
            threading.Thread(target=_run, args=(future, self._put, call), name="put", daemon=True).start()
        metrics.PENDING.set(self._outbox.records)

    def seconds_to_next_try(self, seconds_max: float) -> float:
        """How long until a refused record is due again, at most as long as given."""
        due = self._outbox.next_due()
        return seconds_max if due is None else min(seconds_max, max(0.0, due - self._clock()))

    def rest(self, seconds_max: float) -> None:
        """Sleep until a call has ended, a refused record is due, or the time is over."""
        select.select([self._wake_reader], [], [], self.seconds_to_next_try(seconds_max))

    def finish(self, seconds: float) -> None:
        """Wait for the calls on their way, and no longer than this; what was not sent yet stays unsent."""
        deadline = self._clock() + seconds
        self._wake_reader.settimeout(0.05)
        while self._calls and self._clock() < deadline:
            with contextlib.suppress(TimeoutError):
                self._wake_reader.recv(4096)
            self._collect()

    def close(self) -> None:
        """Give the sockets back; calls on their way end unheard."""
        self._wake_reader.close()
        self._wake_writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _collect(self) -> None:
        with contextlib.suppress(BlockingIOError, TimeoutError):
            self._wake_reader.recv(4096)
        now = self._clock()
        for future in [future for future in self._calls if future.done()]:
            call = self._calls.pop(future)
            outcome = future.result()
            bytes_before = self._outbox.bytes
            self._outbox.settle(call, outcome.refused, now)
            metrics.RECORDS.inc(len(call) - len(outcome.refused))
            metrics.BYTES.inc(bytes_before - self._outbox.bytes)
            if len(outcome.refused) < len(call):
                self.taken_at = now
            if outcome.refused:
                self._note(outcome, now)

    def _note(self, outcome: Outcome, now: float) -> None:
        metrics.RETRIES.labels(code=outcome.code).inc(len(outcome.refused))
        if now - self._warned_at >= _WARNING_SECONDS:
            self._warned_at = now
            _log.warning(
                "records refused",
                records=len(outcome.refused),
                code=outcome.code,
                hint="they are put again; the slot waits",
            )

    def _signal(self, _future: Future[Outcome]) -> None:
        with contextlib.suppress(OSError):  # full: it is readable anyway; closed: nobody waits any more
            self._wake_writer.send(b"x")


def _run(future: Future[Outcome], put: Putter, call: Sequence[Record]) -> None:
    try:
        future.set_result(put(call))
    except BaseException as error:  # noqa: BLE001 - raised where the outcome is looked at
        future.set_exception(error)


def backoff_seconds(attempt: int, random: Random) -> float:
    """How long to wait after so many refusals: exponential, with jitter so that nobody knocks in step."""
    longest: float = min(_BACKOFF_SECONDS_MAX, _BACKOFF_SECONDS * 2.0 ** min(attempt - 1, 16))
    return random.uniform(longest / 2, longest)


def entry(record: Record) -> PutRecordsRequestEntryTypeDef:
    """A record as PutRecords takes it."""
    made: PutRecordsRequestEntryTypeDef = {"Data": record.data, "PartitionKey": record.partition_key}
    if record.explicit_hash_key is not None:
        made["ExplicitHashKey"] = record.explicit_hash_key
    return made
