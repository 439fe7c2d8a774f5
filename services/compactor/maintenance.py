"""Maintenance: what is most worth doing now so that a lake table stays fast to read and to commit to. Pure.

Each step is small: it reads and writes so much that it takes about a second, and leaves a table with the same rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import accumulate
from typing import Final

MANIFESTS_A_STEP: Final = 64


@dataclass(frozen=True, slots=True)
class Limits:
    """What a step may take, and what is left alone.

    A file that is half as large as a step may be is a base file: it is written anew only when `dead_share` of its rows
    are dead. Smaller ones are merged when `files_alike` of them are about as large as each other, so that a row is
    written anew about once for each power of ten that the table grows; those of a day that is over when two are.
    Snapshots older than `snapshot_age` expire, the newest `snapshots_min` excepted, `snapshots_a_step` at a time, or
    fewer when they have waited for `waiting_age`. Orphans are files older than `orphan_age` that nothing names; they
    are looked for every `orphans_every`.
    """

    step_rows: int = 1_000_000
    step_bytes: int = 64 * 1024 * 1024
    files_alike: int = 8
    files_a_step: int = 64
    dead_share: float = 0.1
    dead_rows_min: int = 1000
    manifests: int = 16
    manifest_files: int = 500
    snapshot_age: timedelta = timedelta(minutes=30)
    snapshots_min: int = 10
    snapshots_a_step: int = 20
    waiting_age: timedelta = timedelta(hours=6)
    orphan_age: timedelta = timedelta(days=3)
    orphans_every: timedelta = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class File:
    """A data file: its day (None in a table without partitions), rows, dead ones among them, and bytes."""

    path: str
    day: int | None
    records: int
    dead: int
    bytes: int

    @property
    def live(self) -> int:
        """Rows that are not dead."""
        return self.records - self.dead


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot that the table knows; `is_needed` when something else names it, so that it must stay."""

    id: int
    committed_at: datetime
    is_needed: bool


@dataclass(frozen=True, slots=True)
class TableState:
    """What a plan needs to know of a table.

    `manifests` tells by path how many files each data manifest names; `snapshots` are in order of time, the current
    one last; `orphans_removed_at` is when orphans were last removed, None when they never were.
    """

    files: Sequence[File] = ()
    manifests: Sequence[tuple[str, int]] = ()
    snapshots: Sequence[Snapshot] = ()
    orphans_removed_at: datetime | None = None


class Kind(StrEnum):
    """What a step does, as metrics and logs name it."""

    REWRITE = "rewrite"
    MANIFESTS = "manifests"
    EXPIRE = "expire"
    ORPHANS = "orphans"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do: `paths` are data files to be written as one, or manifests; `snapshots` are to be forgotten."""

    kind: Kind
    paths: tuple[str, ...] = ()
    snapshots: tuple[int, ...] = field(default=())


def plan(state: TableState, limits: Limits, now: datetime) -> Step | None:
    """What is most worth doing now; None when nothing is. What makes every commit slower comes first."""
    return (
        _expiry(state, limits, now)
        or _manifests(state, limits)
        or _rewrite(state, limits, now)
        or _orphans(state, limits, now)
    )


def _expiry(state: TableState, limits: Limits, now: datetime) -> Step | None:
    old = state.snapshots[: -limits.snapshots_min]
    expired = [s for s in old if not s.is_needed and now - s.committed_at > limits.snapshot_age]
    if not expired:
        return None
    waited_long = now - expired[0].committed_at > limits.waiting_age
    if len(expired) < limits.snapshots_a_step and not waited_long:
        return None
    return Step(Kind.EXPIRE, snapshots=tuple(s.id for s in expired[: limits.snapshots_a_step]))


def _manifests(state: TableState, limits: Limits) -> Step | None:
    small = sorted(
        ((path, files) for path, files in state.manifests if files < limits.manifest_files), key=lambda one: one[1]
    )
    if len(small) < limits.manifests:
        return None
    upto = list(accumulate(files for _, files in small))
    chosen = [path for (path, _), files in zip(small, upto, strict=True) if files <= 4 * limits.manifest_files]
    return Step(Kind.MANIFESTS, paths=tuple(chosen[:MANIFESTS_A_STEP]))


def _rewrite(state: TableState, limits: Limits, now: datetime) -> Step | None:
    """Dead rows first: they cost every reader. Then the day, and there the size, of which there are most files."""
    today = (now.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)).days
    dirty = [f for f in state.files if f.dead >= max(limits.dead_share * f.records, limits.dead_rows_min)]
    if dirty:
        day = dirty[0].day
        chosen = _fitting((f for f in dirty if f.day == day), limits)
        return Step(Kind.REWRITE, paths=tuple(f.path for f in chosen))
    alike: dict[tuple[int | None, int], list[File]] = {}
    for file in state.files:
        if _fullness(file, limits) < 1 / 2:
            alike.setdefault((file.day, _size(file, limits)), []).append(file)
    crowded = [
        files
        for (day, _), files in alike.items()
        if len(files) >= (limits.files_alike if day is None or day >= today - 1 else 2)
    ]
    for files in sorted(crowded, key=len, reverse=True):
        chosen = _fitting(files, limits)
        if len(chosen) > 1:
            return Step(Kind.REWRITE, paths=tuple(f.path for f in chosen))
    return None


def _fitting(files: Iterable[File], limits: Limits) -> list[File]:
    """As many files as one step may take, the smallest first; at least one."""
    chosen: list[File] = []
    full = 0.0
    for file in sorted(files, key=lambda one: (one.live, one.path)):
        full += _fullness(file, limits)
        if chosen and (full > 1 or len(chosen) == limits.files_a_step):
            break
        chosen.append(file)
    return chosen


def _fullness(file: File, limits: Limits) -> float:
    """How much of a step a file's live rows take."""
    share = file.live / file.records if file.records else 0
    return max(file.live / limits.step_rows, file.bytes * share / limits.step_bytes)


def _size(file: File, limits: Limits) -> int:
    """Files that are about as large as each other have the same: below a hundredth of a step, a tenth, and above."""
    fullness = _fullness(file, limits)
    return 0 if fullness < 1 / 100 else 1 if fullness < 1 / 10 else 2


def _orphans(state: TableState, limits: Limits, now: datetime) -> Step | None:
    last = state.orphans_removed_at
    if last is not None and last <= now < last + limits.orphans_every:
        return None
    return Step(Kind.ORPHANS)
