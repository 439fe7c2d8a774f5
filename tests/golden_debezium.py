"""What the tests of recorded Debezium events share: the recordings, contracts of their tables, and the true values."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import psycopg
from psycopg import sql

from cdc.contract import Column, TableContract
from cdc.postgres_type import PostgresType, parse_type
from cdc.producer import UNSTATED, ProducerModes
from cdc.raw import RawLine
from compactor.change import Change, ChangeReader, Rejected

GOLDEN = Path(__file__).parent / "golden"
_NATIVE = frozenset({
    "smallint", "integer", "bigint", "oid", "real", "double precision", "boolean", "date", "timestamp", "timestamptz",
    "char",  # whose cast to text would drop its padding
    "bytea",
})  # fmt: skip


def recorded(name: str) -> list[dict[str, Any]]:
    """The lines of a recording of the folder that all projects share; `value` is None for a tombstone."""
    (file,) = (GOLDEN / "debezium").glob(f"{name}_*.jsonl.gz")
    return [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]


def recorded_in_mode(name: str) -> list[bytes]:
    """The events that Debezium 3.6.3 sent in the modes of the name, for the rows of `tipos.sql`."""
    return gzip.decompress((GOLDEN / "debezium_modes" / f"{name}.jsonl.gz").read_bytes()).splitlines()


def contract_of(table: str, types: str, modes: ProducerModes = UNSTATED, key: str = "id") -> TableContract:
    """A contract with nothing masked; `types` is as in CREATE TABLE: `id int, nome text`."""
    columns = []
    for part in _split(types):
        name, _, type_name = part.strip().partition(" ")
        kind = parse_type(type_name)
        assert kind is not None, type_name
        columns.append(Column(name, name, kind, "internal", "clear"))
    return TableContract(table.lower(), "public", table, tuple(columns), (key,), "hold", 60, modes)


def _split(types: str) -> Iterable[str]:
    depth, part = 0, ""
    for character in types:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and not depth:
            yield part
            part = ""
        else:
            part += character
    yield part


def read(payloads: Iterable[bytes], contract: TableContract) -> tuple[list[Change], list[Rejected]]:
    """The changes of events, through the compactor's own reader."""
    lines = [RawLine("s", str(number), 0, "", msgspec.Raw(body)) for number, body in enumerate(payloads, 1)]
    return ChangeReader(contract, b"k" * 32).read("s", "b", lines)


def true_rows(
    connection: psycopg.Connection[Any], contract: TableContract, where: str = "true"
) -> dict[Any, dict[str, Any]]:
    """The table's rows as the lake should show them, asked of Postgres itself in its own words."""
    shown = sql.SQL(", ").join(_shown(column.source_name, column.type) for column in contract.columns)
    table = sql.Identifier(contract.source_schema, contract.source_table)
    connection.execute("SET intervalstyle = 'iso_8601'; SET timezone = 'UTC'; SET extra_float_digits = 1")
    rows = connection.execute(sql.SQL("SELECT {} FROM {} WHERE {}").format(shown, table, sql.SQL(where))).fetchall()
    names = [column.name for column in contract.columns]
    return {row[names.index(contract.key[0])]: dict(zip(names, map(_own, row), strict=True)) for row in rows}


def _shown(name: str, type_: PostgresType) -> sql.Composable:
    column = sql.Identifier(name)
    array = "[]" if type_.is_array else ""
    if type_.name in {"date", "timestamp", "timestamptz"}:
        # Text, since Python has no infinity and no year before 1.
        return sql.SQL(f"{{}}::text{array}").format(column)
    if type_.name == "timetz":
        return sql.SQL("({} AT TIME ZONE 'UTC')::time::text || 'Z'").format(column)
    if type_.is_decimal:
        return column
    if type_.name == "money":
        return sql.SQL("{}::numeric(19,2)").format(column)
    if type_.name == "hstore" and not array:
        return sql.SQL("hstore_to_json({})::text").format(column)
    return column if type_.name in _NATIVE else sql.SQL(f"{{}}::text{array}").format(column)


def _own(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value


def same(ours: Any, true: Any, type_: PostgresType) -> bool:
    """Whether a value of the lake is the one that Postgres has."""
    if ours is None or true is None:
        return ours is true
    if type_.is_array:
        return len(ours) == len(true) and all(same(a, b, type_.element) for a, b in zip(ours, true, strict=True))
    compare = _SAME.get(type_.name)
    if compare is not None:
        return compare(ours, true)
    return bool(ours == true) and type(ours) is type(true)


_SAME: Mapping[str, Callable[[Any, Any], bool]] = {
    "date": lambda ours, true: str(ours) == true,
    "timestamp": lambda ours, true: str(ours) == _with_fraction(true, str(ours)),
    "timestamptz": lambda ours, true: (
        str(ours).removesuffix("+00:00") == _with_fraction(true.removesuffix("+00"), str(ours).removesuffix("+00:00"))
    ),
    # Java and Postgres may write one float4 with more or fewer digits.
    "real": lambda ours, true: f"{ours:.6g}" == f"{true:.6g}",
    "double precision": lambda ours, true: repr(ours) == repr(true),
    "hstore": lambda ours, true: json.loads(ours) == (json.loads(true) if true.startswith("{") else _hstore(true)),
    "interval": lambda ours, true: _duration(ours) == _duration(true),
    "timetz": lambda ours, true: ours == true,
}


def _with_fraction(true: str, ours: str) -> str:
    """Postgres drops the zeros at the end of a fraction, Python shows six digits or none."""
    whole, point, fraction = true.partition(".")
    return f"{whole}.{fraction:0<6}" if point and "." in ours else true


def _hstore(text: str) -> Mapping[str, str | None]:
    return dict(part.replace('"', "").split("=>") for part in text.split(", "))


def _duration(text: str) -> Sequence[tuple[str, float]]:
    """The parts of an ISO 8601 duration that are not zero."""
    parts, number, half = [], "", "D"
    for character in text[1:]:
        if character in "YMDHST":
            if character == "T":
                half = "T"
            elif float(number):
                parts.append((half + character, float(number)))
            number = ""
        else:
            number += character
    return parts
