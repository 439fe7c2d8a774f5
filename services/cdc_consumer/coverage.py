"""Whether the open shards of a stream take every hash key: where they do not, records could pass unseen."""

from __future__ import annotations

from collections.abc import Iterable

from cdc_consumer.stream import Shard

HASH_KEY_LAST = 2**128 - 1
"""Kinesis hashes partition keys by MD5 (AWS docs: "Shard")."""


def uncovered(shards: Iterable[Shard]) -> list[tuple[int, int]]:
    """The ranges of hash keys, as first and last, that no open shard takes."""
    ranges = sorted(shard.hash_keys for shard in shards if shard.ending is None and shard.hash_keys is not None)
    holes: list[tuple[int, int]] = []
    due = 0
    for first, last in ranges:
        if first > due:
            holes.append((due, first - 1))
        due = max(due, last + 1)
    if due <= HASH_KEY_LAST:
        holes.append((due, HASH_KEY_LAST))
    return holes
