"""Live table: what the source's catalogs say of a table now. None of its rows is ever read, and no lock on it taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, LiteralString

import psycopg

from cdc.lake_name import lake_name, source_table
from cdc.postgres_type import PostgresType, parse_type

_NO_TABLES = {
    "v": "a view",
    "m": "a materialized view",
    "f": "a foreign table",
    "S": "a sequence",
    "c": "a composite type",
    "i": "an index",
    "I": "an index",
}
_TABLE: LiteralString = """
SELECT c.oid, c.relkind, c.relpersistence, c.relispartition, obj_description(c.oid, 'pg_class')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s
"""
_TABLE_NAMES: LiteralString = """
SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relkind IN ('r', 'p') ORDER BY c.relname
"""
_KEY: LiteralString = """
SELECT a.attname FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY k(number, place)
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
WHERE i.indrelid = %s AND i.indisprimary AND k.place <= i.indnkeyatts ORDER BY k.place
"""
# What the log tells of a row's old state, by the table whose rows they are: of a partitioned one its partitions. The
# index of a deferrable key tells nothing. Not pg_partition_tree(), which would wait for locks.
_IDENTITY: LiteralString = """
WITH RECURSIVE tree AS (
  SELECT %(table)s::oid AS oid
  UNION ALL
  SELECT c.oid FROM tree t JOIN pg_inherits h ON h.inhparent = t.oid JOIN pg_class c ON c.oid = h.inhrelid
  WHERE c.relispartition
)
SELECT c.relreplident, ARRAY(
  SELECT a.attname::text FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey) k(number)
  JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
  WHERE i.indrelid = c.oid AND i.indimmediate
    AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END)
FROM tree t JOIN pg_class c ON c.oid = t.oid WHERE c.relkind = 'r'
"""
# Follows each column's type through domains to their base and through arrays to their elements. An array's modifier is
# its element's; a domain's own modifier is that of its base.
_COLUMNS: LiteralString = """
WITH RECURSIVE resolved AS (
  SELECT a.attnum, a.atttypid AS type, a.atttypmod AS modifier, 0 AS arrays, 0 AS depth
  FROM pg_attribute a WHERE a.attrelid = %(table)s AND a.attnum > 0 AND NOT a.attisdropped
  UNION ALL
  SELECT r.attnum,
    CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.typelem END,
    CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE r.modifier END,
    r.arrays + CASE WHEN t.typtype = 'd' THEN 0 ELSE 1 END, r.depth + 1
  FROM resolved r JOIN pg_type t ON t.oid = r.type LEFT JOIN pg_type e ON e.oid = t.typelem
  WHERE t.typtype = 'd' OR e.typarray = t.oid
), base AS (SELECT DISTINCT ON (attnum) * FROM resolved ORDER BY attnum, depth DESC)
SELECT a.attname, format_type(a.atttypid, a.atttypmod), format_type(b.type, b.modifier), t.typname, t.typtype,
  n.nspname, x.extname, b.arrays, a.attgenerated <> '', NOT a.attnotnull, col_description(a.attrelid, a.attnum),
  (a.attmissingval::text::text[])[1],
  NOT a.atthasmissing AND NOT a.atthasdef AND NOT a.attnotnull
    AND (SELECT c.relfilenode = c.oid FROM pg_class c WHERE c.oid = a.attrelid)
FROM base b JOIN pg_attribute a ON a.attrelid = %(table)s AND a.attnum = b.attnum
JOIN pg_type t ON t.oid = b.type JOIN pg_namespace n ON n.oid = t.typnamespace
LEFT JOIN pg_depend d ON d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e'
LEFT JOIN pg_extension x ON x.oid = d.refobjid AND d.refclassid = 'pg_extension'::regclass
ORDER BY a.attnum
"""


class Identity(Enum):
    """What the log tells of a row's old state, which Postgres calls the replica identity: see `LiveTable`."""

    FULL = "the whole row"
    KEY = "the primary key"
    NOTHING = "not the primary key"


@dataclass(frozen=True, slots=True)
class LiveColumn:
    """A column as the source has it now.

    `declared` is its type as the source writes it; `type` is what a contract calls it, domains resolved and enums as
    text, and None where the lake cannot hold it. A `generated` column is not in the stream of changes. One is
    `nullable` unless a constraint of the table says otherwise.

    `value_before` is what ADD COLUMN gave to rows that were there, as text; None where the catalogs do not know it.
    `is_null_before` says that it gave them null: there is no default, and the table was never written anew, which
    would have taken such a value from the catalogs into the rows.
    """

    name: str
    declared: str
    type: PostgresType | None
    generated: bool = False
    is_enum: bool = False
    description: str = ""
    nullable: bool = True
    value_before: str | None = None
    is_null_before: bool = False


@dataclass(frozen=True, slots=True)
class LiveTable:
    """A table as the source has it now; `key` holds the names of the primary key's columns in its order.

    `identity` is what the log tells of the old state of a row that is updated or deleted.
    """

    schema: str
    name: str
    columns: tuple[LiveColumn, ...]
    key: tuple[str, ...]
    description: str = ""
    identity: Identity = Identity.KEY

    @property
    def source_name(self) -> str:
        """The table as an operator writes it."""
        return source_table(self.schema, self.name)


@dataclass(frozen=True, slots=True)
class NoTable:
    """Why there is no table of that name whose changes can be streamed, and tables that may be meant."""

    reason: str
    similar: tuple[str, ...] = ()


def read_table(connection: psycopg.Connection, schema: str, name: str) -> LiveTable | NoTable:
    """The table of that name, or why there is none."""
    row = connection.execute(_TABLE, [schema, name]).fetchone()
    if row is None:
        names = [other for (other,) in connection.execute(_TABLE_NAMES, [schema]).fetchall()]
        similar = tuple(source_table(schema, other) for other in names if lake_name(other) == lake_name(name))
        return NoTable("there is no such table", similar)
    oid, kind, persistence, is_partition, description = row
    if kind in _NO_TABLES:
        return NoTable(f"is {_NO_TABLES[kind]}, of which the log tells no changes")
    if persistence != "p":
        return NoTable("is unlogged or temporary, so the log does not tell its changes")
    if is_partition:
        return NoTable("is a partition, whose changes are told under the name of the partitioned table")
    key = tuple(column for (column,) in connection.execute(_KEY, [oid]).fetchall())
    return LiveTable(
        schema=schema,
        name=name,
        columns=tuple(_column(*found) for found in connection.execute(_COLUMNS, {"table": oid}).fetchall()),
        key=key,
        description=description or "",
        identity=_identity(connection.execute(_IDENTITY, {"table": oid}).fetchall(), key),
    )


def _identity(found: Sequence[tuple[str, list[str]]], key: Sequence[str]) -> Identity:
    """The least that is told of any of a table's partitions; of one that has none yet, the key."""
    told = [
        Identity.FULL if kind == "f" else Identity.KEY if set(key) <= set(columns) else Identity.NOTHING
        for kind, columns in found
    ] or [Identity.KEY]
    return max(told, key=list(Identity).index)


def _column(name: str, declared: str, base: str, *rest: Any) -> LiveColumn:
    type_name, kind, schema, extension, arrays, generated, nullable, description, before, is_null_before = rest
    type_ = None
    if kind == "e":
        type_ = _in_lake("text", arrays)
    elif schema == "pg_catalog":
        type_ = _in_lake(base, arrays)
    elif extension is not None:
        # An extension's type is called the same wherever it was installed; other people's types are not known by name.
        type_ = _in_lake(type_name, arrays)
    return LiveColumn(
        name, declared, type_, generated, kind == "e", description or "", nullable, before, is_null_before
    )


def _in_lake(label: str, arrays: int) -> PostgresType | None:
    return parse_type(label + "[]" * arrays)
