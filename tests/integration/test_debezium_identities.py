"""Real Debezium under every REPLICA IDENTITY, with a key of its own, and with nulls in columns that have a default.

What is merged is what Postgres has; what Debezium falsifies or leaves out is set aside, and known here by name.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from cdc.producer import UNSTATED, ProducerModes
from compactor.change import Change, Rejected
from sandbox.postgres import Postgres
from tests.golden_debezium import GOLDEN, contract_of, read, true_rows
from tests.integration.test_debezium_golden import differences, folded
from tests.publisher_support import database

pytestmark = pytest.mark.slow
FOLDER = GOLDEN / "debezium_identities"
COLUMNS = "id int, cod text, v text, big text, nums numeric(10,2)[], by bytea"
PRESET = "id int, ativo boolean, status text, valor numeric(10,2), em timestamptz, dia date, nota text"
STATED = {
    "key_off": ProducerModes("adaptive", "precise", "bytes"),
    "columns_off": ProducerModes("adaptive", "precise", "bytes"),
    "key_on": UNSTATED,
    "nulls_on": ProducerModes(is_null_replaced=False),
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[psycopg.Connection[Any]]:
    with (
        Postgres.start(tmp_path_factory.mktemp("postgres")) as server,
        psycopg.connect(database(server, "identities").dsn_admin, autocommit=True) as connection,
    ):
        for name in ("before", "after"):
            connection.execute((FOLDER / f"{name}.sql").read_text(encoding="utf-8").encode())
        yield connection


def events(name: str, table: str) -> list[bytes]:
    lines = gzip.decompress((FOLDER / f"{name}.jsonl.gz").read_bytes()).splitlines()
    return [line for line in lines if _source(line)["table"] == table]


def _source(line: bytes) -> dict[str, Any]:
    message = json.loads(line)
    source: dict[str, Any] = message.get("payload", message)["source"]
    return source


def changes(name: str, table: str, columns: str = COLUMNS) -> tuple[list[Change], list[Rejected]]:
    return read(events(name, table), contract_of(table, columns, STATED[name]))


def aside(found: list[Change]) -> set[tuple[Any, str]]:
    return {(change.key[0], change.fault.where) for change in found if change.fault}


@pytest.mark.parametrize("name", STATED)
@pytest.mark.parametrize("table", ["padrao", "inteira", "indice"])
def test_an_identity_that_has_the_key_gives_the_rows_of_the_source(
    source: psycopg.Connection[Any], table: str, name: str
) -> None:
    columns = COLUMNS.replace("nums numeric(10,2)[], ", "")  # it makes up for a placeholder that is lacking below
    found, rejected = changes(name, table, columns)
    assert (rejected, aside(found)) == ([], set())
    ours, unknown = folded(found)
    assert unknown == set()
    contract = contract_of(table, columns)
    assert differences(contract, ours, true_rows(source, contract)) == set()


@pytest.mark.parametrize("name", STATED)
@pytest.mark.parametrize(("table", "expected"), [("padrao", {1, 20, 3}), ("indice", {1, 20, 3}), ("inteira", set())])
def test_a_null_that_may_mean_unchanged_is_plain_with_the_whole_old_row_alone(
    source: psycopg.Connection[Any], table: str, expected: set[int], name: str
) -> None:
    found, rejected = changes(name, table)
    assert rejected == []
    assert aside(found) == {(key, "nums") for key in expected}
    ours, unknown = folded(found)
    contract = contract_of(table, COLUMNS)
    true = {key: row for key, row in true_rows(source, contract).items() if key not in unknown}
    assert differences(contract, {key: row for key, row in ours.items() if key not in unknown}, true) == set()


@pytest.mark.parametrize("name", STATED)
def test_an_index_without_the_key_has_its_deletes_refused(name: str) -> None:
    """Debezium gives them the key 0. Of the changed `cod` it makes a delete and a create, of which the latter waits."""
    found, rejected = changes(name, "sem_chave")
    assert Counter(each.fault.reason for each in rejected) == {"no-key": 2}
    assert aside(found) == {(1, "nums"), (3, "nums")}
    assert not [change for change in found if change.op == "d"]


@pytest.mark.parametrize("name", STATED)
def test_a_null_never_becomes_the_default_of_its_column_where_a_schema_tells_of_it(
    source: psycopg.Connection[Any], name: str
) -> None:
    found, rejected = changes(name, "preset", PRESET)
    assert rejected == []
    ours, unknown = folded(found)
    contract = contract_of("preset", PRESET)
    true = true_rows(source, contract)
    false = differences(contract, *({k: v for k, v in rows.items() if k not in unknown} for rows in (ours, true)))
    if name == "nulls_on":
        assert (aside(found), false) == (set(), set())
    elif name == "key_on":
        assert unknown == {1, 2}
        assert false == set()
    else:  # nothing in the message shows it (docs/types.md)
        assert aside(found) == set()
        assert false == {(1, "ativo"), *((2, column) for column in ("ativo", "valor", "em", "dia"))}
