"""What raw has of a table is learned with few requests that wait, many at a time, and it is told how far that is."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

from cdc import raw
from cdc.errors import FatalFault
from compactor.state import current_state
from compactor.state.noted import Noted
from tests.raw_zone import MemoryObjects, ShardWriter, at
from tests.state_world import KEY, TABLE, event, export_of, names, row

WAIT_SECONDS_MAX = 60


class Asked(MemoryObjects):
    """A store that counts how often each object was asked for, and lets some wait for one another."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[str] = Counter()
        self.waiting_for: dict[str, threading.Barrier] = {}

    def get(self, path: str) -> bytes:
        self.count[path] += 1
        if path in self.waiting_for:
            self.waiting_for[path].wait(WAIT_SECONDS_MAX)
        return super().get(path)

    @property
    def batch_records(self) -> list[str]:
        return list(self.list_after(f"{raw.BATCHES}/"))


@pytest.fixture
def store() -> Asked:
    """Two shards of unlike length."""
    store = Asked()
    first, other = ShardWriter(store), ShardWriter(store, "shardId-000000000001")
    for number in range(5):
        first.batch([event("u", 10 + number, None, row(1, f"{number}"))], table="t")
    other.batch([event("c", 5, None, row(2, "other"))], table="t")
    return store


def test_batch_records_are_read_many_at_a_time(store: Asked) -> None:
    together = threading.Barrier(4)
    store.waiting_for = dict.fromkeys(store.batch_records[:4], together)
    assert names(store) == {1: "4", 2: "other"}


def test_how_far_batch_records_are_read_is_told(store: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compactor.state.zone._TOLD_RECORDS", 2)
    told: list[str] = []
    current_state(TABLE, store, KEY, told.append)
    assert told[:3] == ["2 of 6 batch records", "4 of 6 batch records", "6 of 6 batch records"]


def test_a_batch_record_is_read_once_also_where_epochs_are_looked_for(store: Asked) -> None:
    shard = ShardWriter(store, "shardId-000000000002")
    for is_complete in (False, True):
        word = raw.SnapshotWord(
            "s1", (shard.shard,), (("public", "t", 1),), at(0), is_complete=is_complete, source="1/1"
        )
        shard.batch([event("r", 5, None, row(3))], table="t", marks=[word])
    assert export_of(store, TABLE).progress.epoch == 1
    assert {path: store.count[path] for path in store.batch_records} == dict.fromkeys(store.batch_records, 1)


def test_what_would_be_recorded_is_remembered_and_nothing_is_written() -> None:
    store = MemoryObjects()
    store.put("a/1", b"1")
    noted = Noted(store)
    assert noted.put_if_absent("a/2", b"2")
    assert not noted.put_if_absent("a/2", b"3")
    assert not noted.put_if_absent("a/1", b"3")
    assert (list(noted.list_after("a/")), list(noted.list_after("a/", "a/1"))) == (["a/1", "a/2"], ["a/2"])
    assert (noted.get("a/1"), noted.get("a/2"), list(noted.list_folders(""))) == (b"1", b"2", ["a"])
    with pytest.raises(FatalFault, match="only read"):
        noted.put("a/3", b"3")
    assert list(store.objects) == ["a/1"]


def test_a_batch_record_is_remembered_until_it_is_forgotten_and_no_other_object_is(store: Asked) -> None:
    noted = Noted(store)
    record, body = store.batch_records[0], next(path for path in store.objects if path.startswith("postgres/"))
    for path in (record, record, body, body):
        assert noted.get(path) == store.objects[path]
    assert (store.count[record], store.count[body]) == (1, 2)
    noted.forget()
    assert noted.get(record) == store.objects[record]
    assert store.count[record] == 2
