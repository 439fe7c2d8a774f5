"""Run of a replay: records to their target at a pace; what was done is counted, and where it stopped is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from cdc.contract import TableContract
from cdc.errors import CdcError
from cdc_ops.replay_key import partition_key_of
from cdc_ops.replay_pace import Due
from cdc_ops.replay_record import Record
from cdc_ops.replay_target import Target

FLUSH_RECORDS = 500
"""After so many records it is waited until the target has them all, and the places are noted."""
PAUSE_SECONDS_MIN = 0.05
"""A shorter time to the next record is not waited for: some go together then."""
TOLD_SECONDS = 2.0


class Summary(msgspec.Struct, frozen=True):
    """What `--json` prints; docs/replay.md has its keys. `stopped` says why it is not whole."""

    is_dry_run: bool
    is_whole: bool
    objects: int
    records: int
    bytes: int
    replayed: int
    skipped: int
    left_out: Mapping[str, int]
    by_table: Mapping[str, int]
    by_reason: Mapping[str, int]
    left_over_objects: int = 0
    moved_objects: int = 0
    reached: Mapping[str, str] = {}
    stopped: str | None = None
    version: int = 1


class Clock(Protocol):
    """Time, and the wish to stop."""

    def seconds(self) -> float:
        """Monotonic time."""

    def rest(self, seconds: float) -> bool:
        """Wait; False when it is time to stop."""

    def is_stopping(self) -> bool:
        """Whether it is time to stop."""


@dataclass(slots=True)
class Tally:
    """What was done up to now. `reached` is the place in each shard up to which everything is where it should be.

    `kept` are the objects with a record that could not be put.
    """

    reached: dict[str, tuple[int, int]] = field(default_factory=dict)
    objects: set[str] = field(default_factory=set)
    kept: set[str] = field(default_factory=set)
    records: int = 0
    bytes: int = 0
    replayed: int = 0
    skipped: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    by_table: Counter[str] = field(default_factory=Counter)
    by_reason: Counter[str] = field(default_factory=Counter)
    fault: CdcError | None = None
    is_whole: bool = False


@dataclass(frozen=True, slots=True)
class Player:
    """Plays records to a target. `note` is told of every step after which a stop would lose nothing, `tell` now and
    then of how far it has come.
    """

    target: Target
    contracts: Mapping[str, TableContract]
    due: Due
    clock: Clock
    note: Callable[[Tally], None]
    tell: Callable[[Tally], None]

    def play(self, records: Iterable[Record], reached: Mapping[str, tuple[int, int]]) -> Tally:
        """Put all records past the places that were reached before; a fault ends it and stands in the tally."""
        tally = Tally(dict(reached))
        try:
            self._play(records, tally)
        except CdcError as fault:
            tally.fault = fault
        try:
            self.target.close(is_whole=tally.is_whole)
        except CdcError as fault:
            tally.is_whole = False
            tally.fault = tally.fault or fault
        return tally

    def _play(self, records: Iterable[Record], tally: Tally) -> None:
        begun = told = self.clock.seconds()
        before = dict(tally.reached)
        waiting: dict[str, tuple[int, int]] = {}
        pending = played = 0

        def settle() -> None:
            nonlocal pending
            self.target.flush()
            tally.replayed += pending
            tally.reached |= waiting
            waiting.clear()
            pending = 0
            self.note(tally)

        is_at_end = True
        for record in records:
            tally.objects.add(record.path)
            if record.shard in before and record.place <= before[record.shard]:
                tally.skipped += 1
                if self.target.obstacle(record) is not None:
                    tally.kept.add(record.path)
                continue
            pause = begun + self.due(played, record.arrived_at) - self.clock.seconds()
            if pending >= FLUSH_RECORDS or (pending and pause > PAUSE_SECONDS_MIN):
                settle()
            if self.clock.is_stopping() or (pause > PAUSE_SECONDS_MIN and not self.clock.rest(pause)):
                is_at_end = False
                break
            played += 1
            tally.records += 1
            tally.bytes += len(record.payload)
            tally.by_table[record.table or "unknown"] += 1
            if record.reason is not None:
                tally.by_reason[record.reason] += 1
            obstacle = self.target.obstacle(record)
            if obstacle is None:
                contract = self.contracts.get(record.table) if record.table else None
                self.target.put(record, partition_key_of(record.payload, contract))
                pending += 1
            else:
                tally.left_out[obstacle] += 1
                tally.kept.add(record.path)
            waiting[record.shard] = record.place
            if self.clock.seconds() - told >= TOLD_SECONDS:
                told = self.clock.seconds()
                self.tell(tally)
        settle()
        tally.is_whole = is_at_end


def summary(tally: Tally, *, is_dry_run: bool, left_over: int = 0, moved: int = 0) -> Summary:
    """A tally as it is told."""
    stopped = str(tally.fault) if tally.fault else None if tally.is_whole else "told to stop"
    return Summary(
        is_dry_run=is_dry_run,
        is_whole=tally.is_whole,
        objects=len(tally.objects),
        records=tally.records,
        bytes=tally.bytes,
        replayed=0 if is_dry_run else tally.replayed,
        skipped=tally.skipped,
        left_out=dict(sorted(tally.left_out.items())),
        by_table=dict(sorted(tally.by_table.items())),
        by_reason=dict(sorted(tally.by_reason.items())),
        left_over_objects=left_over,
        moved_objects=moved,
        reached={shard: f"{number}:{sub}" for shard, (number, sub) in sorted(tally.reached.items())},
        stopped=stopped,
    )
