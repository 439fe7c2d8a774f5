"""New columns: what the catalogs say of columns that no contract names, as far as it held at this place of the log.

The catalogs are those of today, the log may be older. The type is the log's own. What older rows have is told only if
the table has its columns of then in the same order, and none was dropped since: a column that is dropped and added anew
under its name looks the same otherwise.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import LiteralString, NamedTuple

from cdc.postgres_type import parse_type
from cdc.stated_columns import StatedColumn
from cdc_publisher.catalog import Catalog
from cdc_publisher.pgoutput import Relation, RelationColumn

# Follows a type through domains to their base and through arrays to their elements. An array's modifier is its
# element's; a domain's own modifier is that of its base.
_TYPE: LiteralString = """
WITH RECURSIVE resolved AS (
  SELECT %(type)s::oid AS type, %(modifier)s::int AS modifier, 0 AS arrays, 0 AS depth
  UNION ALL
  SELECT CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.typelem END,
    CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE r.modifier END,
    r.arrays + CASE WHEN t.typtype = 'd' THEN 0 ELSE 1 END, r.depth + 1
  FROM resolved r JOIN pg_type t ON t.oid = r.type LEFT JOIN pg_type e ON e.oid = t.typelem
  WHERE t.typtype = 'd' OR e.typarray = t.oid
)
SELECT CASE WHEN t.typtype = 'e' THEN 'text' WHEN n.nspname = 'pg_catalog' THEN format_type(r.type, r.modifier)
  WHEN x.extname IS NOT NULL THEN t.typname END || repeat('[]', r.arrays)
FROM resolved r JOIN pg_type t ON t.oid = r.type JOIN pg_namespace n ON n.oid = t.typnamespace
LEFT JOIN pg_depend d ON d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e'
LEFT JOIN pg_extension x ON x.oid = d.refobjid AND d.refclassid = 'pg_extension'::regclass
ORDER BY r.depth DESC LIMIT 1
"""
# What ADD COLUMN gave is the missing value, if any. Without one and without a default it was null, unless the table was
# written anew since, which takes such a value into the rows. The slot's catalog_xmin is older than all that it still
# streams: what was dropped before that was dropped before this place of the log.
_COLUMNS: LiteralString = """
SELECT a.attname, a.atttypid, a.atttypmod, a.attnum, a.attisdropped, a.attgenerated <> '',
  CASE WHEN a.attisdropped
    THEN coalesce((SELECT age(a.xmin) <= age(s.catalog_xmin) FROM pg_replication_slots s WHERE s.slot_name = %(slot)s),
      true) END,
  a.atthasmissing,
  (a.attmissingval::text::text[])[1],
  NOT a.atthasmissing AND NOT a.atthasdef AND NOT a.attnotnull AND c.relfilenode = c.oid
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = %(table)s AND c.relkind IN ('r', 'p') AND a.attnum > 0
ORDER BY a.attnum
"""


class _Now(NamedTuple):
    """A column as the catalogs have it now; `is_dropped_lately` says that the log may still be older than its end."""

    name: str
    type_oid: int
    type_modifier: int
    number: int
    is_dropped: bool
    is_generated: bool
    is_dropped_lately: bool | None
    has_missing: bool
    missing: str | None
    is_null_before: bool


def stated_columns(catalog: Catalog, slot: str, relation: Relation, named: Collection[str]) -> tuple[StatedColumn, ...]:
    """What is known of the columns of a table, at this place of the log, that are not among those named."""
    new = [column for column in relation.columns if column.name not in named]
    if not new:
        return ()
    parameters = {"schema": relation.schema, "table": relation.table, "slot": slot}
    found = [_Now(*row) for row in catalog.rows(_COLUMNS, parameters)]
    is_as_it_was = _is_as_it_was(relation, found)
    now = {column.name: column for column in found if not column.is_dropped} if is_as_it_was else {}
    return tuple(_stated(column, _type_of(catalog, column), now.get(column.name)) for column in new)


def _is_as_it_was(relation: Relation, found: list[_Now]) -> bool:
    """Whether the table has all the columns that it had at this place of the log, and others only behind them.

    Of one of which not all is published, that is never sure.
    """
    if any(column.is_dropped_lately for column in found):
        return False
    then = [(column.name, column.type_oid, column.type_modifier) for column in relation.columns]
    now = [tuple(column[:3]) for column in found if not (column.is_dropped or column.is_generated)]
    return then == now[: len(then)]


def _type_of(catalog: Catalog, column: RelationColumn) -> str | None:
    rows = catalog.rows(_TYPE, {"type": column.type_oid, "modifier": column.type_modifier})
    label = rows[0][0] if rows else None
    type_ = parse_type(label) if label is not None else None
    return None if type_ is None else str(type_)


def _stated(column: RelationColumn, type_: str | None, now: _Now | None) -> StatedColumn:
    if now is None:
        return StatedColumn(column.name, type=type_)
    is_known = now.has_missing or now.is_null_before
    return StatedColumn(column.name, now.number, type_, is_known, now.missing if now.has_missing else None)
