"""Reader: raw lines of one table → Arrow rows of the plain changes, and the lines that are not plain.

Columns that are known to be held are passed over, and told: one that nobody names yet must not make all changes slow.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

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
from compactor.plain.columns import ColumnReader, column_reader

_NONE = (b"", b"null")
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
    ts_us: int
    lsn: int | None = None
    version: str = ""


class _Envelope(msgspec.Struct, gc=False):
    op: Literal["r", "c", "u", "d"]
    source: _Source
    before: msgspec.Raw = msgspec.Raw()
    after: msgspec.Raw = msgspec.Raw()


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

    def __init__(
        self, contract: TableContract, types: pa.Schema, forms: Forms | None, pii_key: bytes, held: Sequence[str]
    ) -> None:
        self.readers: list[ColumnReader] = []
        self.placeholders: list[tuple[Any, ...]] = []
        self.nulled: list[int] = []
        self.unread: list[int] = []
        fields = []
        for place, column in enumerate(contract.columns):
            form = None if forms is None else forms.by_column[column.source_name]
            reader = column_reader(column, types.field(column.name).type, form, pii_key)
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
        self.lines: list[int] = []
        self.tuples: list[tuple[Any, ...]] = []
        self.ops: list[str] = []
        self.lsns: list[int] = []
        self.times: list[int] = []
        self.held: list[int] = []

    def clear(self) -> None:
        for some in (self.lines, self.tuples, self.ops, self.lsns, self.times, self.held):
            some.clear()


class _Delete(NamedTuple):
    """A delete: the place of its line, the key that the row had, LSN, commit time, and the set of held columns."""

    place: int
    key: tuple[Any, ...]
    lsn: int
    time: int
    held: int
    dialect: _Dialect


class PlainReader:
    """Reads the plain changes of one table; `history` is the Arrow schema of its history."""

    def __init__(self, contract: TableContract, history: pa.Schema, pii_key: bytes) -> None:
        self._contract = contract
        self._history = history
        self._pii_key = pii_key
        self._epochs: npt.NDArray[np.int32] = np.empty(0, np.int32)
        self._schema = pa.schema([field for field in history if field.name != "cdc_unchanged"])
        self._key_places = [place for place, column in enumerate(contract.columns) if column.name in contract.key]
        self._names = frozenset(column.source_name for column in contract.columns)
        self._make_dialects(frozenset())

    def _prepare(self, lines: Sequence[Line], held: frozenset[str]) -> None:
        if held != self._held:
            self._make_dialects(held)
        self._clear(lines)

    def _make_dialects(self, held: frozenset[str]) -> None:
        contract, history = self._contract, self._history
        forms = forms_of_modes(contract, contract.producer)
        self._held = held
        self._held_sets = _HeldSets(held - self._names)
        self._ours = _Dialect(contract, history, None, self._pii_key, self._held_sets.held)
        self._stated = _Dialect(contract, history, forms, self._pii_key, self._held_sets.held)

    def read(self, lines: Sequence[Line], held: frozenset[str] = frozenset()) -> tuple[PlainRows, list[int]]:
        """The plain changes of some lines, and the places of the lines that are not plain, in their order.

        `held` are columns that the lake does not show, by source name: they are passed over. Any other makes a change
        one that is not plain.
        """
        self._prepare(lines, held)
        deletes: list[_Delete] = []
        others: list[int] = []
        envelope = msgspec.json.Decoder(_Envelope).decode
        columns = len(self._contract.columns)
        astuple = msgspec.structs.astuple
        for place, line in enumerate(lines):
            if line.raw.schema_id is not None:
                others.append(place)  # its forms are those of its Avro schema
                continue
            event = bytes(line.raw.event)
            try:
                message = envelope(event)
                source = message.source
                lsn = LSN_OF_BACKFILL if message.op == "r" else source.lsn
                if (
                    lsn is None
                    or not (0 < lsn <= LSN_MAX or message.op == "r")
                    or SPELT in event
                    or not _COMMITTED_MIN <= source.ts_us <= _COMMITTED_MAX
                ):
                    others.append(place)
                    continue
                dialect = self._ours if source.version.endswith(PUBLISHER_VERSION) else self._stated
                if message.op == "d":
                    key, names = _key_of(bytes(message.before), dialect)
                    beside = names - self._names
                    carried = self._held_sets.place(beside) if beside <= held else None
                    if key is None or carried is None or (dialect is self._stated and is_made_up(key)):
                        others.append(place)
                    else:
                        deletes.append(_Delete(place, key, lsn, source.ts_us, carried, dialect))
                    continue
                after = bytes(message.after)
                values = astuple(dialect.decoder.decode(after))
                carried, carried_count = self._held_in(values[columns:])
                if after.count(_MEMBER) - after.count(_QUOTED_MEMBER) != columns + carried_count:
                    others.append(place)  # perhaps a column that stands twice
                    continue
                values = values[:columns]
                if message.op == "u" and self._has_other_key(bytes(message.before), values, dialect):
                    others.append(place)
                    continue
            except (msgspec.MsgspecError, ValueError, RecursionError):
                others.append(place)
                continue
            dialect.lines.append(place)
            dialect.tuples.append(values)
            dialect.ops.append(message.op)
            dialect.lsns.append(lsn)
            dialect.times.append(source.ts_us)
            dialect.held.append(carried)
        plain = self._gathered(deletes, others)
        return plain, sorted(others)

    def _gathered(self, deletes: Sequence[_Delete], others: list[int]) -> PlainRows:
        """The rows of all that was read; those of which a value is not plain go to the others."""
        parts = [self._rows(dialect, others) for dialect in (self._ours, self._stated) if dialect.lines]
        parts += [
            self._deleted(some, dialect, others)
            for dialect in (self._ours, self._stated)
            if (some := [delete for delete in deletes if delete.dialect is dialect])
        ]
        self._clear(())
        sets = self._held_sets.sets
        if not parts:
            return PlainRows(self._schema.empty_table(), np.empty(0, np.intp), np.empty(0, np.intp), sets)
        rows = pa.concat_tables([part.rows for part in parts])
        places, carried_by = (np.concatenate([getattr(part, name) for part in parts]) for name in ("places", "held"))
        return PlainRows(rows, places, carried_by, sets)

    def _held_in(self, values: tuple[Any, ...]) -> tuple[int, int]:
        """Which held columns a row carries, as the place of their set, and how many."""
        if not values:
            return self._held_sets.none, 0
        if msgspec.UNSET not in values:
            return self._held_sets.all, len(values)
        names = [name for name, value in zip(self._held_sets.held, values, strict=True) if value is not msgspec.UNSET]
        return self._held_sets.place(names), len(names)

    def _clear(self, lines: Sequence[Line]) -> None:
        """Forget the last lines; `lines` are those to be read next."""
        self._ours.clear()
        self._stated.clear()
        self._epochs = np.fromiter((line.epoch for line in lines), np.int32, len(lines))

    def _has_other_key(self, before: bytes, values: tuple[Any, ...], dialect: _Dialect) -> bool:
        """Whether an update changes the key, or may."""
        key = tuple(values[place] for place in self._key_places)
        return before not in _NONE and _key_of(before, dialect)[0] != key

    def _rows(self, dialect: _Dialect, others: list[int]) -> PlainRows:
        places = np.asarray(dialect.lines, np.intp)
        bad = np.zeros(len(places), np.bool_)
        arrays: list[pa.Array] = []
        updates = np.array([op == "u" for op in dialect.ops]) if dialect.nulled else None
        for place, values in enumerate(zip(*dialect.tuples, strict=True)):
            bad |= _unchanged(values, dialect.placeholders[place], len(places))
            if updates is not None and place in dialect.nulled:
                bad |= updates & np.array([value is None for value in values])
            if place in dialect.unread:
                bad |= np.array([value is None for value in values])
            array, wrong = dialect.readers[place].convert(values)
            if wrong is not None:
                bad |= wrong
            if place in self._key_places and array.null_count:
                bad |= pc.is_null(array).to_numpy(zero_copy_only=False)
            arrays.append(array)
        stamps = (dialect.ops, dialect.lsns, dialect.times, dialect.held)
        return self._stamped(arrays, *stamps, places, bad, others)

    def _deleted(self, deletes: list[_Delete], dialect: _Dialect, others: list[int]) -> PlainRows:
        places = np.asarray([delete.place for delete in deletes], np.intp)
        bad = np.zeros(len(places), np.bool_)
        keys: dict[int, pa.Array] = {}
        for place, values in zip(self._key_places, zip(*(delete.key for delete in deletes), strict=True), strict=True):
            array, wrong = dialect.readers[place].convert(values)
            if wrong is not None:
                bad |= wrong
            if array.null_count:
                bad |= pc.is_null(array).to_numpy(zero_copy_only=False)
            keys[place] = array
        arrays = [
            keys.get(place, pa.nulls(len(places), self._schema.field(column.name).type))
            for place, column in enumerate(self._contract.columns)
        ]
        lsns, times = [delete.lsn for delete in deletes], [delete.time for delete in deletes]
        held = [delete.held for delete in deletes]
        return self._stamped(arrays, ["d"] * len(places), lsns, times, held, places, bad, others)

    def _stamped(
        self,
        arrays: list[pa.Array],
        ops: list[str],
        lsns: list[int],
        times: list[int],
        held: list[int],
        places: npt.NDArray[np.intp],
        bad: npt.NDArray[np.bool_],
        others: list[int],
    ) -> PlainRows:
        count = len(places)
        stamps = {
            "cdc_op": pa.array(ops, pa.string()),
            "cdc_epoch": pa.array(self._epochs[places]),
            "cdc_lsn": pa.array(lsns, pa.int64()),
            "cdc_ordinal": pa.array(np.zeros(count, np.int64)),
            "cdc_committed_at": pa.array(times, pa.int64()).cast(pa.timestamp("us", "UTC")),
        }
        by_name = {column.name: array for column, array in zip(self._contract.columns, arrays, strict=True)} | stamps
        columns = [by_name[field.name].cast(field.type) for field in self._schema]
        table = pa.Table.from_arrays(columns, schema=self._schema)
        rows = PlainRows(table, places, np.asarray(held, np.intp), self._held_sets.sets)
        if not bad.any():
            return rows
        others.extend(places[bad].tolist())
        return rows.take(~bad)


def _key_of(before: bytes, dialect: _Dialect) -> tuple[tuple[Any, ...] | None, AbstractSet[str]]:
    """The key that a row had before, in the order of the contract's columns, None when a column stands twice; and the
    names of all columns of it.
    """
    row = msgspec.json.decode(before, type=dict[str, msgspec.Raw])
    if before.count(_MEMBER) - before.count(_QUOTED_MEMBER) != len(row):
        return None, row.keys()
    return msgspec.structs.astuple(dialect.key_decoder.decode(before)), row.keys()


def _unchanged(values: Sequence[Any], stand_ins: tuple[Any, ...], count: int) -> npt.NDArray[np.bool_] | np.bool_:
    """Which values say "unchanged"."""
    if not any(stand_in in values for stand_in in stand_ins):
        return np.bool_(False)
    return np.fromiter((value in stand_ins for value in values), np.bool_, count)
