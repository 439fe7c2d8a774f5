"""Epochs: what the raw zone records of where one begins and is complete, and which one a record belongs to.

docs/epochs.md tells the whole. Whoever reads raw anew gets the same answer: a record's epoch is told by its shard and
sequence number and these records, and by nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import TypeVar

import msgspec

from cdc.errors import FatalFault
from cdc.objects import ObjectStore

EPOCHS = "_epochs"
FIRST_EPOCH = 1
EPOCH_MAX = 2**16 - 1
"""The compactor's index holds an epoch in sixteen bits."""
EPOCH_DIGITS = 5
OPERATOR = "operator"
"""The `origin` of what `cdc epoch` recorded."""
_NAME = re.compile(r"(?P<epoch>\d{5})-(?P<kind>start|end|resent-\d{5})\.json")


class EpochStart(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where an epoch of a table begins: `starts` has its first sequence number in each shard (by shard id).

    `ended` are shards that were known then and have nothing of it. A shard in neither appeared later, so that all of it
    is of this epoch or a newer one. `origin` is the publisher's id of the snapshot, or `OPERATOR`. `continues`: the
    operator stated that nothing was lost before it, and that no new snapshot begins it. `source` is the database that
    the publisher's snapshot is of. `discarded`: it is of another database than the table, so that none of its records
    is merged.
    """

    table: str
    epoch: int
    starts: dict[str, str]
    ended: tuple[str, ...] = ()
    origin: str = OPERATOR
    continues: bool = False
    source: str | None = None
    discarded: bool = False
    version: int = 1


class EpochEnd(msgspec.Struct, frozen=True, omit_defaults=True):
    """The snapshot that began an epoch is complete: each of its reads has one of the sequence numbers up to `ends` (by
    shard id), or stands in a shard that was closed before.

    `taken_at` is the snapshot's time. `reads` is how many rows it had, where that is known.
    """

    table: str
    epoch: int
    ends: dict[str, str]
    taken_at: datetime
    reads: int | None = None
    origin: str = OPERATOR
    version: int = 1


class EpochResent(msgspec.Struct, frozen=True, omit_defaults=True):
    """An operator's word that reads which look like a new snapshot are ones of this epoch's that were sent again: those
    up to `upto`, by shard id.
    """

    table: str
    epoch: int
    upto: dict[str, str]
    version: int = 1


@dataclass(frozen=True, slots=True)
class Epochs:
    """The recorded epochs of one table: `starts` oldest first, `ends` of those that are complete, by number.

    `resent` are reads that an operator told to be no new snapshot's, by the path of the record.
    """

    starts: tuple[EpochStart, ...] = ()
    ends: Mapping[int, EpochEnd] = field(default_factory=lambda: MappingProxyType({}))
    resent: Mapping[str, EpochResent] = field(default_factory=lambda: MappingProxyType({}))

    def is_resent(self, shard: str, sequence_number: int) -> bool:
        """Whether a read begins no new snapshot, for somebody has said so."""
        return any(sequence_number <= int(one.upto.get(shard, "0")) for one in self.resent.values())

    @property
    def newest(self) -> int:
        """The newest epoch; the first one need not be recorded."""
        return self.starts[-1].epoch if self.starts else FIRST_EPOCH

    @property
    def with_snapshot(self) -> int:
        """The newest epoch that a snapshot began: rows of older ones that it did not read are gone at the source."""
        return max((start.epoch for start in self.starts if not start.continues), default=FIRST_EPOCH)

    @property
    def continued(self) -> frozenset[int]:
        """The epochs before which nothing was lost."""
        return frozenset(start.epoch for start in self.starts if start.continues)

    @property
    def discarded(self) -> frozenset[int]:
        """The epochs whose records are of another database than the table."""
        return frozenset(start.epoch for start in self.starts if start.discarded)

    @property
    def source(self) -> str | None:
        """The database that the table is of, as the publisher told it last; None where none ever told."""
        told = (start.source for start in reversed(self.starts) if not start.discarded)
        return next((source for source in told if source is not None), None)

    def of(self, shard: str, sequence_number: int) -> int:
        """The epoch of a record."""
        for start in reversed(self.starts):
            first = start.starts.get(shard)
            if (first is None and shard not in start.ended) or (first is not None and sequence_number >= int(first)):
                return start.epoch
        return FIRST_EPOCH

    def start(self, epoch: int) -> EpochStart | None:
        """Where an epoch begins; None where that is not recorded, as of the first one it need not be."""
        return next((start for start in self.starts if start.epoch == epoch), None)

    def by_origin(self, origin: str) -> EpochStart | None:
        """The epoch that one snapshot of the publisher began."""
        return next((start for start in self.starts if start.origin == origin), None)


NO_EPOCHS = Epochs()


def epoch_prefix(table: str) -> str:
    """Where the epochs of a table are recorded."""
    return f"{EPOCHS}/{table}/"


def start_path(table: str, epoch: int) -> str:
    """Where the start of an epoch is recorded."""
    return f"{epoch_prefix(table)}{epoch:0{EPOCH_DIGITS}}-start.json"


def end_path(table: str, epoch: int) -> str:
    """Where it is recorded that the snapshot of an epoch is complete."""
    return f"{epoch_prefix(table)}{epoch:0{EPOCH_DIGITS}}-end.json"


def read_epochs(store: ObjectStore, table: str, known: Epochs = NO_EPOCHS) -> Epochs:
    """The recorded epochs of a table; of those known already nothing is read again, for none ever changes.

    Raises:
        FatalFault: when a record is not what its name says.
    """
    starts = {start.epoch: start for start in known.starts}
    ends, resent = dict(known.ends), dict(known.resent)
    for path in store.list_after(epoch_prefix(table)):
        match = _NAME.fullmatch(path.rsplit("/", 1)[1])
        if match is None:
            raise _damaged(path)
        number = int(match["epoch"])
        if match["kind"] == "start" and number not in starts:
            starts[number] = _read(store, path, EpochStart, table, number)
        elif match["kind"] == "end" and number not in ends:
            ends[number] = _read(store, path, EpochEnd, table, number)
        elif match["kind"].startswith("resent") and path not in resent:
            resent[path] = _read(store, path, EpochResent, table, number)
    return Epochs(tuple(starts[number] for number in sorted(starts)), ends, resent)


def record_start(store: ObjectStore, start: EpochStart) -> bool:
    """Record a start unless the epoch has one already; whether this one was recorded."""
    assert FIRST_EPOCH <= start.epoch <= EPOCH_MAX
    return store.put_if_absent(start_path(start.table, start.epoch), msgspec.json.encode(start, order="sorted"))


def record_end(store: ObjectStore, end: EpochEnd) -> bool:
    """Record that an epoch's snapshot is complete unless that is recorded already; whether this one was recorded."""
    return store.put_if_absent(end_path(end.table, end.epoch), msgspec.json.encode(end, order="sorted"))


def record_resent(store: ObjectStore, resent: EpochResent, known: Epochs) -> bool:
    """Record that reads were sent again, beside what is recorded of that; False when somebody else was first."""
    number = sum(one.epoch == resent.epoch for one in known.resent.values())
    path = f"{epoch_prefix(resent.table)}{resent.epoch:0{EPOCH_DIGITS}}-resent-{number:0{EPOCH_DIGITS}}.json"
    return store.put_if_absent(path, msgspec.json.encode(resent, order="sorted"))


_T = TypeVar("_T", EpochStart, EpochEnd, EpochResent)


def _read(store: ObjectStore, path: str, kind: type[_T], table: str, epoch: int) -> _T:
    try:
        found = msgspec.json.decode(store.get(path), type=kind)
    except msgspec.DecodeError:
        raise _damaged(path) from None
    if (found.table, found.epoch) != (table, epoch):
        raise _damaged(path)
    return found


def _damaged(path: str) -> FatalFault:
    return FatalFault(
        "a record of an epoch is not what its name says",
        where=path,
        hint="restore it from the bucket's versions; without it the order of changes is unknown",
    )
