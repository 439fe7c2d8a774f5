"""Kinesis's answers and errors, as its API model has them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import boto3
import pytest
from botocore.stub import Stubber
from mypy_boto3_kinesis import KinesisClient

from cdc.errors import FatalFault, TransientFault
from cdc_consumer.kinesis import KinesisStreams
from cdc_consumer.stream import IteratorExpired, Record, Reply, Shard, ShardGone, Stream

STREAM = Stream("s", "s-20261121T120000Z", timedelta(hours=24))


@pytest.fixture
def stub() -> Iterator[Stubber]:
    client = boto3.client("kinesis", region_name="sa-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    with Stubber(client) as stubber:
        yield stubber


@pytest.fixture
def streams(stub: Stubber) -> KinesisStreams:
    client: KinesisClient = stub.client  # type: ignore[assignment]
    return KinesisStreams(client)


@pytest.mark.parametrize(
    ("code", "status", "fault"),
    [
        ("ProvisionedThroughputExceededException", 400, TransientFault),
        ("KMSThrottlingException", 400, TransientFault),
        ("InternalFailure", 500, TransientFault),
        ("ServiceUnavailable", 503, TransientFault),
        ("ExpiredIteratorException", 400, IteratorExpired),
        ("ResourceNotFoundException", 400, ShardGone),
        ("AccessDeniedException", 400, FatalFault),
        ("KMSAccessDeniedException", 400, FatalFault),
        ("ExpiredTokenException", 400, TransientFault),
        ("InvalidClientTokenId", 403, FatalFault),
        ("UnrecognizedClientException", 400, FatalFault),
        ("InvalidArgumentException", 400, FatalFault),
    ],
)
def test_errors_of_get_records(
    stub: Stubber, streams: KinesisStreams, code: str, status: int, fault: type[Exception]
) -> None:
    stub.add_client_error("get_records", code, "secret text of the request", status)
    with pytest.raises(fault) as raised:
        streams.records(STREAM, "0", "iterator")
    assert "secret" not in str(raised.value)


def test_a_missing_stream_is_fatal_and_says_what_to_do(stub: Stubber, streams: KinesisStreams) -> None:
    stub.add_client_error("describe_stream_summary", "ResourceNotFoundException", "", 400)
    with pytest.raises(FatalFault, match="CDC_SOURCE"):
        streams.describe("s")


def test_records(stub: Stubber, streams: KinesisStreams) -> None:
    arrived = datetime(2026, 11, 21, tzinfo=UTC)
    stub.add_response(
        "get_records",
        {
            "Records": [
                {"SequenceNumber": "9" * 56, "ApproximateArrivalTimestamp": arrived, "Data": b"", "PartitionKey": "k"}
            ],
            "NextShardIterator": "next",
            "MillisBehindLatest": 17,
        },
        {"ShardIterator": "iterator", "Limit": 10_000},
    )
    assert streams.records(STREAM, "0", "iterator") == Reply((Record("9" * 56, arrived, b""),), "next", 17)


def test_the_end_of_a_closed_shard(stub: Stubber, streams: KinesisStreams) -> None:
    keys = {"StartingHashKey": "0", "EndingHashKey": "1"}
    child = {"ShardId": "1", "ParentShards": ["0"], "HashKeyRange": keys}
    stub.add_response("get_records", {"Records": [], "MillisBehindLatest": 0, "ChildShards": [child]})
    assert streams.records(STREAM, "0", "iterator") == Reply((), None, 0, ("1",))


def test_iterators_are_never_at_latest(stub: Stubber, streams: KinesisStreams) -> None:
    of = {"StreamName": "s", "ShardId": "0"}
    stub.add_response("get_shard_iterator", {"ShardIterator": "a"}, {**of, "ShardIteratorType": "TRIM_HORIZON"})
    after = {**of, "ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": "007"}
    stub.add_response("get_shard_iterator", {"ShardIterator": "b"}, after)
    assert streams.iterator(STREAM, "0", None) == "a"
    assert streams.iterator(STREAM, "0", "007") == "b"


def test_shards_of_all_pages(stub: Stubber, streams: KinesisStreams) -> None:
    keys = {"StartingHashKey": "0", "EndingHashKey": "1"}
    closed = {"StartingSequenceNumber": "1", "EndingSequenceNumber": "5"}
    stub.add_response(
        "list_shards",
        {"Shards": [{"ShardId": "0", "HashKeyRange": keys, "SequenceNumberRange": closed}], "NextToken": "t"},
        {"StreamName": "s"},
    )
    merged = {
        "ShardId": "2",
        "ParentShardId": "0",
        "AdjacentParentShardId": "1",
        "HashKeyRange": keys,
        "SequenceNumberRange": {"StartingSequenceNumber": "6"},
    }
    stub.add_response("list_shards", {"Shards": [merged]}, {"NextToken": "t"})
    assert streams.shards(STREAM) == (Shard("0", (), "5", (0, 1)), Shard("2", ("0", "1"), None, (0, 1)))
