"""Drift: how a live table differs from its contract, and what to do about each difference."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from cdc.contract import Column, TableContract
from cdc.lake_name import shown, source_table
from cdc.postgres_type import PostgresType
from cdc_ops.live_table import Identity, LiveColumn, LiveTable, NoTable

_INTEGERS = ("smallint", "integer", "bigint")
_FLOATS = ("real", "double precision")
_TEXTS = ("char", "varchar", "text")
_TIMES = ("timestamp", "timestamptz", "time", "timetz", "interval")
_FRACTION_DIGITS = 6
_UNLIMITED = 1 << 40
WIDENED = "type-widened"
NARROWED = "type-narrowed"
CHANGED = "type-changed"
_HINTS = {
    WIDENED: "give the contract the new type",
    NARROWED: "values that are in the lake may not fit the new type: keep the wider one in the contract, or rebuild",
    CHANGED: "the lake's column cannot follow: give the new one another `name`, or rebuild the table",
}


@dataclass(frozen=True, slots=True)
class Drift:
    """One difference: `kind` is a fixed word, `column` the source's name (empty: the table), `hint` what to do."""

    kind: str
    column: str
    contract_says: str
    database_says: str
    hint: str

    def __str__(self) -> str:
        column = f" {shown(self.column)}" if self.column else ""
        says = f"contract {self.contract_says or 'none'}, database {self.database_says or 'none'}"
        return f"{self.kind.replace('-', ' ')}{column}: {shown(says)}; {shown(self.hint)}"


def drifts(contract: TableContract, live: LiveTable | NoTable, required: Collection[str] = ()) -> tuple[Drift, ...]:
    """Every difference, but for columns that the contract keeps out of the lake on purpose; `required` are those of
    which it states that they are never null.
    """
    if isinstance(live, NoTable):
        meant = f"perhaps {' or '.join(live.similar)} is meant; " if live.similar else ""
        hint = f"{meant}mend sourceTable in the contract, or remove the contract"
        stated = source_table(contract.source_schema, contract.source_table)
        return (Drift("table-missing", "", stated, live.reason, hint),)
    named = {column.source_name: column for column in contract.columns}
    found = {column.name: column for column in live.columns}
    return (
        *_dropped(contract, live),
        *(_added(column) for column in live.columns if _is_new(column, {*named, *contract.left_out})),
        *(drift for name in named if name in found for drift in _of_type(named[name], found[name])),
        *(_may_be_null(found[name]) for name in named if name in required and name in found and found[name].nullable),
        *_of_key(contract, live),
        *_of_identity(contract, live),
    )


def type_drift(contract: PostgresType, live: PostgresType) -> str | None:
    """Whether the live type holds more (`type-widened`), less, or something else; None when it holds the same."""
    if contract == live:
        return None
    before, now = _size(contract), _size(live)
    if contract.is_array != live.is_array or before is None or now is None or before[0] != now[0]:
        return CHANGED
    pairs = list(zip(before[1], now[1], strict=True))
    if all(old == new for old, new in pairs):
        return None
    if all(old <= new for old, new in pairs):
        return WIDENED
    return NARROWED if all(old >= new for old, new in pairs) else CHANGED


def _size(type_: PostgresType) -> tuple[str, tuple[int, ...]] | None:
    """A family of types that hold the same kind of value, then numbers of which each tells how much; None if alone."""
    first = type_.arguments[0] if type_.arguments else None
    if type_.name in _INTEGERS:
        return "integer", (_INTEGERS.index(type_.name),)
    if type_.name in _FLOATS:
        return "float", (_FLOATS.index(type_.name),)
    if type_.name in _TEXTS:
        # char(n) forgets trailing blanks, which varchar(n) keeps.
        return "text", (_UNLIMITED if first is None else first, int(type_.name != "char"))
    if type_.name in _TIMES:
        return type_.name, (_FRACTION_DIGITS if first is None else first,)
    if type_.is_decimal:  # the lake has all other numerics as text
        precision, scale = type_.arguments
        return "numeric", (precision - scale, scale)
    return None


def _is_new(column: LiveColumn, known: Collection[str]) -> bool:
    return column.name not in known and not column.generated


def _dropped(contract: TableContract, live: LiveTable) -> Iterator[Drift]:
    known = {column.source_name for column in contract.columns}
    present = {column.name for column in live.columns}
    new = [column for column in live.columns if _is_new(column, known)]
    for column in contract.columns:
        if column.source_name in present:
            continue
        renamed = [shown(other.name) for other in new if other.type == column.type]
        perhaps = f"if it was renamed to {' or '.join(renamed)}, say so by physicalName; " if renamed else ""
        hint = f"{perhaps}else remove it from the contract"
        yield Drift("column-dropped", column.source_name, str(column.type), "", hint)


def _added(column: LiveColumn) -> Drift:
    if column.type is None:
        hint = "the lake cannot hold its type: name it in the contract's custom property leftOut"
    else:
        hint = (
            "name it in the contract with its classification, mask and valueBeforeAdded, what rows of before have "
            f"({_known_before(column)}), or under leftOut to keep it out of the lake"
        )
    return Drift("column-added", column.name, "", column.declared, hint)


def _known_before(column: LiveColumn) -> str:
    if column.value_before is not None:
        return f"the catalogs say {column.value_before}"
    if column.is_null_before:
        return "the catalogs say null"
    return "the catalogs do not know it: its default was not constant, or the table was written anew since"


def _of_type(column: Column, live: LiveColumn) -> Iterator[Drift]:
    if live.generated:
        hint = "the log does not carry a generated column: take it out of the contract"
        yield Drift("column-generated", live.name, str(column.type), f"generated {live.declared}", hint)
    elif live.type is None:
        hint = "the lake cannot hold the new type: take the column out of the contract, or change it at the source"
        yield Drift(CHANGED, live.name, str(column.type), live.declared, hint)
    elif (kind := type_drift(_enum_as_text(column.type, live), live.type)) is not None:
        yield Drift(kind, live.name, str(column.type), live.declared, _hint(kind, column.type, live.type))


def _enum_as_text(type_: PostgresType, live: LiveColumn) -> PostgresType:
    """A contract may call an enum so, or text, as which `LiveColumn` has it."""
    return PostgresType("text", (), type_.is_array) if live.is_enum and type_.name == "enum" else type_


def _may_be_null(live: LiveColumn) -> Drift:
    hint = "readers of the contract rely on it: take `required` out, or SET NOT NULL at the source"
    return Drift("nullability-changed", live.name, "required", f"{live.declared}, may be null", hint)


def _hint(kind: str, contract: PostgresType, live: PostgresType) -> str:
    if contract.is_decimal and live.is_decimal and contract.arguments[1] != live.arguments[1]:
        return "an Iceberg decimal cannot take another scale in place: give the contract the new type and rebuild"
    if contract.is_text and live.is_text:
        return "the lake has text for both: give the contract the new type"
    return _HINTS[kind]


def _of_key(contract: TableContract, live: LiveTable) -> Iterator[Drift]:
    stated = tuple(contract.column(name).source_name for name in contract.key)
    if stated != live.key:
        hint = "rows are told apart by the key: give the contract the new one, and rebuild the table"
        yield Drift("key-changed", "", ", ".join(stated), ", ".join(live.key), hint)


def _of_identity(contract: TableContract, live: LiveTable) -> Iterator[Drift]:
    wanted = Identity.FULL if contract.dms_full_images else Identity.KEY
    if live.identity is Identity.NOTHING and live.key:
        hint = f"updates and deletes cannot be merged: ALTER TABLE {live.source_name} REPLICA IDENTITY DEFAULT, or FULL"
        yield Drift("identity-changed", "", wanted.value, f"{live.identity.value} in the log", hint)
    elif wanted is Identity.FULL and live.identity is not Identity.FULL:
        hint = (
            "a null from DMS may stand for an unchanged value, and would be merged as null: remove dms.fullImages from "
            f"the contract, or ALTER TABLE {live.source_name} REPLICA IDENTITY FULL"
        )
        yield Drift(
            "identity-changed", "", f"{wanted.value} (dms.fullImages)", f"{live.identity.value} in the log", hint
        )
