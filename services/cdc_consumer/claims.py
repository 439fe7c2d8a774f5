"""Which leases a worker takes next, decided purely: by the listing of all leases, who it is, and what it saw of them.

The workers know of each other only by the leases that they hold. Each takes what is free up to its fair share, which is
the number of shards over the number of workers, rounded up. What is free for some seconds more is taken by anybody, so
that no shard waits for a worker that is only believed to live. When nothing is free, a worker that has less than its
share takes one lease at a time from the busiest, if that leaves the busiest no worse off than itself: so the numbers
come to differ by one at most, and then nothing moves any more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import Enum

from cdc_consumer.lease import Lease, Sighting

PATIENCE_SECONDS_MAX = 2.0
"""How long a free lease past our fair share is left to the others."""


class Because(Enum):
    """Why a lease may be taken."""

    FREE = "free"
    EXPIRED = "expired"
    STOLEN = "stolen"


@dataclass(frozen=True, slots=True)
class Claim:
    """A lease to take."""

    key: str
    because: Because


@dataclass(frozen=True, slots=True)
class View:
    """What a worker sees at one moment, `now` on its own monotonic clock.

    `leases` are those of the shards that may be read and are not written to their end, each with its sighting; `held`
    are the keys that our threads work on, `avoided` those that we do not want for now.
    """

    worker: str
    leases: Mapping[str, Lease]
    sightings: Mapping[str, Sighting]
    held: Collection[str]
    avoided: Collection[str]
    now: float
    lease_seconds: float

    @property
    def patience_seconds(self) -> float:
        """How long a free lease past our share is left to others."""
        return min(PATIENCE_SECONDS_MAX, self.lease_seconds / 10)

    def free_since(self, key: str) -> float:
        """Since when a lease that we do not hold may be taken by anybody, or will be if its owner gives no sign.

        A lease in our own name that we do not hold is one whose taking looked like a failure and was none.
        """
        since = self.sightings[key].since
        return since if self.leases[key].owner in {None, self.worker} else since + self.lease_seconds

    def others(self) -> dict[str, str]:
        """The leases, by key, of other workers that gave a sign of life in time."""
        owners = {key: lease.owner for key, lease in self.leases.items() if lease.owner is not None}
        return {key: owner for key, owner in owners.items() if owner != self.worker and self.free_since(key) > self.now}


def claims(view: View, chance: Callable[[], float]) -> list[Claim]:
    """The leases to take now, most wanted first; at most one of them is stolen. `chance` spreads workers apart."""
    others = view.others()
    free = sorted(key for key in view.leases if key not in {*view.held, *view.avoided, *others})
    burden = Counter(others.values())
    mine = len(view.held)
    share = fair_share(len(others) + mine + len(free), len(burden) + 1)
    if free:
        free.sort(key=lambda _: chance())
        room = max(0, share - mine)
        patient = view.now - view.patience_seconds
        wanted = free[:room] + [key for key in free[room:] if view.free_since(key) <= patient]
        return [Claim(key, _because(view, key)) for key in wanted]
    busiest = max(sorted(burden), key=lambda owner: burden[owner], default=None)
    if busiest is None or mine >= share or burden[busiest] - mine < 2:
        return []
    theirs = sorted(key for key, owner in others.items() if owner == busiest and key not in view.avoided)
    return [Claim(theirs[int(chance() * len(theirs))], Because.STOLEN)] if theirs else []


def fair_share(leases: int, workers: int) -> int:
    """How many leases a worker may have at most while the others have as many."""
    return -(-leases // workers)


def next_free_at(view: View) -> float | None:
    """The earliest moment still to come at which a lease that we do not hold will have stood still for too long."""
    moments = (
        moment
        for key in view.leases
        if key not in view.held and key not in view.avoided
        for moment in (view.free_since(key), view.free_since(key) + view.patience_seconds)
    )
    return min((moment for moment in moments if moment > view.now), default=None)


def _because(view: View, key: str) -> Because:
    return Because.FREE if view.leases[key].owner in {None, view.worker} else Because.EXPIRED
