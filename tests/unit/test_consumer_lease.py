"""Leases under simulated time: nobody is robbed who lives, nobody waits for one who is dead."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

import cdc.aws
from cdc.errors import LeaseLost, TransientFault
from cdc_consumer.clock import SYSTEM_CLOCK
from cdc_consumer.halt import Halt
from cdc_consumer.held_lease import HeldLease, renewing
from cdc_consumer.lease import (
    SHARD_END,
    TRIM_HORIZON,
    Lease,
    checkpointed,
    ended,
    parents_ended,
    released,
    renewed,
    taken,
)
from cdc_consumer.stream import Shard
from sandbox.process import wait_until

ARRIVED = datetime(2026, 11, 21, tzinfo=UTC)


class MemoryTable:
    """A lease table in memory; `lose_answer` lets the next write land and its answer get lost."""

    def __init__(self, *leases: Lease) -> None:
        self.rows = {lease.key: lease for lease in leases}
        self.lose_answer = False

    def ensure(self) -> None:
        pass

    def leases(self) -> dict[str, Lease]:
        return dict(self.rows)

    def create(self, lease: Lease) -> None:
        self.rows.setdefault(lease.key, lease)

    def delete(self, lease: Lease) -> None:
        if self.rows.get(lease.key) == lease:
            del self.rows[lease.key]

    def replace(self, old: Lease, new: Lease) -> Lease | None:
        stored = self.rows.get(old.key)
        if stored is not None and (stored.counter, stored.owner) == (old.counter, old.owner):
            self.rows[old.key] = stored = new
            if self.lose_answer:
                self.lose_answer = False
                raise TransientFault("the answer was lost")
        return stored


def hold(table: MemoryTable, key: str = "s/0", owner: str = "me") -> tuple[HeldLease, Halt]:
    mine = taken(table.rows[key], owner)
    assert table.replace(table.rows[key], mine) == mine
    halt = Halt(SYSTEM_CLOCK)
    return HeldLease(table, mine, halt), halt


def test_children_wait_for_every_parent_that_is_still_listed() -> None:
    child = Shard("2", parents=("0", "1"))
    done, open_ = Lease("s/0", checkpoint=SHARD_END), Lease("s/1", checkpoint="77")
    assert not parents_ended(child, {"0", "1", "2"}, {"s/0": done, "s/1": open_}, "s")
    assert not parents_ended(child, {"0", "1", "2"}, {"s/0": done}, "s")
    assert parents_ended(child, {"0", "1", "2"}, {"s/0": done, "s/1": replace(open_, checkpoint=SHARD_END)}, "s")


def test_a_parent_past_retention_is_waited_for_only_while_its_lease_is_not_ended() -> None:
    child = Shard("2", parents=("0", "1"))
    done, open_ = Lease("s/0", checkpoint=SHARD_END), Lease("s/1", checkpoint="77")
    assert parents_ended(child, {"0", "2"}, {"s/0": done}, "s")
    assert parents_ended(child, {"2"}, {}, "s")
    assert parents_ended(child, {"2"}, {"s/0": done}, "s")
    assert not parents_ended(child, {"2"}, {"s/0": done, "s/1": open_}, "s")


def test_every_step_raises_the_counter() -> None:
    lease = Lease("s/0", counter=1)
    steps = [
        taken(lease, "me"),
        renewed(lease),
        checkpointed(lease, "5", ARRIVED),
        ended(lease, "a", ARRIVED),
        released(lease),
    ]
    assert {step.counter for step in steps} == {2}


def test_two_workers_take_one_lease_once() -> None:
    table = MemoryTable(Lease("s/0"))
    seen = table.leases()["s/0"]
    mine, theirs = taken(seen, "me"), taken(seen, "other")
    assert table.replace(seen, mine) == mine
    assert table.replace(seen, theirs) == mine


def test_who_lost_the_lease_checkpoints_nothing_and_learns_of_it() -> None:
    table = MemoryTable(Lease("s/0"))
    held, halt = hold(table)
    held.checkpoint("5", ARRIVED)
    held.renew()  # needs no write of its own
    hold(table, owner="other")
    before = table.rows["s/0"]
    for step in (held.renew, lambda: held.checkpoint("9", ARRIVED), lambda: held.end(["1"], ARRIVED)):
        with pytest.raises(LeaseLost):
            step()
    held.release()
    assert table.rows["s/0"] == before
    assert before.checkpoint == "5"
    assert halt.lost


def test_who_took_over_after_a_release_is_not_disturbed() -> None:
    table = MemoryTable(Lease("s/0"))
    held, _ = hold(table)
    held.release()
    hold(table, owner="other")
    held.renew()
    held.release()
    assert table.rows["s/0"].owner == "other"


def test_a_write_whose_answer_was_lost_is_no_lost_lease() -> None:
    table = MemoryTable(Lease("s/0"))
    held, halt = hold(table)
    table.lose_answer = True
    with pytest.raises(TransientFault):
        held.checkpoint("5", ARRIVED)
    held.renew()  # the renewing thread comes before the checkpoint is tried again
    held.checkpoint("5", ARRIVED)
    held.checkpoint("8", ARRIVED)
    assert table.rows["s/0"].checkpoint == "8"
    assert not halt.lost
    table.lose_answer = True
    with pytest.raises(TransientFault):
        held.release()
    held.release()
    assert table.rows["s/0"].owner is None


def test_a_vanished_row_is_a_lost_lease() -> None:
    table = MemoryTable(Lease("s/0"))
    held, _ = hold(table)
    table.rows.clear()
    with pytest.raises(LeaseLost):
        held.checkpoint("5", ARRIVED)
    assert table.rows == {}


def test_a_new_lease_begins_at_the_trim_horizon() -> None:
    assert Lease("s/0").checkpoint == TRIM_HORIZON


def test_what_was_written_to_since_the_last_renewal_needs_none() -> None:
    table = MemoryTable(Lease("s/0"))
    held, _ = hold(table)
    counters = []
    for step in (held.renew, lambda: held.checkpoint("5", ARRIVED), held.renew, held.renew, held.renew):
        step()
        counters.append(table.rows["s/0"].counter)
    assert counters == [2, 3, 3, 4, 5]


def test_a_listing_tells_that_the_lease_was_stolen() -> None:
    table = MemoryTable(Lease("s/0"))
    held, halt = hold(table)
    mine = table.rows["s/0"]
    for harmless in (None, mine, renewed(mine), released(mine), replace(mine, owner="other", counter=mine.counter)):
        held.heed(harmless)
        assert not halt.lost
    held.heed(taken(mine, "other"))
    assert halt.lost


class HangingTable(MemoryTable):
    """Answers nothing about one lease until it is let go."""

    def __init__(self, *leases: Lease) -> None:
        super().__init__(*leases)
        self.hung = threading.Event()
        self.let_go = threading.Event()

    def replace(self, old: Lease, new: Lease) -> Lease | None:
        if old.key == "s/0" and old.owner is not None:
            self.hung.set()
            assert self.let_go.wait(60)
        return super().replace(old, new)


@pytest.mark.parametrize("step", ["renewal", "checkpoint"])
def test_a_call_that_hangs_keeps_no_other_lease_from_being_renewed(step: str) -> None:
    table = HangingTable(Lease("s/0"), Lease("s/1"))
    stuck, _ = hold(table, key="s/0")
    other, _ = hold(table, key="s/1")
    if step == "checkpoint":
        threading.Thread(target=stuck.checkpoint, args=("5", ARRIVED), daemon=True).start()
        assert table.hung.wait(60)
    before = table.rows["s/1"].counter
    with renewing(lambda: [stuck, other], 0.03, SYSTEM_CLOCK):
        wait_until(lambda: table.rows["s/1"].counter > before + 3, 60, "the other lease is renewed several times")
        assert table.hung.is_set()
        table.let_go.set()


def test_a_call_of_dynamodb_that_hangs_ends_well_within_the_time_for_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    config: Any = cdc.aws.dynamodb().meta.config
    attempts = config.retries["total_max_attempts"]
    assert (config.connect_timeout + config.read_timeout) * attempts <= 16
