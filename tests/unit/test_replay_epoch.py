"""What is older than the table's newest epoch does not go on the table's own stream again."""

from __future__ import annotations

from dataclasses import dataclass, field

from cdc.epoch import EpochStart, record_start
from cdc_ops.replay_epoch import OLDER_EPOCH, EpochGuard, is_own
from cdc_ops.replay_record import Record
from cdc_ops.replay_target import FROM_AVRO, Nowhere
from tests.raw_zone import START, MemoryObjects, ShardWriter

SHARD = "usuarios-20261121T000000Z/shardId-000000000000"


@dataclass
class Taking(Nowhere):
    """A target that remembers what it took."""

    taken: list[Record] = field(default_factory=list)

    def put(self, record: Record, partition_key: str) -> None:
        self.taken.append(record)


def record(number: int, *, table: str | None = "usuarios", shard: str = SHARD, schema_id: int | None = None) -> Record:
    return Record(shard, number, 0, START, b"{}", "object", table, None, schema_id)


def begin(store: MemoryObjects, number: int, epoch: int = 2, table: str = "usuarios") -> None:
    assert record_start(store, EpochStart(table, epoch, {SHARD: str(number)}))


def test_a_record_from_before_the_newest_epoch_is_not_put() -> None:
    store = MemoryObjects()
    begin(store, 100)
    begin(store, 200, epoch=3)
    guard = EpochGuard(Taking(), store, ["usuarios"])
    assert [guard.obstacle(record(number)) for number in (99, 150, 199, 200)] == [*[OLDER_EPOCH] * 3, None]
    assert guard.obstacle(record(1, shard="usuarios-20261122T000000Z/shardId-000000000000")) is None, "it came later"


def test_a_table_without_a_newer_epoch_takes_everything_as_before() -> None:
    guard = EpochGuard(Taking(), MemoryObjects(), ["usuarios"])
    assert guard.obstacle(record(1)) is None
    assert guard.obstacle(record(1, schema_id=7)) == FROM_AVRO


def test_a_record_of_which_nobody_knows_the_table_is_put_only_where_it_can_do_no_harm() -> None:
    store = MemoryObjects()
    begin(store, 100, table="pedidos")
    guard = EpochGuard(Taking(), store, ["pedidos", "usuarios"])
    assert guard.obstacle(record(99)) is None
    assert guard.obstacle(record(99, table=None)) == OLDER_EPOCH
    assert guard.obstacle(record(100, table=None)) is None


def test_an_epoch_that_begins_during_a_replay_is_noticed_when_records_are_flushed() -> None:
    store, target = MemoryObjects(), Taking()
    guard = EpochGuard(target, store, ["usuarios"])
    assert guard.obstacle(record(99)) is None
    guard.put(record(99), "key")
    begin(store, 100)
    guard.flush()
    assert guard.obstacle(record(99)) == OLDER_EPOCH
    assert [one.number for one in target.taken] == [99]


def test_a_stream_is_the_tables_own_when_raw_was_read_from_it() -> None:
    store = MemoryObjects()
    ShardWriter(store)
    assert is_own(store, "usuarios")
    assert not is_own(store, "staging")
    assert not is_own(store, "usuario")
