"""Values that the limited LOB mode of DMS may have cut are set aside: a cut text looks like any other."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cdc.contract import ContractFault, TableContract, parse_contract
from cdc.decode import decode
from cdc.errors import RecordFault
from tests.dms_records import record

CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: urn:test
version: 1.0.0
status: active
schema:
  - name: t
    customProperties: [{property: sourceTable, value: public.t}]
    properties:
      - {name: id, physicalType: integer, primaryKey: true, classification: internal}
      - {name: texto, physicalType: text, classification: internal}
      - {name: documento, physicalType: jsonb, classification: internal}
      - {name: octetos, physicalType: bytea, classification: internal}
      - {name: lista, physicalType: "text[]", classification: internal}
slaProperties: [{property: latency, value: 60, unit: s}]
"""
ROW = {"id": 1, "texto": "a", "documento": "{}", "octetos": "0x", "lista": "{}"}
KIB = 1024


def contract(lob_max_size: object = None) -> TableContract:
    more = "" if lob_max_size is None else f", {{property: dms.lobMaxSize, value: {lob_max_size}}}"
    return parse_contract(CONTRACT.replace("value: public.t}]", f"value: public.t}}{more}]"))


def fault(column: str, value: Any, stated: TableContract, operation: str = "insert") -> RecordFault | None:
    (event,) = decode(record(operation, {**ROW, column: value}, 7), stated, 1)
    return event.fault


# What is left of a longer text, by how its length may be counted; one that ends in half a letter is told with less.
CUT = [
    ("texto", "x" * 32 * KIB), ("texto", "é" * 16 * KIB), ("texto", "x" + "é" * (16 * KIB - 1)), ("texto", "é" * 32 * KIB),
    ("texto", "日" * (32 * KIB // 3)), ("texto", "日" * (32 * KIB // 3) + "\N{REPLACEMENT CHARACTER}"), ("texto", "x" * 16 * KIB),
    ("texto", "👍" * 8 * KIB), ("documento", "1" * 32 * KIB), ("documento", json.dumps("x" * (32 * KIB - 2))),
    ("octetos", "0x" + "ab" * 32 * KIB), ("octetos", "ab" * 16 * KIB), ("lista", "{" + "x" * (32 * KIB - 2) + "}"),
]  # fmt: skip


@pytest.mark.parametrize(("column", "value"), CUT)
@pytest.mark.parametrize("operation", ["load", "insert", "update"])
def test_a_value_as_long_as_dms_leaves_them_is_set_aside(column: str, value: str, operation: str) -> None:
    found = fault(column, value, contract(), operation)
    assert found is not None
    assert (found.reason, found.where) == ("dms-cut-off", column)
    assert "LobMaxSize" in str(found)
    assert value[:9] not in str(found)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("texto", "x" * (32 * KIB - 100)), ("texto", "x" * (32 * KIB + 100)), ("texto", "x" * 1_000_000), ("texto", ""),
        ("texto", "x" * (32 * KIB - 1)), ("texto", "x" * (32 * KIB + 1)), ("texto", "x" * 8 * KIB), ("texto", "é" * (32 * KIB + 9)),
        ("octetos", "0x" + "ab" * 32 * 1000), ("documento", json.dumps("x" * 40_000)), ("id", 32 * KIB),
    ],
)  # fmt: skip
def test_longer_and_shorter_values_are_merged(column: str, value: Any) -> None:
    assert fault(column, value, contract()) is None


def test_the_limit_is_the_one_that_the_contract_states() -> None:
    stated = contract(100)
    assert fault("texto", "x" * 32 * KIB, stated) is None
    found = fault("texto", "x" * 100 * KIB, stated)
    assert found is not None
    assert found.reason == "dms-cut-off"


@pytest.mark.parametrize("value", [0, -1, 1.5, "true", "32 KB"])
def test_the_limit_is_a_number_of_kilobytes(value: object) -> None:
    with pytest.raises(ContractFault) as raised:
        contract(value)
    assert "dms.lobMaxSize" in raised.value.problems[0]
