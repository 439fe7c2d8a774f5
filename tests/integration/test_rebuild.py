"""`cdc rebuild`: the same tables come out of raw once more, beside the present ones, and can take their place."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from cdc.contract import parse_contract
from cdc.errors import FatalFault
from cdc_ops.rebuild import Rebuild, Rebuilt
from cdc_ops.rebuild_compare import told, verdict
from compactor.lake.catalog import open_catalog
from compactor.lake.commit import Changes, commit, commit_properties
from compactor.lake.pair import TablePair
from compactor.lake.rebuilt import Namespace, new_name
from compactor.pii_key import PiiKey
from tests.compactor_world import CONTRACT, NAMES, World, change, crash, proven, put
from tests.integration.test_compactor_stated_column import known, ours, states
from tests.integration.test_epoch_source import OURS, snapshot
from tests.integration.test_reconcile import MASKED
from tests.lake_columns import made, row, shown, with_columns
from tests.raw_zone import PLACEHOLDER, ShardWriter

pytestmark = pytest.mark.slow
KEY = PiiKey(b"k" * 32, "")
NOW = datetime(2026, 11, 21, 18, tzinfo=UTC)


def namespace(world: World) -> Namespace:
    return Namespace(world.catalog, "lake")


def rebuild(world: World, key: PiiKey = KEY, now: datetime = NOW) -> Rebuilt:
    return Rebuild(namespace(world), world.contract, world.raw, key, lambda _: None).run(now)


def swap(world: World, made: Rebuilt) -> str:
    return namespace(world).swap(world.contract.name, made.name)


def lost(world: World, *suffixes: str) -> None:
    for suffix in suffixes:
        world.catalog.purge_table(("lake", world.contract.name + suffix))


def lived(world: World) -> ShardWriter:
    """A table that has seen every kind of change, in two shards, merged piece by piece."""
    shard, other = world.shard(), world.shard(1)
    put(shard, world.contract, change("r", 0, 1, "a", "x"), change("r", 0, 2, "b", "y"), change("r", 0, 3, "c", "z"))
    world.merge()
    put(
        shard,
        world.contract,
        change("u", 10, 1, "a2"),
        change("d", 12, 3),
        b"{}",
        change("c", 13, 4, "d", "w"),
        seconds=50,
    )
    put(other, world.contract, change("u", 14, 2, "b2"), change("c", 15, 5, "e", "v"), seconds=50)
    world.merge()
    # A late change, a duplicate, and one of which the value it needs is not known.
    put(
        other,
        world.contract,
        change("u", 9, 1, "late", "bio"),
        change("c", 15, 5, "e", "v"),
        change("u", 16, 77, "f"),
        seconds=60,
    )
    world.merge()
    return shard


def test_what_comes_out_of_raw_once_more_is_the_same_and_nothing_else_is_touched(world: World) -> None:
    lived(world)
    before = (dict(world.raw.objects), dict(world.quarantine.objects), location(world))
    made = rebuild(world)
    assert made.compared is not None
    assert made.compared.is_equal
    assert (made.rows, made.compared.rows_present, made.compared.left_out) == (4, 4, ())
    changes = Counter(entry[1] for entry in world.history())
    assert made.history == {op: (count, count) for op, count in changes.items()}
    assert (dict(world.raw.objects), dict(world.quarantine.objects), location(world)) == before
    assert len(before[1]) > 0, "something was set aside"
    assert made.name == new_name(world.contract.name, NOW)


def location(world: World) -> tuple[str, ...]:
    pair = world.pair()
    return pair.table.table.metadata_location, pair.history.table.metadata_location


def test_a_rebuilt_table_takes_the_place_of_a_damaged_one_and_is_merged_into(world: World) -> None:
    shard = lived(world)
    right = world.rows()
    falsify(world)
    made = rebuild(world)
    assert made.compared is not None
    found = made.compared
    assert (found.only_present, found.only_rebuilt, found.differing, found.columns) == (1, 1, 1, {"nome": 1})
    assert not any(value in told(found, "a", "b") for value in ("false", "late", "b2"))
    old = world.compactor
    before = swap(world, made)
    assert world.rows() == right
    assert namespace(world).load(before) is not None
    # A compactor that nobody has stopped finds another table, and goes on with that one.
    put(shard, world.contract, change("u", 20, 1, "new"))
    world.compactor = old
    world.merge()
    assert world.rows()[1][:2] == ("new", right[1][1])
    world.restart()
    put(shard, world.contract, change("c", 21, 9, "nine", "n"))
    world.merge()
    assert world.rows()[9] == ("nine", "n", 21)
    again = rebuild(world, now=NOW + timedelta(hours=1))
    assert again.compared is not None
    assert again.compared.is_equal


def falsify(world: World) -> None:
    lake = world.pair().table
    file = max(lake.live_files(), key=lambda file: file.records - len(file.deleted))
    alive = np.delete(np.arange(file.records), file.deleted)[:2]
    rows = lake.read(file.path, lake.arrow_schema.names, alive).to_pylist()
    added = [rows[0] | {"nome": "false"}, rows[1] | {"id": 4711}]
    dead = {file.path: np.union1d(file.deleted, alive).astype(np.int64)}
    commit(lake, Changes(pa.Table.from_pylist(added, lake.arrow_schema), dead))


def test_columns_that_were_filled_later_have_the_same_values(world: World) -> None:
    made(world, a="text")
    shard = world.shard()
    put(shard, world.contract, row("c", 5, id=1, a="old"), row("c", 6, id=2, a="older"))
    world.merge()
    put(shard, world.contract, row("u", 10, id=2, a="x", c="two"), row("c", 12, id=4, a="y", c=None))
    world.merge()
    contract = with_columns(world.contract, a="text", c="text")
    world.contract = contract
    world.restart()
    world.merge()
    put(shard, world.contract, row("u", 13, id=1, a="x", c="one"))
    world.merge()
    assert "c" in world.pair().table.arrow_schema.names
    made_anew = rebuild(world)
    assert made_anew.compared is not None
    assert made_anew.compared.is_equal
    assert made_anew.compared.rows_present == 3
    assert made_anew.compared.left_out == ()
    # And once more on what is there: what was filled is not taken out again.
    assert rebuild(world).name == made_anew.name


def test_a_rebuild_that_was_cut_off_goes_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    lived(world)
    with monkeypatch.context() as patched:
        patched.setattr(TablePair, "commit_table", crash)
        with pytest.raises(KeyboardInterrupt):
            rebuild(world)
    made_anew = rebuild(world, now=NOW + timedelta(hours=1))
    assert made_anew.name == new_name(world.contract.name, NOW)
    assert made_anew.compared is not None
    assert made_anew.compared.is_equal


def test_raw_that_does_not_reach_back_is_refused(world: World) -> None:
    lived(world)
    batches = sorted(path for path in world.raw.objects if path.startswith("_batches/"))
    del world.raw.objects[batches[0]]
    with pytest.raises(FatalFault, match=r"no longer reaches back to the beginning: .* begins after"):
        rebuild(world)
    for path in [path for path in batches[1:] if batches[0].rsplit("/", 1)[0] in path]:
        del world.raw.objects[path]
    with pytest.raises(FatalFault, match="is gone"):
        rebuild(world)
    assert namespace(world).unfinished(world.contract.name) is None


def test_a_lost_table_is_made_anew(world: World) -> None:
    lived(world)
    right = world.rows()
    lost(world, "", "_history")
    made_anew = rebuild(world)
    assert (made_anew.compared, made_anew.rows) == (None, 4)
    swap(world, made_anew)
    assert world.rows() == right


def test_what_is_given_up_leaves_nothing(world: World) -> None:
    lived(world)
    made_anew = rebuild(world)
    namespace(world).give_up(made_anew.name)
    assert namespace(world).unfinished(world.contract.name) is None
    assert len(world.rows()) == 4


def test_a_rebuild_under_another_masking_key_makes_all_tokens_anew(aws: Any, aws_environment: dict[str, str]) -> None:
    token = "{{name: nome, customProperties: [{{property: mask, value: token}}],"
    world = World(
        open_catalog("lake"),
        parse_contract(CONTRACT.replace("{{name: nome,", token).format(name=next(NAMES))),
        aws_environment,
    )
    lived(world)
    before = world.rows()
    other = PiiKey(b"x" * 32, "2")
    made_anew = rebuild(world, other)
    assert made_anew.compared is not None
    assert (made_anew.compared.is_equal, made_anew.compared.left_out) == (True, ("nome",))
    swap(world, made_anew)
    after = {
        found["id"]: (found["nome"], found["bio"], found["cdc_lsn"])
        for found in world.catalog.load_table(("lake", world.contract.name)).scan().to_arrow().to_pylist()
    }
    assert {key: values[1:] for key, values in after.items()} == {key: values[1:] for key, values in before.items()}
    assert not {values[0] for values in after.values()} & {values[0] for values in before.values()}
    with pytest.raises(FatalFault, match="another masking key"):
        world.restart()


def test_rows_that_cannot_be_told_from_one_another_are_counted_and_not_called_equal(
    aws: Any, aws_environment: dict[str, str]
) -> None:
    world = World(open_catalog("lake"), parse_contract(MASKED.format(name=next(NAMES))), aws_environment)
    put(world.shard(), world.contract, change("c", 1, "ana", "Ana", "x"), change("c", 2, "bia", "Bia", "y"))  # type: ignore[arg-type]
    world.merge()
    made_anew = rebuild(world, PiiKey(b"x" * 32, "2"))
    found = made_anew.compared
    assert found is not None
    assert (found.rows_present, found.rows_rebuilt, found.is_comparable) == (2, 2, False)
    assert "id" in found.left_out
    assert (found.is_equal, made_anew.is_equal, verdict(found)) == (False, False, "cannot be compared with")
    assert "only in" not in told(found, "a", "b")


def test_rows_that_a_new_snapshot_did_not_find_are_gone_there_too(world: World) -> None:
    shard = world.shard()
    snapshot(world, shard, "first", OURS, change("r", 0, 1, "a", "x"), change("r", 0, 2, "b", "y"), seconds=10)
    world.merge()
    snapshot(world, shard, "second", OURS, change("r", 0, 1, "a2", "x"), seconds=400)
    world.merge()
    put(shard, world.contract, change("u", 5, 1, "a3", PLACEHOLDER))
    world.merge()
    assert world.rows() == {1: ("a3", "x", 5)}
    made_anew = rebuild(world)
    assert made_anew.compared is not None
    assert made_anew.compared.is_equal
    assert made_anew.rows == 1


def test_a_table_that_does_not_say_how_far_it_is_merged_is_no_obstacle_but_not_equal(world: World) -> None:
    lived(world)
    commit_properties(world.pair().table, {"cdc.offsets": "damaged"})
    made_anew = rebuild(world)
    assert (made_anew.compared, made_anew.rows, made_anew.is_equal) == (None, 4, False)


def test_what_raw_has_lost_is_not_needed_after_a_complete_snapshot_if_history_may_lack_its_past(world: World) -> None:
    shard = world.shard()
    snapshot(world, shard, "first", OURS, change("r", 0, 1, "a", "x"), change("r", 0, 2, "b", "y"), seconds=10)
    put(shard, world.contract, change("u", 5, 1, "a2"))
    world.merge()
    lost = min(path for path in world.raw.objects if path.startswith("_batches/"))
    del world.raw.objects[lost]
    with pytest.raises(FatalFault, match="have the table read anew"):
        rebuild(world)
    snapshot(world, shard, "second", OURS, change("r", 0, 1, "a3", "x"), change("r", 0, 3, "c", "z"), seconds=400)
    put(shard, world.contract, change("u", 8, 3, "c2"), seconds=410)
    world.merge()
    right = world.rows()
    with pytest.raises(FatalFault, match="--without-older-history"):
        rebuild(world)
    late = Rebuild(namespace(world), world.contract, world.raw, KEY, lambda _: None, may_begin_late=True).run(NOW)
    assert late.is_equal
    swap(world, late)
    world.restart()
    put(shard, world.contract, change("u", 9, 3, "c3"), seconds=420)
    world.merge()
    assert world.rows() == right | {3: ("c3", "z", 9)}
    properties = world.pair().table.properties
    assert properties["cdc.valid-through"] == proven(420)


@pytest.mark.parametrize("on_new_column", ["hold", "add"])
def test_what_only_the_publisher_stated_of_a_new_column_is_found_again(world: World, on_new_column: str) -> None:
    made(world, a="text")
    world.contract = replace(world.contract, on_new_column=on_new_column)
    world.restart()
    shard = world.shard()
    put(shard, world.contract, ours("c", 5, id=1, a="x"), ours("c", 6, id=2, a="x"))
    world.merge()
    put(shard, world.contract, states(8, known("n", 3, "bigint", "7")), ours("u", 8, id=2, a="x", n=8))
    world.merge()
    if on_new_column == "hold":
        world.contract = with_columns(world.contract, a="text", n="bigint")
        world.restart()
        world.merge()
    expected = {1: 7, 2: 8}
    assert {found["id"]: found["n"] for found in shown(world)} == expected
    made_anew = rebuild(world)
    assert made_anew.is_equal
    swap(world, made_anew)
    assert {found["id"]: found["n"] for found in shown(world)} == expected
