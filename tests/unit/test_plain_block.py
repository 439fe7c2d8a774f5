"""What Arrow may parse at once, and what it must not."""

from __future__ import annotations

import json
from collections.abc import Sequence

import msgspec
import pyarrow as pa
import pytest

from compactor.plain.block import blocks, parse

SCHEMA = pa.schema([("id", pa.int64()), ("nome", pa.string()), ("tags", pa.list_(pa.string()))])
FULL = b'{"id": 9007199254740993, "nome": "a \\"b\\": \\u00e7", "tags": ["x", null]}'


def rows(*texts: bytes) -> list[msgspec.Raw]:
    return [msgspec.Raw(text) for text in texts]


def parsed(texts: Sequence[bytes], *, may_lack: bool = False) -> list[dict[str, object]] | None:
    table = parse(rows(*texts), SCHEMA, may_lack=may_lack)
    return None if table is None else table.to_pylist()


def test_rows_keep_their_order_and_their_values() -> None:
    some = [FULL.replace(b"9007199254740993", str(number).encode()) for number in range(5000)]
    assert parsed(some) == [json.loads(row) for row in some]
    assert parsed([FULL]) == [json.loads(FULL)]


def test_a_null_that_is_stated_is_told_from_a_member_that_is_missing() -> None:
    quoted = ['": ', '\\": ', ':"', '":":', "\\"]
    stated = json.dumps({"id": 1, "nome": None, "tags": quoted}).encode()
    assert parsed([FULL, stated]) == [json.loads(FULL), json.loads(stated)]
    assert parsed([FULL, json.dumps({"id": 1, "tags": quoted}).encode()]) is None
    assert parsed([json.dumps({"id": 1, "nome": '":'}).encode(), FULL]) is None


@pytest.mark.parametrize("text", [":", ":x", '":":', '\\":', ",", "["])
def test_a_text_that_begins_with_a_colon_does_not_stand_for_a_member_that_is_missing(text: str) -> None:
    begins = json.dumps({"id": 1, "nome": text, "tags": [text]}, separators=(",", ":")).encode()
    for lacking in (b'{"id":1}', b'{"id":1,"nome":null}', b'{"nome":null,"tags":[null]}'):
        assert parsed([begins, lacking]) is None
        assert parsed([begins, begins, lacking]) is None


@pytest.mark.parametrize("name", [":id", "{id", ",x", '":x', "a"])
def test_a_name_that_begins_like_a_text_stands_for_no_other_member(name: str) -> None:
    schema = pa.schema([(name, pa.int64()), ("nome", pa.string())])
    lacking, whole = (
        msgspec.Raw(json.dumps(row, separators=(",", ":")).encode()) for row in ({name: 1}, {name: 1, "nome": None})
    )
    assert parse([lacking], schema) is None
    assert parse([whole], schema) is not None


@pytest.mark.parametrize("name", ["a:", "a,", "a[", "a{", "a ", "a\\", "a\t"])
def test_names_that_end_like_the_beginning_of_a_value_are_read_one_by_one_where_there_are_nulls(name: str) -> None:
    schema = pa.schema([("id", pa.int64()), (name, pa.string())])
    whole, null = (msgspec.Raw(json.dumps({"id": 1, name: value}).encode()) for value in ("x", None))
    assert parse([whole], schema) is not None
    assert parse([whole, null], schema) is None


def test_blocks_have_so_many_rows_or_bytes_and_one_row_at_least() -> None:
    assert list(blocks([], 3, 10)) == []
    assert list(blocks([1] * 7, 3, 10)) == [(0, 3), (3, 6), (6, 7)]
    assert list(blocks([4, 4, 4, 99, 1, 10, 5, 5], 3, 10)) == [(0, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, 8)]


@pytest.mark.parametrize(
    "odd",
    [
        b"null",  # ends the process inside of Arrow
        b"[]",
        b"7",
        b"{}",
        b'{"id": 1, "nome": "x"}',  # a member is missing
        b'{"id": 1, "nome": "x", "tags": null, "more": 1}',
        b'{"id": 1, "id": 1, "nome": "x", "tags": null}',
        b'{"id": 1, "\\u0069d": 1, "nome": "x", "tags": null}',
        b'{"id": 1.0, "nome": "x", "tags": null}',
        b'{"id": 9223372036854775808, "nome": "x", "tags": null}',
        b'{"id": 1, "nome": 7, "tags": null}',
        b'{"id": 1, "nome": {"a": 1}, "tags": null}',
        b'{"id": 1, "nome": "\\ud800", "tags": null}',
        b'{"id": 1, "nome": "\xed\xa0\x80", "tags": null}',
        b'{"id": 1, "nome": "x", "tags": [["x"]]}',
        b'{"id": 1, "nome": "\\u005f_debezium_unavailable_value", "tags": null}',
    ],
)
def test_one_odd_row_keeps_all_from_being_parsed_at_once(odd: bytes) -> None:
    assert parsed([FULL, odd, FULL]) is None
    assert parsed([odd]) is None


def test_a_null_is_told_from_a_member_that_is_missing() -> None:
    null, missing = b'{"id": 1, "nome": null, "tags": null}', b'{"id": 1, "nome": null}'
    assert parsed([null, FULL]) == [json.loads(null), json.loads(FULL)]
    assert parsed([null, missing]) is None
    assert parsed([null, missing], may_lack=True) == [json.loads(null)] * 2


def test_a_row_may_be_longer_than_what_is_parsed_at_once() -> None:
    long = json.dumps({"id": 1, "nome": "x" * 3_000_000, "tags": []}).encode()
    assert parsed([FULL, long, FULL]) == [json.loads(row) for row in (FULL, long, FULL)]
