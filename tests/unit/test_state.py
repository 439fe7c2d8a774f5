"""What raw alone tells of a table: positions decide, the law decides what they do not, and what cannot be told is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from random import Random
from typing import Any

import msgspec
import pytest

from cdc import raw
from cdc.errors import FatalFault, RawFault
from cdc.raw import RawLine
from compactor.change import Change, ChangeReader
from compactor.merge import Merged, merge
from compactor.state import current, law, together
from tests.raw_zone import PLACEHOLDER, START, MemoryObjects, ShardWriter, at
from tests.state_world import SHARD, TABLE, Source, event, export_of, names, row, rows_of, with_schema, zone


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


def test_a_column_that_no_contract_names_makes_nothing_slow() -> None:
    new = [event("u", 9 + key, None, row(key) | {"apelido": "x"}) for key in range(200)]
    found = export_of(zone([event("c", 5, None, row(0))], new), TABLE)
    assert (len(found.rows), found.folded) == (200, 0)


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


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_a_line_that_the_law_alone_can_read_is_read_again_only_where_its_key_is_folded(
    share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(law, "CHANGES_MAX", 20)
    source = Source(Random(3), with_schema=share)
    for key in range(300):
        source.happen([key])
    read: Counter[bytes] = Counter()

    class Counted(ChangeReader):
        def read(self, shard: str, batch: str, lines: Iterable[RawLine], epoch: int = 1) -> Any:
            some = list(lines)
            read.update(bytes(line.event) for line in some)
            return super().read(shard, batch, some, epoch)

    monkeypatch.setattr(current, "ChangeReader", Counted)
    found = export_of(zone(*(source.events[at : at + 10] for at in range(0, len(source.events), 10))), TABLE)
    assert rows_of(found) == source.expected()
    odd = [one for one in source.events if b'"schema": {' in one]
    assert (found.folded, len(odd)) == (len(odd), len(odd))
    assert read == Counter(dict.fromkeys(odd, 2))


def test_an_object_of_lines_that_the_law_alone_can_read_is_fetched_again_only_where_one_of_its_keys_is_folded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(law, "CHANGES_MAX", 1)
    keys = range(6)
    store = zone(*([with_schema(event("c", 5 + key, None, row(key)))] for key in keys))
    got: Counter[str] = Counter()

    class Counted(MemoryObjects):
        def get(self, path: str) -> bytes:
            got[path] += path.startswith("postgres/")
            return super().get(path)

    counted = Counted()
    counted.objects = store.objects
    assert export_of(counted, TABLE).folded == len(keys)
    assert sorted((+got).values()) == [2] * len(keys)


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


def test_how_long_it_is_valid_is_what_heartbeats_prove() -> None:
    store = zone([event("c", 5, None, row(1))], evidence=at(60))
    assert export_of(store, TABLE).progress.valid_through == at(60) - timedelta(seconds=1)
