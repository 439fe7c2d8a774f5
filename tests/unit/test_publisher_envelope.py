"""Keys, values and what must not show in them."""

from __future__ import annotations

import hashlib
import json
from json.encoder import encode_basestring

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.errors import FatalFault
from cdc_publisher import envelope
from cdc_publisher.envelope import TableFormat
from cdc_publisher.pgoutput import UNCHANGED
from cdc_publisher.rendering import PLACEHOLDER, SourceType, rendering
from cdc_publisher.temporal import INFINITY_STREAMED


def table(columns: dict[str, str], key: list[str]) -> TableFormat:
    formats = [(name, rendering(SourceType(type_), -1, INFINITY_STREAMED)) for name, type_ in columns.items()]
    return TableFormat.of("public", "Usuários", [(name, how) for name, how in formats if how], key)


USUARIOS = table({"id": "int8", "nome": "text", "100%": "numeric"}, ["id"])


def test_rows_and_keys() -> None:
    assert USUARIOS.row(["1", 'J"ão', "1.50"]) == {"id": 1, "nome": 'J"ão', "100%": "1.50"}
    assert USUARIOS.row(["1", UNCHANGED, None]) == {"id": 1, "nome": "__debezium_unavailable_value", "100%": None}
    assert USUARIOS.key_of(["1", None, None]) == b'{"id":1}'


def test_a_text_is_itself_also_where_it_spells_our_word_for_unchanged() -> None:
    assert USUARIOS.row(["1", "unchanged", "NaN"]) == {"id": 1, "nome": "unchanged", "100%": "NAN"}


def test_a_text_that_equals_the_placeholder_is_spelt_out_beside_one_that_is_unchanged() -> None:
    texts = table({"id": "int8", "a": "text", "b": "text"}, ["id"])
    row = texts.row(["1", PLACEHOLDER, UNCHANGED])
    assert msgspec.json.encode(row) == (
        b'{"id":1,"a":"\\u005f_debezium_unavailable_value","b":"__debezium_unavailable_value"}'
    )


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30))
def test_keys_are_spelt_as_ever_so_that_a_key_keeps_its_place_in_the_stream(text: str) -> None:
    format_ = table({"nome": "text"}, ["nome"])
    assert format_.key_of([text]) == b'{"nome":%b}' % encode_basestring(text).encode()


def test_a_key_of_several_columns_has_the_order_of_the_key() -> None:
    composite = table({"b": "int4", "a": "text"}, ["a", "b"])
    assert composite.key_of(["1", "x"]) == b'{"a":"x","b":1}'


def test_the_partition_key_does_not_show_the_key() -> None:
    cpf = table({"cpf": "text"}, ["cpf"])
    key = cpf.key_of(["123.456.789-09"])
    assert envelope.partition_key(key) == hashlib.sha256(b'{"cpf":"123.456.789-09"}').hexdigest()


def test_a_change_has_debeziums_fields_in_debeziums_order() -> None:
    moment = envelope.moment("app", "false", 1_795_252_035_225_773, 970)
    source = envelope.source(moment, USUARIOS.source, 176753840, 176754080)
    event = envelope.change(b'{"id":1}', "c", None, {"id": 1}, source, 1_795_252_035_243_110_684)
    value = json.loads(event.data)
    assert list(value) == ["before", "after", "source", "transaction", "op", "ts_ms", "ts_us", "ts_ns"]
    assert value["source"] == {
        "version": envelope.VERSION,
        "connector": "postgresql",
        "name": "cdc",
        "ts_ms": 1795252035225,
        "snapshot": "false",
        "db": "app",
        "sequence": '["176753840","176754080"]',
        "ts_us": 1795252035225773,
        "ts_ns": 1795252035225773000,
        "schema": "public",
        "table": "Usuários",
        "txId": 970,
        "lsn": 176754080,
        "xmin": None,
        "origin": None,
        "origin_lsn": None,
    }
    assert (value["ts_ms"], value["ts_us"], value["ts_ns"]) == (
        1795252035243,
        1795252035243110,
        1795252035243110684,
    )


def test_before_the_first_commit_the_sequence_has_a_null() -> None:
    moment = envelope.moment("app", "last", 1, 5)
    source = json.loads(envelope.source(moment, USUARIOS.source, None, 7))
    assert (source["sequence"], source["snapshot"]) == ('[null,"7"]', "last")


def test_a_tombstone_is_empty_and_lies_with_its_row() -> None:
    assert envelope.tombstone(b'{"id":1}') == (envelope.partition_key(b'{"id":1}'), b"")


def test_a_truncate_has_no_key() -> None:
    moment = envelope.moment("app", "false", 1, 5)
    event = envelope.change(None, "t", None, None, envelope.source(moment, USUARIOS.source, None, 7), 1)
    value = json.loads(event.data)
    assert (event.partition_key, value["op"], value["before"], value["after"]) == ("default", "t", None, None)


def test_a_heartbeat_is_debeziums_logical_message() -> None:
    event = envelope.heartbeat("app", 5, 7, 1_000_001, 9, 2_000_000_000)
    value = json.loads(event.data)
    assert list(value) == ["op", "ts_ms", "source", "transaction", "message"]
    assert event.partition_key == "cdc.heartbeat"
    assert value["message"] == {"prefix": "cdc.heartbeat", "content": ""}
    source = value["source"]
    assert (value["op"], source["lsn"], source["ts_us"], source["schema"], source["table"], source["txId"]) == (
        "m", 7, 1_000_001, "", "", 9,
    )  # fmt: skip


def test_a_change_without_its_key_stops_the_program() -> None:
    with pytest.raises(FatalFault, match="REPLICA IDENTITY"):
        USUARIOS.key_of([None, "x", None])


@pytest.mark.parametrize("values", [["1", "segredo", "x"], ["1", "segredo"]])
def test_a_row_that_cannot_be_written_is_named_without_its_values(values: list[str]) -> None:
    broken = table({"id": "int8", "nome": "text", "nascido": "date"}, ["id"])
    with pytest.raises(FatalFault) as caught:
        broken.row(values)
    assert "segredo" not in str(caught.value)
    assert caught.value.__cause__ is None
    if len(values) == 3:
        assert "nascido" in str(caught.value)
