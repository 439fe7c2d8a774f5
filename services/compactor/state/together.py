"""Together: several objects whose heads were read, as one; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cdc.raw import ObjectRef
from compactor.fold import DELETE
from compactor.index import Fingerprints
from compactor.plain import Line
from compactor.plain.changes import Changes
from compactor.state.heads import Heads
from compactor.state.newest import Changed

TOGETHER_BYTES = 32 * 1024 * 1024
"""How many bytes of lines are looked at together."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An object whose heads were read, with the epoch of each; `lines` decodes its lines, which is seldom needed.

    `ref` is what its batch record says of it, `text_bytes` how long its lines are.
    """

    ref: ObjectRef
    text_bytes: int
    heads: Heads
    epochs: npt.NDArray[np.int32]
    lines: Callable[[], list[Line]]

    def some(self, places: Sequence[int]) -> list[Line]:
        """The lines at some places."""
        lines = self.lines()
        return [lines[place] for place in places]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Some changes out of several objects; their places count them. `lines` gives the lines of some of them."""

    changes: Changes
    is_ours: npt.NDArray[np.bool_]
    epochs: npt.NDArray[np.int32]
    lines: Callable[[Sequence[int]], list[Line]]


def changed(objects: Sequence[Opened]) -> Changed:
    """The heads of several objects, one after the other."""
    prints = [one.heads.prints for one in objects]
    lows = [some.low for some in prints if some.low is not None]
    return Changed(
        Fingerprints(np.concatenate([some.high for some in prints]), np.concatenate(lows) if lows else None),
        np.concatenate([one.epochs for one in objects]).astype(np.uint16),
        np.concatenate([one.heads.changes.lsns for one in objects]),
        np.concatenate([one.heads.changes.ops == DELETE for one in objects]),
    )


def chosen(objects: Sequence[Opened], which: npt.NDArray[np.intp]) -> Chosen:
    """Some of the heads of several objects, by their places (sorted) among all of these."""
    ends = np.cumsum([len(one.heads) for one in objects])
    parts = np.split(which, np.searchsorted(which, ends[:-1]))
    starts = ends - [len(one.heads) for one in objects]
    own = [part - start for part, start in zip(parts, starts.tolist(), strict=True)]
    taken = [one.heads.changes.take(some) for one, some in zip(objects, own, strict=True)]
    number = np.repeat(np.arange(len(objects)), [len(some) for some in own])
    places = np.concatenate([some.places for some in taken])

    def lines(some: Sequence[int]) -> list[Line]:
        by_object = (
            (objects[n], [place for place in some if number[place] == n]) for n in sorted({*number[some].tolist()})
        )
        return [line for one, its in by_object for line in one.some(places[its].tolist())]

    return Chosen(
        Changes(
            np.arange(len(which)),
            np.concatenate([some.ops for some in taken]),
            np.concatenate([some.lsns for some in taken]),
            np.concatenate([some.times for some in taken]),
            [image for some in taken for image in some.before],
            [image for some in taken for image in some.after],
        ),
        np.concatenate([one.heads.is_ours[some] for one, some in zip(objects, own, strict=True)]),
        np.concatenate([one.epochs[some] for one, some in zip(objects, own, strict=True)]),
        lines,
    )


def together(objects: Iterable[Opened]) -> Iterator[list[Opened]]:
    """Objects, as many together as there may be; what was given is forgotten before the next is asked for."""
    some: list[Opened] = []
    size_bytes = 0
    for one in objects:
        some.append(one)
        size_bytes += one.text_bytes
        del one
        if size_bytes >= TOGETHER_BYTES:
            yield some
            some, size_bytes = [], 0
    if some:
        yield some
