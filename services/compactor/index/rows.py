"""Rows: what a commit does to rows of the table, as the index knows them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from compactor.index.row_index import NO_POSITIONS, Located, Positions, RowIndex
from compactor.index.run import Entries

_POSITION = ("cdc_epoch", "cdc_lsn", "cdc_ordinal")


def with_dead(index: RowIndex, gone: Iterable[Mapping[str, Positions]]) -> dict[str, Positions]:
    """All deleted positions of every file in which some more rows are gone."""
    more: dict[str, list[Positions]] = {}
    for part in gone:
        for path, rows in part.items():
            more.setdefault(path, []).append(rows)
    return {path: _union([index.dead(path), *rows]) for path, rows in more.items()}


def _union(parts: Sequence[Positions]) -> Positions:
    """All positions of several lists, sorted and each once; that the first is sorted already saves time."""
    together = np.concatenate(parts)
    together.sort(kind="stable")
    return together[np.append(True, together[1:] != together[:-1])] if len(together) else together


def entries_of(index: RowIndex, path: str, places: npt.NDArray[np.int64], rows: pa.Table) -> Entries:
    """The entries of some rows of a known file."""
    return index.entries_in(path, places, {name: rows[name].to_numpy() for name in _POSITION})


def put_rows(index: RowIndex, rows: pa.Table, added: Iterable[tuple[str, int]], key: Sequence[str]) -> None:
    """Tell the index of new data files, whose rows are these, in this order."""
    start = 0
    for path, records in added:
        part = rows.slice(start, records)
        index.add_file(path, records, NO_POSITIONS)
        index.put(index.prints_of([part[name] for name in key]), entries_of(index, path, np.arange(records), part))
        start += records


def by_file(located: Iterable[Located]) -> dict[str, Positions]:
    """The places of some rows, by file."""
    places: dict[str, list[int]] = {}
    for row in located:
        places.setdefault(row.path, []).append(row.row)
    return {path: np.unique(np.asarray(rows, np.int64)) for path, rows in places.items()}
