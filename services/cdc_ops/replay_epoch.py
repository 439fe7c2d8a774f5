"""Epoch guard: keeps a replay from putting records of an older epoch on the table's own stream.

A record that is put again gets a new sequence number, by which it counts as of the newest epoch: with the LSN that it
has from an older one it could beat what the newest snapshot read.
"""

from __future__ import annotations

from collections.abc import Collection

from cdc.epoch import NO_EPOCHS, Epochs, read_epochs
from cdc.objects import ObjectStore
from cdc_ops.replay_record import Record
from cdc_ops.replay_target import Target
from compactor.chain import known_shards

OLDER_EPOCH = "older-epoch"
"""A newer epoch of the table has started since the record came."""


class EpochGuard:
    """A target that takes no records of older epochs than the newest that raw has; `tables` are all in the lake.

    A record of which nobody can tell the table is taken where it would be of no table's older epoch.
    """

    def __init__(self, target: Target, raw_zone: ObjectStore, tables: Collection[str]) -> None:
        self._target = target
        self._raw = raw_zone
        self._tables = tuple(sorted(tables))
        self._epochs: dict[str, Epochs] = {}

    def obstacle(self, record: Record) -> str | None:
        """Why the record cannot be put, its epoch included."""
        tables = self._tables if record.table is None else (record.table,)
        if any(self._is_older(self._epochs_of(table), record) for table in tables):
            return OLDER_EPOCH
        return self._target.obstacle(record)

    def put(self, record: Record, partition_key: str) -> None:
        """Take a record, behind all earlier ones of its partition key."""
        self._target.put(record, partition_key)

    def flush(self) -> None:
        """Return when everything that was put is there; epochs that began meanwhile are learnt of."""
        self._target.flush()
        self._epochs = {table: read_epochs(self._raw, table, known) for table, known in self._epochs.items()}

    def close(self, *, is_whole: bool) -> None:
        """Give up what is held."""
        self._target.close(is_whole=is_whole)

    def _epochs_of(self, table: str) -> Epochs:
        if table not in self._epochs:
            self._epochs[table] = read_epochs(self._raw, table, NO_EPOCHS)
        return self._epochs[table]

    @staticmethod
    def _is_older(epochs: Epochs, record: Record) -> bool:
        return epochs.of(record.shard, record.number) < epochs.newest


def is_own(raw_zone: ObjectStore, stream: str) -> bool:
    """Whether raw was read from a stream or topic of this name: what is put there comes to these tables."""
    identities = {shard.partition("/")[0] for shard in known_shards(raw_zone)}
    return any(identity == stream or identity.startswith(f"{stream}-") for identity in identities)
