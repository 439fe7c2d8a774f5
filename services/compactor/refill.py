"""Refill: the values of columns that the lake does not show yet, told by raw once more, or why they must wait.

Changes from when a column was there carry it; the value of older rows is what ADD COLUMN gave them, which only the
contract can say. An unchanged value is resolved by the fold, like any other. What is not known is never shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any

from cdc import raw
from cdc.contract import Column, TableContract
from cdc.epoch import NO_EPOCHS, Epochs
from cdc.errors import FatalFault, RecordFault, TransientFault
from cdc.event import ChangeEvent, Op
from cdc.objects import ObjectStore
from cdc.position import LSN_OF_BACKFILL, Position
from cdc.stated_columns import StatedColumn, StatedColumns
from compactor.chain import batches_between, read_lines, shard_of
from compactor.change import SET_ASIDE, Change, ChangeReader, Key
from compactor.columns_seen import Seen
from compactor.fold import DELETE, fold
from compactor.merge import Lake, family_of
from compactor.progress import Progress

RECORDS_MAX = 5_000_000
"""How many records of raw are read again at most by one `Refill`, since one value of each is kept in memory."""
ROWS_LOOKED_AT_ALWAYS = 10_000
LOOK_SECONDS_QUICK = 10.0
LOOKS_EVERY_SECONDS = 60.0
LOOKS_SHARE = 20
"""Merging rests while it is looked whether a waiting column can be shown: for a twentieth of the time at most."""
Place = tuple[Key, Position]
"""A row of history, or the live row that it made."""


class Mark(Enum):
    """What stands for a value that an event did not say: it left it unchanged, or nobody can say it."""

    UNCHANGED = auto()
    UNKNOWN = auto()


@dataclass(frozen=True, slots=True)
class Values:
    """The values of one column: `told` by events, `before` those that carry it; `since` is the first that does.

    `unchanged` are places whose event left the value unchanged, so that it was found in what came before. `noted` is
    the first that was merged with it. Where an operator recorded an epoch afterwards it is of an older one than
    `since`, and what was merged is yet to come again.
    """

    column: Column
    told: Mapping[Place, Any]
    unchanged: frozenset[Place]
    before: Any
    since: Position | None
    noted: Position | None = None

    def at(self, place: Place) -> Any:
        """The value in a row, or `Mark.UNKNOWN`."""
        if place in self.told:
            return self.told[place]
        position = place[1]
        is_older = self.since is None or position.lsn == LSN_OF_BACKFILL or position < self.since
        return self.before if is_older and not self._is_noted(position) else Mark.UNKNOWN

    def _is_noted(self, position: Position) -> bool:
        """Whether a change of this position carried the column when it was merged, whatever epoch it is of by now."""
        return self.noted is not None and position.epoch == self.noted.epoch and position >= self.noted


@dataclass(frozen=True, slots=True)
class _Told:
    """What raw says of a column: its `values` by row, the newest change that is `lacking` it, and what was stated."""

    values: Mapping[Place, Any]
    lacking: Position | None = None
    stated: Sequence[tuple[Position, StatedColumn]] = ()


@dataclass(frozen=True, slots=True)
class _Life:
    """The life of a column since it was last added.

    It begins after the change `after`. Up to `unclear_to` it cannot be told from the life before, where no change came
    between the two. `stated` is what our publisher stated of it.
    """

    after: Position | None
    unclear_to: Position | None
    stated: tuple[StatedColumn, ...]


@dataclass(frozen=True, slots=True)
class Waits:
    """A column cannot be shown yet: why, and what to do."""

    column: Column
    why: str


class _NotYetError(Exception):
    """What other columns needed leaves too little room for this one."""


class Refill:
    """Tells the values of columns that `reader` knows and the lake, which shows those of `shown`, does not have.

    They are told one after the other; those for which too much was read again before have to wait for another one.
    """

    def __init__(
        self,
        shown: TableContract,
        reader: ChangeReader,
        raw_zone: ObjectStore,
        lake: Lake,
        live_rows: Callable[[], Iterable[Place]],
        epochs: Epochs = NO_EPOCHS,
    ) -> None:
        self._shown = shown
        self._reader = reader
        self._raw = raw_zone
        self._lake = lake
        self._live_rows = live_rows
        self._epochs = epochs
        self._records = 0

    def values(self, column: Column, progress: Progress) -> Values | Waits:
        """The values of a column in all live rows and in what history says of them, or why it waits."""
        seen = _seen(column, progress.columns.seen)
        before = self._reader.before.get(column.name, Mark.UNKNOWN)
        since = seen.since if seen is not None else None
        if before is Mark.UNKNOWN and since is not None and seen and not (seen.was_shown or seen.before):
            older = sum(position.lsn > LSN_OF_BACKFILL and position < since for _, position in self._live_rows())
            if older:
                return Waits(column, _unknown_before(older))
        try:
            raw_says = self._told(column, seen, progress) if seen is not None else _Told({})
        except _NotYetError:
            return Waits(column, "other columns are filled first, since raw is read again for some at a time")
        except FatalFault as fault:
            return Waits(
                column,
                f"raw cannot tell all of the column's values ({fault.what}): rebuild the table",
            )
        told = raw_says.values
        ends = [known for known in (raw_says.lacking, _lacking(column, progress)) if known is not None]
        life = _life(raw_says.stated, max(ends, default=None))
        newest = max((position for position, _ in raw_says.stated), default=None)
        if seen is not None and seen.stated is not None and (newest is None or newest < seen.stated):
            return Waits(column, "what was stated of it last is not merged yet")
        if before is Mark.UNKNOWN:
            before = self._stated_before(column, life)
        values = replace(_of_this_life(column, told, life, before), noted=since)
        values = self._resolved(values, progress)
        if told and values.since is None and any(position.lsn != LSN_OF_BACKFILL for _, position in told):
            return Waits(column, "the source does not send the column any more: it was dropped or renamed there")
        unknown = sum(values.at(place) is Mark.UNKNOWN for place in self._live_rows())
        return Waits(column, _unknown_before(unknown)) if unknown else values

    def _told(self, column: Column, seen: Seen, progress: Progress) -> _Told:
        """What raw says of the column."""
        told: dict[Place, Any] = {}
        lacking: Position | None = None
        stated: list[tuple[Position, StatedColumn]] = []
        for event in self._events(seen, progress):
            if isinstance(event, StatedColumns):
                stated += [(event.position, one) for one in event.columns if one.name == column.source_name]
                continue
            try:
                place = (self._reader.key(event), event.position)
            except RecordFault:
                continue  # it was set aside when it was merged
            is_carried = column.source_name in event.row or column.source_name in event.unchanged
            if event.fault is not None or (not is_carried and event.omits_nulls):
                if event.op is Op.READ:
                    told.setdefault(place, Mark.UNKNOWN)
            elif is_carried:
                told.setdefault(place, self._value(event, column))
            elif event.position.lsn != LSN_OF_BACKFILL and (lacking is None or event.position > lacking):
                lacking = event.position
        return _Told(told, lacking, stated)

    def _stated_before(self, column: Column, life: _Life) -> Any:
        """What our publisher stated of rows that are older than the column as it is now, or `Mark.UNKNOWN`."""
        for one in life.stated:
            if one.is_before_known:
                with suppress(RecordFault):
                    return self._reader.value_before(column.name, one.before)
        return Mark.UNKNOWN

    def _value(self, event: ChangeEvent, column: Column) -> Any:
        if column.source_name in event.unchanged:
            return Mark.UNCHANGED
        if column.source_name in event.doubtful:
            return Mark.UNKNOWN
        try:
            return self._reader.value(event, column.name)
        except RecordFault:
            return Mark.UNKNOWN

    def _events(self, seen: Seen, progress: Progress) -> Iterator[ChangeEvent | StatedColumns]:
        """The row images of raw and what was stated, from where the column was first seen up to what is merged."""
        starts = dict.fromkeys(progress.offsets, str(raw.START)) if seen.was_shown else seen.offsets
        records = 0
        for shard_id, start in sorted(starts.items()):
            for batch in batches_between(
                self._raw, shard_of(shard_id), int(start), progress.offsets.get(shard_id, raw.START)
            ):
                records += sum(ref.records for ref in batch.record.objects if ref.table == self._shown.name)
                if records > RECORDS_MAX:
                    raise FatalFault(f"more than {RECORDS_MAX} records would have to be read again")
                if self._records + records > RECORDS_MAX:
                    raise _NotYetError
                for line in read_lines(self._raw, batch, self._shown.name):
                    try:
                        epoch = self._epochs.of(shard_id, int(line.seq))
                        if epoch in self._epochs.discarded:
                            continue
                        if (stated := self._reader.stated(line, epoch)) is not None:
                            yield stated
                            continue
                        events = self._reader.events(shard_id, line, epoch)
                    except (TransientFault, FatalFault):
                        raise
                    except Exception:  # noqa: BLE001, S112 - it was set aside when it was merged, and said so then
                        continue
                    yield from (event for event in events if event.op not in {Op.DELETE, Op.TRUNCATE})
        self._records += records

    def _resolved(self, values: Values, progress: Progress) -> Values:
        """Unchanged values, found in what came before by the fold over the history of their keys."""
        if not values.unchanged:
            return values
        _, history = family_of({key for key, _ in values.unchanged}, self._lake, self._shown, values.unchanged)
        name = values.column.name
        outcome = fold([_of_one_column(change, values) for change in history], {}, progress.floor)
        found = {
            (change.key, change.position): change.values.get(name, Mark.UNKNOWN)
            for change in outcome.applied
            if (change.key, change.position) in values.unchanged
        }
        told = {place: Mark.UNKNOWN if value is Mark.UNCHANGED else value for place, value in values.told.items()}
        return replace(values, told=told | found)


def _of_one_column(change: Change, values: Values) -> Change:
    """A change of history as if the table had nothing but the column."""
    place = (change.key, change.position)
    if change.op in {DELETE, SET_ASIDE}:
        return replace(change, values={}, unchanged=frozenset())
    if place in values.unchanged:
        # Unlike history's own columns this one has no value yet that could stand where none is found.
        name = values.column.name
        return replace(change, values={name: Mark.UNKNOWN}, unchanged=frozenset({name}))
    return replace(change, values={values.column.name: values.at(place)}, unchanged=frozenset())


def _of_this_life(column: Column, told: Mapping[Place, Any], life: _Life, before: Any) -> Values:
    """What was told since the column was last added: one that was dropped and added anew begins anew."""
    kept: dict[Place, Any] = {}
    for place, value in told.items():
        position = place[1]
        if position.lsn == LSN_OF_BACKFILL and (life.after is None or position.epoch <= life.after.epoch):
            # A read has no place in its epoch's order: whether it is from before the column was dropped cannot be told.
            kept[place] = value if life.after is None else Mark.UNKNOWN
        elif life.after is None or position > life.after:
            is_unclear = life.unclear_to is not None and position <= life.unclear_to
            kept[place] = Mark.UNKNOWN if is_unclear else value
    unchanged = frozenset(place for place, value in kept.items() if value is Mark.UNCHANGED)
    since = min((position for _, position in kept if position.lsn != LSN_OF_BACKFILL), default=None)
    return Values(column, kept, unchanged, before, since)


def _life(stated: Sequence[tuple[Position, StatedColumn]], lacking: Position | None) -> _Life:
    """The column's present life; `lacking` is the newest change that lacked it."""
    # A statement without a number may be of any column of the name, until another one for its position tells.
    sure = {position for position, one in stated if one.number is not None}
    told = sorted((position, one.number or 0) for position, one in stated if one.number or position not in sure)
    if not told:
        return _Life(lacking, None, ())
    number = told[-1][1]
    first = next(position for position, one in told if one == number and (number or not sure or position > max(sure)))
    others = [(position, one) for position, one in told if position < first]
    unclear = None
    if others and (lacking is None or lacking <= others[-1][0]):
        ends = [position for position, one in others if one]
        lacking = max((end for end in (*ends, lacking) if end is not None), default=None)
        unclear = Position(first.epoch, first.lsn - 1)
    of_now = tuple(one for at, one in stated if (one.number or 0) == number and (lacking is None or at > lacking))
    return _Life(lacking, unclear, of_now)


def _seen(column: Column, seen: Mapping[str, Seen]) -> Seen | None:
    """What was seen of a column under any of its names."""
    found = [seen[name] for name in (column.source_name, *column.former_names) if name in seen]
    if len(found) < 2:
        return found[0] if found else None
    offsets: dict[str, str] = {}
    for one in found:
        for shard, offset in one.offsets.items():
            offsets[shard] = str(min(int(offset), int(offsets.get(shard, offset))))
    firsts = [one.first for one in found if one.first is not None]
    before = next((one.before for one in found if one.before is not None), None)
    return Seen(min(firsts, default=None), None, offsets, any(one.was_shown for one in found), before=before)


def _lacking(column: Column, progress: Progress) -> Position | None:
    seen = _seen(column, progress.columns.seen)
    return Position(*seen.lacking) if seen is not None and seen.lacking is not None else None


def _unknown_before(rows: int) -> str:
    return (
        f"{rows} row(s) are older than the column, and nobody says what it is in them: state valueBeforeAdded in the "
        "contract (null, or the value that ADD COLUMN gave them), or wait until each has changed"
    )


def ready_and_waiting(outcomes: Sequence[Values | Waits]) -> tuple[list[Values], list[Waits]]:
    """Columns that can be shown, and those that wait."""
    return [one for one in outcomes if isinstance(one, Values)], [one for one in outcomes if isinstance(one, Waits)]


def rest_seconds(took_seconds: float, rows: int) -> float:
    """How long to wait before it is looked again whether a column of a table with so many rows can be shown."""
    if rows <= ROWS_LOOKED_AT_ALWAYS and took_seconds < LOOK_SECONDS_QUICK:
        return 0.0
    return max(LOOKS_EVERY_SECONDS, LOOKS_SHARE * took_seconds)
