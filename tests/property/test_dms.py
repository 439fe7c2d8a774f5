"""Whatever arrives as a DMS record is changes or a fault with a reason; arrays come back as they were."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc.contract import TableContract
from cdc.decode import decode
from cdc.errors import RecordFault
from cdc.postgres_array import parse_array
from cdc.raw import RawLine
from compactor.change import ChangeReader
from tests.dms_records import metadata, record
from tests.golden_debezium import contract_of

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
COLUMNS = st.sampled_from(["id", "nome", "cpf", "data_nascimento", "saldo", "ativo", "criado_em", "atualizado_em", "tags", "endereco", "BI_id"])  # fmt: skip
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
# Signs that numbers, times, arrays, ranges, JSON and octets are made of, so that some values are nearly right.
NEARLY = st.text('0123456789-+.:,eETZ "\\{}[]()xabtfN/', max_size=30)
KINDS = [
    "text", "char", "char(3)", "varchar(5)", "smallint", "bigint", "numeric", "numeric(12,2)", "numeric(50,3)", "money", "real",
    "double precision", "boolean", "date", "time", "time(3)", "timestamp", "timestamp(3)", "timestamptz", "json", "jsonb", "bytea",
    "uuid", "inet", "enum", "interval", "hstore", "bit(3)", "point", "int4range", "tsrange", "tstzrange", "oid", "text[]",
    "integer[]", "numeric[]", "timestamptz[]", "jsonb[]", "bytea[]", "real[]", "int8range[]",
]  # fmt: skip


@given(payload=st.binary(max_size=200))
def test_no_bytes_at_all_raise_anything_else(payload: bytes, usuarios: TableContract) -> None:
    for body in (payload, b'{"metadata": {"operation": "update", "record-type": "data"}, "data":' + payload + b"}"):
        with pytest.raises(RecordFault):
            decode(body, usuarios, 1)


@given(
    operation=st.sampled_from(["load", "insert", "update", "delete", "drop-table"]),
    row=st.dictionaries(COLUMNS, JSON, max_size=10),
    before=st.none() | st.dictionaries(COLUMNS, JSON, max_size=3),
    changed=st.dictionaries(st.sampled_from(list(metadata("update"))), JSON, max_size=2),
    others=st.dictionaries(st.text(max_size=5), JSON, max_size=1),
)
def test_any_record_gives_events_or_a_fault(
    operation: str, row: Any, before: Any, changed: Any, others: Any, usuarios: TableContract
) -> None:
    parts = {"data": row, "metadata": metadata(operation, 7) | changed, "before-image": before} | others
    payload = json.dumps(parts).encode()
    with contextlib.suppress(RecordFault):
        for event in decode(payload, usuarios, 1):
            assert event.row["id"] is not None


@settings(max_examples=400)
@given(
    kind=st.sampled_from(KINDS), value=JSON | NEARLY, operation=st.sampled_from(["load", "update", "delete"]),
    before=st.none() | st.dictionaries(st.sampled_from(["id", "v"]), JSON | NEARLY, max_size=2),
)  # fmt: skip
def test_any_value_of_any_type_is_held_or_set_aside(kind: str, value: Any, operation: str, before: Any) -> None:
    reader = ChangeReader(contract_of("t", f"id integer, v {kind}"), b"k" * 32)
    line = RawLine("0", "1", 0, "", msgspec.Raw(record(operation, {"id": 1, "v": value}, 7, before=before)))
    changes, rejected = reader.read("s/0", "b", [line])
    assert changes or rejected
    assert "unreadable" not in {item.fault.reason for item in rejected}
    told = [str(change.fault) for change in changes] + [str(item.fault) for item in rejected]
    assert not [text for text in told if isinstance(value, str) and len(value) > 9 and value in text]


def quoted(text: str) -> str:
    """An element as Postgres's array_out writes it."""
    needs_quotes = text == "" or text.upper() == "NULL" or any(sign in '"\\{}, \t\n\r\v\f' for sign in text)
    if not needs_quotes:
        return text
    return '"' + "".join("\\" + sign if sign in '"\\' else sign for sign in text) + '"'


@given(st.lists(st.none() | TEXTS | st.text('",{}\\ \nNULl', max_size=6), max_size=6))
def test_an_array_comes_back_as_it_was(elements: list[str | None]) -> None:
    text = "{" + ",".join("NULL" if element is None else quoted(element) for element in elements) + "}"
    assert parse_array(text) == elements


@given(st.lists(st.none() | TEXTS, min_size=1, max_size=6), st.data())
def test_an_array_that_was_cut_off_is_never_one(elements: list[str | None], data: st.DataObject) -> None:
    text = "{" + ",".join("NULL" if element is None else quoted(element) for element in elements) + "}"
    cut = data.draw(st.integers(0, len(text) - 1))
    with pytest.raises(ValueError, match="not in Postgres's form"):
        parse_array(text[:cut])


@given(st.text('",{}\\ ab', max_size=12))
def test_any_text_is_an_array_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        elements = parse_array(text)
        assert (
            parse_array("{" + ",".join("NULL" if item is None else quoted(item) for item in elements) + "}") == elements
        )
