"""Change: a change event as the lake sees it, its values converted and masked, or set aside with the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from cdc.contract import Column, TableContract, value_before
from cdc.decode import Decoder
from cdc.epoch import FIRST_EPOCH
from cdc.errors import FatalFault, RecordFault, TransientFault
from cdc.event import ChangeEvent, Op
from cdc.form import Form, Forms, Kind
from cdc.position import LSN_OF_BACKFILL, Position
from cdc.raw import RawLine
from cdc.stated_columns import StatedColumns, read_stated
from compactor.columns_seen import Seen, noted, noted_stated
from compactor.convert import converter
from compactor.mask import masker

Key = tuple[Any, ...]
Row = Mapping[str, Any]
Identity = tuple[Key, Position, bool]
"""What tells a change from all others: one position has one change of a key, or a delete and a create.

Debezium sends these two for an update of its own key where that is not the table's (`message.key.columns`). The third
part says whether it is the delete.
"""

SET_ASIDE = "q"
"""The `cdc_op` of a change in history whose values could not be merged: later changes must not be filled across it."""
DIALECTS_MAX = 64
"""How many dialects (schemas of messages) are remembered at once."""
_DOUBTFUL = (
    "a null that from Debezium may also mean unchanged: it has no placeholder for this type; "
    "REPLICA IDENTITY FULL makes it plain"
)


def no_schema(stream: str, schema_id: int) -> str:
    """What is known of schemas where no raw zone is at hand.

    Raises:
        RecordFault: always.
    """
    raise RecordFault("avro-schema", f"schema {schema_id} of stream {stream} is not at hand")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where in the stream a change came from: `shard` is its id, `sequence_number` is compared within it, `batch` names
    the micro-batch.
    """

    shard: str
    sequence_number: int
    sub: int
    line: RawLine
    batch: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one key. `values` holds lake columns, without those in `unchanged`; the key's only for a delete.

    `op` is the letter of `cdc_op`. A truncate has an empty key. `faults` are those of a change that was set aside
    though its key is known, one for each column that kept it out. `origin` is None for a change that was read back from
    history, whose `values` are complete. `assumed` are columns that the event lacks, whose value is the one from before
    they were added.
    """

    key: Key
    op: str
    position: Position
    committed_at: datetime
    values: Row
    unchanged: frozenset[str]
    origin: Origin | None = None
    faults: tuple[RecordFault, ...] = ()
    assumed: frozenset[str] = frozenset()

    @property
    def identity(self) -> Identity:
        """What makes it the same change, however often and by whatever way it comes; its mark has the same."""
        return self.key, self.position, self.op == Op.DELETE.value

    @property
    def fault(self) -> RecordFault | None:
        """The first fault, by whose reason a change that was set aside is filed."""
        return self.faults[0] if self.faults else None

    @property
    def is_recorded(self) -> bool:
        """Whether history has it already."""
        return self.origin is None

    def set_aside(self, *faults: RecordFault) -> Change:
        """The same change, with its values given up."""
        return replace(self, op=SET_ASIDE, values={}, unchanged=frozenset(), faults=faults)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record of which not even the key could be read."""

    origin: Origin
    fault: RecordFault


@dataclass(frozen=True, slots=True)
class _Plan:
    """How the values of one dialect become the lake's: a function for each column, and for those of the key."""

    columns: tuple[tuple[Column, Callable[[Any], Any]], ...]
    keys: tuple[tuple[Column, Callable[[Any], Any]], ...]


class ChangeReader:
    """Turns raw lines of one table into changes; `seen` has what was seen of columns that the lake does not show.

    `before` has the values of columns in rows from before they were added, where that is stated. `avro_schema` gets the
    schema, by stream and id, of records that came in Avro.

    Raises:
        FatalFault: when a contract's `valueBeforeAdded` is no value that the lake holds.
    """

    def __init__(
        self,
        contract: TableContract,
        pii_key: bytes,
        avro_schema: Callable[[str, int], str] = no_schema,
        seen: Mapping[str, Seen] | None = None,
    ) -> None:
        self._contract = contract
        self._pii_key = pii_key
        self._decoder = Decoder(contract)
        self._plan = lru_cache(maxsize=DIALECTS_MAX)(self._new_plan)
        self._known = frozenset(column.source_name for column in contract.columns)
        self._watched = frozenset(c.source_name for c in contract.columns if c.value_before is not None)
        self.before = values_before(contract, pii_key)
        self.seen: Mapping[str, Seen] = dict(seen or {})
        self._avro_schema = lru_cache(maxsize=DIALECTS_MAX)(avro_schema)

    def read(
        self, shard: str, batch: str, lines: Iterable[RawLine], epoch: int = FIRST_EPOCH
    ) -> tuple[list[Change], list[Rejected]]:
        """The changes of some lines of a shard's batch, all of one epoch, and the records that gave none."""
        changes: list[Change] = []
        rejected: list[Rejected] = []
        for line in lines:
            origin = Origin(shard, int(line.seq), line.sub, line, batch)
            try:
                if (stated := self.stated(line, epoch)) is not None:
                    self.seen = noted_stated(self.seen, stated, self._known, shard, origin.sequence_number)
                    continue
                changes += [self._change(event, origin) for event in self.events(shard, line, epoch)]
            except RecordFault as fault:
                rejected.append(Rejected(origin, fault))
            except (TransientFault, FatalFault):
                raise  # of reading a schema: nothing is known of the record yet
            except Exception as error:  # noqa: BLE001 - one record, whatever it is, must not stop all others
                rejected.append(
                    Rejected(origin, RecordFault("unreadable", f"reading it raised {type(error).__name__}"))
                )
        return changes, rejected

    @staticmethod
    def stated(line: RawLine, epoch: int = FIRST_EPOCH) -> StatedColumns | None:
        """What our publisher states of new columns, where a line is that. Raises RecordFault when it cannot be read."""
        return read_stated(bytes(line.event), epoch)

    def events(self, shard: str, line: RawLine, epoch: int = FIRST_EPOCH) -> tuple[ChangeEvent, ...]:
        """What a line of a shard states. Raises RecordFault when it states nothing that could be merged."""
        stream = shard.partition("/")[0]
        schema = None if line.schema_id is None else self._avro_schema(stream, line.schema_id)
        return self._decoder.decode(line.event, epoch, schema)

    def _new_plan(self, forms: Forms | None) -> _Plan:
        columns = tuple(
            (column, lake_value(column, _form(column, forms), self._pii_key)) for column in self._contract.columns
        )
        by_name = {column.name: (column, convert) for column, convert in columns}
        return _Plan(columns, tuple(by_name[name] for name in self._contract.key))

    def _change(self, event: ChangeEvent, origin: Origin) -> Change:
        """A fault in the key is raised; those in any other columns set the change aside, its key known."""
        if event.op is Op.TRUNCATE:
            return Change((), event.op.value, event.position, event.committed_at, {}, frozenset(), origin)
        plan, row = self._plan(event.forms), event.row
        key = self.key(event)
        self._note(event, origin)
        values: dict[str, Any] = dict(zip(self._contract.key, key, strict=True))
        change = Change(key, event.op.value, event.position, event.committed_at, values, frozenset(), origin)
        if event.op is Op.DELETE:
            return change
        if event.faults:
            return change.set_aside(*event.faults)
        unchanged = frozenset(column.name for column, _ in plan.columns if column.source_name in event.unchanged)
        assumed = self._assumed(event) if self.before else frozenset[str]()
        # All columns at fault, not the first alone: mending one would else only show the next.
        faults: list[RecordFault] = []
        for column, convert in plan.columns:
            if column.name in assumed:
                values[column.name] = self.before[column.name]
            elif column.name not in unchanged:
                try:
                    values[column.name] = self._value(column, convert, row)
                except RecordFault as fault:
                    faults.append(fault)
        faults += [
            RecordFault("value-not-held", _DOUBTFUL, where=column.name)
            for column, _ in plan.columns
            if column.source_name in event.doubtful
        ]
        return change.set_aside(*faults) if faults else replace(change, unchanged=unchanged, assumed=assumed)

    @property
    def held(self) -> frozenset[str]:
        """Columns that are known to arrive and that the lake does not show, by source name."""
        return frozenset(self.seen.keys() - self._known)

    @property
    def watched(self) -> frozenset[str]:
        """Columns that are shown, and of which it matters where they begin, by source name."""
        return self._watched

    def key(self, event: ChangeEvent) -> Key:
        """The key of the row that changed.

        Raises:
            RecordFault: when a column of it is missing, null, or no value that the lake holds.
        """
        key = tuple(self._value(column, convert, event.row) for column, convert in self._plan(event.forms).keys)
        if None in key:
            hint = "the table needs REPLICA IDENTITY DEFAULT, FULL, or an index that has the primary key"
            raise RecordFault("no-key", "a column of the primary key is null or missing", hint=hint)
        return key

    def value(self, event: ChangeEvent, name: str) -> Any:
        """The value of one column that the event carries, as the lake shows it. Raises RecordFault as `key` does."""
        column, convert = next(pair for pair in self._plan(event.forms).columns if pair[0].name == name)
        return self._value(column, convert, event.row)

    def value_before(self, name: str, text: str | None) -> Any:
        """What the lake shows of a column for a text of Postgres's. Raises RecordFault when it holds no such value."""
        column = self._contract.column(name)
        if text is None:
            return None
        if column.type.is_as_sent:
            raise RecordFault("value-not-held", "a column whose type nobody has stated has values as they are sent")
        return lake_value(column, None, self._pii_key)(value_before(column.type, text).value)

    def confirmed(self, changes: Iterable[Change]) -> list[Change]:
        """The same changes, those set aside whose value from before was assumed though the column was there already.

        To be asked when all that is merged together was read: then all is known of where a column begins.
        """
        return [self._confirmed(change) if change.assumed else change for change in changes]

    def _confirmed(self, change: Change) -> Change:
        wrong = next((name for name in sorted(change.assumed) if not self._is_before(name, change.position)), None)
        return change if wrong is None else change.set_aside(_missing(wrong))

    def _assumed(self, event: ChangeEvent) -> frozenset[str]:
        """The columns that the event lacks because they were added later."""
        return frozenset(
            name
            for name in self.before
            if (source := self._contract.column(name).source_name) not in event.row
            and source not in event.unchanged
            and self._is_before(name, event.position)
        )

    def _is_before(self, name: str, position: Position) -> bool:
        """Whether a change of this position comes before all that carried the column; a read has no place there.

        Where only reads carried it, a streamed change without it may as well be newer: the column is gone then.
        """
        seen = self.seen.get(self._contract.column(name).source_name)
        if seen is None or position.lsn == LSN_OF_BACKFILL:
            return True
        return position < Position(*seen.first) if seen.first is not None else not seen.was_read

    def _note(self, event: ChangeEvent, origin: Origin) -> None:
        row, known = event.row, self._known
        if not self.seen and not self._watched and row.keys() <= known and event.unchanged <= known:
            return
        new = noted(self.seen, event, self._watched, known, origin.shard, origin.sequence_number)
        self.seen = self.seen if new is None else new

    @staticmethod
    def _value(column: Column, convert: Callable[[Any], Any], row: Mapping[str, Any]) -> Any:
        try:
            value = row[column.source_name]
            return None if value is None else convert(value)
        except KeyError:
            raise _missing(column.name) from None
        except RecordFault as fault:
            raise RecordFault(fault.reason, fault.what, where=column.name, hint=fault.hint) from None


def _missing(column: str) -> RecordFault:
    hint = "if it was renamed at the source, state formerNames; if it was dropped there, take it out of the contract"
    return RecordFault("missing-column", "the event lacks a column of the contract", where=column, hint=hint)


def values_before(contract: TableContract, pii_key: bytes) -> dict[str, Any]:
    """What the lake shows of each column, where that is stated, in rows from before the column was added.

    Raises:
        FatalFault: when a stated value is none that the lake holds.
    """
    values: dict[str, Any] = {}
    for column in contract.columns:
        stated = column.value_before
        if stated is None:
            continue
        try:
            values[column.name] = None if stated.value is None else lake_value(column, None, pii_key)(stated.value)
        except RecordFault as fault:
            raise FatalFault(
                f"valueBeforeAdded of column {column.name} is no value that the lake holds: {fault.what}",
                where=contract.name,
                hint="write it as Postgres shows it, or null where rows had none",
            ) from None
    return values


def _form(column: Column, forms: Forms | None) -> Form | None:
    """The form of a column; one that the dialect does not have is missing from its rows too."""
    return None if forms is None else forms.by_column.get(column.source_name, Form(Kind.UNKNOWN))


def lake_value(column: Column, form: Form | None, pii_key: bytes) -> Callable[[Any], Any]:
    """What makes the lake's value of one in a form (None: that of our publisher), masked; for values that are not null.

    It raises RecordFault(`value-not-held`), without naming the value.
    """
    convert, mask = converter(column.type, form), masker(column.mask, pii_key)
    return convert if mask is None else lambda value: mask(convert(value))


def recorded(row: Mapping[str, Any], contract: TableContract) -> Change:
    """A change as history tells it."""
    return Change(
        key=tuple(row[name] for name in contract.key) if row["cdc_op"] != Op.TRUNCATE.value else (),
        op=row["cdc_op"],
        position=Position(row["cdc_epoch"], row["cdc_lsn"], row["cdc_ordinal"]),
        committed_at=row["cdc_committed_at"].astimezone(UTC),
        values={column.name: row[column.name] for column in contract.columns},
        # It may name columns that the lake shows no more, or not yet.
        unchanged=frozenset(name for name in row["cdc_unchanged"] or () if contract.has(name)),
    )
