"""Reader: raw lines of one table → Arrow rows of the plain changes, and the lines that are not plain.

Columns that are known to be held are passed over, and told: one that nobody names yet must not make all changes slow.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import compress
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cdc.contract import TableContract
from cdc.debezium.decode import PUBLISHER_VERSION, SPELT
from cdc.debezium.forms import forms_of_modes
from cdc.debezium.identity import is_made_up
from cdc.debezium.placeholder import placeholders
from cdc.epoch import FIRST_EPOCH
from cdc.form import Forms
from cdc.position import LSN_MAX, LSN_OF_BACKFILL
from cdc.raw import RawLine
from compactor.fold import DELETE, UPDATE
from compactor.plain.block import parse
from compactor.plain.columns import ColumnReader, column_masker, column_reader

BLOCK_ROWS = 16_384
"""How many lines are read at once: what is odd among them makes only so many slower."""
_NONE = (b"", b"null")
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)
_MEMBER, _QUOTED_MEMBER = b'":', b'\\":'
_COMMITTED_MIN, _COMMITTED_MAX = -62_135_596_800_000_000, 253_402_300_799_999_999
"""The years 1 to 9999 in microseconds from 1970."""


class Line(NamedTuple):
    """A raw line and where it came from: the shard's id and the batch's name; and the epoch that this puts it in."""

    shard: str
    batch: str
    raw: RawLine
    epoch: int = FIRST_EPOCH


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


class _Source(msgspec.Struct, gc=False):
    schema: str
    table: str
    ts_us: Annotated[int, msgspec.Meta(ge=_COMMITTED_MIN, le=_COMMITTED_MAX)]
    lsn: Annotated[int, msgspec.Meta(ge=0, le=LSN_MAX)] | None = None
    version: str = ""


class _Envelope(msgspec.Struct, gc=False):
    op: Literal["r", "c", "u", "d"]
    source: _Source
    before: msgspec.Raw = msgspec.Raw()
    after: msgspec.Raw = msgspec.Raw()


_ROW = msgspec.json.Decoder(dict[str, Any])
_ENVELOPE = msgspec.json.Decoder(_Envelope)


class _HeldSets:
    """The sets of held columns that rows carry; `held` are all of them that may be passed over."""

    def __init__(self, held: Collection[str]) -> None:
        # A name with these would upset the count by which a column that stands twice is found.
        self.held = tuple(sorted(name for name in held if '"' not in name and "\\" not in name))
        self._places: dict[frozenset[str], int] = {}
        self.all = self.place(self.held)
        self.none = self.place(())

    def place(self, names: Collection[str]) -> int:
        """The place of a set in `sets`."""
        return self._places.setdefault(frozenset(names), len(self._places))

    @property
    def sets(self) -> tuple[frozenset[str], ...]:
        """All sets so far."""
        return tuple(self._places)


class _Dialect:
    """How the rows of one producer are read: all columns of the contract, each once, and of others the held ones."""

    def __init__(self, contract: TableContract, types: pa.Schema, forms: Forms | None, held: Sequence[str]) -> None:
        self.is_stated = forms is not None
        self.readers: list[ColumnReader] = []
        self.placeholders: list[tuple[Any, ...]] = []
        self.nulled: list[int] = []
        self.unread: list[int] = []
        fields = []
        for place, column in enumerate(contract.columns):
            form = None if forms is None else forms.by_column[column.source_name]
            reader = column_reader(column, types.field(column.name).type, form)
            self.readers.append(reader)
            self.placeholders.append(placeholders(column.type, contract.producer))
            fields.append((f"c{place}", reader.json_type))
            if form is not None and form.is_null_when_unchanged:
                self.nulled.append(place)
            if form is not None and form.is_null_when_unread:
                self.unread.append(place)
        names = {f"c{place}": column.source_name for place, column in enumerate(contract.columns)}
        names |= {f"h{place}": name for place, name in enumerate(held)}
        passed_over = [(f"h{place}", Any, msgspec.UNSET) for place in range(len(held))]
        row = msgspec.defstruct("Row", [*fields, *passed_over], forbid_unknown_fields=True, gc=False, rename=names)
        self.decoder = msgspec.json.Decoder(row)
        key = [field for field, column in zip(fields, contract.columns, strict=True) if column.name in contract.key]
        self.key_decoder = msgspec.json.Decoder(msgspec.defstruct("Key", key, gc=False, rename=names))
        parsed = [reader.arrow_type for reader in self.readers]
        self.parsed = (
            pa.schema(list(zip((column.source_name for column in contract.columns), parsed, strict=True)))
            if all(type_ is not None for type_ in parsed)
            else None
        )
        """The types by which Arrow parses whole rows; None where some column has none."""


@dataclass(frozen=True, slots=True)
class _Changes:
    """Changes whose rows are still to be read: the places of their lines, ops, LSNs, commit times; the rows' images."""

    places: npt.NDArray[np.intp]
    ops: npt.NDArray[np.str_]
    lsns: npt.NDArray[np.int64]
    times: npt.NDArray[np.int64]
    before: list[msgspec.Raw]
    after: list[msgspec.Raw]

    def __len__(self) -> int:
        return len(self.places)

    def where(self, mask: npt.NDArray[np.bool_]) -> _Changes:
        """Those where a mask is true."""
        if mask.all():
            return self
        return _Changes(
            self.places[mask],
            self.ops[mask],
            self.lsns[mask],
            self.times[mask],
            list(compress(self.before, mask)),
            list(compress(self.after, mask)),
        )


class _Gathered:
    """What was read so far: tables of plain rows, and the places of lines that are not plain."""

    def __init__(self) -> None:
        self.parts: list[PlainRows] = []
        self.others: list[int] = []


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
        self._held_sets = _HeldSets(held - self._names)
        self._ours = _Dialect(contract, history, None, self._held_sets.held)
        self._stated = _Dialect(contract, history, forms, self._held_sets.held)

    def read(self, lines: Sequence[Line], held: frozenset[str] = frozenset()) -> tuple[PlainRows, list[int]]:
        """The plain changes of some lines, and the places of the lines that are not plain, in their order.

        `held` are columns that the lake does not show, by source name: they are passed over. Any other makes a change
        one that is not plain.
        """
        if held != self._held:
            self._make_dialects(held)
        self._epochs = np.fromiter((line.epoch for line in lines), np.int32, len(lines))
        gathered = _Gathered()
        for start in range(0, len(lines), self._block_rows):
            block = lines[start : start + self._block_rows]
            if all(line.raw.schema_id is None for line in block):
                places = np.arange(start, start + len(block))
            else:
                in_avro = np.array([line.raw.schema_id is not None for line in block])
                gathered.others += (start + np.flatnonzero(in_avro)).tolist()  # their schemas tell their forms
                block = list(compress(block, ~in_avro))
                places = start + np.flatnonzero(~in_avro)
            changes, is_ours = self._changes([line.raw.event for line in block], places, gathered)
            is_delete = changes.ops == DELETE
            for dialect, of_dialect in ((self._ours, is_ours), (self._stated, ~is_ours)):
                if (of_dialect & ~is_delete).any():
                    self._read_rows(dialect, changes.where(of_dialect & ~is_delete), gathered)
                if (of_dialect & is_delete).any():
                    self._read_deletes(dialect, changes.where(of_dialect & is_delete), gathered)
        sets = self._held_sets.sets
        if not gathered.parts:
            nothing = PlainRows(self._schema.empty_table(), np.empty(0, np.intp), np.empty(0, np.intp), sets)
            return nothing, sorted(gathered.others)
        rows_of_all = self._masked(pa.concat_tables([part.rows for part in gathered.parts]))
        places, carried_by = (
            np.concatenate([getattr(part, name) for part in gathered.parts]) for name in ("places", "held")
        )
        return PlainRows(rows_of_all, places, carried_by, sets), sorted(gathered.others)

    def _masked(self, rows: pa.Table) -> pa.Table:
        """The rows in one piece, with the masks of the contract."""
        columns = [
            self._maskers[name](column) if name in self._maskers else column.combine_chunks()
            for name, column in zip(rows.column_names, rows.columns, strict=True)
        ]
        return pa.Table.from_arrays(columns, schema=rows.schema)

    def _changes(
        self, events: Sequence[msgspec.Raw], places: npt.NDArray[np.intp], gathered: _Gathered
    ) -> tuple[_Changes, npt.NDArray[np.bool_]]:
        """The changes that some lines state, and which of them are our own publisher's; their rows are still unread."""
        text = b"\n".join(events)
        # Both readings give the same; one line that is none of ours must not make all others slow.
        try:
            envelopes: Sequence[_Envelope | None] = _ENVELOPE.decode_lines(text)
        except _UNREADABLE:
            envelopes = [_envelope(event) for event in events]
        if SPELT in text:
            envelopes = [None if SPELT in bytes(e) else one for e, one in zip(events, envelopes, strict=True)]
        read = [envelope for envelope in envelopes if envelope is not None]
        if len(read) < len(envelopes):
            is_read = np.array([envelope is not None for envelope in envelopes])
            gathered.others += places[~is_read].tolist()
            places = places[is_read]
        sources = [envelope.source for envelope in read]
        versions = [source.version for source in sources]
        ours = {version for version in set(versions) if version.endswith(PUBLISHER_VERSION)}
        is_ours = np.array([version in ours for version in versions], np.bool_)
        ops = np.array([envelope.op for envelope in read], np.str_)
        lsns = np.array([source.lsn or LSN_OF_BACKFILL for source in sources], np.int64)
        lsns[ops == "r"] = LSN_OF_BACKFILL
        changes = _Changes(
            places,
            ops,
            lsns,
            np.array([source.ts_us for source in sources], np.int64),
            [envelope.before for envelope in read],
            [envelope.after for envelope in read],
        )
        is_sound = (lsns != LSN_OF_BACKFILL) | (ops == "r")
        for row in np.flatnonzero(ops == DELETE).tolist():
            is_sound[row] &= bytes(changes.after[row]) in _NONE
        gathered.others += places[~is_sound].tolist()
        return changes.where(is_sound), is_ours[is_sound]

    def _read_rows(self, dialect: _Dialect, changes: _Changes, gathered: _Gathered) -> None:
        """Read the rows after some changes, all at once or, where one of them is odd, one by one."""
        table = None if dialect.parsed is None else parse(changes.after, dialect.parsed)
        if table is None:
            self._read_rows_singly(dialect, changes, gathered)
            return
        bad = np.zeros(len(changes), np.bool_)
        arrays: list[pa.Array] = []
        parsed = [column.combine_chunks() for column in table.columns]
        for place, (array, reader) in enumerate(zip(parsed, dialect.readers, strict=True)):
            bad |= _says_unchanged(array, dialect.placeholders[place])
            read, wrong = reader.convert_array(array)
            bad |= np.bool_(False) if wrong is None else wrong
            arrays.append(read)
        bad |= self._nulls(dialect, changes, parsed)
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

    def _read_rows_singly(self, dialect: _Dialect, changes: _Changes, gathered: _Gathered) -> None:
        columns = len(self._contract.columns)
        astuple = msgspec.structs.astuple
        is_read = np.zeros(len(changes), np.bool_)
        tuples: list[tuple[Any, ...]] = []
        carried_by: list[int] = []
        for row, (image, before, op) in enumerate(zip(changes.after, changes.before, changes.ops, strict=True)):
            after = bytes(image)
            try:
                values = astuple(dialect.decoder.decode(after))
                carried, carried_count = self._held_in(values[columns:])
                if after.count(_MEMBER) - after.count(_QUOTED_MEMBER) != columns + carried_count:
                    continue  # perhaps a column that stands twice
                values = values[:columns]
                key = tuple(values[place] for place in self._key_places)
                is_read[row] = not self._is_other_key(op, bytes(before), key, dialect)
            except _UNREADABLE:
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
            bad |= _unchanged(values, dialect.placeholders[place], len(read))
            array, wrong = dialect.readers[place].convert(values)
            bad |= np.bool_(False) if wrong is None else wrong
            arrays.append(array)
        bad |= self._nulls(dialect, read, by_column)
        self._gather(arrays, read, np.asarray(carried_by, np.intp), bad, gathered)

    def _nulls(
        self, dialect: _Dialect, changes: _Changes, values: Sequence[pa.Array | Sequence[Any]]
    ) -> npt.NDArray[np.bool_]:
        """Rows with a null that from this producer may mean another thing."""
        bad = np.zeros(len(changes), np.bool_)
        for place in {*dialect.nulled, *dialect.unread}:
            some = values[place]
            is_null = (
                some.is_null().to_numpy(zero_copy_only=False)
                if isinstance(some, pa.Array)
                else np.array([value is None for value in some], np.bool_)
            )
            bad |= is_null if place in dialect.unread else is_null & (changes.ops == UPDATE)
        return bad

    def _is_other_key(self, op: str, before: bytes, key: tuple[Any, ...], dialect: _Dialect) -> bool:
        """Whether a change changes the key, or may."""
        if before in _NONE:
            return False
        try:
            return op != UPDATE or _key_of(before, dialect)[0] != key
        except _UNREADABLE:
            return True

    def _have_other_keys(
        self, changes: _Changes, parsed: Sequence[pa.Array], dialect: _Dialect
    ) -> npt.NDArray[np.bool_]:
        """The same of many changes, of whose rows `parsed` has the columns."""
        other = np.zeros(len(changes), np.bool_)
        places = [row for row, before in enumerate(changes.before) if bytes(before) not in _NONE]
        if not places:
            return other
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

    def _read_deletes(self, dialect: _Dialect, changes: _Changes, gathered: _Gathered) -> None:
        """Read the keys of some deletes, all at once or, where one of them is odd, one by one."""
        table = None if dialect.parsed is None else parse(changes.before, dialect.parsed, may_lack=True)
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
                    key, names = _key_of(bytes(before), dialect)
                except _UNREADABLE:
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
        changes: _Changes,
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


def _envelope(event: msgspec.Raw) -> _Envelope | None:
    try:
        return _ENVELOPE.decode(event)
    except _UNREADABLE:
        return None


def _key_of(before: bytes, dialect: _Dialect) -> tuple[tuple[Any, ...] | None, AbstractSet[str]]:
    """The key that a row had before, in the order of the contract's columns, None when a column stands twice; and the
    names of all columns of it.
    """
    row = _ROW.decode(before)  # all of it: the law refuses an image of which any value cannot be read
    if before.count(_MEMBER) - before.count(_QUOTED_MEMBER) != len(row):
        return None, row.keys()
    return msgspec.structs.astuple(dialect.key_decoder.decode(before)), row.keys()


def _unchanged(values: Sequence[Any], stand_ins: tuple[Any, ...], count: int) -> npt.NDArray[np.bool_] | np.bool_:
    """Which values say "unchanged"."""
    if not any(stand_in in values for stand_in in stand_ins):
        return np.bool_(False)
    return np.fromiter((value in stand_ins for value in values), np.bool_, count)


def _says_unchanged(array: pa.Array, stand_ins: tuple[Any, ...]) -> npt.NDArray[np.bool_] | np.bool_:
    """The same, of values that Arrow has parsed: texts, or lists of texts."""
    if pa.types.is_list(array.type):
        texts = [one[0] for one in stand_ins if isinstance(one, list) and len(one) == 1 and isinstance(one[0], str)]
        alone = pc.fill_null(pc.equal(pc.list_value_length(array), 1), False)
        if not pc.any(alone).as_py():
            return np.bool_(False)
        first = pc.list_element(pc.if_else(alone, array, pa.scalar([""], array.type)), 0)
        found = pc.and_(alone, pc.is_in(first, pa.array(texts, pa.string())))
    elif pa.types.is_string(array.type):
        found = pc.is_in(array, pa.array([one for one in stand_ins if isinstance(one, str)], pa.string()))
    else:
        return np.bool_(False)
    says: npt.NDArray[np.bool_] = found.to_numpy(zero_copy_only=False)
    return says
