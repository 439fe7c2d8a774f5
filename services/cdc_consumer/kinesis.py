"""Kinesis: streams, shards and records, with AWS's errors told apart.

Source of the facts: the Kinesis API model in botocore, and AWS docs "Quotas and limits" and "After a resharding".
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from cdc.errors import CdcError
from cdc_consumer.aws_fault import AwsError, aws_fault, error_code

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient
    from mypy_boto3_kinesis.type_defs import ShardTypeDef

PAGE_RECORDS_MAX = 10_000
"""The most that one call may ask for (AWS API model)."""


class IteratorExpired(CdcError):
    """A shard iterator is older than 5 minutes; a new one after the last sequence number read goes on."""


class ShardGone(CdcError):
    """The stream knows the shard no more: it was closed and all it held is past retention, or the stream is gone."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream: `identity` carries its creation time, so that a recreated stream is another one in raw.

    `retention` is None where the service tells by itself what it no longer has (`Reply.trimmed`).
    """

    name: str
    identity: str
    retention: timedelta | None


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard as the stream lists it; `ending` is its last possible sequence number once it is closed."""

    id: str
    parents: tuple[str, ...] = ()
    ending: str | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """A record of a shard: its sequence number as given, when it arrived (UTC), and its data."""

    seq: str
    arrived_at: datetime
    data: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """Some records, in order, and how to go on: without `iterator` the shard is closed and read to its end.

    `trimmed`: up to this sequence number the service has nothing any more; it holds before the first of the records.
    `reached`: so far is the shard read, where that may be past the last record because none can stand between.
    """

    records: tuple[Record, ...]
    iterator: str | None
    behind_milliseconds: int
    children: tuple[str, ...] = ()
    trimmed: str | None = None
    reached: str | None = None


class Streams(Protocol):
    """What the consumer asks of a stream service."""

    def describe(self, name: str) -> Stream:
        """A stream by name."""

    def shards(self, stream: Stream) -> tuple[Shard, ...]:
        """Every shard that the stream still has records of, closed ones included."""

    def iterator(self, stream: Stream, shard: str, after: str | None) -> str:
        """An iterator past a sequence number, or (None) at the oldest record retained."""

    def records(self, stream: Stream, shard: str, iterator: str) -> Reply:
        """The next records."""


class KinesisStreams:
    """Streams in Kinesis."""

    def __init__(self, client: KinesisClient) -> None:
        self._client = client

    def describe(self, name: str) -> Stream:
        """A stream, with its creation time in its identity."""
        with _faults("describe the stream", name):
            summary = self._client.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]
        created = summary["StreamCreationTimestamp"].astimezone(UTC)
        return Stream(
            name=name,
            identity=f"{name}-{created:%Y%m%dT%H%M%SZ}",
            retention=timedelta(hours=summary["RetentionPeriodHours"]),
        )

    def shards(self, stream: Stream) -> tuple[Shard, ...]:
        """All pages of ListShards, which by default lists from the trim horizon on."""
        shards: list[Shard] = []
        token: str | None = None
        while True:
            # A next token already names the stream; giving both is refused.
            with _faults("list the shards", stream.name):
                page = (
                    self._client.list_shards(NextToken=token)
                    if token
                    else self._client.list_shards(StreamName=stream.name)
                )
            shards += map(_shard, page["Shards"])
            token = page.get("NextToken")
            if not token:
                return tuple(shards)

    def iterator(self, stream: Stream, shard: str, after: str | None) -> str:
        """Never at LATEST: what was not read yet is read."""
        with _faults("get a shard iterator", f"{stream.name}/{shard}", shard_gone=True):
            if after is None:
                return self._client.get_shard_iterator(
                    StreamName=stream.name, ShardId=shard, ShardIteratorType="TRIM_HORIZON"
                )["ShardIterator"]
            return self._client.get_shard_iterator(
                StreamName=stream.name,
                ShardId=shard,
                ShardIteratorType="AFTER_SEQUENCE_NUMBER",
                StartingSequenceNumber=after,
            )["ShardIterator"]

    def records(self, stream: Stream, shard: str, iterator: str) -> Reply:
        """At most 10,000 records or 10 MiB; an empty reply is not the end."""
        with _faults("get records", f"{stream.name}/{shard}", shard_gone=True):
            answer = self._client.get_records(ShardIterator=iterator, Limit=PAGE_RECORDS_MAX)
        return Reply(
            records=tuple(
                Record(
                    seq=record["SequenceNumber"],
                    arrived_at=record["ApproximateArrivalTimestamp"].astimezone(UTC),
                    data=record["Data"],
                )
                for record in answer["Records"]
            ),
            iterator=answer.get("NextShardIterator"),
            behind_milliseconds=answer.get("MillisBehindLatest", 0),
            children=tuple(child["ShardId"] for child in answer.get("ChildShards", ())),
        )


def _shard(shard: ShardTypeDef) -> Shard:
    parents = (shard.get("ParentShardId"), shard.get("AdjacentParentShardId"))
    return Shard(
        id=shard["ShardId"],
        parents=tuple(parent for parent in parents if parent),
        ending=shard["SequenceNumberRange"].get("EndingSequenceNumber"),
    )


@contextmanager
def _faults(verb: str, where: str, *, shard_gone: bool = False) -> Iterator[None]:
    try:
        yield
    except AwsError as error:
        code = error_code(error)
        if code == "ExpiredIteratorException":
            raise IteratorExpired("a shard iterator expired", where=where) from None
        if code == "ResourceNotFoundException" and shard_gone:
            raise ShardGone("the stream knows this shard no more", where=where) from None
        hint = "check the stream's name in CDC_SOURCE, the region and the role's permissions"
        raise aws_fault(verb, where, error, hint) from error
