"""Recheck: a row that looks different is looked at again and again until the lake is past the moment of the look.

A change that is on its way is no difference. A row counts as different once two looks running found the same at the
source and the same in the lake, the lake each time complete up to the look, and its row not newer than that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal, Protocol

from compactor.change import Key
from compactor.lake.proof import COMMITTED_AT

Row = Mapping[str, Any]
Kind = Literal["missing", "surplus", "differing", "not-held", "twice"]
LOOKS_MAX: Final = 10
SUSPECTS_MAX: Final = 100_000
"""So many are looked at again; the rest stays undecided, and the table unproven."""
_SKEW = timedelta(seconds=1)
"""A commit has its time a moment before others see it."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A row to be looked at: its key as the lake has it, and as Postgres writes it where that is known."""

    key: Key
    source_key: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class NotHeld:
    """A row of the source with values that the lake cannot hold, by column."""

    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference that is sure; `columns` are those that differ, or are not held."""

    kind: Kind
    suspect: Suspect
    columns: tuple[str, ...] = ()


class Suspects:
    """The rows to be looked at, at most so many; of the rest only their number is known."""

    def __init__(self, most: int = SUSPECTS_MAX) -> None:
        self._most = most
        self._found: dict[Key, Suspect] = {}
        self.left = 0

    def __len__(self) -> int:
        return len(self._found) + self.left

    def __iter__(self) -> Iterator[Suspect]:
        return iter(self._found.values())

    def add(self, suspect: Suspect) -> None:
        """Take one in; one that is known already stays as it is."""
        if suspect.key in self._found:
            return
        if len(self._found) < self._most:
            self._found[suspect.key] = suspect
        else:
            self.left += 1


class SourceLook(Protocol):
    """The source, for looking at some rows of it."""

    def horizon(self) -> datetime:
        """Everything that a read begun now sees was committed before, everything committed before is seen."""

    def clock(self) -> datetime:
        """The source's time."""

    def wait_seen(self, moment: datetime) -> None:
        """Return once what was committed up to a moment is seen; at once unless it is a replica."""

    def look(self, suspects: Sequence[Suspect]) -> Mapping[Key, Row | NotHeld]:
        """The rows of some suspects, by the lake's key, those that are there."""


class LakeLook(Protocol):
    """The lake, for looking at some rows of it."""

    def wait_past(self, moment: datetime) -> bool:
        """Load the table once everything committed up to a moment is in it; False when that takes too long."""

    def find(self, keys: Sequence[Key]) -> Mapping[Key, Sequence[Row]]:
        """The rows of some keys."""


def difference(
    suspect: Suspect, at_source: Row | NotHeld | None, in_lake: Sequence[Row], columns: Sequence[str]
) -> Difference | None:
    """How a row differs; None when it does not."""
    if len(in_lake) > 1:
        return Difference("twice", suspect)
    if isinstance(at_source, NotHeld):
        return Difference("not-held", suspect, at_source.columns)
    if at_source is None:
        return Difference("surplus", suspect) if in_lake else None
    if not in_lake:
        return Difference("missing", suspect)
    differing = tuple(name for name in columns if not is_same(at_source[name], in_lake[0][name]))
    return Difference("differing", suspect, differing) if differing else None


def is_same(one: Any, other: Any) -> bool:
    """Equal in type, value and scale; a NaN equals a NaN."""
    return type(one) is type(other) and repr(one) == repr(other)


def recheck(
    suspects: Iterable[Suspect], source: SourceLook, lake: LakeLook, columns: Sequence[str]
) -> tuple[list[Difference], list[Suspect]]:
    """The suspects that differ for sure, and those of which nothing is sure."""
    pending = {suspect.key: suspect for suspect in suspects}
    before: dict[Key, str] = {}
    sure: list[Difference] = []
    for _ in range(LOOKS_MAX):
        if not pending:
            break
        began = source.horizon()
        at_source = source.look(list(pending.values()))
        if not lake.wait_past(source.horizon()):
            break
        in_lake = lake.find(list(pending))
        loaded_at = source.clock()
        now: dict[Key, str] = {}
        for key, suspect in list(pending.items()):
            rows = in_lake.get(key, ())
            found = difference(suspect, at_source.get(key), rows, columns)
            if found is None:
                del pending[key]
            elif not any(row[COMMITTED_AT] >= began - _SKEW for row in rows):
                now[key] = repr((at_source.get(key), rows))
                if before.get(key) == now[key]:
                    sure.append(found)
                    del pending[key]
        before = now
        if pending:
            source.wait_seen(loaded_at)
    return sure, list(pending.values())
