"""Which of Debezium's markers each row of the backfill gets."""

from __future__ import annotations

import pytest

from cdc_publisher.backfill import marked


@pytest.mark.parametrize(
    ("rows", "markers"),
    [
        ([], []),
        ([0], []),
        ([1], ["last"]),
        ([2], ["first", "last"]),
        ([4], ["first", "true", "true", "last"]),
        # As recorded from Debezium 3.6.3 with tables of 1, 1, 1, 5, 0 and 0 rows.
        (
            [1, 1, 1, 5, 0, 0],
            ["first", *["last_in_data_collection"] * 2, "first_in_data_collection", *["true"] * 3, "last"],
        ),
        ([0, 3, 2], ["first", "true", "last_in_data_collection", "first_in_data_collection", "last"]),
        ([2, 0], ["first", "last"]),
    ],
)
def test_markers(rows: list[int], markers: list[str]) -> None:
    tables = [(number, [[str(row)] for row in range(count)]) for number, count in enumerate(rows)]
    found = list(marked(tables))
    assert [marker for marker, _ in found] == markers
    expected = [(table, row) for table, table_rows in tables for row in table_rows]
    assert [row for _, row in found] == expected
