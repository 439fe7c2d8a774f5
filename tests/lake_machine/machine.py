"""Machine: random SQL-like histories and faults drive the real compactor; after every commit the lake is the model.

What is told is `source`, on its way it is in `stream`; `model` says what the lake must be. Rules that do nothing for want of an
opportunity are not counted as done.
"""

from __future__ import annotations

import contextlib
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from pyiceberg.catalog import Catalog

from cdc.errors import FatalFault, TransientFault
from compactor.compactor import TableCompactor
from compactor.lake.pair import TablePair
from compactor.maintenance import Limits
from compactor.plain import PlainReader
from tests.lake_machine.checks import check_statements, is_merged, settled_epoch
from tests.lake_machine.contract import BIGINT_KEYS, COLUMNS, new_contract
from tests.lake_machine.effects import EFFECTS, FOREIGN
from tests.lake_machine.lake import Readers
from tests.lake_machine.mishaps import MISHAPS, commit_as_another_engine, plan
from tests.lake_machine.model import Order, Recorded, check_history, differences, expected_rows, shown, spoilt_keys
from tests.lake_machine.one_by_one import one_by_one
from tests.lake_machine.past import check_past
from tests.lake_machine.source import Identity, Key, Sent, Source, Step, Transaction, poison
from tests.lake_machine.stream import Record, Stream
from tests.lake_machine.taken_over import TakenOver
from tests.raw_zone import MemoryObjects, at

PII_KEY = b"k" * 32
SHARDS = 3
SHARD_PLACES = st.integers(0, 5)
STATEMENTS = (
    "insert", "insert", "insert", "copy", "update", "update", "touch", "touch", "touch", "delete", "delete", "move", "move", "chain", "back",
    "swap",
)  # fmt: skip
RARE = ("spoil", "spoil", "truncate")
DELAYS = (0.0, 0.5, 1.0, 3.0)
# A history drawn value by value would be mostly one that does nothing; Hypothesis chooses, and shrinks, what happens when.
DICE = st.integers(0, 2**32 - 1).map(random.Random)

EAGER = Limits(
    step_rows=60, step_bytes=1 << 20, files_alike=3, dead_rows_min=3, manifests=4, manifest_files=6,
    snapshot_age=timedelta(0), snapshots_min=2, snapshots_a_step=3,
)  # fmt: skip
"""Maintenance is due as soon as it can be."""
IN_A_WEEK = datetime.now(UTC) + timedelta(days=7)


class LakeMachine(RuleBasedStateMachine):
    """One table, its source, its stream and up to two compactors."""

    catalog: ClassVar[Catalog]
    numbers: ClassVar[Iterator[int]]
    done: ClassVar[Counter[str]]
    readers: ClassVar[Readers]
    effects: ClassVar[frozenset[str]] = EFFECTS
    is_one_by_one: ClassVar[bool] = False
    statements: ClassVar[tuple[str, ...]] = STATEMENTS
    rare_statements: ClassVar[tuple[str, ...]] = RARE
    stated: ClassVar[str] = ""
    key_columns: ClassVar[tuple[tuple[str, str], ...]] = (("id", "bigint"),)
    keys: ClassVar[tuple[Key, ...]] = BIGINT_KEYS

    def __init__(self) -> None:
        super().__init__()
        number = next(self.numbers)
        self.contract = new_contract(f"t{number}", self.key_columns, self.stated)
        self.raw, self.quarantine = MemoryObjects(), MemoryObjects()
        self.patches = pytest.MonkeyPatch()
        if number % 2:  # few rows are written as many are: the table's files while history is committed
            self.patches.setattr("compactor.compactor.WRITTEN_AT_ONCE_ROWS_MIN", 0)
        if self.is_one_by_one:
            self.patches.setattr(PlainReader, "read", one_by_one(PlainReader.read))
        self.compactor, self.rival = self._new_compactor(), self._new_compactor()
        self.source = self.new_source()
        self.stream = Stream(self.raw, self.contract.name, SHARDS, self.done)
        self.view = self.pair()
        self.sent: list[Sent] = []
        self.lost: set[Identity] = set()
        self.defaults: dict[str, Any] = {}
        self.recorded = Recorded(frozenset(), ())
        self.order = Order()
        self.taken_over = TakenOver()
        self.poisoned = 0
        self.checked: tuple[str, str] = ("", "")

    # The source

    @initialize(dice=DICE)
    def snapshot(self, dice: random.Random) -> None:
        """The snapshot's rows may lie in other shards than the changes of the same keys."""
        self.source.fill(dice.sample(range(len(self.keys)), dice.randint(0, 5)))
        self.begin(dice)

    @rule(dice=DICE)
    def transactions(self, dice: random.Random) -> None:
        """Begin, commit and roll back transactions, up to three of them open at once."""
        for _ in range(dice.randint(1, 8)):
            roll = dice.random()
            if roll < 0.25 and len(self.source.open) < 3:
                self._execute(self.source.begin(), dice)
            elif roll < 0.5 and self.source.open:
                self._execute(dice.choice(self.source.open), dice)
                self._commit(dice.randrange(len(self.source.open)), dice.choice(DELAYS))
            elif roll < 0.55 and self.source.open:
                self.source.roll_back(dice.choice(self.source.open))
            else:
                self._execute(self.source.begin(), dice)
                self._commit(len(self.source.open) - 1, dice.choice(DELAYS))

    @rule(place=SHARD_PLACES)
    def poison(self, place: int) -> None:
        """A record that cannot be read."""
        self.poisoned += 1
        self.stream.queue(place, Record(poison=poison(self.poisoned)))
        self.done["poison"] += 1

    # The stream

    @rule(dice=DICE)
    def deliver(self, dice: random.Random) -> None:
        """Some of what waits arrives, cut into batches anywhere."""
        self.transactions(dice)
        if dice.random() < 0.3:
            self.stream.beat(self.source.seconds)  # one shard may have it long before another
        for _ in range(dice.randint(1, 5)):
            place = dice.randrange(len(self.stream.shards))
            if dice.random() < 0.4:
                self.stream.stray(place, dice)
            self.stream.produce(place, dice.randint(1, 8), dice if dice.random() < 0.3 else None)
            self.stream.write(place, dice.randint(1, 6))

    @rule(dice=DICE)
    def beat(self, dice: random.Random) -> None:
        """The source sends a heartbeat to every shard, and everything arrives."""
        self.transactions(dice)
        self.stream.beat(self.source.seconds)
        self.stream.arrive()

    @rule(place=SHARD_PLACES, start=st.integers(0, 40), count=st.integers(1, 10))
    def resend(self, place: int, start: int, count: int) -> None:
        self.stream.resend(place, start, count)

    @rule(place=SHARD_PLACES, dice=DICE)
    def resend_of_the_deleted(self, place: int, dice: random.Random) -> None:
        self.stream.resend_of_the_deleted(place, dice)
        self.stream.write(place, dice.randint(1, 20))

    @rule(place=SHARD_PLACES, other=SHARD_PLACES, dice=DICE)
    def reshard(self, place: int, other: int, dice: random.Random) -> None:
        """Split a shard or merge two, of which one may have had a heartbeat that the other has not."""
        if dice.random() < 0.5:
            self.transactions(dice)
            self.stream.beat(self.source.seconds)
            self.stream.produce(place, len(self.stream.at(place).pending), None)
        self.stream.reshard(place, other)

    @rule(place=SHARD_PLACES, after=st.integers(0, 40), count=st.integers(1, 12))
    def zombie(self, place: int, after: int, count: int) -> None:
        self.stream.write_as_zombie(place, after, count)

    @rule(place=SHARD_PLACES, cut=st.integers(1, 5), dice=DICE)
    def late_batch(self, place: int, cut: int, dice: random.Random) -> None:
        """Behind a gap nothing is merged, loudly."""
        self.transactions(dice)
        self.stream.produce(place, len(self.stream.at(place).pending), None)
        for _gap in self.stream.write_late(place, cut):
            compactor = self._new_compactor()
            with pytest.raises(FatalFault, match="gap"):  # noqa: PT012 - once it has followed what epochs there are
                while compactor.step().is_behind:
                    self.check()
            self.check()

    @rule(place=st.integers(0, 40), at_byte=st.integers(0, 1000))
    def damage(self, place: int, at_byte: int) -> None:
        """A bit of a raw object that is to be merged turns."""
        offsets = self.offsets(self.view.table)
        new = [
            path for path in sorted(self.raw.objects) if path.startswith("postgres/") and not is_merged(path, offsets)
        ]
        if new:
            path = new[place % len(new)]
            body = self.raw.objects[path]
            turned = at_byte % len(body)
            self.raw.objects[path] = body[:turned] + bytes([body[turned] ^ 1]) + body[turned + 1 :]
            try:
                with contextlib.suppress(FatalFault):
                    self.compactor.step()
                self.check()
            finally:
                self.raw.objects[path] = body
            self.done["damage"] += 1

    # The compactor

    @rule()
    def step(self) -> None:
        """The compactor merges what there is."""
        self.done["step that moved"] += self.compactor.step().has_moved
        self.check()

    @rule()
    def restart(self) -> None:
        """The compactor starts anew, and knows only what the lake tells."""
        self.compactor = self._new_compactor()
        self.step()

    @rule()
    def rival_steps(self) -> None:
        """Another compactor, that knows the lake as it was when it last looked."""
        self.rival_step()
        self.check()

    @rule(what=st.sampled_from(FOREIGN))
    def foreign_commit(self, what: str) -> None:
        """Another engine commits something that changes no row."""
        if not commit_as_another_engine(self.pair(), what):
            return
        self.done[f"foreign {what}"] += 1
        self.check()

    @rule(mishap=st.sampled_from(MISHAPS), dice=DICE)
    def mishap(self, mishap: str, dice: random.Random) -> None:
        """A step in which something goes wrong."""
        self.deliver(dice)
        if mishap == "crash at the quarantine":
            self.poison(dice.randrange(SHARDS))
            self.stream.arrive()
        with pytest.MonkeyPatch.context() as patches:
            plan(self, mishap, patches)
            try:
                self.compactor.step()
            except KeyboardInterrupt:
                self.compactor = self._new_compactor()
        self.check()

    @rule(steps=st.integers(1, 4), crashes=st.booleans())
    def maintain(self, steps: int, crashes: bool) -> None:  # noqa: FBT001 - hypothesis passes it by name
        """Steps of maintenance, of which the last may be cut off behind its commit."""
        for number in range(steps):
            with pytest.MonkeyPatch.context() as patches:
                if crashes and number == steps - 1:
                    plan(self, "crash in maintenance", patches)
                try:
                    self.done["step of maintenance"] += self.compactor.maintain(IN_A_WEEK)
                except KeyboardInterrupt:
                    self.compactor = self._new_compactor()
            self.check()

    # What must hold

    def check(self) -> None:
        """After every commit, of whichever table, both are what was told up to their offsets."""
        pair = self.view
        pair.refresh()
        locations = pair.table.table.metadata_location, pair.history.table.metadata_location
        if locations == self.checked:
            return
        self.checked = locations
        self.done["checked commit"] += 1
        offsets, ahead = self.offsets(pair.table), self.offsets(pair.history)
        reached = {shard: max(offsets.get(shard, 0), ahead.get(shard, 0)) for shard in {*offsets, *ahead}}
        told = self.told(offsets)
        self.order.look(told)
        history = pair.history.table.scan().to_arrow().to_pylist()
        merged, listed = self.told(reached), self.told(self.stream.listed)
        recorded = self.recorded = check_history(history, merged, listed, self.key_names, {*COLUMNS}, self.lost)
        self.taken_over.look(merged, recorded.aside, self.defaults, self.readers.columns(pair.history.table))
        rows = self.readers.rows(pair.table.table)
        if pair.is_cut_off():
            here = tuple(s for s in recorded.vanished if s.key not in rows or rows[s.key].position > s.position)
            recorded = replace(recorded, vanished=here)
        columns = {name: self.defaults.get(name) for name in self.readers.columns(pair.table.table)}
        settled = settled_epoch(self, told)
        expected, undecided = expected_rows(told, recorded, columns, frozenset(COLUMNS), self.order, settled)
        wrong = differences(rows, expected, undecided)
        assert not wrong, f"keys with the row that the lake has and the one that it should have: {wrong}"
        check_statements(self, offsets, told, settled)

    def told(self, offsets: dict[str, int]) -> list[Sent]:
        """The events up to some offsets."""
        return [sent for record in self.stream.told(offsets) for sent in record.sents]

    @rule(dice=DICE)
    def read_the_past(self, dice: random.Random) -> None:
        """The rows of any moment up to valid-through are what they were at the source then."""
        check_past(self, dice)

    def is_blind(self, moment: float) -> bool:
        """Whether nobody can tell what the rows were then, since changes were lost."""
        return False

    def teardown(self) -> None:
        """All arrives and is merged: but for what was set aside, the table is the source."""
        try:
            if sys.exc_info()[0] is None:
                self._end()
        finally:
            self.patches.undo()

    def _end(self) -> None:
        while self.source.open:
            self._commit(0, 1.0)
        self.source.seconds += 2
        self.stream.beat(self.source.seconds)
        self.stream.arrive()
        while self.compactor.step().has_moved:
            self.check()
        self.check()
        pair = self.view
        assert self.offsets(pair.table) == {shard.id: len(shard.log) for shard in self.stream.shards}
        assert pair.table.table.properties["cdc.valid-through"] == at(self.source.seconds - 1).isoformat()
        spoilt = {key for epoch, key in spoilt_keys(self.sent, self.lost) if epoch == self.source.epoch}
        columns = self.readers.columns(pair.table.table)
        ours = {key: row.values for key, row in self.readers.rows(pair.table.table).items() if key not in spoilt}
        assert ours == {key: shown(row, columns) for key, row in self.source.rows.items() if key not in spoilt}
        self.done["run ended equal to the source"] += 1
        for seed in range(3):
            self.read_the_past(random.Random(seed))
        self.done["rows compared with the source"] += len(ours)

    # Helpers

    def _execute(self, transaction: Transaction, dice: random.Random) -> None:
        for _ in range(dice.randint(1, 5)):
            what = dice.choice(self.rare_statements if dice.random() < 0.05 else self.statements)
            key, other = dice.randrange(len(self.keys)), dice.randrange(len(self.keys))
            self.source.execute(transaction, Step(what, key, other, dice.randrange(60)))

    def _commit(self, place: int, delay: float) -> None:
        shards = set()
        for record in self.source.commit(self.source.open[place], delay):
            # A record that changes a key lies where those of the new key do.
            at_place = self.keys.index(record[-1].key) if record[-1].key else record[-1].lsn
            shards.add(at_place % SHARDS)
            self._queue(record, at_place)
        self.done["transaction over several shards"] += len(shards) > 1

    def rival_step(self) -> None:
        try:
            moved = self.rival.step().has_moved
        except TransientFault:
            # It looked for a file that maintenance has removed meanwhile; now it looks at the lake anew.
            self.done["a file that was gone"] += 1
            moved = self.rival.step().has_moved
        self.done["step of the rival that moved"] += moved

    def new_source(self) -> Source:
        """The source that tells all."""
        return Source(self.keys, tuple(self.key_names), self.done)

    def begin(self, dice: random.Random) -> None:
        """What the stream begins with."""
        self._read(dice)

    def acts(self, dice: random.Random) -> list[tuple[int, Callable[[], object]]]:
        """What a lively run may do besides the rest, each with its weight."""
        return []

    def _read(self, dice: random.Random) -> list[Sent]:
        """A snapshot's reads; they may go to other shards than the changes of the same keys."""
        away, reads = dice.randrange(SHARDS), self.source.snapshot()
        for sent in reads:
            self._queue((sent,), self.keys.index(sent.key) + away)
            self.done["snapshot read"] += 1
        return reads

    def _queue(self, record: tuple[Sent, ...], place: int) -> None:
        self.sent += record
        self.stream.queue(place, Record(record))

    @property
    def key_names(self) -> list[str]:
        """The columns of the key."""
        return [name for name, _ in self.key_columns]

    def pair(self) -> TablePair:
        return TablePair(self.catalog, "lake", self.contract, PII_KEY)

    def _new_compactor(self) -> TableCompactor:
        return TableCompactor(self.contract, self.pair(), self.raw, self.quarantine, PII_KEY, EAGER)

    @staticmethod
    def offsets(lake: Any) -> dict[str, int]:
        """Up to where a table says that it is merged, by shard id."""
        stated = msgspec.json.decode(lake.properties.get("cdc.offsets") or "{}", type=dict[str, str])
        return {shard: int(number) for shard, number in stated.items()}
