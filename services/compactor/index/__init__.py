"""Index: key → where its row lies and how new it is, ten million keys in a few hundred megabytes."""

from compactor.index.fingerprint import Fingerprinter, Fingerprints
from compactor.index.row_index import (
    NO_POSITIONS,
    Found,
    Key,
    Known,
    Located,
    Mark,
    Positions,
    RowIndex,
    marks,
)
from compactor.index.rows import by_file, entries_of, put_rows, with_dead
from compactor.index.run import Entries

__all__ = [
    "NO_POSITIONS",
    "Entries",
    "Fingerprinter",
    "Fingerprints",
    "Found",
    "Key",
    "Known",
    "Located",
    "Mark",
    "Positions",
    "RowIndex",
    "by_file",
    "entries_of",
    "marks",
    "put_rows",
    "with_dead",
]
