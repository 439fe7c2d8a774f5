"""The SQL that analysts are shown runs, on a lake of the founding table, and says what the text says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime

import duckdb
import pytest
from pyiceberg.catalog import Catalog

from cdc.contract import load_folder
from compactor.compactor import TableCompactor
from compactor.lake.catalog import open_catalog
from compactor.lake.pair import TablePair
from compactor.lake.status_table import StatusTable
from sandbox.reports import open_lake
from tests.conftest import ROOT
from tests.raw_zone import MemoryObjects, ShardWriter, at, event

pytestmark = pytest.mark.slow
SQL = re.compile(r"^ *```sql\n(.*?)```", re.MULTILINE | re.DOTALL)
DOCUMENTS = ("docs/analysts.md", "README.pt-BR.md")
NAMES = ("usuarios", "usuarios_history")
KEY = b"k" * 32


def user(key: int, **changes: object) -> dict[str, object]:
    row: dict[str, object] = {
        "id": key, "nome": f"n{key}", "email": "a@b.c", "cpf": "1", "telefone": "5511999990000",
        "data_nascimento": 7000, "endereco": '{"uf": "SP"}', "saldo": "1.50", "ativo": True,
        "criado_em": "2026-11-21T12:00:00Z", "atualizado_em": 1795262400000000, "tags": ["x"],
        "uuid_externo": "0a2b3c4d-0000-4000-8000-000000000000", "bio": "b",
    }  # fmt: skip
    return {**row, **changes}


@pytest.fixture(scope="module")
def lake(aws_module: dict[str, str]) -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB with the tables as views: three users, one who left, and one who was switched off."""
    catalog: Catalog = open_catalog("lake")
    (contract,) = load_folder(ROOT / "tables")
    raw = MemoryObjects()
    compactor = TableCompactor(contract, TablePair(catalog, "docs", contract, KEY), raw, MemoryObjects(), KEY)
    shard = ShardWriter(raw)
    events = [event("c", 10 + key, user(key)) for key in (1, 2, 3)]
    shard.batch([*events, event("u", 20, user(2, ativo=False)), event("d", 21, user(3))], evidence=at(3600))
    while compactor.step().has_moved:
        pass
    now = datetime.now(UTC)
    told = compactor.statement(now)
    assert told is not None
    StatusTable(catalog, "docs").replace({told.table_name: told}, now)
    with open_lake(aws_module) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name in (*NAMES, "cdc_status"):
            location = catalog.load_table(("docs", name)).metadata_location
            connection.execute(f"CREATE VIEW {name} AS SELECT * FROM iceberg_scan('{location}')")
        yield connection


@pytest.fixture(scope="module")
def aws_module(aws: object) -> Iterator[dict[str, str]]:
    environment: dict[str, str] = aws.environment()  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield environment


def queries() -> list[tuple[str, str]]:
    return [(name, sql) for name in DOCUMENTS for sql in SQL.findall((ROOT / name).read_text(encoding="utf-8"))]


def asked(lake: duckdb.DuckDBPyConnection, sql: str) -> list[tuple[str | None, ...]]:
    """What a query of the documents finds, as text; the moment of the first one is an hour later, when all is there."""
    said = re.sub(r"TIMESTAMP '([^']*) UTC'", r"TIMESTAMPTZ '\1+00'", sql)
    said = said.replace("2026-11-21 12:00:00+00", "2026-11-21 13:00:00+00")
    return lake.execute(f"SELECT CAST(COLUMNS(*) AS VARCHAR) FROM ({said})").fetchall()


@pytest.mark.parametrize(("document", "sql"), queries(), ids=lambda text: text.strip()[:40])
def test_a_documented_query_runs_and_finds_something(lake: duckdb.DuckDBPyConnection, document: str, sql: str) -> None:
    assert asked(lake, sql), document


def test_what_the_text_says_of_them(lake: duckdb.DuckDBPyConnection) -> None:
    found = dict(zip(("past", "status", "day", "before", "tokens"), (sql for _, sql in queries()), strict=False))
    assert asked(lake, found["day"]) == [("c", "3", "3"), ("d", "1", "1"), ("u", "1", "1")]
    ((key, _, before, now),) = asked(lake, found["before"])
    assert (key, before, now) == ("2", "true", "false")
    assert asked(lake, found["tokens"]) == [("2", "1")]
    ((name, valid_through, rows, *_),) = asked(lake, found["status"])
    assert (name, rows) == ("usuarios", "2")
    assert valid_through is not None
