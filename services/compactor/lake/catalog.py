"""The catalog: opened as pyiceberg's own settings say, with namespace and tables made where they are missing."""

from __future__ import annotations

import os

import boto3
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.utils.config import Config

from cdc.contract import TableContract
from cdc.errors import FatalFault, SettingsFault
from compactor.lake.schema import history_partitions, history_schema, table_schema
from compactor.lake.table import LakeTable

_SERVICE_COLUMNS = ("cdc_epoch", "cdc_lsn", "cdc_ordinal", "cdc_committed_at", "cdc_op")


def open_catalog(name: str) -> Catalog:
    """The catalog of that name, configured by PYICEBERG_CATALOG__<NAME>__*; its file access follows AWS_*.

    Glue's own retries are off: a repeated UpdateTable whose first try landed looks like a conflict, after which
    pyiceberg deletes the files of a commit that is in the table.
    """
    # pyiceberg itself reads the environment only once, when it is imported.
    stated = Config().get_catalog_config(name) or {}
    try:
        # Botocore wants a number, which pyiceberg hands on as it is.
        return load_catalog(name, **{**_s3_properties(), **stated, "glue.max-retries": 0})  # type: ignore[arg-type]
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


def open_tables(catalog: Catalog, namespace: str, contract: TableContract) -> tuple[LakeTable, LakeTable]:
    """The table of a contract and its history, made if they are missing."""
    catalog.create_namespace_if_not_exists(namespace)
    schema, history = table_schema(contract), history_schema(contract)
    opened = []
    for suffix, its_schema, spec in (
        ("", schema, UNPARTITIONED_PARTITION_SPEC),
        ("_history", history, history_partitions(history)),
    ):
        identifier = (namespace, contract.name + suffix)
        opened.append(LakeTable(catalog, identifier, _open(catalog, identifier, its_schema, spec, contract)))
    return opened[0], opened[1]


def _open(
    catalog: Catalog, identifier: tuple[str, str], schema: Schema, spec: PartitionSpec, contract: TableContract
) -> Table:
    try:
        table = catalog.load_table(identifier)
    except NoSuchTableError:
        return catalog.create_table_if_not_exists(
            identifier, schema, partition_spec=spec, properties=_properties(contract)
        )
    stated = {field.name: field.field_type for field in schema.fields}
    actual = {field.name: field.field_type for field in table.schema().fields}
    differing = sorted(name for name in stated.keys() | actual.keys() if str(stated.get(name)) != str(actual.get(name)))
    if differing:
        raise FatalFault(
            f"the lake table has other columns than its contract: {', '.join(differing)}",
            where=".".join(identifier),
            hint="changing a contract's columns after its table was made is not built yet; start a new lake table",
        )
    return table


def _properties(contract: TableContract) -> dict[str, str]:
    """Table properties that readers and their statistics need."""
    # Bounds of data columns in the metadata would copy personal data to where no mask and no rewrite reaches it.
    metrics = {
        f"write.metadata.metrics.column.{name}": "full"
        for name in (*(key for key in contract.key if not contract.column(key).type.is_text), *_SERVICE_COLUMNS)
    }
    return {
        "format-version": "2",
        "write.parquet.compression-codec": "zstd",
        "write.metadata.metrics.default": "counts",
        "cdc.source-table": contract.source_name,
        **metrics,
    }
