"""What a worker sees of the streams' shards and of everybody's leases, and the leases that it takes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from cdc.errors import FatalFault
from cdc.telemetry import get_log
from cdc_consumer import metrics
from cdc_consumer.claims import Because, Claim, View, claims, next_free_at
from cdc_consumer.clock import Clock
from cdc_consumer.coverage import uncovered
from cdc_consumer.lease import (
    SHARD_END,
    Lease,
    Sighting,
    is_of_before,
    lease_key,
    parents_ended,
    taken,
    unwritten,
    watch,
)
from cdc_consumer.lease_table import LeaseTable
from cdc_consumer.stream import Shard, Stream, Streams

LOOKS_PER_LEASE = 6
LOOK_SECONDS_MAX = 5.0
"""How long a lease that was given back lies there until somebody takes it, at most."""
STEAL_SECONDS = 1.0
"""Between two leases stolen: each gives its worker time to hand over, and the next is chosen from a new listing."""
SURVEY_SECONDS = 30.0
"""How often the stream is asked for its shards."""
PAST_SECONDS = 10 * SURVEY_SECONDS
"""How long the lease of a shard that is over and no longer listed is kept."""
HOLE_SURVEYS = 2
"""A hole in the hash keys is believed when so many surveys in turn show it: shards may be listed late."""

_log = get_log(__name__)


@dataclass(frozen=True, slots=True)
class Taken:
    """A shard whose lease we took just now."""

    key: str
    stream: Stream
    shard: Shard
    lease: Lease


class Outlook:
    """Looks at shards and leases now and then, and takes what it should, under the worker's own name."""

    def __init__(
        self,
        worker: str,
        streams: Streams,
        table: LeaseTable,
        lease_seconds: float,
        clock: Clock,
        chance: Callable[[], float],
        announce: Callable[[Stream, Shard], None],
    ) -> None:
        self._worker = worker
        self._announce = announce
        self._service = streams
        self._table = table
        self._lease_seconds = lease_seconds
        self._look_seconds = min(LOOK_SECONDS_MAX, lease_seconds / LOOKS_PER_LEASE)
        self._clock = clock
        self._chance = chance
        self.streams: tuple[Stream, ...] = ()
        self.leases: dict[str, Lease] = {}
        self._shards: dict[str, tuple[Stream, Shard]] = {}
        self._lost: dict[str, tuple[Stream, Shard]] = {}
        self._sightings: dict[str, Sighting] = {}
        self._seen_at: float | None = None
        self._holes: dict[str, int] = {}
        self._past_since: dict[str, float] = {}
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
        self._look_due = now + self._look_seconds
        self.has_surveyed = all_anew or now >= self._survey_due
        if self.has_surveyed:
            self._survey()
            self._survey_due = now + SURVEY_SECONDS
        self.leases = self._table.leases()
        self._watch()
        self._lost = self._find_lost()
        self._tell_unheld(now)
        if self.has_surveyed:
            self._remove_past()
        return True

    def take(self, held: Collection[str], avoided: Collection[str]) -> Iterator[Taken]:
        """Take what is free and, where that is fair, one lease from another worker.

        `held` are the leases that our threads work on, `avoided` those that we do not want for now.

        Raises:
            TransientFault: when the table does not answer for now; what was taken until then is ours.
        """
        yield from self._take_all(held, avoided, claims(self._view(held, avoided), self._chance))

    def take_free(self, held: Collection[str], avoided: Collection[str]) -> Iterator[Taken]:
        """Take what is free, as `take` does, and leave the others what they hold."""
        chosen = claims(self._view(held, avoided), self._chance)
        yield from self._take_all(held, avoided, [claim for claim in chosen if claim.because is not Because.STOLEN])

    def all_done(self, caught_up: Collection[str]) -> bool:
        """Whether every shard is either one of these or written to its end."""
        ended = {key for key, lease in self.leases.items() if lease.checkpoint == SHARD_END}
        return all(key in caught_up or key in ended for key in self._shards | self._lost)

    def _take_all(self, held: Collection[str], avoided: Collection[str], chosen: Iterable[Claim]) -> Iterator[Taken]:
        view = self._view(held, avoided)
        free_at = next_free_at(view)
        if free_at is not None:
            self._look_due = min(self._look_due, free_at)
        for key in view.others().keys() - set(held) - self._mentioned:
            self._mentioned.add(key)
            _log.info("another worker holds the lease", lease=key)
        known = self._shards | self._lost
        for claim in chosen:
            lease = self._take(claim, view.leases[claim.key])
            if lease is not None:
                yield Taken(claim.key, *known[claim.key], lease)

    def _take(self, claim: Claim, lease: Lease) -> Lease | None:
        key = claim.key
        if key not in self.leases:
            self._table.create(lease)
        if claim.because is Because.STOLEN:
            self._look_due = min(self._look_due, self._clock.monotonic() + STEAL_SECONDS)
        mine = taken(lease, self._worker)
        if self._table.replace(lease, mine) != mine:
            return None  # another worker was faster
        self._mentioned.discard(key)
        metrics.LEASES_TAKEN.labels(because=claim.because.value).inc()
        _log.info("lease taken", lease=key, checkpoint=lease.checkpoint, because=claim.because.value)
        return mine

    def _view(self, held: Collection[str], avoided: Collection[str]) -> View:
        """What there is to decide on: the leases, written down yet or not, of all shards that may be read."""
        known = self._shards | self._lost
        listed = {stream.identity: set[str]() for stream in self.streams}
        for stream, shard in known.values():
            listed[stream.identity].add(shard.id)
        leases = self._with_new()
        return View(
            worker=self._worker,
            leases={
                key: leases[key]
                for key, (stream, shard) in known.items()
                if leases[key].checkpoint != SHARD_END
                and parents_ended(shard, listed[stream.identity], self.leases, stream.identity)
            },
            sightings=self._sightings,
            held=held,
            avoided=avoided,
            now=self._clock.monotonic(),
            lease_seconds=self._lease_seconds,
        )

    def _watch(self) -> None:
        now = self._clock.monotonic()
        blind_seconds = 0.0 if self._seen_at is None else max(0.0, now - self._seen_at - 2 * self._look_seconds)
        self._sightings = watch(self._sightings, self._with_new().values(), now, blind_seconds)
        self._seen_at = now

    def _with_new(self) -> dict[str, Lease]:
        """All leases, those included that nobody wrote down yet."""
        known = self._shards.items()
        return {key: unwritten(shard, self.leases, stream.identity) for key, (stream, shard) in known} | self.leases

    def _tell_unheld(self, now: float) -> None:
        """Tell the shards that may be read and that nobody reads, be it ourselves."""
        leases = self._view((), ()).leases
        unheld = [
            key
            for key, lease in leases.items()
            if lease.owner is None or now - self._sightings[key].since > self._lease_seconds
        ]
        metrics.UNHELD_SHARDS.set(len(unheld))

    def _survey(self) -> None:
        shards: dict[str, tuple[Stream, Shard]] = {}
        self.streams = tuple(map(self._described, self.streams))
        for stream in self.streams:
            of_stream = self._service.shards(stream)
            self._check_coverage(stream, of_stream)
            for shard in of_stream:
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

    def _check_coverage(self, stream: Stream, shards: Iterable[Shard]) -> None:
        holes = uncovered(shards)
        self._holes[stream.identity] = self._holes.get(stream.identity, 0) + 1 if holes else 0
        believed = self._holes[stream.identity] >= HOLE_SURVEYS
        metrics.UNCOVERED_HASH_RANGES.labels(stream=stream.identity).set(len(holes) if believed else 0)
        if believed:
            _log.error(
                "the open shards that the stream lists do not take every hash key",
                stream=stream.identity,
                holes=[f"{first}-{last}" for first, last in holes],
                hint="records of these keys are not read; compare with aws kinesis list-shards and ask AWS",
            )

    def _find_lost(self) -> dict[str, tuple[Stream, Shard]]:
        """Shards that the stream lists no more and that were not written to their end; their reader sees what is lost.

        Should the listing be at fault, such a shard is read on like any other.
        """
        lost: dict[str, tuple[Stream, Shard]] = {}
        for stream, lease in self._unlisted():
            if lease.checkpoint == SHARD_END:
                continue
            lost[lease.key] = (stream, Shard(lease.key.removeprefix(f"{stream.identity}/"), lease.parents))
            if lease.key not in self._lost:
                _log.warning(
                    "the stream dropped a shard that was not written to its end",
                    lease=lease.key,
                    checkpoint=lease.checkpoint,
                )
        return lost

    def _remove_past(self) -> None:
        """Remove the leases of shards that are written to their end and no longer listed: each look pays for them.

        So are those of a stream of before that had the same name. Not before all workers have listed the shards anew,
        since one that still knows the shard would lease it again.
        """
        now = self._clock.monotonic()
        past = [lease for _, lease in self._unlisted() if lease.checkpoint == SHARD_END]
        past += self._of_streams_before()
        self._past_since = {lease.key: self._past_since.get(lease.key, now) for lease in past}
        for lease in past:
            if now - self._past_since[lease.key] >= PAST_SECONDS:
                self._table.delete(lease)
                self.leases.pop(lease.key)

    def _of_streams_before(self) -> list[Lease]:
        """Leases of streams that were deleted and made anew under the same name; tells what was not read of them."""
        before = [lease for lease in self.leases.values() if any(is_of_before(lease, one) for one in self.streams)]
        for lease in before:
            if lease.checkpoint != SHARD_END and lease.key not in self._mentioned:
                self._mentioned.add(lease.key)
                _log.warning(
                    "the stream was made anew, and this shard of the old one was never written to an end",
                    lease=lease.key,
                    checkpoint=lease.checkpoint,
                    hint="if the old one may have held records past the checkpoint, take a new snapshot of the source",
                )
        return before

    def _unlisted(self) -> Iterator[tuple[Stream, Lease]]:
        for stream in self.streams:
            for key, lease in self.leases.items():
                if key.startswith(f"{stream.identity}/") and key not in self._shards:
                    yield stream, lease
