"""Tables: checks at the start that every table can be published exactly, and says how each is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cdc.errors import FatalFault
from cdc_publisher.catalog import Catalog, Name, Publication, SourceTable
from cdc_publisher.envelope import TableFormat
from cdc_publisher.pgoutput import Relation
from cdc_publisher.rendering import SourceType, rendering
from cdc_publisher.temporal import INFINITY_BACKFILLED, INFINITY_STREAMED, DateInfinity


def prepare(catalog: Catalog, publication: str, names: Sequence[Name]) -> tuple[SourceTable, ...]:
    """The tables as the source has them now; makes the publication if it is missing.

    Raises:
        FatalFault: naming everything that keeps a table from being published exactly.
    """
    tables, problems = _find(catalog, publication, names)
    existing = catalog.publication(publication)
    if existing is not None:
        problems += publication_problems(publication, existing, tables)
    if problems:
        raise FatalFault(
            f"{len(problems)} problem(s) keep the source from being published: {'; '.join(problems)}",
            where=f"publication {publication}",
            hint="mend them and start again",
        )
    if existing is None:
        catalog.create_publication(publication, tables)
    return tuple(tables)


def _find(catalog: Catalog, publication: str, names: Sequence[Name]) -> tuple[list[SourceTable], list[str]]:
    tables: list[SourceTable] = []
    problems: list[str] = []
    for schema, name in names:
        table = catalog.table(schema, name, publication)
        if table is None:
            problems.append(f"{label(schema, name)}: no such table; check sourceTable in its contract")
        else:
            tables.append(table)
            problems += table_problems(table) + _type_problems(catalog, publication, table)
    return tables, problems


def publication_problems(name: str, publication: Publication, tables: Sequence[SourceTable]) -> list[str]:
    """What an existing publication lacks."""
    problems = []
    if publication.missing_operations:
        lacking = ", ".join(publication.missing_operations)
        problems.append(
            f"publication {name}: does not publish {lacking}; "
            f"ALTER PUBLICATION {name} SET (publish = 'insert,update,delete,truncate')"
        )
    for table in tables:
        where = label(table.schema, table.name)
        if (table.schema, table.name) not in publication.tables:
            problems.append(
                f"{where}: is not in the publication {name}; its rows need a backfill, so drop the publication and the "
                "slots and start again in a new epoch, or give the table a publisher of its own by CDC_SLOT"
            )
        if (table.schema, table.name) in publication.filtered:
            problems.append(f"{where}: the publication {name} has a row filter, which hides changes; remove it")
        if table.is_partitioned and not publication.via_root:
            problems.append(
                f"{where}: is partitioned; ALTER PUBLICATION {name} SET (publish_via_partition_root = true)"
            )
    return problems


def table_problems(table: SourceTable) -> list[str]:
    """What keeps a table's changes from being told row by row."""
    where = label(table.schema, table.name)
    if not table.key:
        return [f"{where}: has no primary key, so its changes cannot be told apart; add one"]
    problems = []
    published = {column.name for column in table.columns}
    if missing := [name for name in table.key if name not in published]:
        problems.append(f"{where}: the publication leaves out the key's column {', '.join(missing)}; add it")
    is_blind = table.replica_identity == "n" or (
        table.replica_identity == "i" and not set(table.key) <= set(table.identity)
    )
    if is_blind:
        problems.append(
            f"{where}: its replica identity does not name the primary key, so updates and deletes come without it; "
            f"ALTER TABLE {where} REPLICA IDENTITY DEFAULT"
        )
    if table.replica_identity == "f" and table.unpublished:
        problems.append(
            f"{where}: its replica identity FULL needs columns that are not published, {', '.join(table.unpublished)}: "
            f"Postgres would refuse the application's updates; ALTER TABLE {where} REPLICA IDENTITY DEFAULT"
        )
    return problems


def _type_problems(catalog: Catalog, publication: str, table: SourceTable) -> list[str]:
    types = catalog.types(column.type_oid for column in table.columns)
    where = label(table.schema, table.name)
    return [
        f"{where}, column {column.name}: the type {types[column.type_oid].label} has no exact form in the stream; "
        f"leave the column out: CREATE PUBLICATION {publication} FOR TABLE {where} (the other columns)"
        for column in table.columns
        if rendering(types[column.type_oid], column.type_modifier, INFINITY_STREAMED) is None
    ]


def backfill_format(catalog: Catalog, table: SourceTable) -> TableFormat:
    """How the table's rows are written in the backfill."""
    types = catalog.types(column.type_oid for column in table.columns)
    columns = [
        _Typed(column.name, types[column.type_oid], column.type_modifier, INFINITY_BACKFILLED)
        for column in table.columns
    ]
    return _format(table.schema, table.name, columns, table.key)


def streamed_format(catalog: Catalog, publication: str, relation: Relation) -> TableFormat:
    """How the table's rows are written from this place of the log on.

    Raises:
        FatalFault: when the table changed so that its rows cannot be written exactly any more.
    """
    types = catalog.types(column.type_oid for column in relation.columns)
    now = catalog.table(relation.schema, relation.table, publication)
    columns = [
        _Typed(column.name, types[column.type_oid], column.type_modifier, INFINITY_STREAMED)
        for column in relation.columns
    ]
    return _format(relation.schema, relation.table, columns, streamed_key(relation, now.key if now else ()))


def streamed_key(relation: Relation, key_now: Sequence[str]) -> tuple[str, ...]:
    """The key at this place of the log: with identity DEFAULT the log says it, else the catalog of today does."""
    flagged = [column.name for column in relation.columns if column.is_identity]
    if relation.replica_identity == "d" and flagged:
        # Today's catalog gives the order; the log, which may be older, what belongs to the key.
        return tuple(key_now) if set(key_now) == set(flagged) else tuple(flagged)
    if relation.replica_identity in {"f", "i"} and key_now and set(key_now) <= set(flagged):
        return tuple(key_now)
    where = label(relation.schema, relation.table)
    raise FatalFault(
        "a table's changes come without its primary key",
        where=where,
        hint=f"ALTER TABLE {where} REPLICA IDENTITY DEFAULT, then make a new backfill in a new epoch",
    )


def label(schema: str, table: str) -> str:
    """A table as an operator would write it."""
    return f'{schema}."{table}"'


class _Typed(NamedTuple):
    name: str
    type: SourceType
    modifier: int
    infinity: DateInfinity


def _format(schema: str, table: str, columns: Sequence[_Typed], key: Sequence[str]) -> TableFormat:
    rendered = []
    for column in columns:
        how = rendering(column.type, column.modifier, column.infinity)
        if how is None:
            raise FatalFault(
                f"the type {column.type.label} has no exact form in the stream",
                where=f"{label(schema, table)}, column {column.name}",
                hint="leave the column out of the publication, then make a new backfill in a new epoch",
            )
        rendered.append((column.name, how))
    return TableFormat.of(schema, table, rendered, key)
