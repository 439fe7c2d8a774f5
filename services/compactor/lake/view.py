"""View: what a table and its history look like from outside, read without any right to write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import Table

from cdc.errors import CdcError, FatalFault
from compactor.lake.catalog import open_catalog
from compactor.lake.faults import reaching
from compactor.lake.table import brought_since
from compactor.progress import HISTORY_SNAPSHOT


@dataclass(frozen=True, slots=True)
class Figures:
    """The size of one Iceberg table. `dead_rows` are deleted, but still in data files; `bytes` is of all files.

    They come from the summary of the current snapshot, which every commit carries on; `snapshot_at` is its time.
    """

    live_rows: int = 0
    dead_rows: int = 0
    data_files: int = 0
    delete_files: int = 0
    bytes: int = 0
    snapshots: int = 0
    metadata_bytes: int = 0
    snapshot_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class View:
    """A table and its history: properties of the table, figures of both.

    `is_cut_off`: history has changes that the table has not, since a merge is between its two commits, or was cut off.
    """

    properties: Mapping[str, str]
    table: Figures
    history: Figures
    is_cut_off: bool


def open_catalog_to_read(name: str) -> Catalog:
    """The catalog of that name, of which nothing is made and nothing changed."""
    return open_catalog(name, is_to_be_made=False)


def look(catalog: Catalog, namespace: str, table_name: str) -> View | None:
    """A table and its history as they are; None when they are not made yet.

    Raises:
        TransientFault: when the catalog does not answer.
        FatalFault: when it refuses.
    """
    with reaching(f"{namespace}.{table_name}"):
        # History first: it is committed first, so that a merge between the two loads does not look like a cut-off one.
        history = _load(catalog, (namespace, f"{table_name}_history"))
        table = _load(catalog, (namespace, table_name))
        if table is None:
            return None
        return View(
            table.properties,
            _figures(table),
            _figures(history) if history is not None else Figures(),
            history is not None and _is_ahead(history, table.properties.get(HISTORY_SNAPSHOT)),
        )


def _is_ahead(history: Table, merged: str | None) -> bool:
    # One that the history does not know yet was committed after it was loaded.
    return bool(brought_since(history.metadata, int(merged) if merged else None))


def _load(catalog: Catalog, identifier: tuple[str, str]) -> Table | None:
    try:
        return catalog.load_table(identifier)
    except NoSuchTableError:
        return None
    except (CdcError, OSError):
        raise
    except Exception as error:
        if type(error).__module__.startswith("botocore"):
            raise
        raise FatalFault(
            f"the catalog does not tell of the table: {type(error).__name__}",
            where=".".join(identifier),
            hint="check CDC_CATALOG and the settings PYICEBERG_CATALOG__*",
        ) from None


def _figures(table: Table) -> Figures:
    metadata = table.metadata
    current = metadata.current_snapshot()
    size = len(table.io.new_input(table.metadata_location))
    if current is None:
        return Figures(snapshots=len(metadata.snapshots), metadata_bytes=size)
    summary = current.summary.additional_properties if current.summary else {}
    total = {name.removeprefix("total-"): int(value) for name, value in summary.items() if name.startswith("total-")}
    dead = total.get("position-deletes", 0)
    return Figures(
        live_rows=total.get("records", 0) - dead,
        dead_rows=dead,
        data_files=total.get("data-files", 0),
        delete_files=total.get("delete-files", 0),
        bytes=total.get("files-size", 0),
        snapshots=len(metadata.snapshots),
        metadata_bytes=size,
        snapshot_at=datetime.fromtimestamp(current.timestamp_ms / 1000, UTC),
    )
