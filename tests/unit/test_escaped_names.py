"""Columns whose names JSON writes with an escape: Postgres takes any sign in a name but a zero byte."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from cdc.contract import TableContract, parse_contract
from compactor.lake.schema import history_schema
from compactor.plain import PlainReader
from tests.state_world import CONTRACT, KEY, TABLE, Source, as_lines, event, export_of, row, rows_of, zone

NAMES = ['say "it"', "back\\slash", "two\nlines", "\x01"]
ESCAPED = pytest.mark.parametrize("name", NAMES)


def contract_of(name: str, column: str) -> TableContract:
    """A table of which one column is called so at the source."""
    text = CONTRACT.replace("ID", "bigint").replace(
        f"{{name: {column},", f"{{name: {column}, physicalName: {json.dumps(name)},"
    )
    return parse_contract(text)


def renamed(told: bytes, column: str, name: str) -> bytes:
    """An event in which one column is called otherwise."""
    images = json.loads(told)
    for image in (images["before"], images["after"]):
        if image is not None and column in image:
            image[name] = image.pop(column)
    return json.dumps(images).encode()


def plain_reader(table: TableContract) -> PlainReader:
    return PlainReader(table, history_schema(table).as_arrow(), KEY)


@ESCAPED
@pytest.mark.parametrize("column", ["nome", "id"])
@pytest.mark.parametrize("is_ours", [1.0, 0.0])
def test_rows_with_such_a_column_are_merged_by_the_law(name: str, column: str, is_ours: float) -> None:
    source = Source(Random(7), is_ours)
    for _ in range(40):
        source.happen(range(5))
    raw = zone([renamed(one, column, name) for one in source.events])
    current = export_of(raw, contract_of(name, column))
    assert rows_of(current) == source.expected()
    assert current.folded > 0


@ESCAPED
def test_no_row_is_plain_of_a_table_with_such_a_column(name: str) -> None:
    some = as_lines([event("c", 5, None, row(1)), event("d", 6, {"id": 1}, None)])
    assert plain_reader(TABLE).read(some)[1] == []
    assert plain_reader(contract_of(name, "nome")).read(some)[1] == [0, 1]


@ESCAPED
def test_a_row_that_carries_such_a_column_which_is_held_is_not_plain(name: str) -> None:
    rows: list[dict[str, Any]] = [row(1), row(2) | {name: "x"}, row(3) | {"novo": "x"}]
    some = as_lines([event("c", 5 + place, None, one) for place, one in enumerate(rows)])
    reader = plain_reader(TABLE)
    assert reader.read(some)[1] == [1, 2]
    plain, others, _ = reader.read(some, frozenset({"novo", name}))
    assert (plain.rows["id"].to_pylist(), others) == ([1, 3], [1])
