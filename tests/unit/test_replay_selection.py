from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from cdc.raw import object_path, padded
from cdc_ops.replay_selection import Batch, Piece, Selection, find, parse_batch, parse_days, parse_piece
from tests.raw_zone import START, MemoryObjects

STREAM, SHARD = "usuarios-20261121T000000Z", "shardId-000000000003"
RANGE = f"{STREAM}~{SHARD}~{padded(7)}~{padded(19)}"
DAYS = date(2026, 11, 21), date(2026, 11, 22)


def test_objects_of_the_consumer_and_of_the_compactor_are_known_by_their_names() -> None:
    by_consumer = f"not-json/2026/11/21/{RANGE}.json.gz"
    assert parse_piece(by_consumer, "quarantine") == Piece(
        by_consumer, STREAM, SHARD, 7, 19, "2026/11/21", None, "not-json"
    )
    by_compactor = f"value-not-held/2026/11/21/t_1~{RANGE}~0123456789abcdef.json.gz"
    assert parse_piece(by_compactor, "quarantine") == Piece(
        by_compactor, STREAM, SHARD, 7, 19, "2026/11/21", "t_1", "value-not-held"
    )
    in_raw = object_path("t_1", STREAM, SHARD, 7, 19, START)
    assert parse_piece(in_raw, "raw") == Piece(in_raw, STREAM, SHARD, 7, 19, "2026/11/21", "t_1")


def test_a_kafka_partition_whose_name_is_a_number_is_not_mistaken_for_a_sequence_number() -> None:
    name = "usuarios-AaH-bHBpfqGKA_qfTHquGA~0"
    plain = parse_piece(f"not-json/2026/11/21/{name}~{padded(7)}~{padded(19)}.json.gz", "quarantine")
    with_table = parse_piece(f"no-key/2026/11/21/t~{name}~{padded(7)}~{padded(19)}~{'1' * 16}.json.gz", "quarantine")
    for piece, table in ((plain, None), (with_table, "t")):
        assert piece is not None
        assert (piece.table, piece.shard, piece.after, piece.upto) == (table, "0", 7, 19)


def test_what_was_replayed_is_known_by_its_path_and_other_objects_are_none() -> None:
    moved = parse_piece(f"_replayed/not-json/2026/11/21/{RANGE}.json.gz", "quarantine")
    assert moved is not None
    assert moved.reason == "not-json"
    for path in ("not-json/readme.txt", f"not-json/2026/11/{RANGE}.json.gz", f"_batches/{STREAM}/{SHARD}/1~0.json"):
        assert parse_piece(path, "quarantine") is None
        assert parse_piece(path, "raw") is None


@pytest.mark.parametrize(
    ("selection", "taken"),
    [
        (Selection(), {"a", "b", "c"}),
        (Selection(reasons=frozenset({"not-json"})), {"a"}),
        (Selection(tables=frozenset({"t"})), {"b", "c"}),
        (Selection(days=(DAYS[0], DAYS[0])), {"a", "b"}),
        (Selection(days=DAYS), {"a", "b", "c"}),
        (Selection(batch=Batch(STREAM, SHARD, 19, 25)), {"c"}),
        (Selection(path="no-key/2026/11/22"), {"c"}),
        (Selection(path="_replayed/"), {"moved"}),
        (Selection(reasons=frozenset({"no-key"}), days=(DAYS[1], DAYS[1]), tables=frozenset({"u"})), set()),
    ],
)
def test_only_what_is_asked_for_is_found_and_what_was_replayed_only_by_its_path(
    selection: Selection, taken: set[str]
) -> None:
    later = f"{STREAM}~{SHARD}~{padded(19)}~{padded(25)}"
    paths = {
        "a": f"not-json/2026/11/21/{RANGE}.json.gz",
        "b": f"no-key/2026/11/21/t~{RANGE}~0a.json.gz",
        "c": f"no-key/2026/11/22/t~{later}~0a.json.gz",
        "moved": f"_replayed/no-key/2026/11/21/t~{RANGE}~0b.json.gz",
    }
    store = MemoryObjects()
    store.objects = dict.fromkeys(paths.values(), b"") | {"no-key/note.txt": b""}
    assert {piece.path for piece in find(store, "quarantine", selection)} == {paths[name] for name in taken}


def test_a_day_of_raw_is_found_without_listing_other_days() -> None:
    store = MemoryObjects()
    wanted = object_path("t", STREAM, SHARD, 7, 19, START)
    store.objects = {
        wanted: b"",
        f"postgres/json/t/2026/11/20/{RANGE}.json.gz": b"",
        f"_batches/{STREAM}/x/1.json": b"",
    }
    listed: list[str] = []
    listing = store.list_after

    def noted(prefix: str, after: str = "") -> Any:
        listed.append(prefix)
        return listing(prefix, after)

    store.list_after = noted  # type: ignore[method-assign]
    assert [piece.path for piece in find(store, "raw", Selection(days=(DAYS[0], DAYS[0])))] == [wanted]
    assert listed == ["postgres/json/t/2026/11/21/"]


def test_days_and_batches_are_read_or_refused() -> None:
    assert parse_days("2026-11-21") == (DAYS[0], DAYS[0])
    assert parse_days("2026-11-21..2026-11-22") == DAYS
    assert [parse_days(text) for text in ("2026-11-22..2026-11-21", "yesterday", "2026-11-21..", "")] == [None] * 4
    assert parse_batch(RANGE) == Batch(STREAM, SHARD, 7, 19)
    assert [parse_batch(text) for text in ("", "a~b~c~d", f"t~{RANGE}")] == [None] * 3
