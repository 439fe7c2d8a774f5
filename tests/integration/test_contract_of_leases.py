"""What the consumer asks of its lease table, shown of each DynamoDB that there is here."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from cdc.errors import FatalFault
from cdc_consumer.lease import Lease, checkpointed, ended, released, renewed, taken
from cdc_consumer.lease_table import DynamoLeaseTable
from tests.emulator import Services

pytestmark = pytest.mark.slow

ARRIVED = datetime(2026, 11, 21, 12, 0, 3, 471000, tzinfo=UTC)


@pytest.fixture(params=["ministack", "dynalite"])
def table(request: pytest.FixtureRequest, services: Services) -> Iterator[DynamoLeaseTable]:
    client, name = services[request.param].dynamodb(), f"leases-{uuid.uuid4().hex[:12]}"
    table = DynamoLeaseTable(client, name)
    table.ensure()
    yield table
    client.delete_table(TableName=name)


def test_a_table_is_made_once_whoever_asks(table: DynamoLeaseTable) -> None:
    table.create(Lease("s/0"))
    table.ensure()
    assert table.leases() == {"s/0": Lease("s/0")}


def test_workers_that_start_together_make_one_table(services: Services) -> None:
    client, name = services["ministack"].dynamodb(), f"leases-{uuid.uuid4().hex[:12]}"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: DynamoLeaseTable(client, name).ensure(), range(4)))
    assert DynamoLeaseTable(client, name).leases() == {}


def test_every_part_of_a_lease_is_kept(table: DynamoLeaseTable) -> None:
    lease = Lease("s/0", "me", 7, 3, "0049", ARRIVED, ("a", "b"), ("c", "d"))
    table.create(lease)
    assert table.leases() == {"s/0": lease}


def test_a_lease_that_is_there_is_not_made_again(table: DynamoLeaseTable) -> None:
    table.create(Lease("s/0", counter=5))
    table.create(Lease("s/0"))
    assert table.leases()["s/0"].counter == 5


def test_a_step_is_taken_only_from_what_is_stored(table: DynamoLeaseTable) -> None:
    first = Lease("s/0", parents=("a", "b"))
    table.create(first)
    mine = taken(first, "me")
    assert table.replace(first, mine) == mine
    assert table.replace(first, mine) == mine  # again, as after a lost answer
    assert table.replace(first, taken(first, "other")) == mine
    written = checkpointed(mine, "0001", ARRIVED)
    assert table.replace(mine, written) == written
    assert table.replace(mine, renewed(mine)) == written  # a request that was late
    step = ended(written, ["c", "d"], ARRIVED)
    assert table.replace(written, step) == step
    given = released(step)
    assert table.replace(step, given) == given
    assert table.leases() == {"s/0": given}


def test_the_same_counter_of_another_owner_is_another_lease(table: DynamoLeaseTable) -> None:
    """As after a table was restored from a backup."""
    mine, theirs = Lease("s/0", "me", 5), Lease("s/0", "other", 5)
    table.create(theirs)
    assert table.replace(mine, renewed(mine)) == theirs
    assert table.replace(replace(mine, owner=None), renewed(mine)) == theirs


def test_a_lease_that_is_not_there_cannot_be_changed(table: DynamoLeaseTable) -> None:
    assert table.replace(Lease("s/1"), taken(Lease("s/1"), "me")) is None
    assert table.leases() == {}


def test_of_many_that_take_a_lease_at_once_one_has_it_and_all_learn_who(table: DynamoLeaseTable) -> None:
    for round_ in range(5):
        free = Lease(f"s/{round_}")
        table.create(free)
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda n: table.replace(free, taken(free, f"w{n}")), range(8)))  # noqa: B023
        stored = table.leases()[free.key]
        assert answers == [stored] * 8
        assert stored.counter == 1


def test_a_lease_is_removed_only_as_it_was_seen(table: DynamoLeaseTable) -> None:
    lease = Lease("s/0")
    table.create(lease)
    table.delete(renewed(lease))
    assert table.leases() == {"s/0": lease}
    table.delete(lease)
    table.delete(lease)
    assert table.leases() == {}


def test_a_listing_of_several_pages_is_whole(table: DynamoLeaseTable) -> None:
    """A page holds 1 MiB (AWS docs: "Scan")."""
    children = tuple(f"{number:050}" for number in range(1000))
    wanted = {lease.key: lease for lease in (Lease(f"s/{number}", children=children) for number in range(40))}
    for lease in wanted.values():
        table.create(lease)
    assert table.leases() == wanted


def test_a_table_that_vanished_is_fatal_and_says_what_to_do(services: Services) -> None:
    table = DynamoLeaseTable(services["ministack"].dynamodb(), f"none-{uuid.uuid4().hex[:12]}")
    for call in (table.leases, lambda: table.create(Lease("s/0")), lambda: table.delete(Lease("s/0"))):
        with pytest.raises(FatalFault, match="start again"):
            call()
