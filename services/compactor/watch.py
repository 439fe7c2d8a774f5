"""Watch: notices in what is about to be merged that Debezium or DMS began a snapshot anew, and that it came to its end.

Our publisher says so itself (`compactor.epochs`); of others it shows by reads that come after streamed changes of the
same shard and were taken later than these. Merged into the epoch that stands they would lose to changes that are older
than they are, so the table waits until an operator has recorded the epoch. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import NamedTuple

import msgspec
import numpy as np

from cdc.debezium.decode import PUBLISHER_VERSION
from compactor.plain import COMMIT_TIMES_US, STREAMED, Line, Sights

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INCREMENTAL = "incremental"
_LAST = frozenset({"last", "last_in_data_collection"})
_OURS = f'{PUBLISHER_VERSION}","connector"'.encode()
"""What only our publisher writes, so that most of its records need not be decoded."""


class _Source(msgspec.Struct, gc=False):
    version: str = ""
    snapshot: str | bool | None = None
    ts_us: int | None = None
    ts_ms: int | None = None


class _Metadata(msgspec.Struct, rename="kebab", gc=False):
    operation: str | None = None
    timestamp: str | None = None
    commit_timestamp: str | None = None


class _Envelope(msgspec.Struct, gc=False):
    op: str | None = None
    source: _Source | None = None
    metadata: _Metadata | None = None
    payload: _Envelope | None = None


_DECODER = msgspec.json.Decoder(_Envelope)


class Sight(NamedTuple):
    """What a record is: a read of a snapshot (the last of its table?) or a streamed change, and its time at the source
    in microseconds since 1970.
    """

    is_read: bool
    is_last: bool
    at_us: int


class LastRead(msgspec.Struct, frozen=True):
    """The last read of a table's snapshot: its sequence number, when it arrived in the stream, when it was taken."""

    seq: str
    arrived_at: datetime
    taken_at: datetime


@dataclass(frozen=True, slots=True)
class Watched:
    """What is remembered of the newest epoch: the time (microseconds) of the latest streamed change by shard, and the
    last reads.
    """

    streamed: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    lasts: Mapping[str, LastRead] = field(default_factory=lambda: MappingProxyType({}))


def sight(event: bytes) -> Sight | None:
    """What a record is; None when it tells nothing here: our publisher's, of an incremental snapshot, unreadable."""
    if _OURS in event:
        return None
    try:
        message = _DECODER.decode(event)
        message = message.payload or message
        if message.metadata is not None and message.source is None:
            return _dms(message.metadata)
        source = message.source
        if source is None or source.version.endswith(PUBLISHER_VERSION):
            return None
        at_us = source.ts_us if source.ts_us is not None else (source.ts_ms or 0) * 1000
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError):
        return None
    marker = "true" if source.snapshot is True else str(source.snapshot or "").lower()
    is_read = message.op == "r"
    is_told = marker != _INCREMENTAL if is_read else marker in STREAMED
    if not is_told or at_us not in COMMIT_TIMES_US:  # the law sets a record of another time aside
        return None
    return Sight(is_read, is_last=is_read and marker in _LAST, at_us=at_us)


def _dms(metadata: _Metadata) -> Sight | None:
    is_read = metadata.operation == "load"
    text = metadata.timestamp if is_read else metadata.commit_timestamp
    if metadata.operation not in {"load", "insert", "update", "delete"} or text is None:
        return None
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        return None
    return Sight(is_read, is_last=False, at_us=(moment - _EPOCH) // timedelta(microseconds=1))


def watch(
    lines: Sequence[Line],
    known: Watched,
    epoch: int,
    is_resent: Callable[[str, int], bool] = lambda _shard, _seq: False,
    sights: Sights | None = None,
) -> tuple[Watched, dict[str, int]]:
    """What is remembered after some lines, and where snapshots begin that no epoch knows of: sequence numbers by shard.

    Lines of older epochs than `epoch`, the newest, tell nothing; nor do reads that somebody told to be ones sent again.
    `sights` is what is known of the lines already: most need not be decoded then.
    """
    sights = sights or Sights.of_nothing(len(lines))
    if (sights.is_ours | sights.is_streamed).all():
        return Watched(_latest(lines, known.streamed, epoch, sights), known.lasts), {}
    streamed, lasts = dict(known.streamed), dict(known.lasts)
    begun: dict[str, int] = {}
    for line, seen in _seen(lines, sights):
        if line.epoch != epoch or line.shard in begun:
            continue
        before = streamed.get(line.shard)
        if not seen.is_read:
            streamed[line.shard] = seen.at_us if before is None else max(before, seen.at_us)
        elif is_resent(line.shard, int(line.raw.seq)):
            continue
        elif before is not None and seen.at_us > before:
            begun[line.shard] = int(line.raw.seq)
        elif seen.is_last:
            arrived_at = datetime.fromisoformat(line.raw.arrived_at)
            lasts[line.shard] = LastRead(line.raw.seq, arrived_at, _EPOCH + timedelta(microseconds=seen.at_us))
    return Watched(streamed, lasts), begun


def _seen(lines: Sequence[Line], sights: Sights) -> Iterator[tuple[Line, Sight]]:
    """The lines that tell something, in order, and what."""
    places = np.flatnonzero(~sights.is_ours)
    for place, is_streamed, at_us in zip(
        places.tolist(), sights.is_streamed[places].tolist(), sights.at_us[places].tolist(), strict=True
    ):
        line = lines[place]
        seen = Sight(is_read=False, is_last=False, at_us=at_us) if is_streamed else sight(bytes(line.raw.event))
        if seen is not None:
            yield line, seen


def _latest(lines: Sequence[Line], streamed: Mapping[str, int], epoch: int, sights: Sights) -> Mapping[str, int]:
    """The times of the latest streamed changes by shard, where lines hold nothing else: what nearly every round is."""
    places = np.flatnonzero(sights.is_streamed)
    told = [lines[place] for place in places.tolist()]
    of_epoch = np.fromiter((line.epoch == epoch for line in told), np.bool_, len(told))
    numbers: dict[str, int] = {}
    shards = np.fromiter((numbers.setdefault(line.shard, len(numbers)) for line in told), np.intp, len(told))
    latest = dict(streamed)
    for shard, number in numbers.items():
        times = sights.at_us[places[of_epoch & (shards == number)]]
        if len(times):
            latest[shard] = max(int(times.max()), latest.get(shard, int(times.max())))
    return latest
