"""Lake: a catalog on this machine's disk, and two independent readers of what is in it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.table import Table

from cdc.readers import RESERVED_PREFIX
from sandbox.reports import open_lake
from tests.lake_machine.model import Shown, shown
from tests.lake_machine.past import query_of_the_docs
from tests.lake_machine.source import Key, Row

_NOWHERE = {
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_REGION": "none", "AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none",
}  # fmt: skip


def local_catalog(folder: Path) -> Catalog:
    """A catalog in SQLite with its tables in the same folder."""
    return load_catalog("lake", type="sql", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}")


class Readers:
    """DuckDB and pyiceberg, who must agree on every table."""

    def __init__(self, key: tuple[str, ...]) -> None:
        self._duckdb = open_lake(_NOWHERE)
        self._key = key

    def rows(self, table: Table) -> dict[Key, Shown]:
        """The table's rows by key.

        Raises:
            AssertionError: when the readers disagree, or a key stands twice.
        """
        if table.current_snapshot() is None:
            return {}
        columns = self.columns(table)
        names = (*self._key, *columns, "cdc_epoch", "cdc_lsn", "cdc_ordinal", "cdc_committed_at")
        listed = ", ".join((*names[:-1], "epoch_us(cdc_committed_at)"))
        query = f"SELECT {listed} FROM iceberg_scan('{table.metadata_location}')"
        by_duckdb = [tuple(row) for row in self._duckdb.execute(query).fetchall()]
        arrow = table.scan(selected_fields=names).to_arrow().select(names).to_pylist()
        by_pyiceberg = [tuple(row.values()) for row in arrow]
        told = [(*row[:-1], round(row[-1].timestamp() * 1e6)) for row in by_pyiceberg]
        assert sorted(by_duckdb, key=repr) == sorted(told, key=repr), "DuckDB and pyiceberg read different rows"
        rows = {row[: len(self._key)]: _shown(row[len(self._key) :], columns) for row in by_pyiceberg}
        assert len(rows) == len(by_pyiceberg), "a key stands twice"
        return rows

    def past(self, history: Table, moment: datetime, long: Iterable[str]) -> dict[Key, Row]:
        """The rows at a past moment by key, with the columns that history has now; `long` are those that may come unchanged."""
        columns = self.columns(history)
        source = f"iceberg_scan('{history.metadata_location}')"
        query = query_of_the_docs(source, moment, self._key, columns, long)
        names = ", ".join((*self._key, *columns))
        rows = self._duckdb.execute(f"SELECT {names} FROM ({query})").fetchall()
        found = {row[: len(self._key)]: dict(zip(columns, row[len(self._key) :], strict=True)) for row in rows}
        assert len(found) == len(rows), "a key stands twice"
        return found

    def columns(self, table: Table) -> tuple[str, ...]:
        """The columns that the table shows beside its key and those of the service."""
        names = (field.name for field in table.schema().fields)
        return tuple(name for name in names if name not in self._key and not name.startswith(RESERVED_PREFIX))


def _shown(row: tuple[Any, ...], columns: tuple[str, ...]) -> Shown:
    *values, epoch, lsn, ordinal, moment = row
    return Shown(shown(dict(zip(columns, values, strict=True)), columns), (epoch, lsn, ordinal), moment)
