"""Whatever happens to workers, clocks and the lease table: one holder at a time, parents first, nobody waits for long."""

from __future__ import annotations

from collections import Counter

from tests.simulated_fleet import Simulation
from tests.simulated_worker import LEASE_SECONDS, RATE_MIN

SEEDS = 30
CHAOS_SECONDS = 400
UNATTENDED_SECONDS_MAX = (LEASE_SECONDS + 10) / RATE_MIN + 15
"""The lease time and 10 s by the slowest clock, and what calls that fail by themselves, outside of storms, may add."""
HAPPENED = (
    "storms", "pauses", "crashes", "stops", "splits", "merges", "late writes", "lost answers", "lost leases",
    "taken from others", "throttled calls", "removed leases",
)  # fmt: skip


def test_a_fleet_in_chaos_keeps_its_promises_and_comes_to_rest_balanced() -> None:
    count = Counter[str]()
    for seed in range(SEEDS):
        world = Simulation(seed)
        world.run(CHAOS_SECONDS)
        assert world.unattended_seconds_max <= UNATTENDED_SECONDS_MAX, f"seed {seed}"
        world.run_calmly(5 * LEASE_SECONDS)
        world.check_complete()
        burdens = world.burdens()
        assert max(burdens) - min(burdens) <= 1, f"seed {seed}"
        count += world.count
    assert all(count[what] >= SEEDS for what in HAPPENED), count
