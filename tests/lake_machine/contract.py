"""Contract: the tables of the machine, and the keys that their rows have."""

from __future__ import annotations

from cdc.contract import TableContract, parse_contract
from tests.lake_machine.source import Key

COLUMNS = ("nome", "bio", "nota", "numero", "saldo")
CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: urn:test
version: 1.0.0
status: active
schema:
  - name: {name}
    customProperties: [{{property: sourceTable, value: public.t}}{stated}]
    properties:
{key}
      - {{name: nome, physicalType: text, classification: internal}}
      - {{name: bio, physicalType: text, classification: internal}}
      - {{name: nota, physicalType: text, classification: internal}}
      - {{name: numero, physicalType: bigint, classification: internal}}
      - {{name: saldo, physicalType: "numeric(12,2)", classification: internal}}
slaProperties: [{{property: latency, value: 60, unit: s}}]
"""
_KEY = "      - {{name: {name}, physicalType: {type}, primaryKey: true, primaryKeyPosition: {place}, classification: internal}}"
BIGINT_KEYS: tuple[Key, ...] = tuple((key,) for key in (0, -1, 2**53, 2**53 + 1, 2**63 - 1, -(2**63), 7, 8))
COMPOSITE_KEYS: tuple[Key, ...] = (
    ("", 0),
    ("a", 0),
    ("a", 1),
    ("A", 1),
    ("é", -1),
    ("e\u0301", -1),
    ("a", 2**31),
    ("a~1", 2),
)


def new_contract(name: str, key_columns: tuple[tuple[str, str], ...], stated: str = "") -> TableContract:
    """A table with these columns as its key, each with its type; `stated` are more custom properties of it."""
    lines = [_KEY.format(name=column, type=type_, place=place) for place, (column, type_) in enumerate(key_columns, 1)]
    return parse_contract(CONTRACT.format(name=name, key="\n".join(lines), stated=stated))
