"""Where a shard goes on: by its lease, by the chain in raw, and when the stream may have dropped what was not read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from cdc.errors import FatalFault
from cdc.raw import BatchRecord, Tip, batch_path, tip_path
from cdc_consumer.lease import Lease
from cdc_consumer.resume import CLOCK_SKEW_MAX, find_resume, may_have_lost, reached
from tests.raw_zone import MemoryObjects

STREAM, SHARD = "s-20261121T120000Z", "shardId-000000000000"
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
DAY = timedelta(hours=24)


def chain(*bounds: tuple[int, int], closed: bool = False, arrived_at: datetime | None = None) -> MemoryObjects:
    store = MemoryObjects()
    for after, upto in bounds:
        record = BatchRecord(
            STREAM,
            SHARD,
            str(after),
            f"00{upto}",
            closed=closed and upto == bounds[-1][1],
            children=("child",) if closed else (),
            arrived_at=arrived_at,
        )
        store.put_new(batch_path(STREAM, SHARD, after, upto), msgspec.json.encode(record))
    return store


def lease(checkpoint: str, arrived_at: datetime | None = NOON) -> Lease:
    return Lease(f"{STREAM}/{SHARD}", checkpoint=checkpoint, arrived_at=arrived_at)


def test_nothing_written_yet_begins_at_the_oldest_record() -> None:
    found = find_resume(MemoryObjects(), STREAM, SHARD, lease("TRIM_HORIZON", None))
    assert (found.after, found.read_until, found.ended) == ("0", None, None)


def test_the_checkpoint_says_where_to_go_on() -> None:
    found = find_resume(chain((0, 5), (5, 9)), STREAM, SHARD, lease("009"))
    assert (found.after, found.read_until) == ("009", NOON)


def test_a_batch_record_that_the_checkpoint_missed_is_not_read_again() -> None:
    """The worker died between batch record and checkpoint."""
    assert find_resume(chain((0, 5), (5, 9)), STREAM, SHARD, lease("005")).after == "009"


def test_a_closed_shard_is_recognised() -> None:
    found = find_resume(chain((0, 5), (5, 9), closed=True), STREAM, SHARD, lease("005"))
    assert found.ended is not None
    assert found.ended.children == ("child",)


def test_a_lost_lease_table_costs_nothing() -> None:
    found = find_resume(chain((0, 5), (5, 9)), STREAM, SHARD, lease("TRIM_HORIZON", None))
    assert found.after == "009"


def test_without_lease_and_beginning_of_the_chain_it_counts_from_the_oldest_batch_kept() -> None:
    assert find_resume(chain((500, 505), (505, 509)), STREAM, SHARD, lease("TRIM_HORIZON", None)).after == "00509"


def test_the_chain_is_followed_to_its_first_gap_only() -> None:
    assert find_resume(chain((0, 5), (5, 9), (11, 20)), STREAM, SHARD, lease("005")).after == "009"


@pytest.mark.parametrize(
    ("after", "links", "last"),
    [
        (0, [], None),
        (5, [(0, 5)], None),
        (5, [(7, 9)], None),
        (5, [(0, 8), (3, 12), (12, 13), (20, 30)], (12, 13)),
        (5, [(4, 6), (9, 10), (5, 11)], (5, 11)),
    ],
)
def test_reached(after: int, links: list[tuple[int, int]], last: tuple[int, int] | None) -> None:
    assert reached(after, links) == last


def test_a_tip_tells_that_nothing_had_arrived_until_later() -> None:
    store = chain((0, 5))
    later = NOON + timedelta(hours=30)
    store.put(tip_path(STREAM, SHARD), msgspec.json.encode(Tip(later, "005")))
    assert find_resume(store, STREAM, SHARD, lease("005")).read_until == later


def test_a_tip_past_what_is_written_tells_nothing() -> None:
    store = chain((0, 5))
    store.put(tip_path(STREAM, SHARD), msgspec.json.encode(Tip(NOON + DAY, "006")))
    assert find_resume(store, STREAM, SHARD, lease("005")).read_until == NOON


def test_a_damaged_tip_is_as_none() -> None:
    store = chain((0, 5))
    store.put(tip_path(STREAM, SHARD), b"{")
    assert find_resume(store, STREAM, SHARD, lease("005")).read_until == NOON


def test_after_a_crash_before_the_first_checkpoint_the_last_batch_dates_it() -> None:
    arrived_at = NOON - timedelta(minutes=1)
    found = find_resume(chain((0, 5), arrived_at=arrived_at), STREAM, SHARD, lease("TRIM_HORIZON", None))
    assert found.read_until == arrived_at


def test_a_batch_that_is_newer_than_the_checkpoint_dates_it() -> None:
    arrived_at = NOON + timedelta(days=2)
    found = find_resume(chain((0, 5), (5, 9), arrived_at=arrived_at), STREAM, SHARD, lease("005"))
    assert found.read_until == arrived_at


def test_what_cannot_be_dated_is_taken_for_too_old() -> None:
    found = find_resume(chain((0, 5)), STREAM, SHARD, lease("TRIM_HORIZON", None))
    assert may_have_lost(found.read_until, NOON, DAY)


@pytest.mark.parametrize(
    ("age", "lost"), [(timedelta(hours=23), False), (DAY - CLOCK_SKEW_MAX, False), (DAY, True), (3 * DAY, True)]
)
def test_what_is_older_than_the_retention_may_be_lost(age: timedelta, lost: bool) -> None:  # noqa: FBT001
    assert may_have_lost(NOON - age, NOON, DAY) is lost


def test_a_shard_never_read_has_lost_nothing() -> None:
    assert not may_have_lost(None, NOON, DAY)


def test_a_stranger_among_the_batch_records_stops_the_shard() -> None:
    store = MemoryObjects()
    store.put(f"_batches/{STREAM}/{SHARD}/zzz.json", b"")
    with pytest.raises(FatalFault, match="not named like one"):
        find_resume(store, STREAM, SHARD, lease("TRIM_HORIZON", None))


def test_a_batch_record_that_cannot_be_read_stops_the_shard() -> None:
    store = MemoryObjects()
    store.put(batch_path(STREAM, SHARD, 0, 5), b"{")
    with pytest.raises(FatalFault, match="cannot be read"):
        find_resume(store, STREAM, SHARD, lease("TRIM_HORIZON", None))
