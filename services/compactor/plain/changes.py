"""Changes: what raw lines state of changes, by column and as yet without their rows."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from cdc.debezium.decode import PUBLISHER_VERSION
from cdc.epoch import FIRST_EPOCH
from cdc.position import LSN_MAX, LSN_OF_BACKFILL
from cdc.raw import RawLine
from compactor.fold import DELETE

NO_IMAGE = (b"", b"null")
UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)
STREAMED = frozenset({"false", "none", ""})
"""How producers say of a change that it is no part of a snapshot (Debezium's `source.snapshot`, in small letters)."""
_STREAMED_AS_SENT = frozenset({b'"false"', b"false", b"null", b'"none"', b'""', b""})
_READ = "r"
COMMIT_TIMES_US = range(-62_135_596_800_000_000, 253_402_300_800_000_000)
"""The years 1 to 9999 in microseconds from 1970."""


class Line(NamedTuple):
    """A raw line and where it came from: the shard's id and the batch's name; and the epoch that this puts it in."""

    shard: str
    batch: str
    raw: RawLine
    epoch: int = FIRST_EPOCH


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes whose rows are still to be read: the places of their lines, ops, LSNs, commit times; the rows' images."""

    places: npt.NDArray[np.intp]
    ops: npt.NDArray[np.str_]
    lsns: npt.NDArray[np.int64]
    times: npt.NDArray[np.int64]
    before: list[msgspec.Raw]
    after: list[msgspec.Raw]

    def __len__(self) -> int:
        return len(self.places)

    def take(self, which: npt.NDArray[np.intp]) -> Changes:
        """Those at some places among these."""
        before, after, some = self.before, self.after, which.tolist()
        return Changes(
            self.places[which],
            self.ops[which],
            self.lsns[which],
            self.times[which],
            [before[place] for place in some],
            [after[place] for place in some],
        )

    def where(self, mask: npt.NDArray[np.bool_]) -> Changes:
        """Those where a mask is true."""
        if mask.all():
            return self
        return Changes(
            self.places[mask],
            self.ops[mask],
            self.lsns[mask],
            self.times[mask],
            list(compress(self.before, mask)),
            list(compress(self.after, mask)),
        )


@dataclass(frozen=True, slots=True)
class Sights:
    """What lines tell of snapshots, line by line, as far as reading them by column shows it; `compactor.watch` asks.

    Either a line is our own publisher's, which says by itself when a snapshot begins, or a streamed change of another
    producer, with its time (microseconds since 1970), or neither is known of it.
    """

    is_ours: npt.NDArray[np.bool_]
    is_streamed: npt.NDArray[np.bool_]
    at_us: npt.NDArray[np.int64]

    @classmethod
    def of_nothing(cls, count: int) -> Sights:
        """Nothing is known of so many lines."""
        return cls(np.zeros(count, np.bool_), np.zeros(count, np.bool_), np.zeros(count, np.int64))


CommitTime = Annotated[int, msgspec.Meta(ge=COMMIT_TIMES_US.start, lt=COMMIT_TIMES_US.stop)]
Lsn = Annotated[int, msgspec.Meta(ge=0, le=LSN_MAX)]


class _Source(msgspec.Struct, gc=False):
    schema: str
    table: str
    ts_us: CommitTime
    lsn: Lsn | None = None
    version: str = ""
    snapshot: msgspec.Raw = msgspec.Raw()  # of whatever type: it is no reason to read the line one by one


class _Envelope(msgspec.Struct, gc=False):
    op: Literal["r", "c", "u", "d"]
    source: _Source
    before: msgspec.Raw = msgspec.Raw()
    after: msgspec.Raw = msgspec.Raw()


_ENVELOPE = msgspec.json.Decoder(_Envelope)


def changes_of(lines: Sequence[Line], first: int, sights: Sights) -> tuple[Changes, npt.NDArray[np.bool_], list[int]]:
    """The changes that some lines state, which of them are our own publisher's, and the places of lines that are none
    that could be plain. Places are counted from that of the first line. What the lines tell of snapshots is entered in
    `sights`.
    """
    places = np.arange(first, first + len(lines))
    others: list[int] = []
    if any(line.raw.schema_id is not None for line in lines):
        in_avro = np.array([line.raw.schema_id is not None for line in lines])
        others += places[in_avro].tolist()  # their schemas tell their forms
        lines, places = list(compress(lines, ~in_avro)), places[~in_avro]
    envelopes = _envelopes([line.raw.event for line in lines])
    read = [envelope for envelope in envelopes if envelope is not None]
    if len(read) < len(envelopes):
        is_read = np.array([envelope is not None for envelope in envelopes])
        others += places[~is_read].tolist()
        places = places[is_read]
    versions = [envelope.source.version for envelope in read]
    ours = {version for version in set(versions) if version.endswith(PUBLISHER_VERSION)}
    is_ours = np.array([version in ours for version in versions], np.bool_)
    changes, is_sound = changes_in(read, places)
    sights.is_ours[places] = is_ours
    if not is_ours.all():
        markers = [bytes(envelope.source.snapshot) for envelope in read]
        is_streamed = np.array([marker in _STREAMED_AS_SENT for marker in markers], np.bool_)
        sights.is_streamed[places] = is_streamed & (changes.ops != _READ) & ~is_ours
        sights.at_us[places] = changes.times
    others += places[~is_sound].tolist()
    return changes.where(is_sound), is_ours[is_sound], others


def changes_in(envelopes: Sequence[Any], places: npt.NDArray[np.intp]) -> tuple[Changes, npt.NDArray[np.bool_]]:
    """The changes that the envelopes at some places state, and which of them have what a change of their op must have.

    An envelope is any struct with the members of `_Envelope`, whose schema, table and version are not looked at.
    """
    stated = Stated()
    stated.add(envelopes)
    before, after = [envelope.before for envelope in envelopes], [envelope.after for envelope in envelopes]
    changes, is_sound = stated.changes(places, before, after)
    for row in np.flatnonzero(changes.ops == DELETE).tolist():
        is_sound[row] &= bytes(after[row]) in NO_IMAGE
    return changes, is_sound


class Stated:
    """What envelopes state beside the rows, some after others: what was read of these need not stay in memory."""

    def __init__(self) -> None:
        self._ops: list[str] = []
        self._lsns, self._times = array("q"), array("q")

    def add(self, envelopes: Sequence[Any]) -> npt.NDArray[np.str_]:
        """Take what some envelopes state; returns their ops. No other members than `op` and `source` are asked for."""
        sources = [envelope.source for envelope in envelopes]
        ops = "".join([envelope.op for envelope in envelopes])
        self._ops.append(ops)
        self._lsns.extend([source.lsn or LSN_OF_BACKFILL for source in sources])
        self._times.extend([source.ts_us for source in sources])
        return _letters(ops)

    def changes(
        self, places: npt.NDArray[np.intp], before: list[msgspec.Raw], after: list[msgspec.Raw]
    ) -> tuple[Changes, npt.NDArray[np.bool_]]:
        """All changes, with their rows' images, and which of them have an LSN or need none."""
        ops, lsns, times = _letters("".join(self._ops)), np.array(self._lsns), np.array(self._times)
        lsns[ops == _READ] = LSN_OF_BACKFILL
        return Changes(places, ops, lsns, times, before, after), (lsns != LSN_OF_BACKFILL) | (ops == _READ)


def _letters(text: str) -> npt.NDArray[np.str_]:
    return np.frombuffer(text.encode("utf-32-le"), "<U1")  # four bytes a letter, as numpy holds texts


def _envelopes(events: Sequence[msgspec.Raw]) -> list[_Envelope | None]:
    """The envelope of each event; None where it is none."""
    decode = _ENVELOPE.decode
    try:
        return [decode(event) for event in events]
    except UNREADABLE:
        return [_envelope(event) for event in events]


def _envelope(event: msgspec.Raw) -> _Envelope | None:
    try:
        return _ENVELOPE.decode(event)
    except UNREADABLE:
        return None
