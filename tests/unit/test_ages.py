"""Ages are told when they are asked for, so that a loop that hangs leaves no good value standing."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

from prometheus_client import REGISTRY

from cdc_consumer.ages import Ages as ConsumerAges
from compactor.ages import Ages

START = datetime(2026, 11, 21, 12, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def utc(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


def shown(name: str) -> float | None:
    return REGISTRY.get_sample_value(f"compactor_{name}_seconds", {"table": "aged"})


def test_a_tables_ages_grow_by_themselves_from_the_start() -> None:
    clock = Clock()
    ages = Ages("aged", 60, clock.utc)
    clock.seconds = 50
    assert [shown(name) for name in ("merge_age", "valid_through_age", "overdue", "maintenance_behind")] == [
        50,
        50,
        0,
        50,
    ]
    assert shown("proof_age") == clock.utc().timestamp()  # never proven
    ages.merged(START + timedelta(seconds=40), START)
    ages.maintained()
    clock.seconds = 130
    assert [shown(name) for name in ("merge_age", "valid_through_age", "overdue", "maintenance_behind")] == [
        80,
        90,
        30,
        80,
    ]
    assert shown("proof_age") == 130
    ages.merged(None, None)  # of a table that was proven once, and is not any more
    assert shown("valid_through_age") == 130


def test_a_clock_that_was_set_back_makes_no_age_negative() -> None:
    clock = Clock()
    Ages("aged", 60, clock.utc)
    clock.seconds = -30
    assert shown("merge_age") == shown("overdue") == 0


def test_silence_is_that_of_the_shard_heard_last_and_none_where_none_is_read() -> None:
    clock = Clock()
    ages = ConsumerAges(clock.monotonic)
    assert math.isnan(ages.silence_seconds())
    clock.seconds = 10
    with ages.reading("a"):
        clock.seconds = 15
        with ages.reading("b"):
            assert ages.silence_seconds() == 5
            ages.heard()
            clock.seconds = 18
            assert ages.silence_seconds() == 3
        assert ages.silence_seconds() == 3
    assert math.isnan(ages.silence_seconds())


def test_the_oldest_record_that_is_not_durable_tells_how_long_writing_takes() -> None:
    clock = Clock()
    ages = ConsumerAges(clock.monotonic)
    with ages.reading("a"), ages.reading("b"):
        ages.waits("a")
        clock.seconds = 7
        ages.waits("a")
        ages.waits("b")
        clock.seconds = 9
        assert ages.unwritten_seconds() == 9
        ages.written("a")
        assert ages.unwritten_seconds() == 2
    assert ages.unwritten_seconds() == 0  # a shard that is left is another worker's
