"""How often a shard is read, inside the limits that Kinesis sets for each."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cdc_consumer.pace import READ_BYTES_PER_SECOND, READ_SECONDS, READ_SECONDS_AT_TIP, seconds_between_reads


@given(st.booleans(), st.integers(0, 10 * 1024 * 1024))
def test_no_pace_is_above_the_limits_of_a_shard(behind: bool, read_bytes: int) -> None:  # noqa: FBT001
    seconds = seconds_between_reads(behind=behind, read_bytes=read_bytes)
    assert 1 / seconds <= 5
    assert read_bytes / seconds <= READ_BYTES_PER_SECOND


def test_small_pages_are_read_often_while_behind_and_as_advised_at_the_tip() -> None:
    assert seconds_between_reads(behind=True, read_bytes=1000) == READ_SECONDS
    assert seconds_between_reads(behind=False, read_bytes=1000) == READ_SECONDS_AT_TIP


def test_the_largest_page_is_followed_by_the_time_for_which_kinesis_would_refuse() -> None:
    assert seconds_between_reads(behind=True, read_bytes=10 * 1024 * 1024) == 5
