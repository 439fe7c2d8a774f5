"""A fleet under simulated time, with everything around the workers misbehaving by a seed.

Workers pause, crash, stop and join; their clocks drift; DynamoDB throttles, loses answers, and lets writes land late;
shards are split and merged, listed late and dropped when they are past. `Simulation` checks at every step that only the
newest taker of a lease writes to it, that no checkpoint moves back or is ahead of raw, and that no shard is begun before
its parents are closed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from random import Random

from cdc.errors import TransientFault
from cdc_consumer.coverage import HASH_KEY_LAST
from cdc_consumer.lease import SHARD_END, TRIM_HORIZON, Lease, lease_key
from tests.simulated_worker import LEASE_SECONDS, STREAM, ShardModel, Worker

STEP_SECONDS = 0.25


class Simulation:
    """All that outlives a worker, and the checks."""

    def __init__(self, seed: int) -> None:
        self.dice = Random(seed)
        self.now = 0.0
        self.calm = 1.0
        self.count = Counter[str]()
        self.rows: dict[str, Lease] = {}
        self.terms = Counter[str]()
        self.late: list[tuple[float, Callable[[], object]]] = []
        self.shards: dict[str, ShardModel] = {}
        self.unattended_seconds: defaultdict[str, float] = defaultdict(float)
        self.unattended_seconds_max = 0.0
        self._storm_until = 0.0
        self._joined = 0
        self._add((0, HASH_KEY_LAST // 2), ())
        self._add((HASH_KEY_LAST // 2 + 1, HASH_KEY_LAST), ())
        self.steady = self._join()
        self.workers = [self.steady, self._join()]

    def run(self, seconds: float) -> None:
        """Let time pass with everything that can happen."""
        until = self.now + seconds
        while self.now < until:
            self._disturb()
            self._step()

    def run_calmly(self, seconds: float) -> None:
        """Let time pass in which nothing fails and nothing is written or resharded."""
        self.calm, self._storm_until, self.late = 0.0, 0.0, []
        until = self.now + seconds
        while self.now < until:
            self._step()

    def maybe_refuse(self) -> None:
        """Throttle a call now and then, and every one in a storm."""
        if self.now < self._storm_until or self.dice.random() * self.calm > 0.95:
            self.count["throttled calls"] += 1
            raise TransientFault("throttled")

    def apply(self, old: Lease, new: Lease, term: tuple[str, int] | None) -> None:
        """A conditional write reaches the table."""
        stored = self.rows.get(old.key)
        if stored is None or (stored.counter, stored.owner) != (old.counter, old.owner):
            return
        if term is None:
            self.terms[new.key] += 1
            self.count["taken" if stored.owner is None else "taken from others"] += 1
        else:
            owner, number = term
            assert (stored.owner, self.terms[new.key]) == (owner, number), "written by a worker that lost the lease"
            assert _reached(new) >= _reached(stored), "a checkpoint moved back"
            if new.checkpoint not in {TRIM_HORIZON, SHARD_END}:
                shard = self.shards[new.key.removeprefix(f"{STREAM.identity}/")]
                assert self._covered(shard) >= int(new.checkpoint), "a checkpoint is ahead of raw"
        self.rows[new.key] = new

    def begin(self, shard: ShardModel) -> None:
        """A batch of a shard is written to raw."""
        for parent in shard.parents:
            assert self.shards[parent].closed_in_raw, "a child was begun before its parent's end"

    def check_complete(self) -> None:
        """Every shard is in raw up to its last record, from its first one on and without a gap."""
        for shard in self.shards.values():
            assert self._covered(shard) == shard.records
            assert shard.closed_in_raw == (shard.closed_at is not None)
            lease = self.rows.get(lease_key(STREAM.identity, shard.id))
            assert shard.dropped or lease is not None
            assert lease is None or (lease.checkpoint == SHARD_END) == (shard.closed_at is not None)

    def burdens(self) -> list[int]:
        """How many leases of shards that go on each worker has, as the table says."""
        owners = Counter(lease.owner for lease in self.rows.values() if lease.checkpoint != SHARD_END)
        return [owners[worker.name] for worker in self.workers]

    def _step(self) -> None:
        self.now += STEP_SECONDS
        for due, write in [entry for entry in self.late if entry[0] <= self.now]:
            self.late = [entry for entry in self.late if entry[0] != due]
            write()
        for worker in self.dice.sample(self.workers, len(self.workers)):
            if worker.paused_until <= self.now:
                worker.step()
        self._measure()

    def _disturb(self) -> None:
        dice, others = self.dice, [worker for worker in self.workers if worker is not self.steady]
        for shard in self.shards.values():
            if shard.closed_at is None and dice.random() < 0.3:
                shard.records += dice.randint(1, 20)
            ended = self.rows.get(lease_key(STREAM.identity, shard.id), Lease("")).checkpoint == SHARD_END
            if shard.closed_at is not None and ended and self.now - shard.closed_at > 60:
                shard.dropped = True
        what = dice.random()
        if what < 0.004:
            self._storm_until = self.now + dice.uniform(1, 90)
            self.count["storms"] += 1
        elif what < 0.008 and len(self.workers) < 5:
            self.workers.append(self._join())
        elif what < 0.016 and others:
            victim = dice.choice(others)
            victim.paused_until = self.now + dice.uniform(1, 3 * LEASE_SECONDS)
            self.count["pauses"] += 1
        elif what < 0.020 and others:
            victim = dice.choice(others)
            self.workers.remove(victim)
            self.count["crashes"] += 1
        elif what < 0.022 and others:
            victim = dice.choice(others)
            self.workers.remove(victim)
            victim.stop()
            self.count["stops"] += 1
        elif what < 0.027:
            self._reshard()

    def _reshard(self) -> None:
        open_ = sorted((one for one in self.shards.values() if one.closed_at is None), key=lambda one: one.hash_keys)
        if len(open_) > 1 and self.dice.random() < 0.5:
            at = self.dice.randrange(len(open_) - 1)
            low, high = open_[at : at + 2]
            child = self._add((low.hash_keys[0], high.hash_keys[1]), (low.id, high.id))
            parents, children = [low, high], [child]
            self.count["merges"] += 1
        else:
            parent = self.dice.choice(open_)
            first, last = parent.hash_keys
            middle = (first + last) // 2
            parents = [parent]
            children = [self._add((first, middle), (parent.id,)), self._add((middle + 1, last), (parent.id,))]
            self.count["splits"] += 1
        for one in parents:
            one.closed_at, one.children = self.now, tuple(children)

    def _add(self, hash_keys: tuple[int, int], parents: tuple[str, ...]) -> str:
        name = f"shardId-{len(self.shards):012}"
        # A child may be listed late, but never before its parents, which were active when they were split or merged.
        listed_at = max((self.shards[parent].listed_at for parent in parents), default=0.0)
        if parents:
            listed_at = max(listed_at, self.now + self.dice.uniform(0, 5))
        self.shards[name] = ShardModel(name, hash_keys, parents, listed_at)
        return name

    def _join(self) -> Worker:
        self._joined += 1
        return Worker(self, f"w{self._joined}")

    def _measure(self) -> None:
        """For how long a shard that could be read has had no worker that does, storms not counted."""
        attended = {
            key
            for worker in self.workers
            if worker.paused_until <= self.now
            for key, reader in worker.readers.items()
            if reader.term == self.terms[key] and self.rows[key].owner == worker.name
        }
        for shard in self.shards.values():
            key = lease_key(STREAM.identity, shard.id)
            may_be_read = shard.listed_at <= self.now and all(map(self._is_over, shard.parents))
            if key in attended or self._is_over(shard.id) or not may_be_read:
                self.unattended_seconds[key] = 0
            elif self.now >= self._storm_until:
                self.unattended_seconds[key] += STEP_SECONDS
                self.unattended_seconds_max = max(self.unattended_seconds_max, self.unattended_seconds[key])

    def _is_over(self, shard: str) -> bool:
        """Whether a shard is written to its end, and its lease says so or was removed since."""
        lease = self.rows.get(lease_key(STREAM.identity, shard))
        return self.shards[shard].closed_in_raw and (lease is None or lease.checkpoint == SHARD_END)

    @staticmethod
    def _covered(shard: ShardModel) -> int:
        covered = 0
        for after, upto in sorted(shard.batches, key=lambda batch: batch[1]):
            covered = max(covered, upto) if after <= covered else covered
        return covered


def _reached(lease: Lease) -> float:
    words = {TRIM_HORIZON: 0.0, SHARD_END: float("inf")}
    return words[lease.checkpoint] if lease.checkpoint in words else int(lease.checkpoint)
