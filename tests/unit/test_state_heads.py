"""Heads of what our own publisher writes: they are read at once, but where a text says that it is not the placeholder."""

from __future__ import annotations

from typing import Any

import pytest

from cdc.debezium.decode import SPELT
from cdc_publisher import envelope
from cdc_publisher.envelope import TableFormat
from cdc_publisher.rendering import PLACEHOLDER, SourceType, rendering
from cdc_publisher.temporal import INFINITY_STREAMED
from compactor.state import heads
from tests.state_world import TABLE, as_lines, as_text, contract, event, export_of, head_reader, row, rows_of, zone


def published(op: str, before: Any, after: Any, key_type: str = "int8") -> bytes:
    """An event as our publisher sends it; rows are texts as Postgres sends them, the key first."""
    types = {"id": key_type, "nome": "text", "bio": "text", "cpf": "text"}
    hows = [(name, rendering(SourceType(type_), -1, INFINITY_STREAMED)) for name, type_ in types.items()]
    table = TableFormat.of("public", "t", [(name, how) for name, how in hows if how], ["id"])
    moment = envelope.moment("app", "first" if op == "r" else "false", 1_795_252_035_225_773, 970)
    source = envelope.source(moment, table.source, 176753840, 176754080)
    rows = [None if values is None else table.row(values) for values in (before, after)]
    return envelope.change(b"{}", op, rows[0], rows[1], source, 1_795_252_035_243_110_684).data


@pytest.mark.parametrize("decoded_at_once_bytes", [1, 300, 1000, 1_000_000])
def test_each_row_stays_with_its_change_where_an_object_is_decoded_in_parts(
    decoded_at_once_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "DECODED_AT_ONCE_BYTES", decoded_at_once_bytes)
    found = rows_of(export_of(zone([event("c", 5 + key, None, row(key, f"n{key}")) for key in range(30)]), TABLE))
    assert {key: (told[0], told[3]) for key, told in found.items()} == {key: (f"n{key}", 5 + key) for key in range(30)}


@pytest.mark.parametrize(("key_type", "column_type"), [("int8", "bigint"), ("text", "text")])
def test_what_our_publisher_sends_is_read_at_once(key_type: str, column_type: str) -> None:
    rows = [[str(key), "n", "b", None] for key in range(5)]
    events = [
        published("r", None, rows[0], key_type),
        published("c", None, rows[1], key_type),
        published("u", None, rows[2], key_type),
        published("u", rows[3], rows[3], key_type),
        published("d", rows[4], None, key_type),
    ]
    reader, index = head_reader(contract(column_type))
    heads = reader.read(as_text(as_lines(events)), len(events))
    assert heads is not None
    assert (heads.changes.ops.tolist(), heads.others) == (["r", "c", "u", "u", "d"], [])
    keys = [(key if key_type == "int8" else str(key),) for key in range(5)]
    assert heads.prints.high.tolist() == index.prints_of_keys(keys).high.tolist()


def test_where_a_text_says_that_it_is_not_the_placeholder_the_law_tells_the_key() -> None:
    events = [published("c", None, [key, "n", "b", None], "text") for key in ("a", PLACEHOLDER)]
    assert [SPELT in one for one in events] == [False, True]
    lines = as_lines(events)
    reader, _ = head_reader(contract("text"))
    assert reader.read(as_text(lines), len(lines)) is None
    heads = reader.read_lines(lines)
    assert (heads.changes.places.tolist(), heads.others) == ([0], [1])


def test_of_a_key_that_is_a_number_no_text_says_anything() -> None:
    lines = as_lines([published("c", None, ["1", PLACEHOLDER, "b", None])])
    reader, _ = head_reader(contract())
    assert reader.read(as_text(lines), len(lines)) is not None
    assert reader.read_lines(lines).others == []
