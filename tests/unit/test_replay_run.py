from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest

from cdc.contract import TableContract
from cdc.errors import FatalFault, TransientFault
from cdc_ops.replay_key import partition_key_of
from cdc_ops.replay_kinesis import GIVE_UP_SECONDS, KinesisTarget
from cdc_ops.replay_pace import Due, as_recorded, at_once, steady
from cdc_ops.replay_read import in_file
from cdc_ops.replay_record import Record
from cdc_ops.replay_resolve import move_replayed
from cdc_ops.replay_resume import ResumeFile
from cdc_ops.replay_run import FLUSH_RECORDS, Player, Tally, summary
from cdc_ops.replay_target import FileTarget, Nowhere, Target
from cdc_publisher.envelope import PARTITION_KEY_WITHOUT_KEY, TableFormat, partition_key
from cdc_publisher.outbox import Record as Entry
from cdc_publisher.rendering import SourceType, rendering
from cdc_publisher.sink import Outcome
from cdc_publisher.temporal import INFINITY_STREAMED
from tests.raw_zone import START, MemoryObjects, event


def record(number: int, key: int = 1, *, shard: str = "s/0", table: str | None = "usuarios") -> Record:
    payload = event("c", number, {"id": key, "n": number})
    return Record(shard, number, 0, START + timedelta(seconds=number), payload, f"object{number // 10}", table)


@dataclass
class SteppingClock:
    """Time passes by resting alone; stops after so many seconds."""

    now: float = 0.0
    ends: float = 1e9
    rested: list[float] = field(default_factory=list)

    def seconds(self) -> float:
        return self.now

    def rest(self, seconds: float) -> bool:
        self.rested.append(seconds)
        self.now += seconds
        return self.now < self.ends

    def is_stopping(self) -> bool:
        return self.now >= self.ends


@dataclass
class FlakyStream:
    """A stream that takes whole calls, parts of them, or nothing, as the dice fall; it has taken what is in `taken`."""

    dice: Random
    refuses: float = 0.5
    taken: list[Entry] = field(default_factory=list)

    def __call__(self, entries: Sequence[Entry]) -> Outcome:
        refused = frozenset(place for place in range(len(entries)) if self.dice.random() < self.refuses)
        self.taken += [entry for place, entry in enumerate(entries) if place not in refused]
        return Outcome(refused, "ProvisionedThroughputExceededException" if refused else "")


def kinesis(stream: FlakyStream, clock: SteppingClock, record_bytes_max: int = 2**20) -> KinesisTarget:
    return KinesisTarget(stream, record_bytes_max, Random(1), clock.seconds, clock.rest)


def player(target: Target, clock: SteppingClock, contracts: Iterable[TableContract] = (), due: Due = at_once) -> Player:
    named = {contract.name: contract for contract in contracts}
    return Player(target, named, due, clock, lambda _: None, lambda _: None)


def test_the_order_of_each_key_survives_refusals_and_everything_arrives_once(usuarios: TableContract) -> None:
    stream, clock = FlakyStream(Random(7)), SteppingClock()
    some = [record(number, key=number % 5) for number in range(1, 1200)]
    tally = player(kinesis(stream, clock), clock, [usuarios]).play(some, {})
    assert tally.is_whole
    assert (tally.records, tally.replayed) == (1199, 1199)
    by_key: dict[str, list[int]] = {}
    for entry in stream.taken:
        by_key.setdefault(entry.partition_key, []).append(json.loads(entry.data)["after"]["n"])
    assert len(by_key) == 5
    assert all(numbers == sorted(set(numbers)) for numbers in by_key.values())
    assert sorted(entry.data for entry in stream.taken) == sorted(one.payload for one in some)


def test_a_stream_that_refuses_everything_is_given_up_and_what_it_has_is_told() -> None:
    stream, clock = FlakyStream(Random(7), refuses=0), SteppingClock()

    class Ending(FlakyStream):
        def __call__(self, entries: Sequence[Entry]) -> Outcome:
            self.refuses = 1.0 if len(self.taken) >= FLUSH_RECORDS else 0.0
            return super().__call__(entries)

    stream = Ending(Random(7))
    tally = player(kinesis(stream, clock), clock).play([record(n, table=None) for n in range(1, 700)], {})
    assert isinstance(tally.fault, TransientFault)
    assert clock.now > GIVE_UP_SECONDS
    assert not tally.is_whole
    assert tally.reached == {"s/0": (FLUSH_RECORDS, 0)}
    told = summary(tally, is_dry_run=False)
    assert told.reached == {"s/0": f"{FLUSH_RECORDS}:0"}
    assert told.stopped is not None
    assert "ProvisionedThroughputExceededException" in told.stopped


def test_what_a_stream_cannot_take_is_counted_and_its_object_is_kept() -> None:
    stream, clock = FlakyStream(Random(1), refuses=0), SteppingClock()
    some = [record(1), replace(record(12), schema_id=5), replace(record(23), payload=b"x" * 5000), record(34)]
    tally = player(kinesis(stream, clock, record_bytes_max=4000), clock).play(some, {})
    assert tally.is_whole
    assert tally.left_out == {"from-avro": 1, "too-large": 1}
    assert (len(stream.taken), tally.replayed, tally.records) == (2, 2, 4)
    assert tally.kept == {"object1", "object2"}
    # Also when an earlier run had come past them.
    again = player(kinesis(stream, clock, record_bytes_max=4000), clock).play(some, {"s/0": (23, 0)})
    assert (again.kept, again.skipped, again.replayed) == ({"object1", "object2"}, 3, 1)


def test_a_replay_that_is_told_to_stop_goes_on_where_it_stopped() -> None:
    stream, clock = FlakyStream(Random(1), refuses=0), SteppingClock(ends=30)
    some = [record(number, shard=f"s/{number % 2}", key=number) for number in range(1, 101)]
    first = player(kinesis(stream, clock), clock, due=steady(2)).play(some, {})
    assert not first.is_whole
    assert first.fault is None
    assert 0 < first.replayed < 100
    assert len(stream.taken) == first.replayed
    clock.ends = 1e9
    second = player(kinesis(stream, clock), clock, due=steady(2)).play(some, first.reached)
    assert second.is_whole
    assert second.skipped == first.replayed
    assert [entry.data for entry in stream.taken] == [one.payload for one in some]


def test_the_pace_is_so_many_records_a_second_or_that_of_their_arrival() -> None:
    some = [record(number) for number in (1, 2, 3, 103)]
    clock = SteppingClock()
    player(Nowhere(), clock, due=steady(4)).play(some, {})
    assert clock.rested == pytest.approx([0.25, 0.25, 0.25])
    clock = SteppingClock()
    player(Nowhere(), clock, due=as_recorded(10)).play(some, {})
    assert clock.rested == pytest.approx([0.1, 0.1, 10.0])
    clock = SteppingClock()
    player(Nowhere(), clock, due=steady(1000)).play([record(number) for number in range(1, 1001)], {})
    assert sum(clock.rested) == pytest.approx(1.0, abs=0.1)
    assert min(clock.rested) > 0.05


def test_the_partition_key_is_the_publishers() -> None:
    text, number = (rendering(SourceType(name), -1, INFINITY_STREAMED) for name in ("text", "int8"))
    assert text is not None
    assert number is not None
    format_ = TableFormat.of("public", "T", [("id", number), ("nome", text)], ["id"])
    contract = keyed(("id",))
    for op in "cud":
        payload = event(op, 5, {"id": 7, "nome": 'José "\u00e7'})
        assert partition_key_of(payload, contract) == partition_key(format_.key_of(["7", "x"]))
    both = TableFormat.of("public", "T", [("id", number), ("nome", text)], ["nome", "id"])
    payload = event("c", 5, {"id": 7, "nome": "x"})
    assert partition_key_of(payload, keyed(("nome", "id"))) == partition_key(both.key_of(["7", "x"]))


def keyed(key: tuple[str, ...]) -> TableContract:
    from cdc.contract import Column  # noqa: PLC0415
    from cdc.postgres_type import parse_type  # noqa: PLC0415

    types = {name: parse_type(text) for name, text in (("id", "bigint"), ("nome", "text"))}
    columns = tuple(Column(name, name, of, "internal", "clear") for name, of in types.items() if of is not None)
    return TableContract("t", "public", "T", columns, key, "hold", 60.0)


@pytest.mark.parametrize(
    "payload",
    [
        b'{"schema":{},"payload":{"op":"c","source":{},"after":{"id":7}}}',
        b'{"data":{"id":7},"metadata":{"operation":"update"}}',
        b'{"id":7,"__op":"u"}',
        b'{ "after" : { "id" : 7 } , "source":{"lsn":1}, "op":"u" }',
    ],
)
def test_the_key_of_a_row_is_the_same_in_every_dialect(payload: bytes) -> None:
    assert partition_key_of(payload, keyed(("id",))) == partition_key(b'{"id":7}')


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xff", b"{no json", b"[]", b"7", b'{"source":{},"after":null}', b'{"source":{},"after":{"id":null}}', b"{}", b'{"source":{},"after":{"id":"\xff"}}'],
)  # fmt: skip
def test_a_record_without_a_readable_key_has_a_constant_one(payload: bytes) -> None:
    assert partition_key_of(payload, keyed(("id",))) == PARTITION_KEY_WITHOUT_KEY
    assert partition_key_of(event("c", 1, {"id": 1}), None) == PARTITION_KEY_WITHOUT_KEY


@pytest.mark.parametrize("name", ["some.jsonl", "some.jsonl.gz"])
def test_a_file_has_its_name_once_it_is_whole_and_is_its_owners_alone(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    some = [replace(record(number), schema_id=number) for number in range(1, 9)]
    tally = player(FileTarget(path), SteppingClock()).play(some, {})
    assert tally.is_whole
    assert path.stat().st_mode & 0o777 == 0o600
    assert [replace(one, path="") for one in in_file(path)] == [replace(one, path="") for one in some]
    with pytest.raises(FatalFault, match="exists already"):
        FileTarget(path)
    if name.endswith("gz"):
        assert gzip.decompress(path.read_bytes()).count(b"\n") == 8

    def cut_off() -> Iterable[Record]:
        yield some[0]
        raise TransientFault("the store does not answer")

    other = tmp_path / f"other-{name}"
    tally = player(FileTarget(other), SteppingClock()).play(cut_off(), {})
    assert not tally.is_whole
    assert isinstance(tally.fault, TransientFault)
    assert sorted(tmp_path.iterdir()) == [path]


def test_the_place_of_a_stop_is_another_replays_when_its_options_are_others(tmp_path: Path) -> None:
    path = tmp_path / "stop.json"
    reached = {"s/0": (10**50, 3), "s/1": (7, 0)}
    assert ResumeFile(path, ("quarantine", "a")).read() == {}
    ResumeFile(path, ("quarantine", "a")).write(reached)
    assert ResumeFile(path, ("quarantine", "a")).read() == reached
    with pytest.raises(FatalFault, match="another replay's"):
        ResumeFile(path, ("quarantine", "b")).read()
    path.write_text("{")
    with pytest.raises(FatalFault, match="cannot be read"):
        ResumeFile(path, ("quarantine", "a")).read()


def test_what_is_moved_twice_or_cut_off_in_between_is_moved_once() -> None:
    class Store(MemoryObjects):
        def delete(self, path: str) -> None:
            if self.objects.get("deny"):
                raise TransientFault("not now")
            self.objects.pop(path, None)

    store = Store()
    store.objects = {"no-key/a": b"1", "no-key/b": b"2", "_replayed/no-key/c": b"3", "deny": b"x"}
    with pytest.raises(TransientFault):
        move_replayed(store, ["no-key/a", "_replayed/no-key/c"])
    del store.objects["deny"]
    assert move_replayed(store, ["no-key/a", "_replayed/no-key/c"]) == 1
    assert store.objects == {"no-key/b": b"2", "_replayed/no-key/a": b"1", "_replayed/no-key/c": b"3"}


def test_a_tally_that_found_nothing_is_whole() -> None:
    tally: Tally = player(Nowhere(), SteppingClock()).play([], {})
    assert summary(tally, is_dry_run=True).stopped is None
