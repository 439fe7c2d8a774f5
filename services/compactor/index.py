"""Index: key → where its row lies and how new it is. Rebuilt from the tables themselves, and never a second truth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cdc.position import Position
from compactor.change import Key

Positions = npt.NDArray[np.int64]
"""Places of rows in a data file, counted from 0, sorted."""
NO_POSITIONS: Positions = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Located:
    """A live row: its data file, its place in it, and the position of the change that made it."""

    path: str
    row: int
    position: Position


@dataclass(frozen=True, slots=True)
class Marker:
    """The newest change of a key where that is no live row: a delete, or a change that was set aside."""

    position: Position
    is_set_aside: bool


class RowIndex:
    """All keys ever seen, with what a merge must know before it reads anything."""

    def __init__(self) -> None:
        self._rows: dict[Key, Located] = {}
        self._markers: dict[Key, Marker] = {}
        self._files: dict[str, int] = {}
        self._dead: dict[str, Positions] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def located(self, key: Key) -> Located | None:
        """Where the live row of a key is."""
        return self._rows.get(key)

    def newest(self, key: Key) -> Position | None:
        """The position of the newest change of a key, deletes included; None when it was never seen."""
        row, marker = self._rows.get(key), self._markers.get(key)
        positions = [at.position for at in (row, marker) if at is not None]
        return max(positions) if positions else None

    def is_set_aside(self, key: Key) -> bool:
        """Whether the newest change of a key could not be merged, so that its present values are unknown."""
        row, marker = self._rows.get(key), self._markers.get(key)
        return marker is not None and marker.is_set_aside and (row is None or marker.position > row.position)

    def rows(self) -> Iterable[tuple[Key, Located]]:
        """All live rows."""
        return self._rows.items()

    def rows_below(self, floor: Position) -> Iterator[tuple[Key, Located]]:
        """The live rows that a truncate at this position removed."""
        return ((key, row) for key, row in self._rows.items() if row.position < floor)

    def dead(self, path: str) -> Positions:
        """The deleted positions of a data file."""
        return self._dead.get(path, NO_POSITIONS)

    def is_all_dead(self, path: str, dead: Positions) -> bool:
        """Whether a data file with these deleted positions has no live row left."""
        return len(dead) == self._files[path]

    def add_file(self, path: str, records: int, dead: Positions) -> None:
        """Know a data file."""
        self._files[path] = records
        self._dead[path] = dead

    def put(self, key: Key, row: Located) -> None:
        """A row is live here now."""
        self._rows[key] = row

    def remove(self, key: Key) -> None:
        """The row of a key is gone."""
        self._rows.pop(key, None)

    def mark(self, key: Key, position: Position, *, is_set_aside: bool) -> None:
        """Remember a delete or a change that was set aside, if it is the newest of its kind."""
        known = self._markers.get(key)
        if known is None or position >= known.position:
            self._markers[key] = Marker(position, is_set_aside)

    def set_dead(self, path: str, dead: Positions) -> None:
        """All deleted positions of a data file, sorted."""
        self._dead[path] = dead

    def drop_file(self, path: str) -> None:
        """A data file is no longer in the table."""
        self._files.pop(path, None)
        self._dead.pop(path, None)


def with_dead(index: RowIndex, gone: Iterable[Located]) -> dict[str, Positions]:
    """All deleted positions of every file in which some more rows are gone."""
    by_file: dict[str, list[int]] = {}
    for located in gone:
        by_file.setdefault(located.path, []).append(located.row)
    return {
        path: np.union1d(index.dead(path), np.asarray(rows, np.int64)).astype(np.int64)
        for path, rows in by_file.items()
    }
