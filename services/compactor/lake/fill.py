"""Fill: write the values of new columns into rows that are there, unseen, until the schema shows all of them at once.

Readers know columns by their field ids. So the new columns get theirs in a schema that the table knows but does not
have; rows that need a value are written anew in it, file by file, and nobody sees it; then the table gets the schema.
A fill that is cut off leaves values under ids that nothing ever shows; the next one takes other ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from pyiceberg.schema import Schema
from pyiceberg.types import NestedField

from cdc.contract import Column
from cdc.position import Position
from cdc.readers import RESERVED_PREFIX
from compactor.change import SET_ASIDE
from compactor.fold import DELETE, TRUNCATE
from compactor.index import Positions
from compactor.lake.commit import Changes, commit, commit_schema
from compactor.lake.schema import iceberg_type
from compactor.lake.table import LakeTable, LiveFile
from compactor.refill import Mark, Place, Values

ROWS_MAX = 100_000
"""About how many rows are written in one commit."""
_POSITION = ("cdc_epoch", "cdc_lsn", "cdc_ordinal")
_WITHOUT_VALUES = frozenset({DELETE, TRUNCATE, SET_ASIDE})


def schema_with(lake: LakeTable, columns: Sequence[Column]) -> Schema:
    """The table's schema with new columns behind the contract's others, under field ids that were never given."""
    fields = list(lake.table.schema().fields)
    place = next(number for number, known in enumerate(fields) if known.name.startswith(RESERVED_PREFIX))
    next_id = lake.table.metadata.last_column_id + 1
    new: list[NestedField] = []
    for column in columns:
        kind, ids = iceberg_type(column.type, next_id + 1)
        new.append(NestedField(next_id, column.name, kind, required=False))
        next_id += 1 + ids
    return Schema(*fields[:place], *new, *fields[place:], identifier_field_ids=lake.table.schema().identifier_field_ids)


def fill(
    lake: LakeTable,
    values: Sequence[Values],
    key: Sequence[str],
    hidden_properties: Mapping[str, str],
    shown_properties: Mapping[str, str],
    *,
    is_history: bool,
) -> None:
    """Show new columns, their values in every live row; `shown_properties` are stated with them, the others before.

    Raises as `commit` does; what was written until then is seen by nobody.
    """
    schema = schema_with(lake, [one.column for one in values])
    if lake.snapshot_id is not None:
        commit_schema(lake, Changes(schema=schema, is_hidden=True, properties=hidden_properties))
        for work in _work(lake, values, key, schema, is_history=is_history):
            commit(
                lake,
                Changes(work.rows(), work.dead, frozenset(work.dropped), hidden_properties, schema, is_hidden=True),
            )
    commit_schema(lake, Changes(schema=schema, properties=shown_properties))


@dataclass(slots=True)
class _Work:
    """What one commit writes anew: rows with the new columns, and where the same rows lay."""

    tables: list[pa.Table] = field(default_factory=list)
    dead: dict[str, Positions] = field(default_factory=dict)
    dropped: set[str] = field(default_factory=set)

    def rows(self) -> pa.Table:
        return pa.concat_tables(self.tables)

    @property
    def size(self) -> int:
        return sum(table.num_rows for table in self.tables)


def _work(
    lake: LakeTable, values: Sequence[Values], key: Sequence[str], schema: Schema, *, is_history: bool
) -> Iterator[_Work]:
    """The rows that need a value, in bounded portions."""
    work = _Work()
    for file in lake.live_files():
        alive = np.setdiff1d(np.arange(file.records), file.deleted)
        rows = _needing(lake, file, alive, values, key, is_history=is_history)
        # History is partitioned and has no delete files: its files are written anew whole.
        places = [rows] if is_history else [rows[start : start + ROWS_MAX] for start in range(0, len(rows), ROWS_MAX)]
        dead = file.deleted
        for some in places:
            if not len(some):
                continue
            work.tables.append(_with_values(lake, file.path, some, values, key, schema, is_history=is_history))
            dead = np.union1d(dead, some).astype(np.int64)
            if len(dead) == file.records:
                work.dropped.add(file.path)
            work.dead[file.path] = dead
            if work.size >= ROWS_MAX:
                yield work
                work = _Work()
    if work.tables:
        yield work


def _needing(
    lake: LakeTable, file: LiveFile, alive: Positions, values: Sequence[Values], key: Sequence[str], *, is_history: bool
) -> Positions:
    """The rows of a file that get a value; of history all rows of a file in which one does."""
    told = _told(lake, file.path, alive, values, key, is_history=is_history)
    needing = [any(value is not None for value, _ in row) or any(mark for _, mark in row) for row in told]
    chosen = np.full(len(alive), any(needing)) if is_history else np.asarray(needing, bool)
    return np.asarray(alive[chosen], np.int64)


def _told(
    lake: LakeTable, path: str, places: Positions, values: Sequence[Values], key: Sequence[str], *, is_history: bool
) -> list[list[tuple[Any, bool]]]:
    """For each row the value of each new column, and whether its event left that unchanged."""
    head = lake.read(path, [*key, *_POSITION, *(["cdc_op"] if is_history else [])], places).to_pylist()
    return [[_of_row(row, one, key) for one in values] for row in head]


def _of_row(row: Mapping[str, Any], values: Values, key: Sequence[str]) -> tuple[Any, bool]:
    if row.get("cdc_op") in _WITHOUT_VALUES:
        return None, False
    place: Place = (tuple(row[name] for name in key), Position(*(row[name] for name in _POSITION)))
    value = values.at(place)
    # In a live row nothing is unknown, else the column would wait; what history does not know stays empty there.
    return None if value is Mark.UNKNOWN else value, place in values.unchanged


def _with_values(
    lake: LakeTable,
    path: str,
    places: Positions,
    values: Sequence[Values],
    key: Sequence[str],
    schema: Schema,
    *,
    is_history: bool,
) -> pa.Table:
    told = _told(lake, path, places, values, key, is_history=is_history)
    rows = lake.read(path, [known.name for known in lake.table.schema().fields], places)
    arrow = schema.as_arrow()
    new = {
        one.column.name: pa.array([row[number][0] for row in told], arrow.field(one.column.name).type)
        for number, one in enumerate(values)
    }
    if is_history:
        unchanged = [
            _names(before, [one.column.name for one, (_, mark) in zip(values, row, strict=True) if mark])
            for before, row in zip(rows["cdc_unchanged"].to_pylist(), told, strict=True)
        ]
        new["cdc_unchanged"] = pa.array(unchanged, arrow.field("cdc_unchanged").type)
    return pa.table([new[name] if name in new else rows[name] for name in arrow.names], schema=arrow)


def _names(before: Iterable[str] | None, more: Sequence[str]) -> list[str] | None:
    return sorted({*(before or ()), *more}) or None
