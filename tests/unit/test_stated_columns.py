"""What our publisher states of new columns: the message, where it goes, and when it goes."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest

from cdc.debezium.forms import SchemaField, told_type
from cdc.errors import RecordFault
from cdc.position import Position
from cdc.stated_columns import PREFIX, StatedColumn, StatedColumns, read_stated
from cdc_consumer.routing import LeftOut, ToTable, route
from cdc_publisher import envelope
from cdc_publisher.envelope import TableFormat
from compactor.columns_seen import Seen, noted_stated

COLUMNS = (StatedColumn("nota", 7, "integer", is_before_known=True, before="5"), StatedColumn("ação", type="text"))
TABLE = TableFormat.of("public", "Usuários", [], [])


def message(*columns: StatedColumn, lsn: int = 9) -> bytes:
    moment = envelope.moment("app", "false", 1_000_001, 3)
    return envelope.stated_columns(moment, TABLE, columns, 5, lsn, 2_000_000_000).data


def test_a_statement_is_read_as_it_was_written() -> None:
    assert read_stated(message(*COLUMNS), 2) == StatedColumns(Position(2, 9), COLUMNS)


def test_a_statement_is_debeziums_logical_message_of_a_table() -> None:
    value = json.loads(message(*COLUMNS))
    assert (value["op"], value["source"]["table"], value["source"]["ts_us"]) == ("m", "Usuários", 1_000_001)
    assert json.loads(base64.b64decode(value["message"]["content"]))[1] == {"name": "ação", "type": "text"}


@pytest.mark.parametrize(
    "payload",
    [
        b"{}",
        b'{"op":"m","source":{"lsn":1},"message":{"prefix":"cdc.heartbeat","content":""}}',
        b'{"op":"u","source":{"lsn":1},"after":{"a":"cdc.columns"}}',
        b'{"op":"u","source":{"lsn":1},"message":{"prefix":"cdc.columns","content":""}}',
        b'"cdc.columns"',
    ],
)
def test_what_is_no_statement_is_none(payload: bytes) -> None:
    assert read_stated(payload, 1) is None


@pytest.mark.parametrize("content", ["!", "", base64.b64encode(b"[").decode(), base64.b64encode(b"[1]").decode()])
def test_a_statement_that_cannot_be_read_is_a_fault(content: str) -> None:
    payload = json.dumps({"op": "m", "source": {"lsn": 1}, "message": {"prefix": PREFIX, "content": content}})
    with pytest.raises(RecordFault, match="not what it states"):
        read_stated(payload.encode(), 1)
    with pytest.raises(RecordFault, match=r"no source\.lsn"):
        read_stated(message(lsn=0), 1)


def test_a_statement_goes_to_the_table_that_it_speaks_of() -> None:
    payload = message(*COLUMNS)
    assert route(payload, {("public", "Usuários"): "usuarios"}) == ToTable("usuarios", payload)
    assert route(payload, {}) == LeftOut("no-contract")


def test_what_was_stated_is_remembered_without_any_value() -> None:
    stated = StatedColumns(Position(1, 9), COLUMNS)
    seen = noted_stated({}, stated, {"id"}, "s/0", 4)
    assert seen == {
        "nota": Seen(None, None, {"s/0": "3"}, type="integer", number=7, before="value", stated=(1, 9, 0)),
        "ação": Seen(None, None, {"s/0": "3"}, type="text", stated=(1, 9, 0)),
    }
    assert noted_stated({}, stated, {"nota", "ação"}, "s/0", 4) == {}
    again = replace(stated, position=Position(1, 12), columns=(StatedColumn("nota", 7, "integer"),))
    assert noted_stated(seen, again, (), "s/0", 8)["nota"].before == "value"  # the catalogs forget, the value stays
    late = replace(stated, position=Position(1, 8), columns=(StatedColumn("nota", 6, "text"),))
    assert noted_stated(seen, late, (), "s/0", 8) == seen


@pytest.mark.parametrize(
    ("field", "told"),
    [
        (SchemaField("int16"), "smallint"),
        (SchemaField("int64"), "bigint"),
        (SchemaField("string"), "text"),
        (SchemaField("int64", name="io.debezium.time.MicroTimestamp"), "timestamp"),
        (SchemaField("int32", name="io.debezium.time.Date"), "date"),
        (SchemaField("int64", name="org.apache.kafka.connect.data.Timestamp"), None),
        (SchemaField("bytes"), None),
        (SchemaField("array", items=SchemaField("int32")), None),
    ],
)
def test_a_schema_tells_the_types_that_it_tells_exactly(field: SchemaField, told: str | None) -> None:
    assert told_type(field) == told


@pytest.mark.parametrize(
    ("precision", "scale", "told"),
    [("12", "2", "numeric(12,2)"), (None, "2", None), ("50", "2", None), ("12", "x", None)],
)
def test_a_schema_tells_a_decimal_with_its_precision(precision: str | None, scale: str, told: str | None) -> None:
    parameters = {"scale": scale} | ({"connect.decimal.precision": precision} if precision else {})
    field = SchemaField("bytes", name="org.apache.kafka.connect.data.Decimal", parameters=parameters)
    assert told_type(field) == told
