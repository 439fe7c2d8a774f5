"""Plain: the changes of which the fold is just "the newest wins", read and merged by column instead of one by one.

`compactor.change` and `compactor.fold` are the law. Whatever is not plain (a value that came unchanged, a fault, a
truncate, a dialect with inline schemas or in Avro, a change that comes late, …) goes their way, with all changes of its
key.
"""

from compactor.plain.changes import COMMIT_TIMES_US, STREAMED, Line, Sights
from compactor.plain.noting import noted_of_plain
from compactor.plain.reader import PlainReader, PlainRows
from compactor.plain.winners import PlainMerge, separate, settle

__all__ = [
    "COMMIT_TIMES_US",
    "STREAMED",
    "Line",
    "PlainMerge",
    "PlainReader",
    "PlainRows",
    "Sights",
    "noted_of_plain",
    "separate",
    "settle",
]
