"""The loop, with a log that is written here and a stream whose answers are held back at will."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import Any, cast

import pytest

from cdc.errors import FatalFault, TransientFault
from cdc.stated_columns import StatedColumn
from cdc_publisher.envelope import TableFormat
from cdc_publisher.metrics import HEARTBEATS
from cdc_publisher.outbox import Record
from cdc_publisher.pgoutput import (
    UNCHANGED,
    Begin,
    Commit,
    Delete,
    Insert,
    LogicalMessage,
    Message,
    Relation,
    Truncate,
    Update,
)
from cdc_publisher.publisher import SILENCE_SECONDS, STATUS_SECONDS, Clocks, Publisher, completed
from cdc_publisher.rendering import SourceType, rendering
from cdc_publisher.replication import Keepalive, ReplicationStream, WalData
from cdc_publisher.sink import RECORD_BYTES_MAX, Outcome, Sink
from cdc_publisher.temporal import INFINITY_STREAMED
from sandbox.process import wait_until

TEXT = rendering(SourceType("text"), -1, INFINITY_STREAMED)
assert TEXT is not None
TABLE = TableFormat.of("public", "t", [("id", TEXT), ("v", TEXT)], ["id"])
RELATION = Relation(1, "public", "t", "d", ())
OTHER = Relation(2, "public", "outra", "d", ())


class Log:
    """A replication stream of prepared messages; notes what is confirmed."""

    def __init__(self) -> None:
        self.messages: deque[WalData | Keepalive] = deque()
        self.confirmed: list[int] = []
        self.asked: list[bool] = []
        self.parsed: dict[bytes, Message] = {}

    def say(self, lsn: int, message: Message) -> None:
        payload = str(len(self.parsed)).encode()
        self.parsed[payload] = message
        self.messages.append(WalData(lsn, payload))

    def transaction(self, lsn: int, *messages: Message) -> None:
        self.say(lsn, Begin(lsn + 9, lsn * 1000, 7))
        for number, message in enumerate(messages):
            self.say(lsn + number, message)
        self.say(lsn + 10, Commit(lsn + 9, lsn + 10, lsn * 1000))

    def read(self) -> WalData | Keepalive | None:
        return self.messages.popleft() if self.messages else None

    def wait(self, wake: object, seconds: float, *, for_data: bool) -> None:
        pass

    def confirm(self, lsn: int, now_us: int, *, wants_reply: bool) -> None:
        self.confirmed.append(lsn)
        self.asked.append(wants_reply)


class World:
    """The publisher between both, driven step by step."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log = Log()
        self.stream: list[Record] = []
        self.answering = threading.Event()
        self.answering.set()
        self.on_put: Callable[[], None] = lambda: None
        self.now = 0.0
        monkeypatch.setattr("cdc_publisher.publisher.parse", self.log.parsed.__getitem__)
        self.sink = Sink(self._put, Random(0), lambda: self.now)
        self.publisher = Publisher(
            cast("ReplicationStream", self.log),
            self.sink,
            "app",
            lambda relation: TABLE if relation.table == "t" else None,
            lambda: ("0", "100"),
            Clocks(lambda: 5_000_000_000, lambda: self.now),
        )
        self.log.say(1, RELATION)
        self.log.say(1, OTHER)

    def _put(self, records: Sequence[Record]) -> Outcome:
        self.on_put()
        assert self.answering.wait(60)
        self.stream += records
        return Outcome(frozenset())

    def run(self, until: Callable[[], bool] | None = None) -> None:
        """Let the loop run until it has read the log and, if nothing else is awaited, the stream has everything."""

        def has_done() -> bool:
            self.publisher._read()
            self.sink.pump(flush=True)
            self.publisher._confirm()
            return not self.log.messages and (until() if until else self.sink.is_empty)

        wait_until(has_done, 60, "the loop has done its work", poll_seconds=0.002)
        self.now += STATUS_SECONDS
        self.publisher._confirm()

    def run_until(self, probe: Callable[[], bool]) -> None:
        """Let the loop read what it may until something holds."""

        def holds() -> bool:
            self.publisher._read()
            self.sink.pump(flush=True)
            return probe()

        wait_until(holds, 60, "it holds", poll_seconds=0.002)

    def events(self) -> list[Any]:
        return [json.loads(record.data) if record.data else None for record in self.stream]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World(monkeypatch)
    yield world
    world.answering.set()
    world.sink.close()


def test_nothing_is_confirmed_before_the_stream_has_it(world: World) -> None:
    world.answering.clear()
    world.log.transaction(100, Insert(1, ["1", "a"]))
    world.log.messages.append(Keepalive(500, True))
    world.run(until=lambda: world.sink.is_calling)
    assert set(world.log.confirmed) == {0}
    world.answering.set()
    world.run()
    assert world.log.confirmed[-1] == 500


def test_a_stop_sends_what_is_on_its_way_and_confirms_it(world: World) -> None:
    world.log.transaction(100, Insert(1, ["1", "a"]))
    stop = threading.Event()
    world.on_put = stop.set
    world.publisher.run(stop)
    assert len(world.stream) == 1
    assert world.log.confirmed[-1] == 110


def test_a_transaction_that_still_streams_is_not_confirmed(world: World) -> None:
    world.log.say(100, Begin(200, 1, 7))
    world.log.say(100, Insert(1, ["1", "a"]))
    world.log.messages.append(Keepalive(500, True))
    world.run()
    assert len(world.stream) == 1
    assert set(world.log.confirmed) == {0}


def test_a_change_of_the_key_is_a_delete_a_tombstone_and_a_create_at_one_position(world: World) -> None:
    world.log.transaction(100, Update(1, ["1", None], ["2", UNCHANGED]))
    world.run()
    delete, create, tombstone = ([e for e in world.events() if e and e["op"] == op] for op in ("d", "c", ""))
    assert (delete[0]["before"], delete[0]["after"]) == ({"id": "1", "v": None}, None)
    assert (create[0]["before"], create[0]["after"]) == (None, {"id": "2", "v": "__debezium_unavailable_value"})
    assert delete[0]["source"]["lsn"] == create[0]["source"]["lsn"] == 100
    assert (tombstone, [r.data for r in world.stream].count(b"")) == ([], 1)
    keys = [r.partition_key for r in world.stream]
    order = [r.data == b"" for r in world.stream if r.partition_key == keys[0]]
    assert order == [False, True]


def test_the_sequence_names_the_commit_before(world: World) -> None:
    world.log.transaction(100, Insert(1, ["1", "a"]))
    world.log.transaction(200, Delete(1, ["1", None]))
    world.run()
    sequences = [e["source"]["sequence"] for e in world.events() if e]
    assert sequences == ['[null,"100"]', '["110","200"]']


def test_a_heartbeat_goes_to_every_shard_once_everything_before_it_is_there(world: World) -> None:
    world.answering.clear()
    world.log.transaction(100, Insert(1, ["1", "a"]))
    world.log.transaction(200, LogicalMessage(True, 200, "cdc.heartbeat", b""))
    world.run(until=lambda: world.sink.is_calling)
    assert world.sink._outbox.records == 1
    world.answering.set()
    world.run()
    beats = [r for r in world.stream if r.partition_key == "cdc.heartbeat"]
    assert [r.explicit_hash_key for r in beats] == ["0", "100"]
    value = json.loads(beats[0].data)
    assert (value["op"], value["source"]["ts_us"], value["source"]["lsn"]) == ("m", 200_000, 200)
    assert world.stream.index(beats[0]) > 0


def test_what_is_stated_of_new_columns_is_in_every_shard_before_any_row(world: World) -> None:
    world.run()
    stating = replace(TABLE, stated=(StatedColumn("v", 2, "text"),))
    world.publisher._format_of = lambda _relation: stating
    world.answering.clear()
    world.log.transaction(100, RELATION, Insert(1, ["1", "a"]))
    world.run_until(lambda: world.sink.is_calling)
    assert (world.sink._outbox.records, len(world.log.messages)) == (2, 1)
    world.answering.set()
    world.run()
    assert [record.explicit_hash_key for record in world.stream] == ["0", "100", None]
    assert [(event["op"], event["source"]["lsn"]) for event in world.events()] == [("m", 101), ("m", 101), ("c", 101)]
    assert world.log.confirmed[-1] == 110


def test_what_was_not_sure_is_stated_again_with_a_later_change_and_for_the_first_one(world: World) -> None:
    world.run()
    unsure, sure = (replace(TABLE, stated=(StatedColumn("v", number, "text"),)) for number in (None, 2))
    world.publisher._format_of = lambda _relation: unsure
    world.log.transaction(100, RELATION, Insert(1, ["1", "a"]), Insert(1, ["2", "a"]))
    world.run()
    world.publisher._format_of = lambda _relation: sure
    world.log.transaction(200, Insert(1, ["3", "a"]))
    world.log.transaction(300, Insert(1, ["4", "a"]))
    world.run()
    told = [(event["op"], event["source"]["lsn"]) for event in world.events()]
    assert sorted(told[:4]) == [("c", 101), ("c", 102), ("m", 101), ("m", 101)]
    assert told[:2] == told[4:6] == [("m", 101)] * 2
    assert sorted(told[6:]) == [("c", 200), ("c", 300)]


def test_a_truncate_is_told_for_each_table_with_a_contract_and_other_messages_are_not(world: World) -> None:
    world.log.transaction(
        100, Truncate((1, 2)), Insert(2, ["x"]), LogicalMessage(True, 101, "app", b"x"), Delete(2, ["x"])
    )
    world.log.say(300, LogicalMessage(False, 300, "cdc.heartbeat", b""))
    world.run()
    assert [(e["op"], r.partition_key) for e, r in zip(world.events(), world.stream, strict=True)] == [("t", "default")]
    assert world.log.confirmed[-1] == 110


def test_a_stop_counts_no_heartbeat_that_is_never_sent(world: World) -> None:
    world.log.transaction(100, Insert(1, ["1", "a"]))
    world.log.transaction(200, LogicalMessage(True, 200, "cdc.heartbeat", b""))
    stop = threading.Event()
    world.on_put = stop.set
    before = HEARTBEATS._value.get()
    world.publisher.run(stop)
    assert [json.loads(record.data)["op"] for record in world.stream] == ["c"]
    assert world.log.confirmed[-1] == 210
    assert HEARTBEATS._value.get() == before


def test_no_rest_once_there_is_room_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has arrived already wakes nobody, so a rest would last its whole second."""
    monkeypatch.setattr("cdc_publisher.sink.PENDING_RECORDS_MAX", 1)
    for number in range(20):
        world.log.transaction(100 * number, Insert(1, [str(number), "a"]))
    stop = threading.Event()
    rests: list[bool] = []

    def wait(_wake: object, _seconds: float, *, for_data: bool) -> None:
        rests.append(for_data and bool(world.log.messages))
        if not world.log.messages and world.sink.is_empty:
            stop.set()

    monkeypatch.setattr(world.log, "wait", wait)
    world.publisher.run(stop)
    assert len(world.stream) == 20
    assert True not in rests


def step(world: World, seconds: float) -> None:
    world.now += seconds
    world.publisher._read()
    world.publisher._confirm()


def test_a_source_that_says_nothing_is_asked_and_then_given_up(world: World) -> None:
    step(world, STATUS_SECONDS)
    assert world.log.asked == [False]
    while world.now < SILENCE_SECONDS:
        step(world, STATUS_SECONDS)
        assert world.log.asked[-1]
    world.log.messages.append(Keepalive(500, False))
    step(world, 0)
    for _ in range(int(SILENCE_SECONDS / STATUS_SECONDS)):
        step(world, STATUS_SECONDS)
    with pytest.raises(TransientFault, match="has said nothing"):
        step(world, STATUS_SECONDS)


def test_a_source_that_is_not_listened_to_is_not_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as context:
        context.setattr("cdc_publisher.sink.PENDING_RECORDS_MAX", 0)
        step(world, SILENCE_SECONDS + 1)
        step(world, SILENCE_SECONDS + 1)
    world.log.messages.clear()
    step(world, STATUS_SECONDS)


def test_an_unchanged_value_is_taken_from_a_full_old_image() -> None:
    assert completed(["1", UNCHANGED, UNCHANGED], ["1", "a", None]) == ["1", "a", UNCHANGED]


def test_an_oversized_record_names_the_table_and_the_place_only(world: World) -> None:
    world.log.transaction(0x1_0000_0100, Insert(1, ["1", "segredo" * (RECORD_BYTES_MAX // 7)]))
    with pytest.raises(FatalFault, match=r"public\.t, position 1/100") as caught:
        world.run()
    assert "segredo" not in str(caught.value)
