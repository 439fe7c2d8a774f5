"""Which leases a worker takes: nobody is robbed who lives beyond what is fair, nobody waits for one who is dead."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_consumer.claims import Because, Claim, View, claims, fair_share, next_free_at
from cdc_consumer.lease import Lease, renewed, watch

LEASE_SECONDS = 30.0


def view(
    owners: Mapping[str, str | None], now: float = 0.0, *, dead: frozenset[str] = frozenset(), me: str = "me"
) -> View:
    """A listing at a moment, in which the leases of the dead stood still from the beginning and all others just moved."""
    leases = {key: Lease(key, owner=owner, counter=1) for key, owner in owners.items()}
    seen = watch({}, leases.values(), 0.0)
    leases = {key: lease if lease.owner in dead | {None} else renewed(lease) for key, lease in leases.items()}
    held = [key for key, owner in owners.items() if owner == me]
    return View(me, leases, watch(seen, leases.values(), now), held, (), now, LEASE_SECONDS)


def keys(found: list[Claim]) -> set[str]:
    return {claim.key for claim in found}


def half() -> float:
    return 0.5


def test_whoever_is_alone_takes_all_at_once() -> None:
    found = claims(view({"a": None, "b": None, "c": None}), half)
    assert keys(found) == {"a", "b", "c"}
    assert {claim.because for claim in found} == {Because.FREE}


def test_a_lease_expires_when_it_was_seen_to_stand_still_for_the_whole_time() -> None:
    for now, expired in ((0.0, False), (29.9, False), (30.0, True)):
        found = claims(view({"a": "dead"}, now, dead=frozenset({"dead"})), half)
        assert found == ([Claim("a", Because.EXPIRED)] if expired else [])


def test_a_sign_of_life_begins_the_time_anew() -> None:
    assert claims(view({"a": "other"}, 1e6), half) == []


def test_time_in_which_the_table_could_not_be_read_does_not_count() -> None:
    """Perhaps its owner could not write to it either."""
    lease = Lease("a", owner="other", counter=5)
    seen = watch({}, [lease], 0.0)
    seen = watch(seen, [lease], 100.0, blind_seconds=95.0)
    assert claims(View("me", {"a": lease}, seen, (), (), 100.0, LEASE_SECONDS), half) == []
    assert seen["a"].since == 95.0


def test_a_lease_in_our_own_name_that_we_do_not_hold_is_taken_again() -> None:
    """Its taking landed, but the answer was lost."""
    found = View("me", {"a": Lease("a", owner="me")}, watch({}, [Lease("a")], 0.0), (), (), 0.0, LEASE_SECONDS)
    assert claims(found, half) == [Claim("a", Because.FREE)]


def test_what_is_free_is_taken_up_to_the_fair_share_and_the_rest_after_a_while() -> None:
    owners = {"a": "me", "b": "other", "c": None, "d": None, "e": None}
    assert len(claims(view(owners), half)) == 2
    assert len(claims(view(owners, 1.9), half)) == 2
    assert len(claims(view(owners, 2.0), half)) == 3


def test_one_lease_at_a_time_is_stolen_from_the_busiest() -> None:
    (claim,) = claims(view({"a": "x", "b": "x", "c": "x", "d": "y", "e": "y"}), half)
    assert claim.because is Because.STOLEN
    assert claim.key in {"a", "b", "c"}


@pytest.mark.parametrize(
    "owners",
    [
        {"a": "x"},
        {"a": "me", "b": "x", "c": "x"},
        {"a": "x", "b": "y", "c": "z"},
        {"a": "me", "b": "me", "c": "me", "d": "x", "e": "x", "f": "x", "g": "x", "h": "x", "i": "y"},
    ],
    ids=["the only one", "a difference of one", "one each", "above our share"],
)
def test_nothing_is_stolen_that_would_not_even_things_out(owners: dict[str, str]) -> None:
    assert claims(view(owners), half) == []


def test_nothing_is_stolen_while_something_is_free() -> None:
    found = claims(view({"a": "x", "b": "x", "c": "x", "d": None}), half)
    assert found == [Claim("d", Because.FREE)]


def test_a_dead_worker_does_not_count() -> None:
    owners = {"a": "dead", "b": "dead", "c": "me", "d": "x"}
    assert len(claims(view(owners, 30.0, dead=frozenset({"dead"})), half)) == 1
    assert len(claims(view(owners, 32.0, dead=frozenset({"dead"})), half)) == 2


def test_what_is_avoided_is_neither_taken_nor_stolen() -> None:
    seen = view({"a": None, "b": "x", "c": "x"})
    assert claims(View("me", seen.leases, seen.sightings, (), ("a", "b", "c"), 0.0, LEASE_SECONDS), half) == []


def test_the_next_look_is_due_when_a_lease_would_expire() -> None:
    assert next_free_at(view({"a": "other"})) == 30.0
    assert next_free_at(view({"a": "me"})) is None
    assert next_free_at(view({"a": None}, 1.0)) == 2.0
    assert next_free_at(view({"a": "dead"}, 31.0, dead=frozenset({"dead"}))) == 32.0


@given(shards=st.integers(1, 40), workers=st.integers(1, 12), seed=st.integers())
def test_workers_come_to_hold_equally_many_and_then_leave_it_so(shards: int, workers: int, seed: int) -> None:
    """All workers decide by the same listing, then act in any order, each by a conditional write; one look a second."""
    dice = Random(seed)
    names = [f"w{number}" for number in range(workers)]
    owners: dict[str, str | None] = {f"s{number}": dice.choice([None, *names]) for number in range(shards)}
    quiet_rounds = 0
    for now in range(shards + 20):
        chosen = [(name, claims(view(owners, float(now), me=name), dice.random)) for name in names]
        before = dict(owners)
        held = Counter(owners.values())
        for name, found in dice.sample(chosen, len(chosen)):
            if stolen := [claim for claim in found if claim.because is Because.STOLEN]:
                assert len(stolen) == len(found) == 1
                seen_at_work = {name} | {owner for owner in before.values() if owner}
                assert held[name] < fair_share(shards, len(seen_at_work))
            for claim in found:
                if owners[claim.key] == before[claim.key]:
                    owners[claim.key] = name
        quiet_rounds = quiet_rounds + 1 if owners == before else 0
        if quiet_rounds == 3:
            break
    burdens = [Counter(owners.values())[name] for name in names]
    assert quiet_rounds == 3
    assert max(burdens) - min(burdens) <= 1
