"""Epochs begin: the source is read anew as a whole while the machine runs, since changes were lost or LSNs begin anew."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime

from hypothesis.stateful import rule

from cdc.epoch import EpochEnd, EpochStart, record_end, record_start
from cdc.raw import SnapshotWord
from tests.lake_machine.machine import DICE, LakeMachine
from tests.lake_machine.source import Sent, Step
from tests.raw_zone import at

EPOCHS_MAX = 5
EFFECTS_OF_EPOCHS = frozenset({
    "epoch of the publisher", "epoch of an operator", "event that was lost", "change that nobody streamed", "LSNs begin anew",
    "step while some shards are told", "step while one shard lags", "snapshot complete", "row that vanished", "older epoch settled",
})  # fmt: skip


class EpochsBegin(LakeMachine):
    """A machine whose publisher loses its slot at times, or whose operator records a new snapshot.

    What waited at the producer may be lost, and what happened at the source until the new snapshot is streamed by nobody.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[Sent] = []
        self.word: SnapshotWord | None = None
        self.is_operators = False
        self.blind: list[tuple[datetime, datetime]] = []

    def acts(self, dice: random.Random) -> list[tuple[int, Callable[[], object]]]:
        """Snapshots begin at times, and soon are complete."""
        return [
            *super().acts(dice),
            (2, lambda: self.begin_epoch(dice)),
            (3 if self.word else 0, self.complete_snapshot),
        ]

    def begin(self, dice: random.Random) -> None:
        """The first snapshot is announced too, as a publisher does."""
        self._announce(dice)

    @rule(dice=DICE)
    def begin_epoch(self, dice: random.Random) -> None:
        """All is read anew; not while a snapshot is taken."""
        if self.word is not None or self.source.epoch == EPOCHS_MAX:
            return
        self.transactions(dice)
        while self.source.open:
            self._commit(0, 0.5)
        seen_until = self._lose(dice)
        self._change_unseen(dice)
        restarts = dice.random() < 0.5
        self.done["LSNs begin anew"] += restarts
        self.source.begin_epoch(dice.randrange(20, 900) if restarts else self.source.lsn + 1)
        self.source.seconds += 1
        begins = at(self.source.seconds)
        self.blind = [*((since, min(until, begins)) for since, until in self.blind), (seen_until, begins)]
        if dice.random() < 0.4:
            self._record(dice)
        else:
            self._announce(dice)
        if not self.reads:
            # History may have no trace of a snapshot of nothing: what was there before it ends with the next change alone.
            self.blind[-1] = seen_until, datetime.max.replace(tzinfo=UTC)
        if dice.random() < 0.5:
            self._lag(dice)

    @rule()
    def complete_snapshot(self) -> None:
        """All reads are acknowledged, and every shard is told so, or an operator says it."""
        if self.word is None:
            return
        self.stream.produce_all()
        if self.is_operators:
            ends = {shard.id: str(len(shard.log)) for shard in self.stream.open}
            record_end(self.raw, EpochEnd(self.contract.name, self.source.epoch, ends, self.word.taken_at))
        else:
            self.stream.tell(self._word(is_complete=True), self.stream.open)
        self.word = None
        self.done["snapshot complete"] += 1

    def check(self) -> None:
        """Rows that vanished are counted."""
        before = self.done["checked commit"]
        super().check()
        if self.done["checked commit"] > before and self.source.epoch > 1:
            floor = self.view.table.table.properties.get("cdc.truncated-below", "[1]")
            self.done["older epoch settled"] += not floor.startswith("[1")

    def _end(self) -> None:
        self.complete_snapshot()
        super()._end()

    # What happens to the slot

    def _lose(self, dice: random.Random) -> datetime:
        """The last changes that waited at the producer are never put; since when changes are missing."""
        since = at(self.source.seconds)
        for place in range(len(self.stream.shards)):
            if dice.random() < 0.7:
                lost = self.stream.lose(place, dice.randint(1, 10))
                identities = {sent.identity for sent in lost}
                self.sent = [sent for sent in self.sent if sent.identity not in identities]
                self.lost |= identities
                since = min([since, *(sent.committed_at for sent in lost)])
                self.done["event that was lost"] += len(lost)
        self.stream.produce_all()
        return since

    def is_blind(self, moment: float) -> bool:
        """Between what was lost and the snapshot nobody can tell; nor of an epoch that began with no row at all."""
        return any(since <= at(moment) < until for since, until in self.blind)

    def _change_unseen(self, dice: random.Random) -> None:
        """What happens while there is no slot."""
        before = set(self.source.rows)
        for _ in range(dice.randint(0, 4)):
            transaction = self.source.begin()
            self._execute(transaction, dice)
            self.done["change that nobody streamed"] += len(self.source.commit(transaction, 0.5))
        self.done["row that vanished"] += len(before - set(self.source.rows))

    def _announce(self, dice: random.Random) -> None:
        """The publisher tells every open shard before it reads; it may take a while until all are told."""
        self.is_operators = False
        self.reads = []
        self.word = self._word(is_complete=False)
        shards = self.stream.open
        dice.shuffle(shards)
        some = dice.randrange(len(shards))
        self.stream.tell(self.word, shards[:some])
        if some and dice.random() < 0.5:
            for place in range(len(self.stream.shards)):
                self.stream.write(place, dice.randint(1, 20))
            self.step()
            self.done["step while some shards are told"] += 1
        self.stream.tell(self.word, shards[some:])
        self.reads = self._read(dice)
        self.done["epoch of the publisher"] += self.source.epoch > 1

    def _record(self, dice: random.Random) -> None:
        """An operator records where the epoch begins, when all is merged and before the producer is started anew."""
        self.stream.arrive()
        while self.compactor.step().has_moved:
            self.check()
        self.is_operators = True
        self.word = self._word(is_complete=False)
        starts = {shard.id: str(len(shard.log) + 1) for shard in self.stream.open}
        ended = tuple(shard.id for shard in self.stream.shards if shard.children)
        record_start(self.raw, EpochStart(self.contract.name, self.source.epoch, starts, ended))
        for shard in self.stream.shards:
            shard.resent_from = len(shard.log)
        self.reads = self._read(dice)
        self.done["epoch of an operator"] += 1

    def _lag(self, dice: random.Random) -> None:
        """Every row is changed at once, and all is read but for one shard; another may be split already."""
        lagging = dice.choice(self.stream.open)
        if dice.random() < 0.5:
            self.stream.write(self.stream.shards.index(lagging), len(lagging.log))  # it is told, and that is read
        if dice.random() < 0.5:
            place = dice.randrange(len(self.stream.shards))
            if self.stream.at(place) is not lagging:
                self.stream.reshard(place, place)
        transaction = self.source.begin()
        for key in range(len(self.keys)):
            self.source.execute(
                transaction, Step(dice.choice(("touch", "touch", "insert")), key, key, dice.randrange(60))
            )
        self._commit(len(self.source.open) - 1, 0.5)
        for place, shard in enumerate(self.stream.shards):
            if shard is not lagging:
                self.stream.produce(place, len(shard.pending), None)
                self.stream.write(place, len(shard.log))
        self.step()
        self.done["step while one shard lags"] += 1

    def _word(self, *, is_complete: bool) -> SnapshotWord:
        names = tuple(shard.writer.shard for shard in self.stream.open)
        taken_at = at(self.source.seconds) if self.word is None else self.word.taken_at
        tables = (("public", "t", len(self.reads) if is_complete else 0),)
        return SnapshotWord(f"snapshot {self.source.epoch}", names, tables, taken_at, is_complete)
