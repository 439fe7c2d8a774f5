"""The feed between the one client and a partition's thread: nothing doubled, nothing skipped, losses in their place."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

from cdc_consumer.kafka.feed import Feed
from cdc_consumer.stream import Record

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def records(*numbers: int, size: int = 10) -> list[Record]:
    return [Record(str(number), NOON, b"x" * size) for number in numbers]


def opened(after: int = 0, bytes_max: int = 1000) -> Feed:
    feed = Feed(bytes_max)
    feed.open(after)
    return feed


def seqs(some: tuple[Record, ...]) -> list[int]:
    return [int(record.seq) for record in some]


def test_what_is_put_is_taken_once_and_in_order() -> None:
    feed = opened()
    feed.put(records(1, 2, 3))
    feed.put(records(2, 3, 4))
    assert seqs(feed.take(3, 0).records) == [1, 2, 3]
    helping = feed.take(3, 0)
    assert (seqs(helping.records), helping.reached, helping.at_end) == ([4], 4, False)


def test_a_feed_that_nobody_has_opened_takes_nothing() -> None:
    feed = Feed(1000)
    feed.put(records(1))
    feed.end(1)
    assert feed.take(1, 0) == opened().take(1, 0)


def test_the_end_is_past_the_last_record_where_control_records_follow() -> None:
    feed = opened()
    feed.put(records(1, 2))
    feed.end(5)
    first = feed.take(1, 0)
    assert (first.reached, first.at_end) == (1, False)
    second = feed.take(9, 0)
    assert (seqs(second.records), second.reached, second.at_end) == ([2], 5, True)
    feed.put(records(6))
    assert feed.take(9, 0).at_end is False


def test_the_end_of_an_earlier_opening_ends_nothing() -> None:
    feed = opened(after=7)
    feed.end(5)
    assert not feed.take(1, 0).at_end


def test_a_loss_comes_before_the_records_that_follow_it() -> None:
    feed = opened(after=3)
    feed.put(records(4))
    feed.trim(10)
    feed.put(records(11, 12))
    before = feed.take(9, 0)
    assert (seqs(before.records), before.trimmed) == ([4], None)
    after = feed.take(9, 0)
    assert (seqs(after.records), after.trimmed) == ([11, 12], 10)
    assert feed.take(9, 0).trimmed is None


def test_it_is_full_until_half_is_taken() -> None:
    feed = opened(bytes_max=100)
    seen = []
    feed.put(records(*range(1, 12)))
    for count in (0, 5, 1):
        feed.take(count, 0)
        seen.append((feed.is_full, feed.has_room))
    assert seen == [(True, False), (False, False), (False, True)]


def test_an_end_is_told_once_after_the_records_before_it_and_is_no_end_once_more_came() -> None:
    feed = opened()
    feed.put(records(1))
    feed.end(1)
    told = [(len(one.records), one.at_end, one.has_just_ended) for one in (feed.take(9, 0) for _ in range(3))]
    assert told == [(1, True, False), (0, True, True), (0, True, False)]
    feed.end(1)
    feed.put(records(2))
    assert not feed.take(9, 0).has_just_ended
    assert not feed.take(9, 0).at_end


def test_whoever_waits_is_woken_by_the_end_of_what_was_taken_already() -> None:
    feed = opened()
    feed.put(records(1))
    feed.take(9, 0)
    thread = threading.Thread(target=lambda: feed.end(1))
    thread.start()
    assert feed.take(9, 60).has_just_ended
    thread.join()


def test_no_more_bytes_are_taken_than_asked_for_but_always_a_record() -> None:
    feed = opened()
    feed.put(records(1, 2, 3, 4, size=100))
    feed.put(records(5, size=900))
    assert [seqs(feed.take(9, 0, 250).records) for _ in range(3)] == [[1, 2], [3, 4], [5]]


def test_whoever_waits_is_woken_by_a_record() -> None:
    feed = opened()
    thread = threading.Thread(target=lambda: feed.put(records(1)))
    thread.start()
    assert seqs(feed.take(1, 60).records) == [1]
    thread.join()


def test_opening_anew_forgets_what_was_fetched_for_the_earlier_opening() -> None:
    feed = opened()
    feed.put(records(1, 2))
    assert feed.open(1) == 2
    feed.put(records(1, 2))
    assert seqs(feed.take(9, 0).records) == [2]
