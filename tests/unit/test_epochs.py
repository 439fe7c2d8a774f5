"""Where records of epochs lie, what they say of a record, and what cannot be one."""

from __future__ import annotations

import msgspec
import pytest

from cdc.epoch import Epochs, EpochStart, read_epochs, record_start, start_path
from cdc.errors import FatalFault
from cdc.raw import SnapshotWord
from cdc_consumer.routing import LeftOut, ToQuarantine, route
from cdc_publisher.envelope import snapshot_word
from compactor.watch import Sight, sight
from tests.raw_zone import MemoryObjects, at

TWO = Epochs((EpochStart("t", 2, {"s/0": "100"}, ended=("old/0",)),))


@pytest.mark.parametrize(
    ("shard", "number", "epoch"),
    [
        ("s/0", 99, 1),
        ("s/0", 100, 2),
        ("old/0", 10**55, 1),
        ("s/7", 1, 2),  # appeared later, as a child does
    ],
)
def test_a_records_epoch(shard: str, number: int, epoch: int) -> None:
    assert TWO.of(shard, number) == epoch


def test_of_a_shard_in_no_newer_epoch_the_older_one_counts() -> None:
    epochs = Epochs((*TWO.starts, EpochStart("t", 3, {"new/0": "5"}, ended=("s/0", "old/0"))))
    assert [epochs.of("s/0", 99), epochs.of("s/0", 100), epochs.of("new/0", 5)] == [1, 2, 3]
    assert epochs.of("new/0", 4) == 2


def test_a_start_is_recorded_once() -> None:
    store = MemoryObjects()
    assert record_start(store, TWO.starts[0])
    assert not record_start(store, EpochStart("t", 2, {"s/0": "7"}))
    assert read_epochs(store, "t") == TWO


def test_a_record_that_is_not_what_its_name_says_stops() -> None:
    store = MemoryObjects()
    store.put_new(start_path("t", 3), msgspec.json.encode(TWO.starts[0]))
    with pytest.raises(FatalFault, match="not what its name says"):
        read_epochs(store, "t")
    with pytest.raises(FatalFault, match="not what its name says"):
        read_epochs_with("t", "00002-begin.json")


def read_epochs_with(table: str, name: str) -> Epochs:
    store = MemoryObjects()
    store.put_new(f"_epochs/{table}/{name}", b"{}")
    return read_epochs(store, table)


def test_a_publishers_word_goes_through_the_stream() -> None:
    word = SnapshotWord("slot-1", ("0", "1"), (("public", "Usuários", 3),), at(1.5), is_complete=True)
    event = snapshot_word("app", word, 7, 1)
    assert route(event.data, {}) == LeftOut("snapshot", word=word)


def test_a_word_that_cannot_be_read_is_set_aside() -> None:
    target = route(b'{"op":"m","source":{},"message":{"prefix":"cdc.snapshot","content":"e30="}}', {})
    assert isinstance(target, ToQuarantine)


@pytest.mark.parametrize(
    ("event", "seen"),
    [
        (b'{"op":"r","source":{"snapshot":"first","ts_us":5}}', Sight(True, False, 5)),
        (b'{"payload":{"op":"r","source":{"snapshot":true,"ts_ms":5}}}', Sight(True, False, 5000)),
        (b'{"op":"r","source":{"snapshot":"last_in_data_collection","ts_us":5}}', Sight(True, True, 5)),
        (b'{"op":"r","source":{"snapshot":"incremental","ts_us":5}}', None),
        (b'{"op":"u","source":{"snapshot":"false","ts_us":5}}', Sight(False, False, 5)),
        (b'{"op":"u","source":{"name":"usuarios-cdc","ts_us":5}}', Sight(False, False, 5)),
        (b'{"op":"r","source":{"version":"3.6.3.usuarios-cdc","connector":"postgresql","ts_us":5}}', None),
        (b'{"data":{},"metadata":{"operation":"load","timestamp":"1970-01-01T00:00:01Z"}}', Sight(True, False, 1_000_000)),
        (b'{"data":{},"metadata":{"operation":"insert","commit-timestamp":"1970-01-01T00:00:01Z"}}', Sight(False, False, 1_000_000)),
        (b'{"data":{},"metadata":{"operation":"insert"}}', None),
        (b'{"metadata":{"operation":"load","timestamp":"soon"}}', None),
        (b'{"op":"r","source":{"snapshot":"last","ts_us":253402300799999999}}', Sight(True, True, 253_402_300_799_999_999)),
        (b'{"op":"r","source":{"snapshot":"last","ts_us":253402300800000000}}', None),
        (b'{"op":"u","source":{"snapshot":"false","ts_ms":99999999999999999}}', None),
        (b'{"op":"u","source":{"snapshot":"false","ts_us":-62135596800000001}}', None),
        (b"[", None),
    ],
)  # fmt: skip
def test_what_a_record_shows_of_a_snapshot(event: bytes, seen: Sight | None) -> None:
    assert sight(event) == seen
