"""Every open shard is told of a snapshot before anything of it is sent, whatever the stream does meanwhile."""

from __future__ import annotations

import threading
from random import Random
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from cdc.errors import FatalFault
from cdc_publisher.announce import KinesisAnnouncer
from cdc_publisher.envelope import Event


class Stream:
    """A stream of shards by hash key; `answers` are faults of the next calls, `reshards` happens before one."""

    def __init__(self) -> None:
        self.shards = {"0": "0", "1": "50"}
        self.closed: list[str] = []
        self.told: list[tuple[str, bytes]] = []
        self.faults: list[str] = []
        self.reshards_at: int | None = None

    def list_shards(self, **_arguments: str) -> dict[str, Any]:
        def told(name: str, hash_key: str) -> dict[str, Any]:
            ending = {"EndingSequenceNumber": "9"} if name in self.closed else {}
            return {
                "ShardId": name,
                "HashKeyRange": {"StartingHashKey": hash_key},
                "SequenceNumberRange": {"StartingSequenceNumber": "1", **ending},
            }

        return {"Shards": [told(name, hash_key) for name, hash_key in self.shards.items()]}

    def put_records(self, *, Records: list[dict[str, Any]], **_arguments: str) -> dict[str, Any]:  # noqa: N803 - boto's
        if len(self.told) == self.reshards_at:
            self.reshards_at = None
            self.closed.append("1")
            self.shards |= {"2": "50", "3": "70"}
        if self.faults:
            code = self.faults.pop(0)
            if code.startswith("record:"):
                return {"Records": [{"ErrorCode": code}]}
            raise ClientError({"Error": {"Code": code}}, "PutRecords")
        (record,) = Records
        shard = next(
            name for name, key in self.shards.items() if key == record["ExplicitHashKey"] and name not in self.closed
        )
        self.told.append((shard, record["Data"]))
        return {"Records": [{"ShardId": shard, "SequenceNumber": "1"}]}


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdc_publisher.announce.backoff_seconds", lambda *_: 0.0)


def announce(stream: Stream, stop: threading.Event | None = None) -> bool:
    announcer = KinesisAnnouncer(cast("Any", stream), "s", Random(1))
    return announcer(lambda shards: Event("k", ",".join(shards).encode()), stop or threading.Event())


def test_each_shard_is_told_and_who_is_told() -> None:
    stream = Stream()
    assert announce(stream)
    assert stream.told == [("0", b"0,1"), ("1", b"0,1")]


@pytest.mark.parametrize("fault", ["ProvisionedThroughputExceededException", "record:InternalFailure"])
def test_a_fault_that_passes_is_waited_out(fault: str) -> None:
    stream = Stream()
    stream.faults = [fault, fault]
    assert announce(stream)
    assert stream.told[-2:] == [("0", b"0,1"), ("1", b"0,1")]


def test_a_stream_that_is_resharded_meanwhile_is_told_all_over_again() -> None:
    stream = Stream()
    stream.reshards_at = 1
    assert announce(stream)
    # The first round ends at a shard that nobody meant to tell.
    assert stream.told == [("0", b"0,1"), ("2", b"0,1"), ("0", b"0,2,3"), ("2", b"0,2,3"), ("3", b"0,2,3")]


def test_a_refusal_for_good_is_fatal() -> None:
    stream = Stream()
    stream.faults = ["AccessDeniedException"]
    with pytest.raises(FatalFault, match="AccessDenied"):
        announce(stream)


def test_a_stop_is_heard() -> None:
    stop = threading.Event()
    stop.set()
    stream = Stream()
    assert not announce(stream, stop)
    assert stream.told == []
