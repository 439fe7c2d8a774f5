"""The compactor when things go wrong: crashes, conflicts, lost answers, foreign writers, random histories."""

from __future__ import annotations

import gzip
import random
from datetime import UTC, datetime
from typing import Any

import pytest
from pyiceberg.catalog import Catalog

from cdc.contract import parse_contract
from cdc.errors import CdcError, FatalFault, TransientFault
from compactor.lake.landing import CommitConflict
from compactor.lake.pair import TablePair
from compactor.lake.table import LakeTable
from compactor.progress import Progress
from tests.compactor_world import CONTRACT, NAMES, World, change, crash, proven, put, raising
from tests.integration.test_maintenance import EAGER
from tests.raw_zone import event

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("truncates", [False, True])
def test_acrash_between_the_two_commits_is_mended_from_history(
    world: World, monkeypatch: pytest.MonkeyPatch, *, truncates: bool
) -> None:
    shard = world.shard()
    put(shard, world.contract, change("c", 5, 1, "a", "x"), change("c", 6, 2, "b", "y"), seconds=6)
    world.merge()
    more = [change("t", 7, 0)] if truncates else [change("u", 7, 1, "a2"), change("d", 8, 2), change("c", 8, 3, "b")]
    put(shard, world.contract, *more, seconds=8)
    with monkeypatch.context() as patched:
        patched.setattr(TablePair, "commit_table", crash)
        with pytest.raises(KeyboardInterrupt):
            world.compactor.step()
    told = world.history()
    world.restart()
    world.merge()
    assert world.rows() == ({} if truncates else {1: ("a2", "x", 7), 3: ("b", "y", 8)})
    assert world.history() == told
    assert world.pair().table.properties["cdc.valid-through"] == proven(8)
    world.restart()
    put(shard, world.contract, change("c", 9, 4, "d", "w"))
    world.merge()
    assert world.rows()[4] == ("d", "w", 9)


def test_of_two_compactors_neither_doubles_nor_loses(world: World) -> None:
    shard = world.shard()
    put(shard, world.contract, change("c", 5, 1, "a", "x"))
    world.merge()
    first = world.compactor
    second = world.restart()
    second.step()
    put(shard, world.contract, change("u", 6, 1, "b"), change("c", 7, 2, "c", "y"))
    first.step()
    second.step()  # planned against the old head: it must notice, load and find nothing new
    world.merge()
    put(shard, world.contract, change("d", 8, 1))
    first.step()
    first.step()
    assert world.rows() == {2: ("c", "y", 7)}
    assert len(world.history()) == 4


def test_a_lost_answer_of_the_catalog_neither_loses_nor_doubles(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = world.shard()
    put(shard, world.contract, change("c", 5, 1, "a", "x"))
    world.merge()
    commit = type(world.catalog).commit_table
    calls: list[str] = []

    def landed_but_unanswered(*arguments: Any) -> Any:
        commit(*arguments)
        calls.append("lost")
        raise ConnectionError

    put(shard, world.contract, change("u", 6, 1, "b"))
    with monkeypatch.context() as patched:
        patched.setattr(type(world.catalog), "commit_table", landed_but_unanswered)
        world.compactor.step()
    assert calls == ["lost", "lost"]  # history and table, one try each
    assert world.rows() == {1: ("b", "x", 6)}
    assert [entry[0] for entry in world.history()] == [5, 6]


def test_a_conflict_leaves_nothing_behind_and_is_planned_anew(world: World) -> None:
    shard = world.shard()
    put(shard, world.contract, change("c", 5, 1, "a", "x"))
    world.merge()
    stale = world.pair()
    put(shard, world.contract, change("c", 6, 2, "b", "y"))
    world.merge()
    with pytest.raises(CommitConflict):
        stale.commit_table(stale.write_table(stale.sorted_rows([], None), {}, frozenset()), stale.table_progress())
    assert sorted(world.rows()) == [1, 2]


def test_what_was_written_for_a_table_that_has_moved_since_is_a_conflict_though_it_was_loaded_anew(
    world: World,
) -> None:
    shard = world.shard()
    put(shard, world.contract, change("c", 5, 1, "a", "x"))
    world.merge()
    pair = world.pair()
    written = pair.write_table(pair.sorted_rows([], None), {}, frozenset())
    put(shard, world.contract, change("c", 6, 2, "b", "y"))
    world.merge()
    pair.refresh()
    with pytest.raises(CommitConflict):
        pair.commit_table(written, pair.table_progress())
    assert sorted(world.rows()) == [1, 2]


def test_a_commit_leaves_the_table_as_it_would_be_loaded(world: World) -> None:
    shard = world.shard()
    for lsn in range(5, 8):
        put(shard, world.contract, change("c", lsn, lsn, "a", "x"))
        world.merge()
        kept, loaded = world.compactor._pair, world.pair()
        for ours, theirs in ((kept.table, loaded.table), (kept.history, loaded.history)):
            assert ours.table.metadata == theirs.table.metadata
            assert ours.table.metadata_location == theirs.table.metadata_location


def test_the_table_is_not_loaded_again_after_a_commit_that_was_answered(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = world.shard()
    put(shard, world.contract, change("c", 5, 1, "a", "x"))
    world.merge()
    loaded: list[str] = []
    real = LakeTable.refresh

    def refresh(lake: LakeTable) -> None:
        loaded.append(lake.name)
        real(lake)

    monkeypatch.setattr(LakeTable, "refresh", refresh)
    put(shard, world.contract, change("c", 6, 2, "b", "y"))
    world.merge()
    assert loaded == []
    # A REST catalog gives the keys to the files with the table alone, and for an hour.
    monkeypatch.setattr("compactor.lake.table.RestCatalog", type(world.catalog))
    put(shard, world.contract, change("c", 7, 3, "c", "z"))
    world.merge()
    assert sorted(loaded) == sorted([world.pair().table.name, world.pair().history.name])


def test_when_history_cannot_be_committed_that_is_told_and_not_what_became_of_the_table_s_files(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compactor.compactor.WRITTEN_AT_ONCE_ROWS_MIN", 0)
    shard = world.shard()
    put(shard, world.contract, change("c", 5, 1, "a", "x"))

    def conflict(*_: object) -> None:
        raise CommitConflict("another writer committed first", where="history")

    def broken(*_: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patches:
        patches.setattr(TablePair, "commit_history", conflict)
        patches.setattr(TablePair, "write_table", broken)
        world.compactor.step()
    world.merge()
    assert world.rows() == {1: ("a", "x", 5)}
    with monkeypatch.context() as patches:
        patches.setattr(TablePair, "write_table", broken)
        put(shard, world.contract, change("u", 6, 1, "b", "y"))
        with pytest.raises(CdcError):
            world.compactor.step()
    world.merge()
    assert world.rows() == {1: ("b", "y", 6)}
    assert [entry[0] for entry in world.history()] == [5, 6]


def test_a_record_that_breaks_the_reader_is_set_aside(world: World) -> None:
    shard = world.shard()
    row = {"id": 1, "nome": "a", "bio": "x"}
    put(shard, world.contract, event("c", 2**63, row, table="t", seconds=1), change("c", 5, 2, "b", "y"))
    world.merge()
    assert list(world.rows()) == [2]
    assert [path.split("/")[0] for path in world.quarantine.objects] == ["no-position"]


def test_what_the_lake_does_not_answer_is_transient_and_what_it_refuses_is_fatal(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = world.shard()
    put(shard, world.contract, change("c", 5, 1, "a", "x"))
    for raised, fault in (
        (OSError("AWS Error NETWORK_CONNECTION"), TransientFault),
        (OSError("ACCESS_DENIED"), FatalFault),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(TablePair, "build_index", raising(raised))
            with pytest.raises(fault):
                world.compactor.step()
    world.merge()
    assert list(world.rows()) == [1]


def test_a_commit_behind_which_a_foreign_one_landed_is_a_conflict(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = world.shard()
    put(shard, world.contract, change("c", 5, 1, "a", "x"), change("c", 6, 2, "b", "y"))
    world.merge()
    commit = type(world.catalog).commit_table

    def followed(catalog: Catalog, table: Any, requirements: Any, updates: Any) -> Any:
        answer = commit(catalog, table, requirements, updates)
        if table.name()[1] == world.contract.name:
            monkeypatch.undo()
            catalog.load_table(table.name()).overwrite(catalog.load_table(table.name()).scan().to_arrow())
        return answer

    put(shard, world.contract, change("u", 7, 2, "b2"))
    monkeypatch.setattr(type(world.catalog), "commit_table", followed)
    world.compactor.step()
    put(shard, world.contract, change("u", 8, 2, "b3"))
    world.merge()
    assert world.rows() == {1: ("a", "x", 5), 2: ("b3", "y", 8)}


def test_a_table_made_for_another_contract_or_key_is_refused(world: World) -> None:
    source = CONTRACT.format(name=world.contract.name)
    masked = source.replace("{name: bio, physicalType: text, classification: internal}",
                            "{name: bio, physicalType: text, classification: internal, customProperties: [{property: mask, value: token}]}")  # fmt: skip
    for other, named in (
        (source.replace("public.t", "public.other"), "another source table"),
        (masked, "bio is masked by clear"),
    ):
        with pytest.raises(FatalFault, match=named):
            TablePair(world.catalog, "lake", parse_contract(other), b"k" * 32)
    token = parse_contract(masked.replace(f"name: {world.contract.name}\n", f"name: {next(NAMES)}\n"))
    TablePair(world.catalog, "lake", token, b"k" * 32)
    with pytest.raises(FatalFault, match="another masking key"):
        TablePair(world.catalog, "lake", token, b"another masking key, long enough")


def test_what_is_quarantined_again_after_a_failed_merge_stands_there_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = world.shard()
    put(shard, world.contract, b'{"no": "event"}', change("c", 5, 1, "a", "x"))
    with monkeypatch.context() as patched:
        patched.setattr(TablePair, "commit_history", raising(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            world.compactor.step()
    put(shard, world.contract, b'{"no": "event either"}')
    world.restart()
    world.merge()
    lines = [line for body in world.quarantine.objects.values() for line in gzip.decompress(body).splitlines()]
    assert len(lines) == 2


def test_a_stale_statement_of_progress_is_refused(world: World) -> None:
    shard = world.shard()
    put(shard, world.contract, change("c", 5, 1, "a", "x"))
    world.merge()
    stale = world.pair()
    put(shard, world.contract, change("c", 6, 2, "b", "y"))
    world.merge()
    with pytest.raises(CommitConflict):
        stale.commit_progress(Progress({"s/0": 1}))
    assert "s/0" not in world.pair().table_progress().offsets


@pytest.mark.parametrize("seed", range(8))
def test_random_histories_end_equal_to_the_source(world: World, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    dice = random.Random(seed)
    truth, shards, done = _random_history(dice, changes=150)
    assert {"insert", "update", "unchanged", "delete", "move", "truncate"} <= done  # the workload did what it claims
    world.limits = EAGER if seed % 2 else world.limits
    world.restart()
    writers = [world.shard(number) for number in range(len(shards))]
    while any(shards):
        for writer, waiting in zip(writers, shards, strict=True):
            count = dice.randint(0, 12)
            events, waiting[:count] = waiting[:count], []
            if events:
                again = dice.choice([0, 0, dice.randint(0, 3)])
                events += dice.choices(events, k=again)
                put(writer, world.contract, *events)
        if dice.random() < 0.3:
            world.restart()
        with monkeypatch.context() as patched:
            if dice.random() < 0.3:
                patched.setattr(TablePair, "commit_table", crash)
            try:
                world.compactor.step()
            except KeyboardInterrupt:
                world.restart()
        for _ in range(dice.choice([0, 0, 1, 4])):
            world.compactor.maintain(datetime.now(UTC))
    world.merge()
    assert {key: row[:2] for key, row in world.rows().items()} == truth
    assert world.quarantine.objects == {}
    positions = [(lsn, op, key) for lsn, op, key, _ in world.history()]
    assert len(positions) == len(set(positions))


def _random_history(
    dice: random.Random, changes: int
) -> tuple[dict[int, tuple[str, str | None]], list[list[bytes]], set[str]]:
    """A source's history: its final rows, its events by shard (updates and deletes sometimes late), what happened."""
    rows: dict[int, tuple[str, str | None]] = {}
    shards: list[list[bytes]] = [[], [], []]
    done: set[str] = set()

    def send(body: bytes, key: int, *, late: bool = False) -> None:
        shard = shards[key % 3]
        shard.insert(max(len(shard) - dice.randint(0, 6), 0) if late else len(shard), body)

    for lsn in range(1, changes + 1):
        key, nome, bio = dice.randrange(12), f"n{lsn}", dice.choice([None, f"b{lsn}"])
        roll = dice.random()
        if roll < 0.01 or lsn == changes // 2:
            rows.clear()
            send(change("t", lsn, 0), dice.randrange(3))
            done.add("truncate")
        elif key not in rows:
            rows[key] = (nome, bio)
            send(change("c", lsn, key, nome, bio), key)
            done.add("insert")
        elif roll < 0.2:
            del rows[key]
            send(change("d", lsn, key), key)
            done.add("delete")
        elif roll < 0.35 and (free := [k for k in range(12) if k not in rows]):
            new = dice.choice(free)
            rows[new] = (nome, rows.pop(key)[1])
            send(change("d", lsn, key), key)
            send(change("c", lsn, new, nome), new)
            done.add("move")
        elif roll < 0.7:
            rows[key] = (nome, rows[key][1])
            send(change("u", lsn, key, nome), key)
            done.add("unchanged")
        else:
            rows[key] = (nome, bio)
            send(change("u", lsn, key, nome, bio), key, late=dice.random() < 0.3)
            done.add("update")
    return rows, shards, done
