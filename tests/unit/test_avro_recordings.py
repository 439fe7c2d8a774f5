"""Debezium's values in Avro are, once read, the same JSON and the same changes as what it sends in JSON."""

from __future__ import annotations

import json
from base64 import b64decode
from decimal import Decimal
from typing import Any

import pytest

from cdc.producer import UNSTATED, ProducerModes
from cdc_consumer.avro_json import AvroToJson
from compactor.change import Change
from tests.golden_avro import Recorded, read_avro, recorded_avro, recordings
from tests.golden_debezium import contract_of, read
from tests.integration.test_debezium_golden import IN_MODES, TIPOS, TOAST, USUARIOS

SESSIONS = {"03": ("Usuários", USUARIOS), "10": ("tipos", TIPOS)}


@pytest.mark.parametrize("name", recordings())
def test_the_json_is_what_debezium_sends_but_for_decimals(name: str) -> None:
    for value in recorded_avro(name):
        message = json.loads(value.json)
        ours = json.loads(AvroToJson(value.schema).convert(value.data[5:]))
        assert ours == in_text(message["payload"], message["schema"])


def in_text(value: Any, schema: dict[str, Any]) -> Any:
    """A value of Connect's JSON with its decimals as text, told independently of the code under test."""
    if value is None:
        return None
    if schema.get("name") == "org.apache.kafka.connect.data.Decimal":
        return decimal(value, int(schema["parameters"]["scale"]))
    if schema.get("name") == "io.debezium.data.VariableScaleDecimal":
        return decimal(value["value"], value["scale"])
    if schema["type"] == "array":
        return [in_text(item, schema["items"]) for item in value]
    if schema["type"] == "struct":
        return {field["field"]: in_text(value[field["field"]], field) for field in schema["fields"]}
    return value


def decimal(base64_text: str, scale: int) -> str:
    number = int.from_bytes(b64decode(base64_text), "big", signed=True)
    digits = Decimal(number).as_tuple()
    return f"{Decimal((digits.sign, digits.digits, -scale)):f}" if number or scale > 0 else "0"


def comparable(changes: list[Change]) -> list[Any]:
    return [
        (
            change.key, change.op, change.position, change.committed_at, repr(sorted(change.values.items())),
            change.unchanged, change.fault and (change.fault.reason, change.fault.where),
        )
        for change in changes
    ]  # fmt: skip


def of_table(values: list[Recorded], table: str) -> list[Recorded]:
    return [value for value in values if f'table":"{table}"'.encode() in value.json]


@pytest.mark.parametrize("name", recordings())
@pytest.mark.parametrize(("table", "types"), [("tipos", IN_MODES), ("toast", TOAST), ("Usuários", "")])
@pytest.mark.parametrize("modes", [UNSTATED, ProducerModes(binary="hex")])
def test_the_changes_are_those_of_the_json(name: str, table: str, types: str, modes: ProducerModes) -> None:
    session = SESSIONS.get(name.removeprefix("translated_"))
    if session is not None:
        table, types = session
    values = of_table(recorded_avro(name), table)
    contract = contract_of(table, types or "id bigint", modes)
    in_avro, none = read_avro(values, contract)
    in_json, rejected = read([value.json for value in values], contract)
    assert comparable(in_avro) == comparable(in_json)
    assert [fault.fault.reason for fault in none] == [fault.fault.reason for fault in rejected]
    assert len(in_avro) + len(none) == len(values)


def test_the_recordings_are_read_at_all() -> None:
    contract = contract_of("tipos", IN_MODES)
    values = of_table(recorded_avro("adaptive"), "tipos")
    changes, rejected = read_avro(values, contract)
    assert not rejected
    merged = [change for change in changes if change.fault is None]
    assert {change.op for change in merged} >= {"r", "c"}
    assert next(change for change in merged if change.key == (2,)).values["i8"] is None


@pytest.mark.parametrize("name", ["names", "names_unicode", "names_stated", "flat"])
def test_columns_whose_names_avro_cannot_have_are_found(name: str) -> None:
    types = "id bigint, preço-total numeric(12,2), a_b text, ação date, foto bytea, under_score text, UF$ text"
    contract = contract_of("Usuários", types)
    changes, rejected = read_avro(recorded_avro(name), contract)
    assert not rejected
    assert [change.fault for change in changes] == [None] * len(changes)
    first = changes[0].values
    assert (str(first["preço-total"]), str(first["ação"]), first["UF$"]) == ("-1234.50", "2024-02-29", "SP")
    assert (first["a_b"], first["foto"], first["under_score"]) == ("x", b"\xde\xad\xbe\xef", "u")
    assert [(change.op, change.key[0]) for change in changes] == [
        ("r", 1), ("r", 2), ("c", 3), ("u", 1), ("d", 3), ("c", 30), ("d", 2),
    ]  # fmt: skip


DEFAULTS = (
    "id bigint, ativo boolean, status text, valor numeric(10,2), saldo numeric(20,4), em timestamptz, dia date, peso real, "
    "foto bytea, nota text, livre text"
)


def test_a_null_never_becomes_the_default_of_its_column() -> None:
    """Confluent's converter writes the default for it, like Connect's of JSON; the recording shows that it does."""
    values = recorded_avro("defaults")
    with_defaults = {"ativo", "valor", "em", "dia", "peso", "nota"}  # Debezium knows none of `saldo` and `foto`
    after_null = json.loads(AvroToJson(values[1].schema).convert(values[1].data[5:]))["after"]
    assert all(after_null[column] is not None for column in with_defaults)
    changes, rejected = read_avro(values, contract_of("Usuários", DEFAULTS, ProducerModes(binary="bytes")))
    assert rejected == []
    aside = {change.key[0]: {fault.where for fault in change.faults} for change in changes}
    assert aside == {1: with_defaults - {"em"}, 2: with_defaults, 3: set()}  # of row 1 `em` is the time itself


def test_a_default_is_a_value_where_the_contract_says_that_nulls_are_sent() -> None:
    modes = ProducerModes(binary="bytes", is_null_replaced=False)
    changes, _ = read_avro(recorded_avro("defaults"), contract_of("Usuários", DEFAULTS, modes))
    assert [change.fault for change in changes] == [None] * 3
    first = changes[0].values
    assert (first["ativo"], str(first["valor"]), first["foto"]) == (True, "1.50", b"\xff\0A")
