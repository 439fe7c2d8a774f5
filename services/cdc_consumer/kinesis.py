"""Kinesis: streams, shards and records, with AWS's errors told apart.

Source of the facts: the Kinesis API model in botocore, and AWS docs "Quotas and limits" and "After a resharding".
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, timedelta
from typing import TYPE_CHECKING

from cdc_consumer.aws_fault import AwsError, aws_fault, error_code
from cdc_consumer.stream import IteratorExpired, Record, Reply, Shard, ShardGone, Stream, identity

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient
    from mypy_boto3_kinesis.type_defs import ShardTypeDef

PAGE_RECORDS_MAX = 10_000
"""The most that one call may ask for (AWS API model)."""


class KinesisStreams:
    """Streams in Kinesis."""

    def __init__(self, client: KinesisClient) -> None:
        self._client = client

    def describe(self, name: str) -> Stream:
        """A stream, with its creation time in its identity."""
        with _faults("describe the stream", name):
            summary = self._client.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]
        return Stream(
            name=name,
            identity=identity(name, summary["StreamCreationTimestamp"]),
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
        hash_keys=(int(shard["HashKeyRange"]["StartingHashKey"]), int(shard["HashKeyRange"]["EndingHashKey"])),
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
