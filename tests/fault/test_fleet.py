"""Workers come, go and die while the stream is resharded under them: every record is in raw, in its key's order."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from sandbox.aws import Aws
from sandbox.process import wait_until
from tests.emulator import Services
from tests.fleet import KEYS, PATIENCE_SECONDS, Fleet, by_lineage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

SHARDS, WORKERS, KILLS = 8, 3, 6


@pytest.fixture
def fleet(request: pytest.FixtureRequest, services: Services, aws: Aws, tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(services[request.param], aws, tmp_path, Random(4))
    fleet.create(SHARDS)
    yield fleet
    fleet.kill_all()


@pytest.mark.parametrize(("fleet", "records"), [("kinesalite", 200_000), ("kinesis-mock", 10_000)], indirect=["fleet"])
def test_three_workers_killed_at_random_while_eight_shards_are_split_and_merged_twice(
    fleet: Fleet, records: int
) -> None:
    # A third waits for the workers already, in shards of two generations; the rest flows while they come and go.
    part, parts = 500, records // 500
    backlog, reshard_at = parts // 3, parts // 2
    fleet.write(backlog // 2 * part)
    fleet.split_and_merge()
    fleet.write((backlog - backlog // 2) * part)
    may_write = threading.Semaphore(0)

    def flow() -> None:
        for number in range(backlog, parts):
            may_write.acquire()
            if number == reshard_at:
                fleet.split_and_merge()
            fleet.write(part)

    writer = threading.Thread(target=flow, daemon=True)
    writer.start()
    for _ in range(WORKERS):
        fleet.start_worker()
    for kill in range(KILLS + 1):
        # Each worker dies in the middle of the work: some was written since the last one did, and more is on its way.
        batches = fleet.batches()
        may_write.release((parts - backlog) // (KILLS + 1) if kill < KILLS else parts)
        fleet.wait_for_batches(batches + SHARDS)
        if kill < KILLS:
            fleet.kill_one()
    writer.join(PATIENCE_SECONDS)
    assert fleet.written == parts * part
    fleet.wait_until_complete()
    fleet.stop_all()
    fleet.check_parents_before_children()

    parents, found = fleet.parents(), fleet.numbers()
    assert len(parents) == SHARDS + 2 * 3
    assert sum(map(len, parents.values())) == 2 * (2 + 2)
    by_key: dict[int, list[int]] = defaultdict(list)
    for shard in by_lineage(parents):
        for number in found.get(shard, ()):
            by_key[number % KEYS].append(number)
    assert {key: numbers == sorted(set(numbers)) for key, numbers in by_key.items()} == dict.fromkeys(range(KEYS), True)
    assert sorted(number for numbers in by_key.values() for number in numbers) == list(range(1, records + 1))
    reasons = {line["because"] for line in fleet.said("lease taken")}
    assert {"free", "expired"} <= reasons
    assert fleet.said("shard end")


@pytest.mark.parametrize("fleet", ["kinesalite"], indirect=True)
def test_a_newcomer_gets_its_share_and_gives_it_back_at_sigterm(fleet: Fleet) -> None:
    def shares(*wanted: int) -> None:
        def holds() -> bool:
            fleet.write(10)
            return sorted(fleet.owners().values()) == sorted(wanted)

        wait_until(holds, PATIENCE_SECONDS, f"the workers hold {wanted}", poll_seconds=0.2)

    first = fleet.start_worker()
    wait_until(lambda: bool(fleet.said("lease taken")), PATIENCE_SECONDS, "a lease is taken")
    shares(8)
    second = fleet.start_worker()
    shares(4, 4)
    fleet.start_worker()
    shares(3, 3, 2)
    assert {line["because"] for line in fleet.said("lease taken")} >= {"free", "stolen"}
    assert second.stop(PATIENCE_SECONDS) == 0
    fleet.workers.remove(second)
    shares(4, 4)
    assert first.exit_status is None
    fleet.stop_all()
    assert dict(fleet.owners()) == {}
    fleet.start_worker()
    fleet.wait_until_complete()
    found = fleet.numbers()
    assert sorted(number for numbers in found.values() for number in numbers) == list(range(1, fleet.written + 1))
