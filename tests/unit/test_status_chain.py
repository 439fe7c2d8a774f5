from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.errors import FatalFault
from cdc.raw import BatchRecord
from cdc_ops.chain_check import Cover, Range, missing_children
from cdc_ops.report import Finding, Level, Verification
from cdc_ops.verify import FINDINGS_MAX, Sizes, verify_shard
from compactor.chain import Link, Shard, follow, read_record
from tests.raw_zone import MemoryObjects, ShardWriter, event
from tests.status_world import batches, raw_objects, rewrite

LEVELS: tuple[Level, ...] = ("names", "sizes", "checksums")


def cover(*ranges: tuple[int, int]) -> Cover:
    found = Cover()
    for after, upto in sorted(ranges, key=lambda bounds: (bounds[1], bounds[0])):
        found.add(Link(after, upto, f"{upto}~{after}"))
    return found


def test_a_gap_names_the_batch_behind_it_and_what_is_missing() -> None:
    (gap,) = cover((0, 3), (5, 9), (9, 12)).gaps()
    assert (gap.kind, gap.where) == ("gap", "9~5")
    assert gap.what == "no batch has what comes after 3 up to 5"


def test_an_overlap_is_counted_and_may_close_what_looked_like_a_gap() -> None:
    found = cover((0, 3), (5, 8), (2, 9))
    assert (found.gaps(), found.overlaps, found.batches) == ([], 1, 3)


def test_memory_grows_with_gaps_only() -> None:
    assert cover(*((number, number + 1) for number in range(1000))).ranges == [Range(0, 1000, "1~0")]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 30)).filter(lambda pair: pair[0] < pair[1]), min_size=1))
def test_a_gap_is_told_exactly_where_the_compactor_would_stop(ranges: list[tuple[int, int]]) -> None:
    begin = min(after for after, _ in ranges)
    links = [Link(after, upto, "") for after, upto in ranges]
    try:
        follow(links, begin)
    except FatalFault:
        assert cover(*ranges).gaps()
    else:
        assert not cover(*ranges).gaps()


def chain() -> tuple[MemoryObjects, ShardWriter]:
    store = MemoryObjects()
    shard = ShardWriter(store)
    for lsn in range(4):
        shard.batch([event("c", lsn, {"id": lsn})])
    return store, shard


def record_of(store: MemoryObjects, path: str) -> BatchRecord:
    return msgspec.json.decode(store.objects[path], type=BatchRecord)


def verified(store: MemoryObjects, level: Level) -> tuple[Verification, list[Finding]]:
    with ThreadPoolExecutor(2) as threads:
        shard = Shard("usuarios-20261121T000000Z", "shardId-000000000000")
        return verify_shard(store, shard, level, threads, lambda _shard, _batches: None)


@pytest.mark.parametrize("level", LEVELS)
def test_a_sound_chain_has_no_findings(level: Level) -> None:
    store, _ = chain()
    verification, findings = verified(store, level)
    assert not findings
    assert (verification.batches, verification.begins_after) == (4, "0")
    assert (verification.objects, verification.records) == ((None, None) if level == "names" else (4, 4))


def test_a_deleted_batch_record_is_a_gap_at_every_level() -> None:
    store, _ = chain()
    del store.objects[batches(store)[1]]
    for level in LEVELS:
        assert [finding.kind for finding in verified(store, level)[1]] == ["gap"]


def test_a_stranger_among_the_batch_records_is_seen_at_every_level() -> None:
    store, _ = chain()
    store.put("_batches/usuarios-20261121T000000Z/shardId-000000000000/readme.txt", b"")
    for level in LEVELS:
        assert [finding.kind for finding in verified(store, level)[1]] == ["stranger"]


def test_a_batch_record_that_contradicts_its_name_or_is_no_json_is_seen_once_it_is_read() -> None:
    store, _ = chain()
    rewrite(store, batches(store)[0], upto="7")
    store.put(batches(store)[2], b"\x00")
    assert not verified(store, "names")[1]
    assert [finding.kind for finding in verified(store, "sizes")[1]] == ["contradiction", "contradiction"]


def test_a_missing_object_is_seen_by_listing() -> None:
    store, _ = chain()
    missing = raw_objects(store)[2]
    del store.objects[missing]
    assert not verified(store, "names")[1]
    for level in ("sizes", "checksums"):
        (finding,) = verified(store, level)[1]
        assert (finding.kind, finding.where) == ("missing-object", missing)


def test_a_truncated_object_is_seen_by_its_size_and_a_flipped_bit_by_its_checksum() -> None:
    store, _ = chain()
    first, second = raw_objects(store)[:2]
    store.put(first, store.objects[first][:-3])
    body = bytearray(store.objects[second])
    body[20] ^= 1
    store.put(second, bytes(body))
    assert [(finding.kind, finding.where) for finding in verified(store, "sizes")[1]] == [("wrong-size", first)]
    assert [(finding.kind, finding.where) for finding in verified(store, "checksums")[1]] == [
        ("wrong-size", first),
        ("wrong-content", second),
    ]


def test_an_object_that_is_younger_than_the_remembered_listing_is_not_called_missing() -> None:
    store, shard = chain()
    sizes = Sizes(store)
    refs = [record_of(store, path).objects[0] for path in batches(store)]
    assert len(sizes.of(refs)) == 4
    shard.batch([event("c", 9, {"id": 9})])
    (young,) = record_of(store, batches(store)[-1]).objects
    assert sizes.of([young]) == {young.path: young.bytes}


def test_a_batch_past_the_closed_end_is_seen() -> None:
    store, shard = chain()
    shard.batch([], closed=True, children=("shardId-000000000001",))
    assert not verified(store, "sizes")[1]
    shard.batch([event("c", 9, {"id": 9})])
    assert [finding.kind for finding in verified(store, "sizes")[1]] == ["after-end"]


def test_damage_without_end_is_told_up_to_a_limit_and_counted() -> None:
    store = MemoryObjects()
    shard = ShardWriter(store)
    for lsn in range(FINDINGS_MAX + 30):
        shard.batch([event("c", lsn, {"id": lsn})])
    for path in raw_objects(store):
        del store.objects[path]
    findings = verified(store, "sizes")[1]
    assert len(findings) == FINDINGS_MAX + 1
    assert findings[-1].what.startswith("30 more")


def test_a_child_that_nobody_has_seen_is_missing() -> None:
    store = MemoryObjects()
    ShardWriter(store).batch([], closed=True, children=("a", "b"))
    (path,) = batches(store)
    record = read_record(store, Link(0, 1, path))
    (finding,) = missing_children("s/0", record, {"s/0", "s/a"})
    assert (finding.kind, finding.where) == ("missing-child", "s/b")
