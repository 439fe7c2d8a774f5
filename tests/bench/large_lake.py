"""Large lakes to measure on: tables of millions of rows on local files, written through the compactor's own lake layer.

The table lies as maintenance leaves it: base files of a million rows in the order of the key. History has a read of
every row, as after a backfill.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog import Catalog, load_catalog

from cdc.contract import TableContract, parse_contract
from cdc.event import Op
from compactor.lake.commit import Changes, commit
from compactor.lake.pair import TablePair
from compactor.lake.table import LakeTable
from compactor.progress import Progress

FILE_ROWS: Final = 1_000_000
PII_KEY: Final = b"k" * 32
CATALOG: Final = "lake"
_BIO: Final = "x" * 100
_COMMITTED_AT: Final = datetime(2026, 11, 21, 12, tzinfo=UTC)
_CONTRACT: Final = """
apiVersion: v3.1.0
kind: DataContract
id: urn:bench
version: 1.0.0
status: active
schema:
  - name: {name}
    customProperties: [{{property: sourceTable, value: public.t}}]
    properties:
{key}
      - {{name: nome, physicalType: text, classification: internal}}
      - {{name: bio, physicalType: text, classification: internal}}
slaProperties: [{{property: latency, value: 60, unit: s}}]
"""
KEYS: Final = {
    "int64": {"id": "bigint"},
    "text": {"codigo": "text"},
    "composite": {"conta": "integer", "codigo": "text"},
}
"""Kinds of keys: their columns with their types."""


def contract(name: str, kind: str = "int64") -> TableContract:
    """The contract of a table whose key is of this kind."""
    lines = [
        f"      - {{name: {column}, physicalType: {type_}, primaryKey: true, primaryKeyPosition: {place}, "
        "classification: internal}"
        for place, (column, type_) in enumerate(KEYS[kind].items(), 1)
    ]
    return parse_contract(_CONTRACT.format(name=name, key="\n".join(lines)))


def local_catalog(folder: Path) -> Catalog:
    """A catalog in SQLite, its tables in local files."""
    return load_catalog(CATALOG, type="sql", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}")


def fill(catalog: Catalog, its: TableContract, rows: int, *, is_wide: bool = True) -> None:
    """Fill a table and its history; without `is_wide` only the key has values, and history has nothing."""
    pair = TablePair(catalog, "lake", its, PII_KEY)
    for start in range(0, rows, FILE_ROWS):
        part = _rows(pair.table, its, range(start, min(start + FILE_ROWS, rows)), is_wide=is_wide)
        if is_wide:
            commit(pair.history, Changes(_reads(pair.history, part)))
        pair.commit_table(pair.write_table(part, {}, frozenset()), Progress())


def _rows(lake: LakeTable, its: TableContract, numbers: range, *, is_wide: bool) -> pa.Table:
    schema, ids = lake.arrow_schema, pa.array(numbers, pa.int64())
    text = pc.cast(ids, pa.string())
    key = {
        "id": lambda: ids,
        "codigo": lambda: pc.binary_join_element_wise("BR-2026-", pc.utf8_lpad(text, 12, "0"), ""),
        "conta": lambda: pc.divide(ids, 10),
    }
    values = {name: key[name]() for name in its.key}
    if is_wide:
        values |= {
            "nome": pc.binary_join_element_wise("nome ", text, ""),
            "bio": pc.binary_join_element_wise(_BIO, text, ""),
        }
    same = {"cdc_epoch": 1, "cdc_lsn": 0, "cdc_ordinal": 0, "cdc_committed_at": _COMMITTED_AT}
    columns = [
        values[field.name].cast(field.type)
        if field.name in values
        else pa.repeat(pa.scalar(same.get(field.name), field.type), len(ids))
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def _reads(history: LakeTable, rows: pa.Table) -> pa.Table:
    schema = history.arrow_schema
    columns = [
        rows[field.name]
        if field.name in rows.column_names
        else pa.repeat(pa.scalar(Op.READ.value if field.name == "cdc_op" else None, field.type), len(rows))
        for field in schema
    ]
    return pa.table(columns, schema=schema)
