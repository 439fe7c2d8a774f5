"""One transaction of any size is merged in rounds of a bounded size; `make bench ROW=merge` does it with a million rows."""

from __future__ import annotations

import json

import pytest

from tests.compactor_world import World, change, put
from tests.raw_zone import at

pytestmark = pytest.mark.slow

ROWS, RECORDS_A_BATCH, RECORDS_A_ROUND = 200, 20, 50


def test_a_large_transaction_is_cut_into_rounds_and_ends_as_if_it_was_not(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compactor.compactor.RECORDS_MAX", RECORDS_A_ROUND)
    shard, committed_us = world.shard(), round(at(5).timestamp() * 1e6)
    inserts = [change("c", 100 + key, key, f"n{key}", f"b{key}") for key in range(ROWS)]
    updates = [change("u", 1000 + key, key, f"m{key}") for key in range(0, ROWS, 2)]
    deletes = [change("d", 2000 + key, key) for key in range(0, ROWS, 10)]
    events = [at_once(event, committed_us) for event in (*inserts, *updates, *deletes)]
    for start in range(0, len(events), RECORDS_A_BATCH):
        put(shard, world.contract, *events[start : start + RECORDS_A_BATCH])
    sizes: list[int] = []
    while world.compactor.step().has_moved:
        sizes.append(len(world.history()) - sum(sizes))
    # As many batches as it takes to come to the bound, and no more.
    assert sum(sizes) == len(events)
    assert max(sizes) < RECORDS_A_ROUND + RECORDS_A_BATCH
    expected = {key: (f"n{key}", f"b{key}", 100 + key) for key in range(1, ROWS, 2)}
    expected |= {key: (f"m{key}", f"b{key}", 1000 + key) for key in range(0, ROWS, 2) if key % 10}
    assert world.rows() == expected


def at_once(event: bytes, committed_us: int) -> bytes:
    """The same change, committed with all others."""
    told = json.loads(event)
    told["source"]["ts_us"] = committed_us
    return json.dumps(told).encode()
