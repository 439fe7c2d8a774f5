"""Sights: whether a snapshot began anew that no epoch tells of, found while a shard's objects are read in any order.

`compactor.watch` is the law; it looks at the lines of a shard from first to last. Here each object says by itself what
matters for those before and behind it. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from compactor.watch import Sight


@dataclass(frozen=True, slots=True)
class Sighted:
    """Of the lines of an object, times at the source in microseconds since 1970 (None: there is none).

    `streamed_us` is the latest of streamed changes. `read_us` is that of reads that no streamed change before them in
    this object is as late as; `anew_us` the same of those that have a streamed change before them here.
    """

    streamed_us: int | None = None
    read_us: int | None = None
    anew_us: int | None = None


def sighted(sights: Iterable[Sight]) -> Sighted:
    """What the lines of an object tell, in their order."""
    streamed: int | None = None
    reads: list[int] = []
    anew: list[int] = []
    for sight in sights:
        if not sight.is_read:
            streamed = sight.at_us if streamed is None else max(streamed, sight.at_us)
        elif streamed is None:
            reads.append(sight.at_us)
        elif sight.at_us > streamed:
            reads.append(sight.at_us)
            anew.append(sight.at_us)
    return Sighted(streamed, max(reads, default=None), max(anew, default=None))


def begins_anew(objects: Iterable[Sighted]) -> bool:
    """Whether a read of a shard was taken later than all streamed changes before it; the objects are in order."""
    streamed: int | None = None
    for one in objects:
        if one.anew_us is not None and (streamed is None or one.anew_us > streamed):
            return True
        if one.read_us is not None and streamed is not None and one.read_us > streamed:
            return True
        if one.streamed_us is not None:
            streamed = one.streamed_us if streamed is None else max(streamed, one.streamed_us)
    return False
