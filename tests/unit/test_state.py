"""What raw alone tells of a table: positions decide, the law decides what they do not, and what cannot be told is refused."""

from __future__ import annotations

import json
import stat
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest

from cdc import raw
from cdc.contract import TableContract, parse_contract
from cdc.epoch import EpochEnd, EpochStart, read_epochs, record_end, record_start
from cdc.errors import FatalFault, RawFault
from cdc_ops.rebuild_raw import from_snapshot, reach
from compactor.change import Change
from compactor.merge import Merged, merge
from compactor.state import current_state, export, law, together
from compactor.state.noted import Noted
from tests.raw_zone import PLACEHOLDER, START, MemoryObjects, ShardWriter, at
from tests.state_world import CONTRACT, KEY, Source, contract, event, export_of, rows_of, scatter

TABLE = contract()
SHARD = "usuarios-20261121T000000Z/shardId-000000000000"


def row(key: int, nome: str = "n", bio: str = "b") -> dict[str, Any]:
    return {"id": key, "nome": nome, "bio": bio, "cpf": "12345678901"}


def zone(*batches: list[bytes], **options: Any) -> MemoryObjects:
    store = MemoryObjects()
    shard = ShardWriter(store)
    for events in batches:
        shard.batch(events, table="t", **options)
    return store


def names(store: MemoryObjects, table: TableContract = TABLE) -> dict[int, str]:
    return {key: values[0] for key, values in rows_of(export_of(store, table)).items()}


def test_an_older_change_in_a_newer_object_loses() -> None:
    store = zone(
        [event("u", 9, None, row(1, "new"))], [event("u", 5, None, row(1, "old")), event("c", 7, None, row(2))]
    )
    assert names(store) == {1: "new", 2: "n"}


def test_of_changes_at_one_position_the_one_that_came_first_counts() -> None:
    for size in (1, 1 << 20):
        with pytest.MonkeyPatch.context() as patches:
            patches.setattr(together, "TOGETHER_BYTES", size)
            reads = [[event("r", 5, None, row(1, name))] for name in ("first", "second", "third")]
            assert names(zone(*reads)) == {1: "first"}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("batches", [1, 2])
def test_a_delete_and_a_create_of_one_key_at_one_position_leave_the_row(order: tuple[int, int], batches: int) -> None:
    halves = [event("d", 9, row(1), None), event("c", 9, None, row(1, "again", PLACEHOLDER))]
    some = [halves[place] for place in order]
    store = zone([event("c", 5, None, row(1))], *([[half] for half in some] if batches == 2 else [some]))
    assert rows_of(export_of(store, TABLE)) == {1: ("again", "b", "*******8901", 9)}


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


def test_a_column_that_no_contract_names_makes_nothing_slow() -> None:
    new = [event("u", 9 + key, None, row(key) | {"apelido": "x"}) for key in range(200)]
    found = export_of(zone([event("c", 5, None, row(0))], new), TABLE)
    assert (len(found.order), found.folded) == (200, 0)


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


def test_a_key_with_very_many_changes_takes_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(law, "CHANGES_MAX", 10)
    sizes: list[int] = []

    def counted(some: list[Change], *others: Any) -> Merged:
        sizes.append(len(some))
        return merge(some, *others)

    monkeypatch.setattr(law, "merge", counted)
    batches = [[event("u", 10 * place + n, None, row(1, f"{place}")) for n in range(9)] for place in range(1, 30)]
    store = zone(*batches, [event("u", 999, None, row(1, "last", PLACEHOLDER))])
    assert rows_of(export_of(store, TABLE)) == {1: ("last", "b", "*******8901", 999)}
    assert max(sizes) < 5


def test_a_key_change_whose_old_row_is_still_on_its_way_is_refused() -> None:
    store = zone([event("c", 9, None, row(2, "moved", PLACEHOLDER))])
    ShardWriter(store, "shardId-000000000001")  # which has proven nothing yet
    with pytest.raises(FatalFault, match="waits for the row that it took values from"):
        export_of(store, TABLE)


def test_a_gap_a_missing_end_and_a_changed_object_are_refused() -> None:
    store = zone([event("c", 5, None, row(1))], [event("c", 6, None, row(2))], [event("c", 7, None, row(3))])
    _, second, third = sorted(path for path in store.objects if path.startswith("_batches"))
    whole = dict(store.objects)
    del store.objects[second]
    with pytest.raises(RawFault, match="gap"):
        export_of(store, TABLE)
    store.objects = dict(whole)
    store.put(raw.tip_path(*SHARD.split("/")), msgspec.json.encode(raw.Tip(START, "3")))
    assert names(store) == {1: "n", 2: "n", 3: "n"}
    del store.objects[third]
    with pytest.raises(RawFault, match="read further than raw has batches"):
        export_of(store, TABLE)
    store.objects = dict(whole)
    path = next(path for path in store.objects if path.startswith("postgres"))
    store.objects[path] = store.objects[path][:-1] + b"\1"
    with pytest.raises(RawFault, match="is not the one that its batch record names") as caught:
        export_of(store, TABLE)
    assert "12345678901" not in str(caught.value)


def debezium(op: str, lsn: int, key: int, snapshot: str) -> bytes:
    told = json.loads(event(op, lsn, None, row(key), version="3.6.3.Final"))
    told["source"]["snapshot"] = snapshot
    return json.dumps(told).encode()


def test_a_snapshot_begun_anew_that_nobody_recorded_is_refused() -> None:
    store = zone([debezium("u", 9, 1, "false")], [debezium("r", 50, 1, "true")])
    with pytest.raises(FatalFault, match="`cdc epoch t`"):
        export_of(store, TABLE)


def word(*, is_complete: bool) -> raw.SnapshotWord:
    shard = "shardId-000000000000"
    return raw.SnapshotWord("s1", (shard,), (("public", "t", 1),), at(0), is_complete=is_complete, source="1/1")


def test_what_publishers_say_of_their_first_snapshot_need_not_be_recorded_yet() -> None:
    store = MemoryObjects()
    shard = ShardWriter(store)
    shard.batch([event("r", 5, None, row(1))], table="t", marks=[word(is_complete=False)])
    shard.batch([event("u", 9, None, row(1, "new"))], table="t", marks=[word(is_complete=True)])
    before = dict(store.objects)
    assert names(store) == {1: "new"}
    assert store.objects == before


def test_marks_that_other_shards_lack_are_waited_for() -> None:
    store = MemoryObjects()
    shard = ShardWriter(store)
    both = msgspec.structs.replace(word(is_complete=False), shards=("shardId-000000000000", "shardId-000000000001"))
    shard.batch([event("r", 5, None, row(1))], table="t", marks=[both])
    with pytest.raises(FatalFault, match="not recorded whole"):
        export_of(store, TABLE)


def with_second_epoch(*, reads: int = 1, ends: bool = True) -> MemoryObjects:
    """Two rows, of which a snapshot that begins a second epoch has found one."""
    store = zone([event("c", 5, None, row(1)), event("c", 6, None, row(2))], [event("r", 1, None, row(2, "read"))])
    record_start(store, EpochStart("t", 2, {SHARD: "3"}, (), origin="s2"))
    if ends:
        record_end(store, EpochEnd("t", 2, {SHARD: "3"}, at(0), reads, origin="s2"))
    return store


def test_rows_that_a_whole_snapshot_has_not_found_are_gone() -> None:
    assert names(with_second_epoch()) == {2: "read"}


NOT_WHOLE = [
    (with_second_epoch(ends=False), "is not complete"),
    (with_second_epoch(reads=2), "1 reads of the snapshot"),
]


def test_where_raw_reaches_back_to_a_whole_snapshot_only_that_is_enough() -> None:
    store = with_second_epoch()
    first, *_ = sorted(path for path in store.objects if path.startswith("_batches"))
    del store.objects[first]
    with pytest.raises(RawFault, match="gap"):
        export_of(store, TABLE)
    begins = from_snapshot(read_epochs(store, "t"), reach(store, {}))
    assert begins is not None
    assert rows_of(current_state(TABLE, store, KEY, begins=begins)).keys() == {2}


@pytest.mark.parametrize(("store", "why"), NOT_WHOLE)
def test_a_snapshot_that_is_not_merged_whole_is_refused(store: MemoryObjects, why: str) -> None:
    with pytest.raises(FatalFault, match=why):
        export_of(store, TABLE)


def test_what_would_be_recorded_is_remembered_and_nothing_is_written() -> None:
    store = MemoryObjects()
    store.put("a/1", b"1")
    noted = Noted(store)
    assert noted.put_if_absent("a/2", b"2")
    assert not noted.put_if_absent("a/2", b"3")
    assert not noted.put_if_absent("a/1", b"3")
    assert (list(noted.list_after("a/")), list(noted.list_after("a/", "a/1"))) == (["a/1", "a/2"], ["a/2"])
    assert (noted.get("a/1"), noted.get("a/2"), list(noted.list_folders(""))) == (b"1", b"2", ["a"])
    with pytest.raises(FatalFault, match="only read"):
        noted.put("a/3", b"3")
    assert list(store.objects) == ["a/1"]


def test_the_file_is_in_the_order_of_the_key_says_how_far_it_comes_and_is_the_owners(tmp_path: Path) -> None:
    source = Source(Random(1))
    for _ in range(200):
        source.happen(range(20))
    store, path = scatter(source.events, Random(2)), tmp_path / "t.parquet"
    told: list[str] = []
    export(TABLE, store, KEY, path, told.append)
    table = pq.read_table(path)
    assert table["id"].to_pylist() == sorted(source.rows)
    assert table["nome"].to_pylist() == [source.rows[key]["nome"] for key in sorted(source.rows)]
    assert table.schema.names[-4:] == ["cdc_epoch", "cdc_lsn", "cdc_ordinal", "cdc_committed_at"]
    assert json.loads(table.schema.metadata[b"cdc.offsets"]).keys() == {SHARD, SHARD[:-1] + "1"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert told
    assert not any("n1" in line for line in told)


def test_a_file_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    path.write_text("mine")
    with pytest.raises(FileExistsError):
        export(TABLE, zone([event("c", 5, None, row(1))]), KEY, path)
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("t.parquet", "mine")]


def test_a_table_without_a_row_gives_a_file_without_a_row(tmp_path: Path) -> None:
    export(TABLE, MemoryObjects(), KEY, tmp_path / "t.parquet")
    assert pq.read_table(tmp_path / "t.parquet").num_rows == 0


def test_how_long_it_is_valid_is_what_heartbeats_prove() -> None:
    store = zone([event("c", 5, None, row(1))], evidence=at(60))
    assert export_of(store, TABLE).progress.valid_through == at(60) - timedelta(seconds=1)


@pytest.mark.parametrize("reads", [1, 2])
def test_a_read_of_a_snapshot_that_cannot_be_read_is_none(reads: int) -> None:
    broken = event("r", 1, None, row(1, "q")).replace(b'"nome": "q"', b'"nome": "q", "nome": "z"')
    assert b'"z"' in broken
    store = zone(
        [event("c", 5, None, row(1)), event("c", 6, None, row(2)), event("c", 7, None, row(3))],
        [event("r", 1, None, row(2, "read")), broken],
    )
    record_start(store, EpochStart("t", 2, {SHARD: "4"}, (), origin="s2"))
    record_end(store, EpochEnd("t", 2, {SHARD: "5"}, at(0), reads, origin="s2"))
    if reads == 2:
        with pytest.raises(FatalFault, match="1 reads of the snapshot that began epoch 2 are missing"):
            export_of(store, TABLE)
    else:
        assert [one["id"] for one in export_of(store, TABLE).rows.to_pylist()] == [2]


def test_an_export_that_is_killed_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = zone([event("c", 5, None, row(1))])

    def killed(*_: object) -> None:
        assert list(tmp_path.iterdir()) == []
        raise KeyboardInterrupt

    monkeypatch.setattr("compactor.state.parquet.os.fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        export(TABLE, store, KEY, tmp_path / "t.parquet")
    assert list(tmp_path.iterdir()) == []
