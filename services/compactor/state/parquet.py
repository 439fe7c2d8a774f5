"""Parquet: the present rows as one file, in the order of their keys, with how far they come and which key masked
them in its metadata.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cdc.errors import FatalFault
from compactor.lake.evolve import PII_KEY_CHECK, PII_KEY_VERSION
from compactor.progress import EPOCH, OFFSETS, SOURCE_LSN, VALID_THROUGH
from compactor.state.current import Current

ROW_GROUP_ROWS: Final = 100_000
_LOOKED_AT_ROWS: Final = 10_000
_STATED: Final = (OFFSETS, VALID_THROUGH, SOURCE_LSN, EPOCH, PII_KEY_CHECK, PII_KEY_VERSION)
_LEVEL: Final = 1


def write(current: Current, path: Path, made_by: Mapping[str, str]) -> None:
    """Write a file that is there whole or not at all; only its owner may read it.

    The metadata of its schema has `cdc.offsets`, `cdc.valid-through`, `cdc.source-lsn` and `cdc.epoch` as the lake's
    table states them, and of `made_by`, its other properties, the masking key's version.

    Raises:
        FatalFault: when it cannot be written, or there is a file of that name.
    """
    try:
        _write(current, path, {**current.progress.properties(), **made_by})
    except OSError as error:
        raise FatalFault(
            f"the file cannot be written: {error.strerror or type(error).__name__}",
            where=str(path),
            hint="give another one, or make room",
        ) from None


def _write(current: Current, path: Path, properties: Mapping[str, str]) -> None:
    rows = current.rows.replace_schema_metadata({name: properties[name] for name in _STATED})
    with _unfinished(path) as file:
        with pq.ParquetWriter(
            file,
            rows.schema,
            compression="zstd",
            compression_level=_LEVEL,
            use_dictionary=_repetitive(rows),
            write_statistics=_ordered(rows.schema),
        ) as writer:
            writer.write_table(rows, row_group_size=ROW_GROUP_ROWS)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _unfinished(path: Path) -> Iterator[IO[bytes]]:
    """A file that gets its name once it is whole; where the system can, it has none before, and goes with the process.

    A link fails where there is a file of that name, also one that was made meanwhile.
    """
    try:
        unnamed = os.open(path.parent, os.O_TMPFILE | os.O_RDWR, 0o600)
    except (AttributeError, OSError):  # another system, or a file system that cannot
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".cdc-export.", delete=False) as file:
            try:
                yield file.file
                os.link(file.name, path)
            finally:
                Path(file.name).unlink()
        return
    with os.fdopen(unnamed, "wb") as nameless:
        yield nameless
        root = os.open("/", os.O_RDONLY)
        try:
            # Only with a folder given does Python let the system follow the link in /proc (open(2), O_TMPFILE).
            os.link(f"/proc/self/fd/{unnamed}", path, src_dir_fd=root, follow_symlinks=True)
        finally:
            os.close(root)


def _ordered(schema: pa.Schema) -> list[str]:
    """The columns whose least and greatest value let a reader pass over groups: not texts in no order."""
    return [field.name for field in schema if not field.nullable or not _is_text_or_nested(field.type)]


def _is_text_or_nested(type_: pa.DataType) -> bool:
    return bool(pa.types.is_nested(type_) or pa.types.is_large_string(type_) or pa.types.is_large_binary(type_))


def _repetitive(rows: pa.Table) -> list[str]:
    """The columns in which most values come again and again: of others a dictionary is made in vain."""
    some = rows.take(pa.array(np.arange(0, len(rows), max(1, len(rows) // _LOOKED_AT_ROWS))))  # from end to end
    return [
        name
        for name, column in zip(some.column_names, some.columns, strict=True)
        if not pa.types.is_nested(column.type) and 4 * pc.count_distinct(column).as_py() < len(some)
    ]
