"""Block: the rows of many changes of one dialect, parsed by Arrow at once; or None where that could tell them wrong.

Arrow's parser is exact where every row is an object and every member's type is stated: it refuses a number that is no
whole one, a value of another type, a member that is not stated or stands twice, and a lone surrogate. What it lets
pass is checked here: a row that is no object (a null ends the process), a member that is missing, text that is not
UTF-8, and text by which our publisher says that it is not the placeholder which it equals once it is parsed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.json

from cdc.debezium.decode import SPELT

_NULL = b"null"
MEMBER, QUOTED_MEMBER = b'":', b'\\":'
_BEFORE_VALUES = ("{", ":", ",", "[", " ", "\t", "\r", "\n", "\\")
"""What may stand in front of a quote that ends no name, but begins a text or a name, or is part of one."""
_PARSED_AT_ONCE_BYTES = 1 << 20
_TEXT_BYTES_MAX = 1 << 30  # Arrow counts the bytes of a column of texts in 32 bits


def blocks(sizes: Sequence[int], rows_max: int, bytes_max: int) -> Iterator[tuple[int, int]]:
    """Where blocks of rows of some sizes begin and end: each as large as it may be, and of one row at least."""
    ends = np.cumsum(np.asarray(sizes, np.int64))
    start, before = 0, 0
    while start < len(sizes):
        within = int(np.searchsorted(ends, before + bytes_max, side="right"))
        end = max(start + 1, min(start + rows_max, within))
        yield start, end
        start, before = end, int(ends[end - 1])


def parse(rows: Sequence[msgspec.Raw], schema: pa.Schema, *, may_lack: bool = False) -> pa.Table | None:
    """Rows by column, or None when one of them is not simple; each must be known to be JSON on one line.

    `may_lack` says that a row may have some members only; those that it lacks are null then.
    """
    sizes = list(map(len, rows))
    if min(sizes) <= len(_NULL) or sum(sizes) > _TEXT_BYTES_MAX:
        return None
    text = b"\n".join(rows)
    if SPELT in text:
        return None
    try:
        table = pyarrow.json.read_json(
            pa.BufferReader(text),
            read_options=pyarrow.json.ReadOptions(block_size=max(_PARSED_AT_ONCE_BYTES, max(sizes) + 1)),
            parse_options=pyarrow.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error"),
        ).combine_chunks()
        table.validate(full=True)
    except pa.ArrowInvalid:
        return None
    if len(table) != len(rows) or (not may_lack and _may_lack_a_member(table, text)):
        return None
    return table.select(schema.names)


def _may_lack_a_member(table: pa.Table, text: bytes) -> bool:
    """Whether a null may be a member that is missing. No member stands twice, so that their number tells."""
    if not any(column.null_count for column in table.columns):
        return False
    if any(name.endswith(_BEFORE_VALUES) for name in table.column_names):
        return True
    return _members(text) != int(len(table) * table.num_columns)


def _members(text: bytes) -> int:
    """How many members the objects in a text have whose names end in none of `_BEFORE_VALUES`.

    A quote before a colon ends a name, unless it is part of a text, or begins one, or a name, that begins with a colon.
    """
    octets = np.frombuffer(text, np.uint8)
    colons = np.flatnonzero(octets == ord(":"))
    ends = colons[octets[colons - 1] == ord('"')] - 1
    return int(np.count_nonzero(~np.isin(octets[ends - 1], np.frombuffer("".join(_BEFORE_VALUES).encode(), np.uint8))))
