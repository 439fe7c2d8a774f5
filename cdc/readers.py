"""Readers: names and sizes that Athena (engine v3), Redshift and Spark read in an Iceberg table; pure.

Types need no check of their own: whatever is no type that all of them read is text in the lake (docs/types.md).
Sources of the facts: Athena user guide, "Name databases, tables, and columns"; Redshift developer guide, "Names and
identifiers", "CREATE EXTERNAL TABLE" and "Supported data types with Apache Iceberg tables"; Iceberg's MetadataColumns
and MetadataTableType. None was run on Athena or Redshift themselves.
"""

from __future__ import annotations

import re

from cdc.postgres_type import PostgresType

LAKE_NAME = re.compile(r"[a-z_][a-z0-9_]*")
"""Glue folds capitals, by which two names may become one; Athena's tables and columns have no other characters."""
NAME_LENGTH_MAX = 127
"""Redshift's limit in bytes, which are the characters here; Glue's is 255."""
RESERVED_PREFIX = "cdc_"
HISTORY_SUFFIX = "_history"
COLUMNS_MAX = 1592
"""Redshift takes 1,598 columns of a table beside its pseudo-columns, and history has six of its own."""
TEXT_BYTES_MAX = 16_384
"""Redshift shows an Iceberg string as varchar of so many bytes, and cuts longer ones without a word."""
BINARY_BYTES_MAX = 64_000
"""The same of binary, which it shows as varbyte."""
_BYTES_OF_CHARACTER_MAX = 4
_SYSTEM_COLUMNS = frozenset({"oid", "tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})
_METADATA_COLUMNS = frozenset({
    "_file", "_pos", "_deleted", "_spec_id", "_partition", "_row_id", "_last_updated_sequence_number", "_change_type",
    "_change_ordinal", "_commit_snapshot_id",
})  # fmt: skip
_METADATA_TABLES = frozenset({
    "entries", "files", "data_files", "delete_files", "history", "metadata_log_entries", "snapshots", "refs",
    "manifests", "partitions", "all_data_files", "all_delete_files", "all_files", "all_manifests", "all_entries",
    "position_deletes",
})  # fmt: skip
_SHORT_TEXTS = frozenset({
    "uuid", "inet", "cidr", "macaddr", "macaddr8", "enum", "name", '"char"', "int4range", "int8range", "tsrange",
    "tstzrange", "daterange", "isbn", "isbn13", "issn", "issn13", "ismn", "ismn13", "ean13", "upc", "time", "timetz",
    "interval", "point", "numeric",
})  # fmt: skip
_NO_TEXTS = frozenset({
    "smallint", "integer", "bigint", "oid", "real", "double precision", "boolean", "money", "date", "timestamp",
    "timestamptz",
})  # fmt: skip


def table_name_faults(name: str) -> tuple[str, ...]:
    """What keeps readers from a table of that name, or from its history."""
    faults = _faults(name, NAME_LENGTH_MAX - len(HISTORY_SUFFIX))
    if name in _METADATA_TABLES:
        faults += (f"Iceberg calls a table of metadata {name}, for which Spark would take it",)
    return faults


def column_name_faults(name: str) -> tuple[str, ...]:
    """What keeps readers from a column of that name."""
    faults = _faults(name, NAME_LENGTH_MAX)
    if name in _SYSTEM_COLUMNS:
        faults += (f"{name} is a system column of Redshift's, as of Postgres's",)
    if name in _METADATA_COLUMNS:
        faults += (f"{name} is a column of Iceberg's metadata, and Spark refuses a table with both",)
    return faults


def namespace_faults(name: str) -> tuple[str, ...]:
    """What keeps readers from a namespace (Glue: database) of that name."""
    faults = () if name.startswith(RESERVED_PREFIX) else _faults(name, NAME_LENGTH_MAX)
    if name == "information_schema" or name.startswith("pg_"):
        faults += (f"{name} is a schema of Athena's or Redshift's own",)
    if "__" in name or name.startswith("_"):
        faults += ("pyiceberg's settings cannot name it: no __, no _ at the start",)
    return faults


def is_cut_by_redshift(type_: PostgresType) -> bool:
    """Whether a column that is shown in the clear may hold values of which Redshift shows only the beginning."""
    if type_.is_array or type_.name in _NO_TEXTS | _SHORT_TEXTS:
        return False
    if type_.name in {"varchar", "char"} and type_.arguments:
        return type_.arguments[0] * _BYTES_OF_CHARACTER_MAX > TEXT_BYTES_MAX
    if type_.name in {"bit", "varbit"} and type_.arguments:
        return type_.arguments[0] > TEXT_BYTES_MAX
    return True


def _faults(name: str, length_max: int) -> tuple[str, ...]:
    found = []
    if not LAKE_NAME.fullmatch(name):
        found.append("must match [a-z_][a-z0-9_]*, which Athena reads")
    elif name.startswith(RESERVED_PREFIX):
        found.append(f"names that start with {RESERVED_PREFIX} are the service's own")
    if len(name) > length_max:
        found.append(f"has {len(name)} characters, and readers take {length_max} at most")
    return tuple(found)
