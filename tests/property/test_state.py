"""The rows that raw alone tells are those of the source; a head says what the law says; sights are those of `watch`."""

from __future__ import annotations

from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc.debezium.decode import PUBLISHER_VERSION
from compactor.change import ChangeReader
from compactor.mask import masker
from compactor.plain import Line
from compactor.state import heads, law, newest, together
from compactor.state.sights import Sighted, begins_anew, sighted
from compactor.watch import Sight
from tests.property.test_plain import CHANGES, MODES, OF_OUR_TYPES, PARSED_AT_ONCE
from tests.property.test_plain import contract as odd_contract
from tests.state_world import (
    KEY,
    Source,
    as_lines,
    as_text,
    contract,
    contract_of_tokens,
    export_of,
    head_reader,
    rows_of,
    scatter,
)

KEYS: dict[str, list[Any]] = {
    "bigint": [0, -1, 2**53 + 1, 2**63 - 1, -(2**63), 7],
    "text": ["", "a", "A", "é", "e\u0301", "a~1"],
}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little is looked at together, so that a few changes are many."""
    monkeypatch.setattr(together, "TOGETHER_BYTES", 2000)
    monkeypatch.setattr(heads, "DECODED_AT_ONCE_BYTES", 500)
    monkeypatch.setattr(newest, "RECENT_MAX", 2)
    monkeypatch.setattr(law, "CHANGES_MAX", 6)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 2**32), st.sampled_from(sorted(KEYS)), st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.0, 0.2, 1.0]),
    st.integers(1, 60),
)  # fmt: skip
def test_raw_alone_tells_the_rows_of_the_source(
    seed: int, key_type: str, is_ours: float, with_schema: float, count: int
) -> None:
    source = Source(Random(seed), is_ours, with_schema)
    for _ in range(count):
        source.happen(KEYS[key_type])
    chance = Random(seed + 1)
    store = scatter(source.events, chance, shards=chance.randrange(1, 4), disorder=chance.choice([0, 3, 60]))
    assert rows_of(export_of(store, contract(key_type))) == source.expected()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.5, 1.0]), st.integers(1, 40))
def test_raw_alone_tells_the_rows_also_where_their_keys_are_tokens(seed: int, is_ours: float, count: int) -> None:
    source, chance = Source(Random(seed), is_ours), Random(seed + 1)
    for _ in range(count):
        source.happen(KEYS["text"])
    store = scatter(source.events, chance, shards=chance.randrange(1, 4), disorder=chance.choice([0, 3, 60]))
    token = masker("token", KEY)
    assert token is not None
    assert rows_of(export_of(store, contract_of_tokens())) == {
        token(key): values for key, values in source.expected().items()
    }


def heads_agree(table: Any, some: list[Line]) -> bool:
    """Check that a head says what the law says of its line; whether all of them could be read at once."""
    reader, index = head_reader(table)
    heads = reader.read_lines(some)
    places = heads.changes.places.tolist()
    at_once = reader.read(as_text(some), len(some))
    if at_once is not None:
        assert (at_once.changes.places.tolist(), at_once.others) == (places, heads.others)
        assert at_once.changes.lsns.tolist() == heads.changes.lsns.tolist()
        assert at_once.prints.high.tolist() == heads.prints.high.tolist()
        assert list(map(bytes, at_once.changes.after)) == list(map(bytes, heads.changes.after))
    assert sorted([*places, *heads.others]) == list(range(len(some)))
    law_of_lines = ChangeReader(table, KEY)
    for row, place in enumerate(places):
        changes, _ = law_of_lines.read("s/0", "b", [some[place].raw])
        if not changes:
            continue  # the law knows of no change: whoever takes a row by its head asks further
        (change,) = changes
        assert (change.op == "d") == (heads.changes.ops[row] == "d") or change.faults
        assert change.position == (1, heads.changes.lsns[row], 0)
        assert index.prints_of_keys([change.key]).high[0] == heads.prints.high[row]
    return at_once is not None


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(sorted(KEYS)), st.integers(1, 20))
def test_an_object_of_our_own_publisher_is_read_at_once_unless_it_has_a_truncate(
    seed: int, key_type: str, count: int
) -> None:
    source = Source(Random(seed))
    for _ in range(count):
        source.happen(KEYS[key_type])
    has_truncate = any(b'"op": "t"' in one for one in source.events)
    assert heads_agree(contract(key_type), as_lines(source.events)) != has_truncate


@settings(max_examples=200)
@given(CHANGES)
def test_a_head_says_what_the_law_says(case: tuple[Any, list[Line]]) -> None:
    modes, some = case
    heads_agree(odd_contract(modes), some)


@settings(max_examples=200)
@given(OF_OUR_TYPES)
def test_a_head_of_our_own_publisher_says_what_the_law_says(some: list[Line]) -> None:
    table = odd_contract(MODES[0], PARSED_AT_ONCE)
    heads_agree(table, some)
    ours = [line for line in some if PUBLISHER_VERSION.encode() in bytes(line.raw.event)]
    if ours:
        heads_agree(table, ours)


SIGHTS = st.lists(st.builds(Sight, st.booleans(), st.just(False), st.integers(0, 6)), max_size=12)


@given(SIGHTS, st.lists(st.integers(0, 12), max_size=4))
def test_sights_of_objects_tell_together_what_a_look_at_all_lines_tells(sights: list[Sight], cuts: list[int]) -> None:
    streamed: int | None = None
    begun = False
    for sight in sights:
        if not sight.is_read:
            streamed = max(sight.at_us, streamed or 0)
        elif streamed is not None and sight.at_us > streamed:
            begun = True
    bounds = [0, *sorted(cuts), len(sights)]
    objects: list[Sighted] = [sighted(sights[start:end]) for start, end in pairwise(bounds)]
    assert begins_anew(objects) == begun
