from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.errors import FatalFault
from compactor.chain import PLAIN_BYTES_ASSUMED, Link, follow, new_batches, read_lines
from tests.raw_zone import MemoryObjects, ShardWriter, event


def links(*ranges: tuple[int, int]) -> list[Link]:
    return [Link(after, upto, f"{upto}~{after}") for after, upto in ranges]


def test_a_chain_is_followed_from_the_offset() -> None:
    assert [link.upto for link in follow(links((0, 3), (3, 7), (7, 9)), 3)] == [7, 9]


def test_a_gap_is_a_fatal_fault_that_names_the_batch_behind_it() -> None:
    with pytest.raises(FatalFault, match="gap") as raised:
        follow(links((0, 3), (5, 9)), 0)
    assert raised.value.where == "9~5"


def test_an_overlap_that_bridges_what_looks_like_a_gap_is_found() -> None:
    assert [link.upto for link in follow(links((0, 3), (5, 8), (2, 9)), 0)] == [3, 9]


@given(st.data())
def test_whatever_the_overlaps_every_record_is_covered_once(data: st.DataObject) -> None:
    end = data.draw(st.integers(1, 60))
    cuts = sorted({0, end, *data.draw(st.lists(st.integers(1, end), max_size=8))})
    chain = list(pairwise(cuts))
    zombies = data.draw(st.lists(st.tuples(st.sampled_from(cuts), st.integers(1, end)), max_size=5))
    written = chain + [(after, upto) for after, upto in zombies if after < upto]
    offset = data.draw(st.integers(0, end))
    covered: list[int] = []
    reached = offset
    for link in follow(links(*data.draw(st.permutations(written))), offset):
        assert link.after <= reached < link.upto
        covered += range(reached + 1, link.upto + 1)
        reached = link.upto
    assert covered == list(range(offset + 1, end + 1))


def test_what_shrinks_to_nothing_is_counted_as_what_it_takes_in_memory() -> None:
    store = MemoryObjects()
    shard = ShardWriter(store)
    for key in range(4):
        shard.batch([event("c", 1 + key, {"id": key, "doc": "a" * 100_000})])
    sizes = [sum(ref.plain_bytes for ref in batch.record.objects) for batch in new_batches(store, {}, 1000, 10**9)[0]]
    assert all(size > 100_000 for size in sizes)
    assert all(ref.bytes < 1000 for batch in new_batches(store, {}, 1000, 10**9)[0] for ref in batch.record.objects)
    some, is_behind = new_batches(store, {}, 1000, 150_000)
    assert (len(some), is_behind) == (2, True)


def test_a_record_of_before_is_taken_for_a_full_object() -> None:
    store = MemoryObjects()
    shard = ShardWriter(store)
    for key in range(3):
        shard.batch([event("d", 1 + key, {"id": key})])
    for path in store.list_after("_batches/"):
        record = msgspec.json.decode(store.get(path))
        for ref in record["objects"]:
            del ref["plain_bytes"]
        store.objects[path] = msgspec.json.encode(record)
    some, is_behind = new_batches(store, {}, 1000, PLAIN_BYTES_ASSUMED + 1)
    assert (len(some), is_behind) == (2, True)


def test_batches_are_taken_in_turn_of_the_shards_and_overlaps_left_out() -> None:
    store = MemoryObjects()
    first = ShardWriter(store)
    second = ShardWriter(store, "shardId-000000000001")
    row = {"id": 1}
    first.batch([event("d", 1, row), event("d", 2, row)])
    first.batch([event("d", 2, row), event("d", 3, row), event("d", 4, row)], after=1)
    second.batch([event("d", 9, row)])
    batches, is_behind = new_batches(store, {}, 1000, 10**9)
    assert not is_behind
    assert [(batch.shard.name[-1], batch.after, batch.upto) for batch in batches] == [
        ("0", 0, 2),
        ("1", 0, 1),
        ("0", 2, 4),
    ]
    assert [line.seq for batch in batches for line in read_lines(store, batch, "usuarios")] == ["1", "2", "1", "3", "4"]
    some, is_behind = new_batches(store, {}, 1, 10**9)
    assert (len(some), is_behind) == (2, True)
    some, is_behind = new_batches(store, {}, 1000, 1)
    assert (len(some), is_behind) == (2, True)


def test_a_damaged_object_is_not_merged() -> None:
    store = MemoryObjects()
    ShardWriter(store).batch([event("d", 1, {"id": 1})])
    (path,) = (path for path in store.objects if path.endswith(".gz"))
    body = store.objects[path]
    for damaged in (body[:-3], body[:20] + bytes([body[20] ^ 1]) + body[21:]):
        store.objects[path] = damaged
        (batch,) = new_batches(store, {}, 1, 10**9)[0]
        with pytest.raises(FatalFault, match="not the one"):
            list(read_lines(store, batch, "usuarios"))


def test_a_batch_record_that_contradicts_its_name_is_refused() -> None:
    store = MemoryObjects()
    ShardWriter(store).batch([event("d", 1, {"id": 1})])
    (path,) = (path for path in store.objects if path.startswith("_batches/"))
    record = msgspec.json.decode(store.objects[path])
    store.objects[path] = msgspec.json.encode({**record, "upto": "7"})
    with pytest.raises(FatalFault, match="does not say"):
        new_batches(store, {}, 1, 10**9)
