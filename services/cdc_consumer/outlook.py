"""What a worker sees of the streams' shards and of everybody's leases, and which of them it may take."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from cdc.errors import FatalFault
from cdc.telemetry import get_log
from cdc_consumer import metrics
from cdc_consumer.clock import Clock
from cdc_consumer.kinesis import Shard, Stream, Streams
from cdc_consumer.lease import SHARD_END, Lease, Sighting, is_free, lease_key, parents_ended, taken, watch
from cdc_consumer.lease_table import LeaseTable

LOOKS_PER_LEASE = 6
LOOK_SECONDS_MAX = 5.0
"""How long a lease that was given back lies there until somebody takes it, at most."""
SURVEY_SECONDS = 30.0
"""How often the stream is asked for its shards."""

_log = get_log(__name__)


@dataclass(frozen=True, slots=True)
class Taken:
    """A shard whose lease we took just now."""

    key: str
    stream: Stream
    shard: Shard
    lease: Lease


class Outlook:
    """Looks at shards and leases now and then, and takes what is free, under the worker's own name."""

    def __init__(
        self,
        worker: str,
        streams: Streams,
        table: LeaseTable,
        lease_seconds: float,
        clock: Clock,
        announce: Callable[[Stream, Shard], None],
    ) -> None:
        self._worker = worker
        self._announce = announce
        self._service = streams
        self._table = table
        self._lease_seconds = lease_seconds
        self._clock = clock
        self.streams: tuple[Stream, ...] = ()
        self._shards: dict[str, tuple[Stream, Shard]] = {}
        self._leases: dict[str, Lease] = {}
        self._sightings: dict[str, Sighting] = {}
        self._mentioned: set[str] = set()
        self._look_due = 0.0
        self._survey_due = 0.0
        self.has_surveyed = False

    def start(self, names: Collection[str]) -> None:
        """See that the lease table and the streams are there.

        Raises:
            FatalFault: when a stream is not.
        """
        self._table.ensure()
        self.streams = tuple(self._service.describe(name) for name in names)

    def hurry(self) -> None:
        """Look again at once: a shard ended, so that others may be taken now."""
        self._look_due = self._survey_due = 0.0

    def look(self, *, all_anew: bool) -> bool:
        """Look, if it is time to; returns whether anything was looked at. `all_anew` lists the shards each time.

        Raises:
            TransientFault: when streams or table do not answer for now.
            FatalFault: when a stream is not the one any more that we began with.
        """
        now = self._clock.monotonic()
        if now < self._look_due:
            return False
        self._look_due = now + min(LOOK_SECONDS_MAX, self._lease_seconds / LOOKS_PER_LEASE)
        self.has_surveyed = all_anew or now >= self._survey_due
        if self.has_surveyed:
            self._survey()
            self._survey_due = now + SURVEY_SECONDS
        self._leases = self._table.leases()
        self._sightings = watch(self._sightings, self._leases.values(), self._clock.monotonic())
        self._report_lost_shards()
        return True

    def take(self, besides: Collection[str]) -> Iterator[Taken]:
        """Take every lease that is free and whose shard may be read, but for some keys.

        Raises:
            TransientFault: when the table does not answer for now; what was taken until then is ours.
        """
        listed = {stream.identity: set[str]() for stream in self.streams}
        for stream, shard in self._shards.values():
            listed[stream.identity].add(shard.id)
        for key, (stream, shard) in self._shards.items():
            if key in besides or not parents_ended(shard, listed[stream.identity], self._leases, stream.identity):
                continue
            lease = self._take(key, shard)
            if lease is not None:
                yield Taken(key, stream, shard, lease)

    def all_done(self, caught_up: Collection[str]) -> bool:
        """Whether every shard is either one of these or written to its end."""
        ended = {key for key, lease in self._leases.items() if lease.checkpoint == SHARD_END}
        return all(key in caught_up or key in ended for key in self._shards)

    def _survey(self) -> None:
        shards: dict[str, tuple[Stream, Shard]] = {}
        self.streams = tuple(map(self._described, self.streams))
        for stream in self.streams:
            for shard in self._service.shards(stream):
                shards[lease_key(stream.identity, shard.id)] = (stream, shard)
        # Before any of them is taken: who reads raw must know of all that is still to come.
        for key in shards.keys() - self._shards.keys():
            self._announce(*shards[key])
        self._shards = shards

    def _described(self, known: Stream) -> Stream:
        stream = self._service.describe(known.name)
        if stream.identity != known.identity:
            raise FatalFault(
                "the stream was deleted and made anew while it was read",
                where=stream.name,
                hint="start again: the new stream is another one in raw, read from its beginning",
            )
        return stream

    def _take(self, key: str, shard: Shard) -> Lease | None:
        lease = self._leases.get(key)
        if lease is None:
            lease = Lease(key, parents=tuple(sorted(shard.parents)))
            self._table.create(lease)
        elif not is_free(lease, self._sightings[key], self._worker, self._clock.monotonic(), self._lease_seconds):
            if lease.checkpoint != SHARD_END and key not in self._mentioned:
                self._mentioned.add(key)
                _log.info("another worker holds the lease", lease=key)
            return None
        mine = taken(lease, self._worker)
        if self._table.replace(lease, mine) != mine:
            return None  # another worker was faster
        self._mentioned.discard(key)
        _log.info("lease taken", lease=key, checkpoint=lease.checkpoint, expired=lease.owner is not None)
        return mine

    def _report_lost_shards(self) -> None:
        """A shard that the stream lists no more, not written to its end: what it held past the checkpoint is gone."""
        ours = tuple(f"{stream.identity}/" for stream in self.streams)
        for key, lease in self._leases.items():
            unlisted = key.startswith(ours) and key not in self._shards
            if unlisted and lease.checkpoint != SHARD_END and key not in self._mentioned:
                self._mentioned.add(key)
                metrics.GAPS.inc()
                _log.error(
                    "gap: the stream dropped a shard that was not read to its end",
                    lease=key,
                    checkpoint=lease.checkpoint,
                    hint="the merge waits at the gap; take a new snapshot of the source",
                )
