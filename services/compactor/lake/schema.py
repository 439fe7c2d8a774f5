"""Iceberg schemas of a contract: the table, and its history with what makes a change a change."""

from __future__ import annotations

from collections.abc import Sequence

from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import DayTransform
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    IcebergType,
    IntegerType,
    ListType,
    LongType,
    NestedField,
    StringType,
    TimestampType,
    TimestamptzType,
)

from cdc.contract import TableContract
from cdc.postgres_type import PostgresType

# All else is a string: neither Athena nor Redshift reads Iceberg's uuid and time types, nor has the rest.
_SIMPLE: dict[str, IcebergType] = {
    "smallint": IntegerType(), "integer": IntegerType(), "bigint": LongType(), "oid": LongType(), "real": FloatType(),
    "double precision": DoubleType(), "boolean": BooleanType(), "date": DateType(), "timestamp": TimestampType(),
    "timestamptz": TimestamptzType(), "bytea": BinaryType(), "money": DecimalType(19, 2),
}  # fmt: skip
_POSITION: tuple[tuple[str, IcebergType, str], ...] = (
    ("cdc_epoch", IntegerType(), "epoch of the newest change of the row; raised where the source's LSNs restart"),
    ("cdc_lsn", LongType(), "log sequence number of that change; 0 is a backfill read"),
    ("cdc_ordinal", LongType(), "order of changes that share an LSN, where the producer states one"),
    ("cdc_committed_at", TimestamptzType(), "when that change was committed at the source"),
)
_OP: tuple[str, IcebergType, str] = (
    "cdc_op",
    StringType(),
    "r read, c create, u update, d delete, t truncate, q set aside",
)


def table_schema(contract: TableContract) -> Schema:
    """The schema of the table: the contract's columns, then the position of the row's newest change."""
    return _schema(contract, _POSITION, keys_required=True)


def history_schema(contract: TableContract) -> Schema:
    """The schema of the history: what happened, the row as it was then, and which columns came without value."""
    schema = _schema(contract, (_OP, *_POSITION), keys_required=False)
    unchanged_id, element_id = schema.highest_field_id + 1, schema.highest_field_id + 2
    return Schema(
        *schema.fields,
        NestedField(
            unchanged_id,
            "cdc_unchanged",
            ListType(element_id, StringType(), element_required=False),
            doc="columns that came without value (unchanged, TOASTed) and were filled from the state before",
        ),
    )


def history_partitions(schema: Schema) -> PartitionSpec:
    """History is partitioned by the day of the commit at the source."""
    source = schema.find_field("cdc_committed_at").field_id
    return PartitionSpec(PartitionField(source, 1000, DayTransform(), "cdc_day"))


def _schema(contract: TableContract, service: Sequence[tuple[str, IcebergType, str]], *, keys_required: bool) -> Schema:
    fields: list[NestedField] = []
    next_id = 1
    for column in contract.columns:
        kind, ids = iceberg_type(column.type, next_id + 1)
        required = keys_required and column.name in contract.key
        fields.append(NestedField(next_id, column.name, kind, required=required))
        next_id += 1 + ids
    for name, kind, doc in service:
        fields.append(NestedField(next_id, name, kind, required=True, doc=doc))
        next_id += 1
    return Schema(*fields)


def iceberg_type(kind: PostgresType, element_id: int) -> tuple[IcebergType, int]:
    """The type in Iceberg, and how many field ids it takes beside its own."""
    if kind.is_array:
        element, _ = iceberg_type(kind.element, element_id)
        return ListType(element_id, element, element_required=False), 1
    if kind.is_decimal:
        precision, scale = kind.arguments
        return DecimalType(precision, scale), 0
    return _SIMPLE.get(kind.name, StringType()), 0
