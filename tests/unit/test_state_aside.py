"""What raw alone tells of changes that cannot be merged: only those count that would be the newest of a row that lives."""

from __future__ import annotations

from typing import Any

import pytest

from cdc.contract import parse_contract
from cdc.epoch import EpochEnd, EpochStart, record_end, record_start
from cdc.errors import FatalFault
from tests.raw_zone import MemoryObjects, at
from tests.state_world import CONTRACT, SHARD, TABLE, event, export_of, names, row, rows_of, zone


def test_what_is_set_aside_leaves_the_row_as_before_and_is_told() -> None:
    odd = row(1) | {"nome": 7}
    store = zone([event("c", 5, None, row(1, "before")), event("u", 9, None, odd), b'{"odd": 1}'])
    found = export_of(store, TABLE)
    assert {key: values[0] for key, values in rows_of(found).items()} == {1: "before"}
    assert (found.keys_aside, found.rejected, found.folded) == (1, 1, 1)
    assert found.aside == {("nome", "value-not-held"): 1}


def test_a_change_that_was_set_aside_and_came_again_whole_is_merged() -> None:
    store = zone([event("c", 5, None, row(1) | {"nome": 7})], [event("c", 5, None, row(1, "mended"))])
    assert names(store) == {1: "mended"}


def test_rows_that_lack_a_column_of_the_contract_are_refused() -> None:
    lacking = {name: value for name, value in row(1).items() if name != "bio"}
    store = zone([event("c", 5, None, lacking)])
    with pytest.raises(FatalFault, match="lack columns of the contract: bio"):
        export_of(store, TABLE)
    with_value = CONTRACT.replace("ID", "bigint").replace(
        "{name: bio, physicalType: text, classification: internal}",
        "{name: bio, physicalType: text, classification: internal, "
        "customProperties: [{property: valueBeforeAdded, value: '-'}]}",
    )
    store = zone([event("c", 5, None, lacking)], [event("c", 7, None, row(2))])
    assert rows_of(export_of(store, parse_contract(with_value)))[1][1] == "-"
    # Where the column was there already, the change that lacks it is no older one.
    store = zone([event("c", 3, None, row(2))], [event("c", 5, None, lacking)])
    with pytest.raises(FatalFault, match="bio"):
        export_of(store, parse_contract(with_value))


def without(column: str, one: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in one.items() if name != column}


def set_aside() -> dict[str, Any]:
    return row(1) | {"nome": 7}


def test_what_was_set_aside_below_a_truncate_counts_no_longer() -> None:
    store = zone([event("c", 5, None, set_aside()), event("t", 6, None, None), event("c", 7, None, row(2))])
    found = export_of(store, TABLE)
    assert {key: values[0] for key, values in rows_of(found).items()} == {2: "n"}
    assert (found.keys_aside, found.aside) == (0, {})


@pytest.mark.parametrize("lsn", [6, 7])
def test_what_was_set_aside_at_a_truncate_or_above_it_counts(lsn: int) -> None:
    store = zone([event("c", 4, None, row(1)), event("t", 6, None, None), event("u", lsn, None, set_aside())])
    found = export_of(store, TABLE)
    assert (rows_of(found), found.keys_aside, found.aside) == ({}, 1, {("nome", "value-not-held"): 1})


def test_a_row_that_lacks_a_column_and_was_truncated_since_is_no_reason_to_refuse() -> None:
    lacking = event("c", 5, None, without("bio", row(1)))
    assert names(zone([lacking, event("t", 6, None, None), event("c", 7, None, row(2))])) == {2: "n"}
    # Whatever the order in which they came: positions decide.
    assert names(zone([event("c", 7, None, row(2))], [event("t", 6, None, None)], [lacking])) == {2: "n"}
    with pytest.raises(FatalFault, match="lack columns of the contract: bio"):
        export_of(zone([event("t", 4, None, None), lacking, event("c", 7, None, row(2))]), TABLE)


@pytest.mark.parametrize("odd", [without("bio", row(1)), set_aside()])
def test_what_a_whole_snapshot_has_not_found_counts_no_longer(odd: dict[str, Any]) -> None:
    store = zone([event("c", 5, None, odd), event("c", 6, None, row(2))], [event("r", 1, None, row(2, "read"))])
    record_start(store, EpochStart("t", 2, {SHARD: "3"}, (), origin="s2"))
    record_end(store, EpochEnd("t", 2, {SHARD: "3"}, at(0), 1, origin="s2"))
    found = export_of(store, TABLE)
    assert {key: values[0] for key, values in rows_of(found).items()} == {2: "read"}
    assert (found.keys_aside, found.aside) == (0, {})


def test_a_read_of_the_newest_snapshot_that_was_set_aside_counts() -> None:
    found = export_of(with_snapshot([event("c", 5, None, row(2))], [event("r", 1, None, set_aside())]), TABLE)
    assert (rows_of(found), found.keys_aside) == ({}, 1)


@pytest.mark.parametrize(
    "since",
    [
        [event("r", 1, None, set_aside())],
        [event("r", 1, None, set_aside()), event("u", 7, None, set_aside())],
        [event("r", 1, None, row(2)), event("c", 7, None, set_aside())],
    ],
)
def test_a_row_from_before_the_newest_snapshot_is_not_taken_for_gone_where_all_since_is_set_aside(
    since: list[bytes],
) -> None:
    before = [event("c", 5, None, row(1, "old"))]
    with pytest.raises(FatalFault, match="of 1 rows from before the newest snapshot all that came since is set aside"):
        export_of(with_snapshot(before, since), TABLE)
    assert names(with_snapshot(before, [*since, event("u", 9, None, row(1, "new"))]))[1] == "new"


def with_snapshot(before: list[bytes], since: list[bytes]) -> MemoryObjects:
    """What was before a snapshot that begins a second epoch, and its one read with what came since."""
    store = zone(before, since)
    upto = str(len(before) + len(since))
    record_start(store, EpochStart("t", 2, {SHARD: str(len(before) + 1)}, (), origin="s2"))
    record_end(store, EpochEnd("t", 2, {SHARD: upto}, at(0), 1, origin="s2"))
    return store
