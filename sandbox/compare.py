"""Compare: every row of the source with every row of the lake, typed value by typed value, by two readers.

It shares no code with the merge: the source's values come from Postgres itself, the masks from the standard library.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import sql

from cdc.contract import TableContract
from sandbox.lake import Lake

Row = dict[str, Any]
Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The outcome: rows at the source, rows that differ for any reader, and what differs, by reader (no values)."""

    rows: int
    differences: int
    what: Mapping[str, Counter[str]]


def compare(dsn: str, lake: Lake, contract: TableContract, pii_key: str) -> Comparison:
    """Compare a quiet source with the lake."""
    expected = _by_key(source_rows(dsn, contract, pii_key), contract)
    differing: set[Key] = set()
    what: dict[str, Counter[str]] = {}
    for reader, rows in (("pyiceberg", lake.by_pyiceberg(contract.name)), ("DuckDB", lake.by_duckdb(contract.name))):
        what[reader] = Counter()
        for key, difference in differences(expected, rows, contract):
            differing.add(key)
            what[reader][difference] += 1
    return Comparison(len(expected), len(differing), what)


def differences(expected: Mapping[Key, Row], rows: Iterable[Row], contract: TableContract) -> list[tuple[Key, str]]:
    """What differs, as (key, what); a key that stands twice in the lake is a difference too."""
    found: list[tuple[Key, str]] = []
    seen: set[Key] = set()
    for row in rows:
        key = tuple(row[name] for name in contract.key)
        if key in seen:
            found.append((key, "twice in the lake"))
        elif key not in expected:
            found.append((key, "not at the source"))
        else:
            names = (column.name for column in contract.columns)
            found += [(key, f"column {name}") for name in names if not _same(expected[key][name], row[name])]
        seen.add(key)
    return found + [(key, "not in the lake") for key in expected.keys() - seen]


def source_rows(dsn: str, contract: TableContract, pii_key: str) -> list[Row]:
    """The source's rows as the contract says that they show in the lake: JSON and UUID as Postgres's text, masked."""
    columns = sql.SQL(", ").join(
        sql.SQL("{}{}").format(
            sql.Identifier(column.source_name),
            sql.SQL("::text" if column.type.name in {"json", "jsonb", "uuid"} and not column.type.is_array else ""),
        )
        for column in contract.columns
    )
    table = sql.Identifier(contract.source_schema, contract.source_table)
    with psycopg.connect(dsn, options="-c timezone=UTC") as connection:
        rows = connection.execute(sql.SQL("SELECT {} FROM {}").format(columns, table)).fetchall()
    names = [column.name for column in contract.columns]
    masks = {column.name: column.mask for column in contract.columns if column.mask != "clear"}
    shown = [dict(zip(names, row, strict=True)) for row in rows]
    for row in shown:
        row.update({name: _masked(row[name], mask, pii_key) for name, mask in masks.items()})
    return shown


def _masked(value: str | None, mask: str, pii_key: str) -> str | None:
    if value is None or mask == "redact":
        return None
    if mask == "token":
        return hmac.new(pii_key.encode(), value.encode(), hashlib.sha256).hexdigest()
    if mask == "last4":
        return "*" * len(value) if len(value) <= 4 else "*" * (len(value) - 4) + value[-4:]
    raise ValueError(f"no such mask: {mask}")


def _by_key(rows: Iterable[Row], contract: TableContract) -> dict[Key, Row]:
    return {tuple(row[name] for name in contract.key): row for row in rows}


def _same(expected: Any, found: Any) -> bool:
    """Equal in type and value; instants are compared in UTC, decimals with their scale."""
    if isinstance(expected, datetime) and isinstance(found, datetime):
        if (expected.tzinfo is None) != (found.tzinfo is None):
            return False
        return expected == found if expected.tzinfo is None else expected.astimezone(UTC) == found.astimezone(UTC)
    return type(expected) is type(found) and expected == found and str(expected) == str(found)
