"""The catalog: opened as pyiceberg's own settings say, with namespace and tables made where they are missing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

import boto3
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.utils.config import Config

from cdc.contract import SENSITIVE, Column, TableContract
from cdc.errors import FatalFault, SettingsFault
from cdc.readers import HISTORY_SUFFIX
from compactor.added import with_added
from compactor.columns_seen import parse_columns
from compactor.lake import file_io
from compactor.lake.evolve import Evolution, evolution, identity
from compactor.lake.schema import history_partitions, history_schema, table_schema
from compactor.lake.table import LakeTable

_SERVICE_COLUMNS = ("cdc_epoch", "cdc_lsn", "cdc_ordinal", "cdc_committed_at", "cdc_op")


def open_catalog(name: str, *, is_to_be_made: bool = True) -> Catalog:
    """The catalog of that name, configured by PYICEBERG_CATALOG__<NAME>__*; its file access follows AWS_*.

    A catalog in a database makes its tables there where they are missing, unless it is only to be read.
    Glue's own retries are off: a repeated UpdateTable whose first try landed looks like a conflict, after which
    pyiceberg deletes the files of a commit that is in the table.
    """
    reading = {} if is_to_be_made else {"init_catalog_tables": "false"}
    # pyiceberg itself reads the environment only once, when it is imported.
    stated = Config().get_catalog_config(name) or {}
    try:
        # Botocore wants a number, which pyiceberg hands on as it is.
        ours = {"py-io-impl": file_io.NAME, **_s3_properties()}
        return load_catalog(name, **{**ours, **stated, **reading, "glue.max-retries": 0})  # type: ignore[arg-type]
    except Exception as error:
        variable = f"PYICEBERG_CATALOG__{name.upper()}__TYPE"
        raise SettingsFault(
            [f"{variable}: the catalog cannot be opened ({type(error).__name__}); check it and the settings beside it"]
        ) from error


def _s3_properties() -> dict[str, str]:
    """Where S3 is and who we are, as boto3 sees it, for pyiceberg's file access."""
    session = boto3.Session()
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    properties = {"s3.region": session.region_name, "s3.endpoint": endpoint}
    return {name: value for name, value in properties.items() if value}


def open_tables(
    catalog: Catalog, namespace: str, contract: TableContract, pii_key: bytes, pii_key_version: str = "", name: str = ""
) -> tuple[LakeTable, LakeTable]:
    """The table of a contract and its history, made if they are missing; `name` where they are called otherwise.

    Raises:
        FatalFault: when a table that is there was made for another contract and cannot follow.
    """
    # Looked for first: a role that may make no databases needs none where there is one.
    if not catalog.namespace_exists(namespace):
        catalog.create_namespace_if_not_exists(namespace)
    schema, history = table_schema(contract), history_schema(contract)
    opened = []
    made_of = identity(contract, pii_key, pii_key_version)
    for suffix, its_schema, spec in (
        ("", schema, UNPARTITIONED_PARTITION_SPEC),
        (HISTORY_SUFFIX, history, history_partitions(history)),
    ):
        identifier = (namespace, (name or contract.name) + suffix)
        opened.append(LakeTable(catalog, identifier, _open(catalog, identifier, its_schema, spec, contract, made_of)))
    table, its_history = opened
    columns = parse_columns(table.properties)
    named_now = frozenset(name for name in columns.added.values() if contract.has(name))
    evolutions(table, its_history, with_added(contract, columns), pii_key, pii_key_version, named_now)
    return table, its_history


def shown_of(contract: TableContract, table: LakeTable, history: LakeTable) -> TableContract:
    """The contract without the columns that a table or its history does not show yet."""
    names = [{field.name for field in lake.table.schema().fields} for lake in (table, history)]
    return replace(contract, columns=tuple(column for column in contract.columns if column.name in names[0] & names[1]))


def evolutions(
    table: LakeTable,
    history: LakeTable,
    contract: TableContract,
    pii_key: bytes,
    pii_key_version: str = "",
    made_anew: frozenset[str] = frozenset(),
) -> tuple[Evolution, Evolution]:
    """How a table and its history follow the contract; a column that only one of them has is taken out of that, and so
    are those to be `made_anew`.

    Raises:
        FatalFault: when one of them cannot; nothing was touched.
    """
    found = []
    shown = shown_of(contract, table, history)
    shown = replace(shown, columns=tuple(column for column in shown.columns if column.name not in made_anew))
    for lake, made in ((table, table_schema), (history, history_schema)):
        if not set(contract.key) <= {column.name for column in shown.columns}:
            shown = contract  # another key: said as a problem
        planned = evolution(lake.table.schema(), made(shown), lake.properties, shown, pii_key, pii_key_version)
        if planned.problems:
            raise FatalFault(
                f"the lake table was made for another contract: {'; '.join(planned.problems)}",
                where=lake.name,
                hint="check CDC_TABLES, CDC_CATALOG and CDC_PII_KEY; give a changed column another name in the lake, "
                "or make the table anew from raw: `cdc rebuild`",
            )
        found.append(planned)
    return found[0], found[1]


def _open(
    catalog: Catalog,
    identifier: tuple[str, str],
    schema: Schema,
    spec: PartitionSpec,
    contract: TableContract,
    made_of: Mapping[str, str],
) -> Table:
    try:
        return catalog.load_table(identifier)
    except NoSuchTableError:
        properties = {**_properties(contract), **made_of}
        return catalog.create_table_if_not_exists(identifier, schema, partition_spec=spec, properties=properties)


def _properties(contract: TableContract) -> dict[str, str]:
    """Table properties that readers and their statistics need."""
    # Bounds of data columns in the metadata would copy personal data to where no mask and no rewrite reaches it.
    metrics = {
        f"write.metadata.metrics.column.{name}": "full"
        for name in (*(key for key in contract.key if _may_have_bounds(contract.column(key))), *_SERVICE_COLUMNS)
    }
    return {
        "format-version": "2",
        "write.parquet.compression-codec": "zstd",
        "write.metadata.metrics.default": "counts",
        **metrics,
    }


def _may_have_bounds(column: Column) -> bool:
    return not column.type.is_text and column.classification not in SENSITIVE
