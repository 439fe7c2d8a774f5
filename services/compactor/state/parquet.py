"""Parquet: the present rows as one file, in the order of their keys, with how far they come in its metadata."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from compactor.progress import EPOCH, OFFSETS, SOURCE_LSN, VALID_THROUGH
from compactor.state.current import Current

ROW_GROUP_ROWS: Final = 100_000
_LOOKED_AT_ROWS: Final = 10_000
_STATED: Final = (OFFSETS, VALID_THROUGH, SOURCE_LSN, EPOCH)
_LEVEL: Final = 1


def write(current: Current, path: Path) -> None:
    """Write a file that is there whole or not at all; only its owner may read it.

    The metadata of its schema has `cdc.offsets`, `cdc.valid-through`, `cdc.source-lsn` and `cdc.epoch` as the lake's
    table states them. Raises FileExistsError when there is a file of that name.
    """
    properties = current.progress.properties()
    schema = current.rows.schema.with_metadata({name: properties[name] for name in _STATED})
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        unfinished = Path(file.name)
        try:
            with pq.ParquetWriter(
                file,
                schema,
                compression="zstd",
                compression_level=_LEVEL,
                use_dictionary=_repetitive(current.rows),
            ) as writer:
                for start in range(0, len(current.order), ROW_GROUP_ROWS):
                    rows = current.rows.take(current.order[start : start + ROW_GROUP_ROWS])
                    writer.write_table(rows.replace_schema_metadata(schema.metadata))
            file.flush()
            os.fsync(file.fileno())
            os.link(unfinished, path)  # fails where there is one, also one that was made meanwhile
        finally:
            unfinished.unlink()


def _repetitive(rows: pa.Table) -> list[str]:
    """The columns in which most values come again and again: of others a dictionary is made in vain."""
    some = rows.slice(0, _LOOKED_AT_ROWS)
    return [
        name
        for name, column in zip(some.column_names, some.columns, strict=True)
        if not pa.types.is_nested(column.type) and 4 * pc.count_distinct(column).as_py() < len(some)
    ]
