"""Selection: which objects of the quarantine or of raw a replay takes, told from their names alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import product
from typing import Literal

from cdc.objects import ObjectStore

Kept = Literal["quarantine", "raw"]
REPLAYED = "_replayed"
"""Below the quarantine: objects whose records were put back, moved there by `--resolve`."""
RAW_FOLDER = "postgres/json/"
_RANGE = r"(?P<stream>[^/~]+)~(?P<shard>[^/~]+)~(?P<after>\d+)~(?P<upto>\d+)"
_DAY = r"(?P<day>\d{4}/\d\d/\d\d)"
_QUARANTINE = re.compile(
    rf"(?:{REPLAYED}/)?(?P<reason>[^/_][^/]*)/{_DAY}/(?:(?P<table>[^/~]+)~)?{_RANGE}(?:~\w+)?\.json\.gz"
)
_RAW = re.compile(rf"{RAW_FOLDER}(?P<table>[^/]+)/{_DAY}/{_RANGE}\.json\.gz")
_BATCH = re.compile(_RANGE)


@dataclass(frozen=True, slots=True)
class Piece:
    """An object by its name: records of `<stream>/<shard>` in (after, upto]; `reason` of the quarantine's alone.

    `table` is None for what the consumer quarantined, since nobody could tell. `day` is the arrival date (UTC) of its
    first record, as `yyyy/mm/dd`.
    """

    path: str
    stream: str
    shard: str
    after: int
    upto: int
    day: str
    table: str | None = None
    reason: str | None = None

    @property
    def shard_id(self) -> str:
        """The shard as `cdc.offsets` calls it."""
        return f"{self.stream}/{self.shard}"


@dataclass(frozen=True, slots=True)
class Batch:
    """A micro-batch, named by what it covers."""

    stream: str
    shard: str
    after: int
    upto: int


@dataclass(frozen=True, slots=True)
class Selection:
    """What a replay takes; what is empty or None selects nothing out. `days` is the first and the last."""

    tables: frozenset[str] = frozenset()
    reasons: frozenset[str] = frozenset()
    days: tuple[date, date] | None = None
    batch: Batch | None = None
    path: str = ""

    def has(self, piece: Piece) -> bool:
        """Whether an object is taken."""
        day = date(*map(int, piece.day.split("/")))
        return (
            (not self.tables or piece.table in self.tables)
            and (not self.reasons or piece.reason in self.reasons)
            and (self.days is None or self.days[0] <= day <= self.days[1])
            and (self.batch is None or self.batch == Batch(piece.stream, piece.shard, piece.after, piece.upto))
            and piece.path.startswith(self.path)
        )


def parse_piece(path: str, kept: Kept) -> Piece | None:
    """The object that a path names; None for any other."""
    match = (_QUARANTINE if kept == "quarantine" else _RAW).fullmatch(path)
    if match is None:
        return None
    named = match.groupdict()
    bounds = int(named["after"]), int(named["upto"])
    return Piece(path, named["stream"], named["shard"], *bounds, named["day"], named["table"], named.get("reason"))


def parse_batch(text: str) -> Batch | None:
    """The batch of a text like `<stream>~<shard>~<after>~<upto>`; None when it names none."""
    match = _BATCH.fullmatch(text)
    return Batch(match["stream"], match["shard"], int(match["after"]), int(match["upto"])) if match else None


def parse_days(text: str) -> tuple[date, date] | None:
    """The days of `2026-11-21` or `2026-11-01..2026-11-21`; None when there are none."""
    first, dots, last = text.partition("..")
    try:
        days = date.fromisoformat(first), date.fromisoformat(last if dots else first)
    except ValueError:
        return None
    return days if days[0] <= days[1] else None


def find(store: ObjectStore, kept: Kept, selection: Selection) -> Iterator[Piece]:
    """The objects that a selection takes, found by listing only where they can lie."""
    for prefix in _prefixes(store, kept, selection):
        for path in store.list_after(prefix):
            piece = parse_piece(path, kept)
            if piece is not None and selection.has(piece):
                yield piece


def _prefixes(store: ObjectStore, kept: Kept, selection: Selection) -> Iterable[str]:
    if selection.path:
        return [selection.path]
    folder = RAW_FOLDER if kept == "raw" else ""
    wanted = selection.tables if kept == "raw" else selection.reasons
    names = sorted(wanted) or [name for name in store.list_folders(folder) if not name.startswith("_")]
    days = [""] if selection.days is None else [f"{day:%Y/%m/%d}/" for day in _each_day(*selection.days)]
    return [f"{folder}{name}/{day}" for name, day in product(names, days)]


def _each_day(first: date, last: date) -> Iterator[date]:
    return (first + timedelta(days=number) for number in range((last - first).days + 1))
