"""Index: key → where its row lies and how new it is, in arrays that hold ten million keys in a few hundred megabytes."""

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
    by_file,
    joined,
    with_dead,
)
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
    "joined",
    "with_dead",
]
