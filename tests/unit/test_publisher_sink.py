"""The way to Kinesis: what is tried again, what stops the program, and what the settings refuse."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from cdc.errors import FatalFault, SettingsFault
from cdc.settings import load
from cdc_publisher.cli import main
from cdc_publisher.envelope import TableFormat
from cdc_publisher.heartbeat import open_shards
from cdc_publisher.outbox import Record
from cdc_publisher.settings import PublisherSettings
from cdc_publisher.sink import KinesisPutter, Outcome, Sink, backoff_seconds

TABLE = TableFormat.of("public", "t", [], [])
RECORDS = [Record("a", b"1"), Record("b", b"2", None, "5")]


class Kinesis:
    """A client that answers as told."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.calls: list[Any] = []

    def put_records(self, **arguments: Any) -> Any:
        self.calls.append(arguments)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def list_shards(self, **arguments: Any) -> Any:
        first = {
            "ShardId": "0",
            "HashKeyRange": {"StartingHashKey": "0"},
            "SequenceNumberRange": {"EndingSequenceNumber": "9"},
        }
        second = {"ShardId": "1", "HashKeyRange": {"StartingHashKey": "7"}, "SequenceNumberRange": {}}
        third = {**second, "ShardId": "2"}
        return {"Shards": [third]} if "NextToken" in arguments else {"Shards": [first, second], "NextToken": "x"}


def put(answer: Any) -> Outcome:
    return KinesisPutter(cast("Any", Kinesis(answer)), "s")(RECORDS)


def test_records_go_as_they_are() -> None:
    kinesis = Kinesis({"FailedRecordCount": 0, "Records": [{}, {}]})
    assert KinesisPutter(cast("Any", kinesis), "s")(RECORDS) == Outcome(frozenset())
    assert kinesis.calls == [
        {
            "StreamName": "s",
            "Records": [
                {"Data": b"1", "PartitionKey": "a"},
                {"Data": b"2", "PartitionKey": "b", "ExplicitHashKey": "5"},
            ],
        }
    ]


def test_a_part_that_was_refused_is_named() -> None:
    code = "ProvisionedThroughputExceededException"
    answer = {"FailedRecordCount": 1, "Records": [{"SequenceNumber": "1"}, {"ErrorCode": code}]}
    assert put(answer) == Outcome(frozenset({1}), code)


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "ProvisionedThroughputExceededException"}}, "PutRecords"),
        ClientError({"Error": {"Code": "InternalFailure"}}, "PutRecords"),
        ClientError({"Error": {"Code": "ExpiredTokenException"}}, "PutRecords"),
        EndpointConnectionError(endpoint_url="http://x"),
    ],
)
def test_a_call_that_failed_is_tried_again_as_a_whole(error: Exception) -> None:
    assert put(error).refused == {0, 1}


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "ResourceNotFoundException"}}, "PutRecords"),
        ClientError({"Error": {"Code": "InvalidClientTokenId"}}, "PutRecords"),
        ClientError({"Error": {"Code": "SignatureDoesNotMatch"}}, "PutRecords"),
        NoCredentialsError(),
    ],
)
def test_a_call_that_can_never_succeed_stops_the_program(error: Exception) -> None:
    with pytest.raises(FatalFault, match="stream s"):
        put(error)


def test_refused_records_go_again_after_a_while() -> None:
    now = [0.0]
    taken: list[bytes] = []

    def flaky(records: Sequence[Record]) -> Outcome:
        taken.extend(record.data for record in records)
        return Outcome(frozenset({0}) if len(taken) == 1 else frozenset(), "InternalFailure")

    with Sink(flaky, Random(0), lambda: now[0]) as sink:
        sink.offer(Record("a", b"1"), TABLE, 1)
        sink.offer(Record("a", b"2"), TABLE, 2)
        deadline = time.monotonic() + 10
        while not sink.is_empty and time.monotonic() < deadline:
            sink.pump(flush=True)
            sink.rest(0.01)
            now[0] += 0.05
    assert taken == [b"1", b"1", b"2"]


def test_a_fault_of_a_call_comes_out_of_the_pump() -> None:
    def broken(_records: Sequence[Record]) -> Outcome:
        raise FatalFault("no stream")

    with Sink(broken, Random(0), time.monotonic) as sink:
        sink.offer(Record("a", b"1"), TABLE, 1)
        sink.pump(flush=True)
        with pytest.raises(FatalFault, match="no stream"):
            sink.finish(5)


STUCK = """
import threading, time
from random import Random
from cdc_publisher.envelope import TableFormat
from cdc_publisher.outbox import Record
from cdc_publisher.sink import Sink

with Sink(lambda records: threading.Event().wait(), Random(0), time.monotonic) as sink:
    sink.offer(Record("a", b"1"), TableFormat.of("public", "t", [], []), 1)
    sink.pump(flush=True)
    sink.finish(0.1)
    assert sink.is_calling
"""


def test_a_call_that_hangs_does_not_keep_the_program_from_its_end() -> None:
    path = os.pathsep.join(sys.path)
    subprocess.run([sys.executable, "-c", STUCK], env={**os.environ, "PYTHONPATH": path}, check=True, timeout=60)


def test_backoff_grows_to_a_limit() -> None:
    random = Random(0)
    assert 0.05 <= backoff_seconds(1, random) <= 0.1
    assert 5 <= backoff_seconds(100, random) <= 10


def test_heartbeats_go_to_open_shards_only() -> None:
    assert open_shards(cast("Any", Kinesis(None)), "s") == ("7", "7")


def test_settings_name_every_problem_and_no_secret(tmp_path: Path) -> None:
    with pytest.raises(SettingsFault) as caught:
        load(
            PublisherSettings,
            {
                "CDC_SOURCE": "kinesis://a,b",
                "CDC_DATABASE": "host=x password='geheim",
                "CDC_TABLES": str(tmp_path / "none"),
                "CDC_SLOT": "Not-A-Slot",
                "CDC_HEARTBEAT_SECONDS": "0",
            },
        )
    problems = caught.value.problems
    assert [problem.split(":")[0] for problem in problems] == [
        "CDC_SOURCE", "CDC_DATABASE", "CDC_TABLES", "CDC_SLOT", "CDC_HEARTBEAT_SECONDS",
    ]  # fmt: skip
    assert "geheim" not in "".join(problems)


def test_help_says_what_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["run", "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    for word in ("CDC_SOURCE", "CDC_DATABASE", "CDC_TABLES", "CDC_SLOT", "wal_level", "exit codes"):
        assert word in shown
