"""What raw alone tells of a table that was read anew: rows that a whole snapshot has not found are gone; any other is refused."""

from __future__ import annotations

import json
from itertools import pairwise

import msgspec
import pytest

from cdc import raw
from cdc.epoch import NO_EPOCHS, EpochEnd, EpochResent, EpochStart, read_epochs, record_end, record_resent, record_start
from cdc.errors import FatalFault, RawFault
from cdc_ops.rebuild_raw import from_snapshot, reach
from compactor.state import current_state
from tests.raw_zone import MemoryObjects, ShardWriter, at
from tests.state_world import KEY, SHARD, TABLE, event, export_of, names, row, rows_of, zone


def debezium(op: str, lsn: int, key: int, snapshot: str) -> bytes:
    told = json.loads(event(op, lsn, None, row(key), version="3.6.3.Final"))
    told["source"]["snapshot"] = snapshot
    return json.dumps(told).encode()


def test_a_snapshot_begun_anew_that_nobody_recorded_is_refused() -> None:
    store = zone([debezium("u", 9, 1, "false")], [debezium("r", 50, 1, "true")])
    with pytest.raises(FatalFault, match="`cdc epoch t`"):
        export_of(store, TABLE)


def test_reads_that_an_operator_told_to_be_sent_again_begin_no_snapshot() -> None:
    store = zone([debezium("u", 9, 1, "false")], [debezium("r", 50, 1, "true"), debezium("r", 50, 2, "true")])
    record_resent(store, EpochResent("t", 1, {SHARD: "2"}), NO_EPOCHS)
    with pytest.raises(FatalFault, match="`cdc epoch t`"):  # the third record was not told
        export_of(store, TABLE)
    record_resent(store, EpochResent("t", 1, {SHARD: "3"}), read_epochs(store, "t"))
    assert names(store) == {1: "n", 2: "n"}


def test_a_batch_that_overlaps_the_one_before_begins_no_snapshot() -> None:
    store = MemoryObjects()
    shard = ShardWriter(store)
    events = [debezium("r", 50, 1, "true"), debezium("u", 40, 2, "false"), debezium("u", 60, 3, "false")]
    shard.batch(events[:2], table="t")
    shard.batch(events, table="t", after=0)  # by a worker that had lost its lease
    assert names(store) == {1: "n", 2: "n", 3: "n"}


@pytest.mark.parametrize("cuts", [(), (1, 3), (2,)])
def test_records_of_another_database_are_left_out(cuts: tuple[int, ...]) -> None:
    foreign = [event("c", 9, None, row(7, "foreign")), b'{"unreadable": "and not counted"}']
    events = [event("c", 5, None, row(1)), *foreign, event("r", 1, None, row(1, "read"))]
    store = zone(*([*events[start:end]] for start, end in pairwise((0, *cuts, len(events)))))
    record_start(store, EpochStart("t", 2, {SHARD: "2"}, (), origin="s2", source="2/2", discarded=True))
    record_start(store, EpochStart("t", 3, {SHARD: "4"}, (), origin="s3", source="1/1"))
    record_end(store, EpochEnd("t", 3, {SHARD: "4"}, at(0), 1, origin="s3"))
    found = export_of(store, TABLE)
    assert {key: values[0] for key, values in rows_of(found).items()} == {1: "read"}
    assert found.rejected == 0


def word(*, is_complete: bool) -> raw.SnapshotWord:
    shard = "shardId-000000000000"
    return raw.SnapshotWord("s1", (shard,), (("public", "t", 1),), at(0), is_complete=is_complete, source="1/1")


def test_what_publishers_say_of_their_first_snapshot_need_not_be_recorded_yet() -> None:
    store = MemoryObjects()
    shard = ShardWriter(store)
    shard.batch([event("r", 5, None, row(1))], table="t", marks=[word(is_complete=False)])
    shard.batch([event("u", 9, None, row(1, "new"))], table="t", marks=[word(is_complete=True)])
    before = dict(store.objects)
    assert names(store) == {1: "new"}
    assert store.objects == before


def test_marks_that_other_shards_lack_are_waited_for() -> None:
    store = MemoryObjects()
    shard = ShardWriter(store)
    both = msgspec.structs.replace(word(is_complete=False), shards=("shardId-000000000000", "shardId-000000000001"))
    shard.batch([event("r", 5, None, row(1))], table="t", marks=[both])
    with pytest.raises(FatalFault, match="not recorded whole"):
        export_of(store, TABLE)


def with_second_epoch(*, reads: int = 1, ends: bool = True, upto: int = 3) -> MemoryObjects:
    """Two rows, of which a snapshot that begins a second epoch has found one."""
    store = zone([event("c", 5, None, row(1)), event("c", 6, None, row(2))], [event("r", 1, None, row(2, "read"))])
    record_start(store, EpochStart("t", 2, {SHARD: "3"}, (), origin="s2"))
    if ends:
        record_end(store, EpochEnd("t", 2, {SHARD: str(upto)}, at(0), reads, origin="s2"))
    return store


def test_rows_that_a_whole_snapshot_has_not_found_are_gone() -> None:
    assert names(with_second_epoch()) == {2: "read"}


def test_where_raw_reaches_back_to_a_whole_snapshot_only_that_is_enough() -> None:
    store = with_second_epoch()
    first, *_ = sorted(path for path in store.objects if path.startswith("_batches"))
    del store.objects[first]
    with pytest.raises(RawFault, match="gap"):
        export_of(store, TABLE)
    begins = from_snapshot(read_epochs(store, "t"), reach(store, {}))
    assert begins is not None
    assert rows_of(current_state(TABLE, store, KEY, begins=begins)).keys() == {2}


NOT_WHOLE = [
    (with_second_epoch(ends=False), "is not complete"),
    (with_second_epoch(reads=2), "1 reads of the snapshot"),
    (with_second_epoch(upto=4), "raw does not have all of the snapshot that began epoch 2 yet"),
]


@pytest.mark.parametrize(("store", "why"), NOT_WHOLE)
def test_a_snapshot_that_is_not_merged_whole_is_refused(store: MemoryObjects, why: str) -> None:
    with pytest.raises(FatalFault, match=why):
        export_of(store, TABLE)


@pytest.mark.parametrize("reads", [1, 2])
def test_a_read_of_a_snapshot_that_cannot_be_read_is_none(reads: int) -> None:
    broken = event("r", 1, None, row(1, "q")).replace(b'"nome": "q"', b'"nome": "q", "nome": "z"')
    assert b'"z"' in broken
    store = zone(
        [event("c", 5, None, row(1)), event("c", 6, None, row(2)), event("c", 7, None, row(3))],
        [event("r", 1, None, row(2, "read")), broken],
    )
    record_start(store, EpochStart("t", 2, {SHARD: "4"}, (), origin="s2"))
    record_end(store, EpochEnd("t", 2, {SHARD: "5"}, at(0), reads, origin="s2"))
    if reads == 2:
        with pytest.raises(FatalFault, match="1 reads of the snapshot that began epoch 2 are missing"):
            export_of(store, TABLE)
    else:
        assert [one["id"] for one in export_of(store, TABLE).rows.to_pylist()] == [2]
