"""Changes out of what raw has of Avro: forms and names by the schema, and no record blamed for a schema not at hand."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from cdc.debezium.avro_names import source_names
from cdc.debezium.forms import SchemaField
from cdc.errors import FatalFault, TransientFault
from cdc.raw import RawLine
from compactor.change import ChangeReader
from tests.golden_avro import ENVELOPE, recorded_avro
from tests.golden_debezium import contract_of

EVENT = {"after": {"id": 7}, "source": {"schema": "public", "table": "t", "lsn": 5, "ts_us": 1}, "op": "c"}
LINE = RawLine("0", "1", 0, "", msgspec.Raw(json.dumps(EVENT).encode()), 1)


@pytest.mark.parametrize("fault", [TransientFault("away"), FatalFault("missing")])
def test_a_schema_that_is_not_at_hand_stops_the_merge(fault: Exception) -> None:
    def schema(stream: str, schema_id: int) -> str:
        assert (stream, schema_id) == ("s", 1)
        raise fault

    reader = ChangeReader(contract_of("t", "id bigint"), b"k" * 32, schema)
    with pytest.raises(type(fault)):
        reader.read("s/0", "b", [LINE])


def test_the_same_schema_is_asked_for_once() -> None:
    asked: list[int] = []

    def schema(_stream: str, schema_id: int) -> str:
        asked.append(schema_id)
        return json.dumps(ENVELOPE)

    reader = ChangeReader(contract_of("t", "id bigint"), b"k" * 32, schema)
    changes, rejected = reader.read("s/0", "b", [LINE] * 3)
    assert (len(changes), rejected, asked) == (3, [], [1])


def test_a_line_without_schema_is_json() -> None:
    line = msgspec.structs.replace(LINE, schema_id=None)
    assert b"schema_id" not in msgspec.json.encode(line)
    changes, _ = ChangeReader(contract_of("t", "id bigint"), b"k" * 32).read("s/0", "b", [line])
    assert changes[0].key == (7,)


def test_a_column_whose_type_changed_is_read_by_the_scale_of_its_time() -> None:
    """What base64 without a sign cannot do: numeric(12,2) read as numeric(18,4)."""
    value = recorded_avro("names")[0]
    contract = contract_of("Usuários", "id bigint, preço-total numeric(18,4)")
    event = {"after": {"id": 1, "pre_o_total": "-1234.50"}, "op": "c", "source": EVENT["source"]}
    line = msgspec.structs.replace(LINE, event=msgspec.Raw(json.dumps(event).encode()))
    changes, _ = ChangeReader(contract, b"k" * 32, lambda *_: value.schema).read("s/0", "b", [line])
    assert str(changes[0].values["preço-total"]) == "-1234.5000"


def fields(*names: str, **stated: str) -> list[SchemaField]:
    """Fields by name; of those in `stated` the schema says what the column is called."""
    own = [SchemaField("string", field=name) for name in names]
    key = "__debezium.source.column.name"
    return own + [SchemaField("string", field=name, parameters={key: column}) for name, column in stated.items()]


@pytest.mark.parametrize(
    ("row", "columns", "expected"),
    [
        (fields("id"), ["id"], {}),
        (fields("a__o"), ["ação"], {"a__o": "ação"}),
        (fields("a_u00e7_u00e3o"), ["ação"], {"a_u00e7_u00e3o": "ação"}),
        (fields("_1a"), ["1a"], {"_1a": "1a"}), (fields("_u0031a"), ["1a"], {"_u0031a": "1a"}),
        (fields("x__"), ["x😀"], {"x__": "x😀"}), (fields("x_ud83d_ude00"), ["x😀"], {"x_ud83d_ude00": "x😀"}),
        # A field of its own name is the column, whatever else would be called so.
        (fields("a_b"), ["a_b", "a-b"], {}),
        # Two columns of one adjusted name: neither is guessed.
        (fields("a_b"), ["a-b", "a.b"], {}),
        # What the schema states counts first, also against the name.
        (fields(a_b="a.b"), ["a-b", "a.b"], {"a_b": "a.b"}), (fields(a_b="a.b"), ["a_b"], {"a_b": "a.b"}),
        (fields(a_b="a.b"), ["a-b"], {"a_b": "a.b"}), (fields(a_b="other"), ["a-b"], {}), (fields(a_b="other"), ["a_b"], {}),
        (fields(c_d="c-d", c_u002dd="c-d"), ["c-d"], {}),
    ],
)  # fmt: skip
def test_which_column_a_field_is(row: list[SchemaField], columns: list[str], expected: dict[str, Any]) -> None:
    assert source_names(row, columns) == expected
