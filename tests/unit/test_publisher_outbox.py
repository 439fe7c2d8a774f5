"""The order of each key survives whatever Kinesis refuses; the slot is confirmed only past what it has."""

from __future__ import annotations

from collections import defaultdict
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from cdc_publisher.ledger import Evidence, Ledger
from cdc_publisher.outbox import BYTES_MAX, RECORDS_MAX, Outbox, Record


def record(key: str, number: int) -> Record:
    return Record(key, str(number).encode())


def outbox() -> Outbox:
    return Outbox(float)


def test_two_records_of_one_key_never_share_a_call() -> None:
    box = outbox()
    for number in range(3):
        box.add(record("a", number))
        box.add(record("b", number))
    calls = []
    while call := box.take(0):
        calls.append([(r.partition_key, r.data) for r in call])
        box.settle(call, (), 0)
    assert calls == [[("a", b"0"), ("b", b"0")], [("a", b"1"), ("b", b"1")], [("a", b"2"), ("b", b"2")]]
    assert (box.records, box.bytes) == (0, 0)


def test_a_refused_record_holds_back_its_key_and_no_other() -> None:
    box = outbox()
    for key, number in (("a", 1), ("a", 2), ("b", 3)):
        box.add(record(key, number))
    box.settle(box.take(0), {0}, 0)
    box.add(record("b", 4))
    assert [r.data for r in box.take(0)] == [b"4"]
    assert box.next_due() == 1.0
    assert [r.data for r in box.take(1)] == [b"1"]


def test_attempts_are_counted_by_key_and_forgotten_on_success() -> None:
    box = outbox()
    box.add(record("a", 1))
    box.settle(box.take(0), {0}, 0)
    box.settle(box.take(10), {0}, 10)
    assert box.next_due() == 12.0
    box.settle(box.take(12), (), 12)
    box.add(record("a", 2))
    box.settle(box.take(12), {0}, 12)
    assert box.next_due() == 13.0


def test_a_call_keeps_within_the_limits_of_put_records() -> None:
    box = outbox()
    for number in range(RECORDS_MAX + 1):
        box.add(record(str(number), number))
    assert len(box.take(0)) == RECORDS_MAX
    large = outbox()
    for number in range(6):
        large.add(Record(str(number), b"x" * 1_000_000))
    first = large.take(0)
    assert sum(r.size for r in first) <= BYTES_MAX
    assert len(first) == 5
    assert len(large.take(0)) == 1


def test_heartbeats_to_different_shards_share_a_call() -> None:
    box = outbox()
    for shard in ("0", "100", "200"):
        box.add(Record("cdc.heartbeat", b"{}", None, shard))
    assert len(box.take(0)) == 3


@settings(max_examples=200)
@given(
    keys=st.lists(st.integers(0, 5), max_size=80),
    seed=st.integers(0, 2**32),
    refusal=st.floats(0, 0.9),
    calls_max=st.integers(1, 4),
)
def test_the_order_of_each_key_survives_any_refusals_and_lost_answers(
    keys: list[int], seed: int, refusal: float, calls_max: int
) -> None:
    random = Random(seed)
    box = Outbox(lambda attempt: random.uniform(0, attempt))
    ledger = Ledger(0)
    stream: dict[str, list[int]] = defaultdict(list)
    sent: dict[str, list[int]] = defaultdict(list)
    on_their_way: list[list[Record]] = []
    now, number = 0.0, 0
    while number < len(keys) or box.records:
        now += 0.1
        if number < len(keys) and random.random() < 0.7:
            entry = ledger.begin()
            entry.open += 1
            ledger.commit(entry, number + 1)
            box.add(Record(str(keys[number]), str(number).encode(), entry))
            sent[str(keys[number])].append(number)
            number += 1
        if len(on_their_way) < calls_max and (call := box.take(now)):
            on_their_way.append(call)
        if on_their_way and random.random() < 0.5:
            call = on_their_way.pop(random.randrange(len(on_their_way)))
            refused = {place for place in range(len(call)) if random.random() < refusal}
            for place, taken in enumerate(call):
                # An answer may be lost: the stream has the record and we hold it for refused.
                if place not in refused or random.random() < 0.3:
                    stream[taken.partition_key].append(int(taken.data))
            box.settle(call, refused, now)
        ledger.settle()
        acknowledged = {n for numbers in stream.values() for n in numbers}
        assert set(range(ledger.confirmed_lsn)) <= acknowledged
        if number == len(keys) and random.random() < 0.05:
            refusal = 0.0  # Kinesis recovers some day
    assert {key: list(dict.fromkeys(numbers)) for key, numbers in stream.items()} == sent
    assert all(numbers == sorted(numbers) for numbers in stream.values())
    assert ledger.is_empty
    assert ledger.confirmed_lsn == len(keys)


def test_a_transaction_is_safe_only_as_a_whole_and_in_its_turn() -> None:
    ledger = Ledger(5)
    first = ledger.begin()
    first.open = 2
    ledger.commit(first, 10)
    second = ledger.begin()
    second.open = 1
    ledger.commit(second, 20)
    second.open = 0
    ledger.settle()
    assert ledger.confirmed_lsn == 5
    first.open = 0
    ledger.settle()
    assert ledger.confirmed_lsn == 20


def test_a_transaction_that_still_streams_is_not_safe_although_nothing_is_open() -> None:
    ledger = Ledger(5)
    entry = ledger.begin()
    ledger.settle()
    assert ledger.confirmed_lsn == 5
    entry.open = 1
    ledger.commit(entry, 10)
    ledger.mark(30)
    ledger.settle()
    assert ledger.confirmed_lsn == 5


def test_transactions_without_records_take_no_memory_while_an_earlier_one_waits() -> None:
    ledger = Ledger(0)
    stuck = ledger.begin()
    stuck.open = 1
    ledger.commit(stuck, 10)
    for end in range(20, 1000):
        ledger.commit(ledger.begin(), end)
    ledger.begin()
    assert len(ledger._entries) == 2
    stuck.open = 0
    ledger.settle()
    assert ledger.confirmed_lsn == 999


def test_a_keepalive_counts_once_everything_before_it_is_safe() -> None:
    ledger = Ledger(5)
    entry = ledger.begin()
    entry.open = 1
    ledger.commit(entry, 10)
    ledger.mark(30)
    ledger.mark(25)
    ledger.settle()
    assert ledger.confirmed_lsn == 5
    entry.open = 0
    ledger.settle()
    assert ledger.confirmed_lsn == 30
    ledger.mark(7)
    ledger.settle()
    assert ledger.confirmed_lsn == 30


def test_a_heartbeat_is_proven_when_everything_before_it_is_safe() -> None:
    ledger = Ledger(0)
    change = ledger.begin()
    change.open = 1
    ledger.commit(change, 10)
    heartbeat = ledger.begin()
    heartbeat.evidence = Evidence(15, 99, 7, 10)
    ledger.commit(heartbeat, 20)
    ledger.mark(30)
    assert ledger.settle() == []
    change.open = 0
    assert ledger.settle() == [Evidence(15, 99, 7, 10)]
    assert ledger.confirmed_lsn == 30
