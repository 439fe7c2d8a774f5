"""Tables of any columns in a world of tests: made, written to, and read by two readers that must agree."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cdc.contract import Column, TableContract, ValueBefore
from cdc.postgres_type import parse_type
from sandbox.reports import open_lake
from tests.compactor_world import NAMES, World
from tests.raw_zone import event


def with_columns(contract: TableContract, **columns: str) -> TableContract:
    """The same contract with `id` and these columns: `type` or `type/mask`."""
    made = []
    for name, stated in columns.items():
        kind = parse_type(stated.partition("/")[0])
        assert kind is not None
        made.append(Column(name, name, kind, "internal", stated.partition("/")[2] or "clear"))
    return replace(contract, columns=(contract.columns[0], *made))


def known_before(contract: TableContract, name: str, value: Any) -> TableContract:
    """The same contract, which states what a column is in rows from before it was added."""
    columns = tuple(
        replace(column, value_before=ValueBefore(value)) if column.name == name else column
        for column in contract.columns
    )
    return replace(contract, columns=columns)


def made(world: World, **columns: str) -> None:
    """A table of its own with these columns."""
    world.contract = replace(with_columns(world.contract, **columns), name=next(NAMES))
    world.restart()


def row(op: str, lsn: int, **values: Any) -> bytes:
    return event(op, lsn, values, table="t")


def shown(world: World, suffix: str = "") -> list[dict[str, Any]]:
    """All rows as DuckDB and as pyiceberg read them, without the position; both must agree."""
    pair = world.pair()
    table = (pair.history if suffix else pair.table).table
    hidden = ("cdc_epoch", "cdc_ordinal", "cdc_committed_at", "cdc_unchanged")
    with open_lake(world.environment) as duck:
        found = duck.execute(f"SELECT * EXCLUDE cdc_committed_at FROM iceberg_scan('{table.metadata_location}')")
        names = [column[0] for column in found.description or ()]
        by_duckdb = [dict(zip(names, values, strict=True)) for values in found.fetchall()]
    by_pyiceberg = table.scan().to_arrow().to_pylist()
    of_both = [
        sorted(
            ({name: value for name, value in row.items() if name not in hidden} for row in rows),
            key=lambda row: (row["cdc_lsn"], row["id"], repr(row)),
        )
        for rows in (by_duckdb, by_pyiceberg)
    ]
    assert of_both[0] == of_both[1]
    return of_both[0]
