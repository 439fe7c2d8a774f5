"""A block that Arrow parses at once has every member of every row, whatever its texts have of JSON's own signs."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from compactor.plain.block import parse

SCHEMA = pa.schema([("id", pa.int64()), ("nome", pa.string()), ("tags", pa.list_(pa.string()))])
TEXTS = st.none() | st.text('":,\\[]{} \nx', max_size=5)
ROWS = st.fixed_dictionaries(
    {"id": st.none() | st.integers(0, 9)}, optional={"nome": TEXTS, "tags": st.lists(TEXTS, max_size=2)}
)
SEPARATORS = st.sampled_from([(",", ":"), (", ", ": "), (" , ", " : ")])


@given(st.lists(ROWS, min_size=1, max_size=4), SEPARATORS)
def test_rows_are_read_as_they_are_or_not_at_all(rows: list[dict[str, Any]], separators: tuple[str, str]) -> None:
    table = parse([msgspec.Raw(json.dumps(row, separators=separators).encode()) for row in rows], SCHEMA)
    are_whole = all(len(row) == len(SCHEMA) for row in rows)
    if table is not None:
        assert are_whole
        assert table.to_pylist() == rows
    elif separators == (",", ":"):  # as producers write; then it is not left to the slow way for nothing
        assert not are_whole
