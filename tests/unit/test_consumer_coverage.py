"""The open shards of a stream take every hash key, or it is said which ones nobody takes."""

from __future__ import annotations

import pytest

from cdc_consumer.coverage import HASH_KEY_LAST, uncovered
from cdc_consumer.stream import Shard

LOW, HIGH = (0, 99), (100, HASH_KEY_LAST)


@pytest.mark.parametrize(
    ("shards", "holes"),
    [
        ([Shard("0", hash_keys=(0, HASH_KEY_LAST))], []),
        ([Shard("1", hash_keys=HIGH), Shard("0", hash_keys=LOW)], []),
        ([Shard("0", ending="9", hash_keys=(0, HASH_KEY_LAST)), Shard("1", hash_keys=HIGH)], [LOW]),
        ([Shard("0", hash_keys=LOW)], [HIGH]),
        ([Shard("0", hash_keys=(5, 9)), Shard("1", hash_keys=(20, 30))], [(0, 4), (10, 19), (31, HASH_KEY_LAST)]),
        ([Shard("0", hash_keys=(0, 200)), Shard("1", hash_keys=LOW), Shard("2", hash_keys=HIGH)], []),
        ([], [(0, HASH_KEY_LAST)]),
    ],
    ids=["one", "two, unordered", "a child is missing", "the end is missing", "several holes", "overlapping", "none"],
)
def test_uncovered(shards: list[Shard], holes: list[tuple[int, int]]) -> None:
    assert uncovered(shards) == holes
