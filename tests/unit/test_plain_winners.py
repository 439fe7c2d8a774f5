"""Which plain changes are folded one by one after all, and which of the others win."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from pyiceberg.io.pyarrow import schema_to_pyarrow

from cdc.raw import RawLine
from compactor.index import Fingerprints, RowIndex
from compactor.lake.schema import history_schema
from compactor.plain import Line, PlainReader
from compactor.plain.winners import separate, settle
from tests.golden_debezium import contract_of

CONTRACT = contract_of("t", "id bigint, nome text")


DEBEZIUM, OURS = "3.6.3.Final", "3.6.3.usuarios-cdc"


def line(op: str, key: int, lsn: int, nome: str = "n", version: str = DEBEZIUM) -> Line:
    row = {"id": key, "nome": nome}
    images = {"before": row, "after": None} if op == "d" else {"before": None, "after": row}
    source: dict[str, Any] = {"version": version, "schema": "public", "table": "t", "lsn": lsn, "ts_us": 1}
    event = json.dumps({**images, "source": source, "op": op}).encode()
    return Line("s/0", "b", RawLine("0", str(lsn), 0, "", msgspec.Raw(event)))


def test_a_delete_and_a_create_at_one_position_are_folded_one_by_one() -> None:
    """They are halves of a key change, or of a change of Debezium's own key; the table's key may be the same."""
    schema = schema_to_pyarrow(history_schema(CONTRACT))
    reader = PlainReader(CONTRACT, schema, b"k" * 32)
    plain, others, _ = reader.read(
        [line("c", 1, 5), line("d", 1, 9), line("c", 1, 9), line("c", 2, 7), line("d", 3, 8)]
    )
    assert others == []
    index = RowIndex([schema.field("id").type])
    prints = index.prints_of([plain.rows["id"]])
    slow = separate(plain, prints, index, nobody(index), None, set())
    keys = plain.rows["id"].to_pylist()
    assert {key for key, is_slow in zip(keys, slow, strict=True) if is_slow} == {1}
    assert slow.sum() == 3


@pytest.mark.parametrize("versions", [(DEBEZIUM, OURS), (OURS, DEBEZIUM), (OURS, OURS), (DEBEZIUM, DEBEZIUM)])
@pytest.mark.parametrize("block_rows", [1, 2, 100])
def test_of_two_changes_at_one_position_the_one_that_came_first_wins_whoever_wrote_them(
    versions: tuple[str, str], block_rows: int
) -> None:
    schema = schema_to_pyarrow(history_schema(CONTRACT))
    lines = [
        line("u", 1, 9, "first", versions[0]),
        line("d", 2, 8, version=OURS),
        line("u", 1, 9, "second", versions[1]),
    ]
    plain, others, _ = PlainReader(CONTRACT, schema, b"k" * 32, block_rows).read(lines)
    assert others == []
    index = RowIndex([schema.field("id").type])
    merged = settle(plain, index.prints_of([plain.rows["id"]]), index)
    assert (merged.rows["nome"].to_pylist(), merged.duplicates) == (["first"], 1)


def nobody(index: RowIndex) -> Fingerprints:
    return index.prints_of_keys([])
