"""Catalog: what the source says of its tables, keys, types and publications; it never reads a table's rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, LiteralString

import psycopg
from psycopg import sql

from cdc.errors import FatalFault
from cdc_publisher.connection import fault_of
from cdc_publisher.rendering import SourceType

Name = tuple[str, str]
"""A table: schema and name."""
_ATTNAMES_SINCE: Final = 150000
"""From Postgres 15 on a publication can name columns."""


@dataclass(frozen=True, slots=True)
class SourceColumn:
    """A column that the publication publishes."""

    name: str
    type_oid: int
    type_modifier: int


@dataclass(frozen=True, slots=True)
class SourceTable:
    """A table as it is now: its primary key in the key's own order, its identity, and which columns are published."""

    schema: str
    name: str
    is_partitioned: bool
    replica_identity: str
    key: tuple[str, ...]
    identity: tuple[str, ...]
    columns: tuple[SourceColumn, ...]
    unpublished: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Publication:
    """A publication: the tables it covers, whether it has a row filter, and what it leaves out (empty: nothing)."""

    tables: frozenset[Name]
    filtered: frozenset[Name]
    missing_operations: tuple[str, ...]
    via_root: bool


class Catalog:
    """Answers about the source over one connection; types are remembered, since they are asked for again and again."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        self._types: dict[int, SourceType] = {}

    @property
    def database(self) -> str:
        """The database's name."""
        return self._connection.info.dbname

    def publication(self, name: str) -> Publication | None:
        """The publication of this name, if it exists."""
        row = self._one(
            "SELECT pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot FROM pg_publication WHERE pubname = %s",
            [name],
        )
        if row is None:
            return None
        missing = [op for op, on in zip(("insert", "update", "delete", "truncate"), row[:4], strict=True) if not on]
        has_filters = self._connection.info.server_version >= _ATTNAMES_SINCE
        tables = self._all(
            "SELECT schemaname, tablename, rowfilter IS NOT NULL FROM pg_publication_tables WHERE pubname = %s"
            if has_filters
            else "SELECT schemaname, tablename, false FROM pg_publication_tables WHERE pubname = %s",
            [name],
        )
        return Publication(
            tables=frozenset((schema, table) for schema, table, _ in tables),
            filtered=frozenset((schema, table) for schema, table, is_filtered in tables if is_filtered),
            missing_operations=tuple(missing),
            via_root=row[4],
        )

    def create_publication(self, name: str, tables: Sequence[SourceTable]) -> None:
        """Make the publication of these tables, with everything that happens to them."""
        parts = [
            sql.SQL("TABLE {}{}").format(
                sql.SQL("" if table.is_partitioned else "ONLY "), sql.Identifier(table.schema, table.name)
            )
            for table in tables
        ]
        command = sql.SQL(
            "CREATE PUBLICATION {} FOR {} "
            "WITH (publish = 'insert,update,delete,truncate', publish_via_partition_root = true)"
        ).format(sql.Identifier(name), sql.SQL(", ").join(parts))
        try:
            self._connection.execute(command)
        except psycopg.Error as error:
            hint = (
                "let the tables' owner make it, or give this user CREATE on the database and the tables' ownership; "
                f"the statement is: {command.as_string(self._connection)}"
            )
            raise fault_of(error, "making the publication", f"publication {name}", hint) from None

    def table(self, schema: str, name: str, publication: str) -> SourceTable | None:
        """The table, if it exists, with the columns that this publication has of it (all, while it does not exist)."""
        row = self._one(
            "SELECT c.oid, c.relkind = 'p', c.relreplident "
            "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('r', 'p')",
            [schema, name],
        )
        if row is None:
            return None
        oid, is_partitioned, replica_identity = row
        return SourceTable(
            schema=schema,
            name=name,
            is_partitioned=is_partitioned,
            replica_identity=replica_identity,
            key=self._index_columns(oid, "indisprimary"),
            identity=self._index_columns(oid, "indisreplident"),
            **self._columns(oid, self._column_list(schema, name, publication)),
        )

    def rows(self, query: LiteralString, parameters: Mapping[str, object]) -> list[tuple[Any, ...]]:
        """The rows of a query of the catalogs, for who knows more of them than is asked here."""
        return self._all(query, parameters)

    def types(self, oids: Iterable[int]) -> Mapping[int, SourceType]:
        """The types of these oids.

        Raises:
            FatalFault: when one is not in the catalog (any more).
        """
        wanted = set(oids)
        found = {oid: type_ for oid in wanted if (type_ := self._type(oid)) is not None}
        if missing := wanted - found.keys():
            raise FatalFault(
                f"the source has no type with the oid {min(missing)}",
                where="pg_type",
                hint="the type was dropped before its changes were read: make a new backfill in a new epoch",
            )
        return found

    def _type(self, oid: int) -> SourceType | None:
        if oid in self._types:
            return self._types[oid]
        row = self._one(
            "SELECT t.typname, t.typtype, t.typbasetype, t.typtypmod, "
            "CASE WHEN e.typarray = t.oid THEN e.oid ELSE 0 END, "
            "CASE WHEN n.nspname = 'pg_catalog' THEN '' ELSE coalesce(x.extname, '-') END FROM pg_type t "
            "JOIN pg_namespace n ON n.oid = t.typnamespace LEFT JOIN pg_type e ON e.oid = t.typelem "
            "LEFT JOIN pg_depend d ON d.objid = t.oid AND d.classid = 'pg_type'::regclass AND d.deptype = 'e' "
            "LEFT JOIN pg_extension x ON x.oid = d.refobjid WHERE t.oid = %s",
            [oid],
        )
        if row is None:
            return None
        name, kind, base_oid, base_modifier, element_oid, extension = row
        type_ = SourceType(
            name=name,
            kind=kind,
            extension=extension,
            element=self._type(element_oid) if element_oid else None,
            base=self._type(base_oid) if base_oid else None,
            base_modifier=base_modifier,
        )
        self._types[oid] = type_
        return type_

    def _index_columns(self, table_oid: int, which: str) -> tuple[str, ...]:
        rows = self._all(
            "SELECT a.attname FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY k(number, place) "  # noqa: S608
            "JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number "
            f"WHERE i.indrelid = %s AND i.{which} AND k.place <= i.indnkeyatts ORDER BY k.place",
            [table_oid],
        )
        return tuple(row[0] for row in rows)

    def _column_list(self, schema: str, name: str, publication: str) -> list[str] | None:
        if self._connection.info.server_version < _ATTNAMES_SINCE:
            return None
        row = self._one(
            "SELECT attnames::text[] FROM pg_publication_tables "
            "WHERE pubname = %s AND schemaname = %s AND tablename = %s",
            [publication, schema, name],
        )
        return row[0] if row else None

    def _columns(self, table_oid: int, names: list[str] | None) -> dict[str, Any]:
        # A publication leaves generated columns out unless it names them; its list of columns says so.
        rows = self._all(
            "SELECT attname, atttypid, atttypmod, attgenerated = '' FROM pg_attribute "
            "WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            [table_oid],
        )
        published = {row[0] for row in rows if row[3]} if names is None else set(names)
        return {
            "columns": tuple(SourceColumn(*row[:3]) for row in rows if row[0] in published),
            "unpublished": tuple(row[0] for row in rows if row[0] not in published),
        }

    def _one(self, query: str, parameters: Sequence[object]) -> tuple[Any, ...] | None:
        rows = self._all(query, parameters)
        return rows[0] if rows else None

    def _all(self, query: str, parameters: Sequence[object] | Mapping[str, object]) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(query, parameters).fetchall()
        except psycopg.Error as error:
            raise fault_of(error, "asking the catalog", "CDC_DATABASE", "see the server's log") from None
