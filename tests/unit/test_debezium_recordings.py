"""Every line of every recorded session is an event, or housekeeping that is counted, or a set-aside with its reason."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from cdc.contract import TableContract
from cdc.producer import ProducerModes
from cdc_consumer.routing import Empty, LeftOut, ToTable, route
from tests.golden_debezium import contract_of, read, recorded

PRECISE = ProducerModes(decimal="precise")
USUARIOS = contract_of("Usuários", "id bigint, nome text", PRECISE)
TOAST = contract_of(
    "Usuários", "id bigint, nome text, endereco jsonb, tags text[], bio text, foto bytea, nums int[]", PRECISE
)
TIPOS = contract_of("tipos", "id int, c_text text, c_num numeric", PRECISE)
PEDIDOS = contract_of("pedidos", "id bigint, usuario_id bigint, total numeric(12,2)", PRECISE)
DML = {"r": 5, "c": 10, "u": 11, "d": 6, "t": 1, "tombstone": 6}


@pytest.mark.parametrize(
    ("name", "contracts", "expected"),
    [
        ("01", [USUARIOS], DML), ("03", [USUARIOS], DML),
        ("04", [USUARIOS], {"r": 5, "c": 3, "u": 12, "d": 1, "tombstone": 1}),
        ("06", [USUARIOS, PEDIDOS], {"r": 2, "c": 7, "u": 2, "heartbeat": 12, "transaction": 8}),
        ("06", [PEDIDOS], {"c": 5, "heartbeat": 12, "transaction": 8, "no-contract": 6}),
        ("07", [TOAST], {"r": 1, "u": 1, "d": 1, "c": 1, "tombstone": 1}),
        ("09", [TIPOS], {"r": 1, "c": 4, "u": 1}), ("10", [TIPOS], {"r": 1, "c": 4, "u": 1}),
        ("11", [TIPOS], {"r": 1, "c": 4, "u": 1}),
        ("13", [USUARIOS], {"r": 5, "c": 10, "u": 11, "d": 6, "tombstone": 6}),
        ("16", [USUARIOS], {"r": 1, "message": 2}), ("18", [USUARIOS], {"r": 5, "c": 1, "d": 1}),
        ("19", [USUARIOS, PEDIDOS], {"r": 2, "c": 1, "u": 1}),
    ],
)  # fmt: skip
def test_every_line_is_accounted_for(name: str, contracts: list[TableContract], expected: dict[str, int]) -> None:
    tables = {(contract.source_schema, contract.source_table): contract.name for contract in contracts}
    found: Counter[str] = Counter()
    for record in recorded(name):
        routed = route((record["value"] or "").encode(), tables)
        if isinstance(routed, ToTable):
            contract = next(each for each in contracts if each.name == routed.table)
            changes, rejected = read([routed.line], contract)
            assert not rejected
            assert changes[0].fault is None
            found[changes[0].op] += 1
        else:
            assert isinstance(routed, Empty | LeftOut)
            found[routed.reason if isinstance(routed, LeftOut) else "tombstone"] += 1
    assert found == expected
    assert found.total() == len(recorded(name))


def test_a_row_of_unchanged_values_has_none_of_their_placeholders() -> None:
    update, _, create = read_changes("07", TOAST)[1:]
    assert update.unchanged == create.unchanged == {"endereco", "tags", "bio", "foto", "nums"}
    assert update.values == {"id": 1, "nome": "t2"}


def read_changes(name: str, contract: TableContract) -> list[Any]:
    changes, _ = read([record["value"].encode() for record in recorded(name) if record["value"]], contract)
    return changes
