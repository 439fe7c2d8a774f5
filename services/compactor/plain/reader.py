"""Reader: raw lines of one table → Arrow rows of the plain changes, and the lines that are not plain.

Columns that are known to be held are passed over, and told: one that nobody names yet must not make all changes slow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cdc.contract import TableContract
from cdc.debezium.decode import SPELT
from cdc.debezium.forms import forms_of_modes
from cdc.debezium.identity import is_made_up
from compactor.fold import DELETE, UPDATE
from compactor.plain.block import MEMBER, QUOTED_MEMBER, blocks, parse
from compactor.plain.changes import NO_IMAGE, UNREADABLE, Changes, Line, Sights, changes_of
from compactor.plain.columns import column_masker
from compactor.plain.dialect import Dialect, HeldSets, is_written_as_it_is

BLOCK_ROWS = 16_384
"""How many lines are read at once: what is odd among them makes only so many slower."""
BLOCK_BYTES = 32 * 1024 * 1024
"""And how many bytes, unless a single line has more: a block takes as much memory a few times over."""


@dataclass(frozen=True, slots=True)
class PlainRows:
    """Plain changes by column: `rows` in history's schema (without `cdc_unchanged`), and the places of their lines.

    `held` says which held columns each of them carries, as a place in `held_sets`.
    """

    rows: pa.Table
    places: npt.NDArray[np.intp]
    held: npt.NDArray[np.intp]
    held_sets: tuple[frozenset[str], ...]

    def __len__(self) -> int:
        return len(self.places)

    def take(self, which: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> PlainRows:
        """Those at some places, or where a mask is true."""
        rows = self.rows.filter(pa.array(which)) if which.dtype == np.bool_ else self.rows.take(pa.array(which))
        return PlainRows(rows, self.places[which], self.held[which], self.held_sets)


class PlainRead(NamedTuple):
    """What reading some lines by column gave: plain changes, the places of all other lines in order, what is known of
    snapshots by it.
    """

    rows: PlainRows
    others: list[int]
    sights: Sights


class _Gathered:
    """What was read so far: tables of plain rows, and the places of lines that are not plain. `is_mixed` says that a
    block had changes of two dialects, whose rows are then in other order than their lines.
    """

    def __init__(self) -> None:
        self.parts: list[PlainRows] = []
        self.others: list[int] = []
        self.is_mixed = False


@dataclass(frozen=True, slots=True)
class _Part:
    """The changes of a block that are of one dialect, either all of them deletes or none."""

    dialect: Dialect
    changes: Changes
    are_deletes: bool


@dataclass(frozen=True, slots=True)
class _Parsing:
    """A part whose images are being parsed; `table` None where Arrow has no types for them."""

    part: _Part
    table: Future[pa.Table | None] | None


class PlainReader:
    """Reads the plain changes of one table; `history` is the Arrow schema of its history."""

    def __init__(
        self, contract: TableContract, history: pa.Schema, pii_key: bytes, block_rows: int = BLOCK_ROWS
    ) -> None:
        self._block_rows = block_rows
        self._contract = contract
        self._history = history
        maskers = ((column.name, column_masker(column, pii_key)) for column in contract.columns)
        self._maskers = {name: mask for name, mask in maskers if mask is not None}
        self._epochs: npt.NDArray[np.int32] = np.empty(0, np.int32)
        self._schema = pa.schema([field for field in history if field.name != "cdc_unchanged"])
        self._key_places = [place for place, column in enumerate(contract.columns) if column.name in contract.key]
        self._names = frozenset(column.source_name for column in contract.columns)
        self._make_dialects(frozenset())

    def _make_dialects(self, held: frozenset[str]) -> None:
        contract, history = self._contract, self._history
        forms = forms_of_modes(contract, contract.producer)
        self._held = held
        self._held_sets = HeldSets(held - self._names)
        self._dialects: tuple[Dialect, ...] = ()  # our publisher's and the stated one; without them no row is plain
        if all(map(is_written_as_it_is, self._names)):
            self._dialects = tuple(Dialect(contract, history, of, self._held_sets.held) for of in (None, forms))

    def read(self, lines: Sequence[Line], held: frozenset[str] = frozenset()) -> PlainRead:
        """The plain changes of some lines, the places of the lines that are not plain, and what all tell of snapshots.

        `held` are columns that the lake does not show, by source name: they are passed over. Any other makes a change
        one that is not plain.
        """
        sights = Sights.of_nothing(len(lines))
        bounds = list(blocks([len(line.raw.event) for line in lines], self._block_rows, BLOCK_BYTES))
        some = (changes_of(lines[start:end], start, sights) for start, end in bounds)
        rows, others = self._read(some, len(bounds), np.array([line.epoch for line in lines], np.int32), held)
        return PlainRead(rows, others, sights)

    def read_changes(
        self,
        changes: Changes,
        is_ours: npt.NDArray[np.bool_],
        epochs: npt.NDArray[np.int32],
        held: frozenset[str] = frozenset(),
    ) -> tuple[PlainRows, list[int]]:
        """The plain ones of changes whose lines were looked at already, and the places of the others.

        `is_ours` says which our own publisher wrote, `epochs` are those of the lines at all places.
        """
        bounds = list(blocks(list(map(len, changes.after)), self._block_rows, BLOCK_BYTES))
        nothing: list[int] = []
        some = ((changes.take(np.arange(start, end)), is_ours[start:end], nothing) for start, end in bounds)
        return self._read(some, len(bounds), epochs, held)

    def _read(
        self,
        blocks_of_changes: Iterable[tuple[Changes, npt.NDArray[np.bool_], list[int]]],
        count: int,
        epochs: npt.NDArray[np.int32],
        held: frozenset[str],
    ) -> tuple[PlainRows, list[int]]:
        if held != self._held:
            self._make_dialects(held)
        self._epochs = epochs
        gathered = _Gathered()
        # While Arrow parses the rows of one block, which does not hold the interpreter, the next one is taken apart.
        with ThreadPoolExecutor(1, thread_name_prefix="parse") as pool:
            begin = pool.submit if count > 1 else _at_once
            waiting: list[_Parsing] = []
            for changes, is_ours, others in blocks_of_changes:
                gathered.others += others if self._dialects else [*others, *changes.places.tolist()]
                gathered.is_mixed |= bool(is_ours.any()) and not is_ours.all()
                begun = [self._begin(begin, part) for part in self._parts(changes, is_ours)]
                self._finish(waiting, gathered)
                waiting = begun
            self._finish(waiting, gathered)
        sets = self._held_sets.sets
        if not gathered.parts:
            nothing = PlainRows(self._schema.empty_table(), np.empty(0, np.intp), np.empty(0, np.intp), sets)
            return nothing, sorted(gathered.others)
        rows_of_all = self._masked(pa.concat_tables([part.rows for part in gathered.parts]))
        places, carried_by = (
            np.concatenate([getattr(part, name) for part in gathered.parts]) for name in ("places", "held")
        )
        plain = PlainRows(rows_of_all, places, carried_by, sets)
        # Of two changes of one key at one position the first that came counts, whoever wrote it.
        return plain.take(np.argsort(places)) if gathered.is_mixed else plain, sorted(gathered.others)

    def _parts(self, changes: Changes, is_ours: npt.NDArray[np.bool_]) -> Iterator[_Part]:
        is_delete = changes.ops == DELETE
        for dialect, of_dialect in zip(self._dialects, (is_ours, ~is_ours), strict=False):
            for are_deletes, of_both in ((False, of_dialect & ~is_delete), (True, of_dialect & is_delete)):
                if of_both.any():
                    yield _Part(dialect, changes.where(of_both), are_deletes)

    def _begin(self, begin: Callable[..., Future[pa.Table | None]], part: _Part) -> _Parsing:
        images = part.changes.before if part.are_deletes else part.changes.after
        types = part.dialect.parsed
        if types is None:
            return _Parsing(part, None)
        return _Parsing(part, begin(parse, images, types, may_lack=part.are_deletes))

    def _finish(self, begun: Sequence[_Parsing], gathered: _Gathered) -> None:
        for one in begun:
            table = one.table.result() if one.table is not None else None
            read = self._read_deletes if one.part.are_deletes else self._read_rows
            read(one.part.dialect, one.part.changes, table, gathered)

    def _masked(self, rows: pa.Table) -> pa.Table:
        """The rows in one piece, with the masks of the contract."""
        columns = [
            self._maskers[name](column) if name in self._maskers else _in_one_piece(column)
            for name, column in zip(rows.column_names, rows.columns, strict=True)
        ]
        return pa.Table.from_arrays(columns, schema=rows.schema)

    def _read_rows(self, dialect: Dialect, changes: Changes, table: pa.Table | None, gathered: _Gathered) -> None:
        """Read the rows after some changes: those that were parsed at once or, where one of them is odd, one by one."""
        if table is None:
            self._read_rows_singly(dialect, changes, gathered)
            return
        bad = np.zeros(len(changes), np.bool_)
        arrays: list[pa.Array] = []
        parsed = [_in_one_piece(column) for column in table.columns]
        for place, (array, reader) in enumerate(zip(parsed, dialect.readers, strict=True)):
            bad |= dialect.unchanged(place, array)
            read, wrong = reader.convert_array(array)
            bad |= np.bool_(False) if wrong is None else wrong
            arrays.append(read)
        bad |= dialect.doubtful_nulls(changes.ops, parsed)
        bad |= self._have_other_keys(changes, parsed, dialect)
        carried = np.full(len(changes), self._held_sets.none, np.intp)
        self._gather(arrays, changes, carried, bad, gathered)

    def _held_in(self, values: tuple[Any, ...]) -> tuple[int, int]:
        """Which held columns a row carries, as the place of their set, and how many."""
        if not values:
            return self._held_sets.none, 0
        if msgspec.UNSET not in values:
            return self._held_sets.all, len(values)
        names = [name for name, value in zip(self._held_sets.held, values, strict=True) if value is not msgspec.UNSET]
        return self._held_sets.place(names), len(names)

    def _read_rows_singly(self, dialect: Dialect, changes: Changes, gathered: _Gathered) -> None:
        columns = len(self._contract.columns)
        astuple = msgspec.structs.astuple
        is_read = np.zeros(len(changes), np.bool_)
        tuples: list[tuple[Any, ...]] = []
        carried_by: list[int] = []
        for row, (image, before, op) in enumerate(zip(changes.after, changes.before, changes.ops, strict=True)):
            after = bytes(image)
            if SPELT in after:
                continue
            try:
                values = astuple(dialect.decoder.decode(after))
                carried, carried_count = self._held_in(values[columns:])
                if after.count(MEMBER) - after.count(QUOTED_MEMBER) != columns + carried_count:
                    continue  # perhaps a column that stands twice
                values = values[:columns]
                key = tuple(values[place] for place in self._key_places)
                is_read[row] = not self._is_other_key(op, bytes(before), key, dialect)
            except UNREADABLE:
                continue
            if is_read[row]:
                tuples.append(values)
                carried_by.append(carried)
        gathered.others += changes.places[~is_read].tolist()
        read = changes.where(is_read)
        if not tuples:
            return
        bad = np.zeros(len(read), np.bool_)
        arrays: list[pa.Array] = []
        by_column = list(zip(*tuples, strict=True))
        for place, values in enumerate(by_column):
            bad |= dialect.unchanged(place, values)
            array, wrong = dialect.readers[place].convert(values)
            bad |= np.bool_(False) if wrong is None else wrong
            arrays.append(array)
        bad |= dialect.doubtful_nulls(read.ops, by_column)
        self._gather(arrays, read, np.asarray(carried_by, np.intp), bad, gathered)

    def _is_other_key(self, op: str, before: bytes, key: tuple[Any, ...], dialect: Dialect) -> bool:
        """Whether a change changes the key, or may."""
        if before in NO_IMAGE:
            return False
        try:
            return op != UPDATE or dialect.key_of(before)[0] != key
        except UNREADABLE:
            return True

    def _have_other_keys(self, changes: Changes, parsed: Sequence[pa.Array], dialect: Dialect) -> npt.NDArray[np.bool_]:
        """The same of many changes, of whose rows `parsed` has the columns."""
        other = np.zeros(len(changes), np.bool_)
        if b"".join(changes.before) in {b"", b"null" * len(changes)}:
            return other
        places = [row for row, before in enumerate(changes.before) if bytes(before) not in NO_IMAGE]
        other[places] = changes.ops[places] != UPDATE  # nothing was before it: whatever stands there is odd
        keys = [parsed[place].take(pa.array(places)) for place in self._key_places]
        befores = (
            None
            if dialect.parsed is None
            else parse([changes.before[row] for row in places], dialect.parsed, may_lack=True)
        )
        if befores is None:
            after = zip(*(key.to_pylist() for key in keys), strict=True)
            other[places] |= [
                self._is_other_key(UPDATE, bytes(changes.before[row]), key, dialect)
                for row, key in zip(places, after, strict=True)
            ]
            return other
        for place, key in zip(self._key_places, keys, strict=True):
            same = pc.fill_null(pc.equal(befores.column(place).combine_chunks(), key), False)
            other[places] |= ~same.to_numpy(zero_copy_only=False)
        return other

    def _read_deletes(self, dialect: Dialect, changes: Changes, table: pa.Table | None, gathered: _Gathered) -> None:
        """Read the keys of some deletes: those that were parsed at once or, where one of them is odd, one by one."""
        keys: list[tuple[Any, ...]] = []
        carried_by: list[int] = []
        read = changes
        if table is not None:
            keys = list(zip(*(table.column(place).to_pylist() for place in self._key_places), strict=True))
            carried_by = [self._held_sets.none] * len(changes)
        else:
            is_read = np.zeros(len(changes), np.bool_)
            for row, before in enumerate(changes.before):
                try:
                    key, names = dialect.key_of(bytes(before))
                except UNREADABLE:
                    continue
                beside = names - self._names
                if key is not None and beside <= self._held:
                    is_read[row] = True
                    keys.append(key)
                    carried_by.append(self._held_sets.place(beside))
            gathered.others += changes.places[~is_read].tolist()
            read = changes.where(is_read)
        if not keys:
            return
        bad = np.zeros(len(read), np.bool_)
        if dialect.is_stated:
            bad |= np.array([is_made_up(key) for key in keys])
        by_place: dict[int, pa.Array] = {}
        for place, values in zip(self._key_places, zip(*keys, strict=True), strict=True):
            by_place[place], wrong = dialect.readers[place].convert(values)
            bad |= np.bool_(False) if wrong is None else wrong
        arrays = [
            by_place.get(place, pa.nulls(len(read), self._schema.field(column.name).type))
            for place, column in enumerate(self._contract.columns)
        ]
        self._gather(arrays, read, np.asarray(carried_by, np.intp), bad, gathered)

    def _gather(
        self,
        arrays: list[pa.Array],
        changes: Changes,
        carried_by: npt.NDArray[np.intp],
        bad: npt.NDArray[np.bool_],
        gathered: _Gathered,
    ) -> None:
        """Keep the rows that are plain, with what every row of the lake carries; those that are bad are others."""
        for place in self._key_places:
            if arrays[place].null_count:
                bad |= arrays[place].is_null().to_numpy(zero_copy_only=False)
        places = changes.places
        stamps = {
            "cdc_op": pa.array(changes.ops, pa.string()),
            "cdc_epoch": pa.array(self._epochs[places]),
            "cdc_lsn": pa.array(changes.lsns),
            "cdc_ordinal": pa.array(np.zeros(len(changes), np.int64)),
            "cdc_committed_at": pa.array(changes.times).cast(pa.timestamp("us", "UTC")),
        }
        by_name = {column.name: array for column, array in zip(self._contract.columns, arrays, strict=True)} | stamps
        columns = [by_name[field.name].cast(field.type) for field in self._schema]
        rows = PlainRows(pa.Table.from_arrays(columns, schema=self._schema), places, carried_by, self._held_sets.sets)
        if bad.any():
            gathered.others += places[bad].tolist()
            rows = rows.take(~bad)
        gathered.parts.append(rows)


def _in_one_piece(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array; of one that is, Arrow makes a copy."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _at_once(work: Callable[..., Any], *arguments: Any, **named: Any) -> Future[Any]:
    """What a pool does, without its thread: for a single piece of work."""
    done: Future[Any] = Future()
    done.set_result(work(*arguments, **named))
    return done
