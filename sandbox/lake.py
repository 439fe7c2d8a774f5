"""The lake as its readers see it: through pyiceberg and through DuckDB, which share no code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from pyiceberg.catalog import load_catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import Table

from sandbox.reports import open_lake

_PREFIX = "PYICEBERG_CATALOG__LAKE__"


@dataclass(frozen=True, slots=True)
class LakeState:
    """What a table states of itself: its metadata file, its rows, and through when it is complete (None: unproven)."""

    metadata_location: str
    rows: int
    valid_through: datetime | None


class Lake:
    """The sandbox's lake, read only."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        stated = {name.removeprefix(_PREFIX): value for name, value in environment.items() if name.startswith(_PREFIX)}
        properties = {
            name.lower().replace("__", ".").replace("_", "-"): value for name, value in stated.items() if name != "TYPE"
        }
        credentials = {
            "client.access-key-id": environment["AWS_ACCESS_KEY_ID"],
            "client.secret-access-key": environment["AWS_SECRET_ACCESS_KEY"],
        }
        self._catalog = load_catalog("lake", type=stated["TYPE"], **properties, **credentials)

    def table(self, name: str) -> Table:
        """A table at its present snapshot."""
        return self._catalog.load_table(("lake", name))

    def state(self, name: str) -> LakeState | None:
        """What a table states now; None before its first commit."""
        try:
            table = self.table(name)
        except NoSuchTableError:
            return None
        snapshot = table.current_snapshot()
        if snapshot is None or snapshot.summary is None:
            return None
        total = {label: int(snapshot.summary[f"total-{label}"] or 0) for label in ("records", "position-deletes")}
        valid_through = table.properties.get("cdc.valid-through")
        return LakeState(
            table.metadata_location,
            total["records"] - total["position-deletes"],
            datetime.fromisoformat(valid_through).astimezone(UTC) if valid_through else None,
        )

    def shows(self, name: str, key: int, nome: str) -> bool:
        """Whether a row of the founding table has this name now."""
        found: pa.Table = self.table(name).scan(f"id = {key}", selected_fields=("nome",)).to_arrow()
        return bool(found.column("nome").to_pylist() == [nome])

    def by_pyiceberg(self, name: str) -> list[dict[str, Any]]:
        """All rows as pyiceberg reads them."""
        return _in_python(self.table(name).scan().to_arrow())

    def by_duckdb(self, name: str) -> list[dict[str, Any]]:
        """All rows as DuckDB reads them."""
        location = self.table(name).metadata_location
        with open_lake(self._environment) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            return _in_python(connection.execute(f"SELECT * FROM iceberg_scan('{location}')").to_arrow_table())  # noqa: S608


def _in_python(rows: pa.Table) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = rows.to_pylist()
    return found
