"""The sandbox's reports: DuckDB reads Iceberg tables from the sandbox's S3 without asking the network for anything."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog, load_catalog

from sandbox import usuarios
from sandbox.aws import LAKE_BUCKET, Aws
from sandbox.reports import REPORTS, open_lake, run_reports

pytestmark = pytest.mark.slow
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("nome", pa.string()),
        ("email", pa.string()),
        ("cpf", pa.string()),
        ("telefone", pa.string()),
        ("data_nascimento", pa.date32()),
        ("endereco", pa.string()),
        ("saldo", pa.decimal128(12, 2)),
        ("ativo", pa.bool_()),
        ("criado_em", pa.timestamp("us", "UTC")),
        ("atualizado_em", pa.timestamp("us")),
        ("tags", pa.list_(pa.string())),
        ("uuid_externo", pa.string()),
        ("bio", pa.string()),
        ("cdc_epoch", pa.int64()),
        ("cdc_lsn", pa.int64()),
        ("cdc_ordinal", pa.int64()),
        ("cdc_committed_at", pa.timestamp("us", "UTC")),
    ]
)


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    with Aws.start(tmp_path_factory.mktemp("aws")) as services:
        services.create_bucket(LAKE_BUCKET)
        yield services


@pytest.fixture(scope="module")
def catalog(aws: Aws) -> Catalog:
    prefix = "PYICEBERG_CATALOG__LAKE__"
    properties = {
        name.removeprefix(prefix).lower().replace("__", ".").replace("_", "-"): value
        for name, value in aws.environment().items()
        if name.startswith(prefix)
    }
    credentials = {"glue.access-key-id": "test", "glue.secret-access-key": "test"}
    catalog = load_catalog("lake", **(properties | credentials))
    catalog.create_namespace("banco")
    return catalog


def _table(rows: list[tuple[object, ...]]) -> pa.Table:
    columns = [*zip(*((*row, 0, 7, 0, NOW) for row in rows), strict=True)]
    return pa.table(
        [
            pa.array(
                [None if value is None else str(value) for value in column] if field.name == "uuid_externo" else column,
                field.type,
            )
            for field, column in zip(SCHEMA, columns, strict=True)
        ],
        schema=SCHEMA,
    )


def test_every_report_answers(aws: Aws, catalog: Catalog) -> None:
    rows = list(usuarios.usuarios(Random(5), 2000, NOW))
    table = catalog.create_table("banco.usuarios", SCHEMA)
    table.append(_table(rows))
    with open_lake(aws.environment()) as connection:
        reports = {report.name: report for report in run_reports(connection, table.metadata_location)}
        assert list(reports) == list(REPORTS)
        assert all(report.rows and report.seconds > 0 for report in reports.values())
        balances = reports["balance by state"].rows
        assert sum(row[2] for row in balances) == 2000
        saldo = usuarios.COLUMNS.index("saldo")
        assert sum(row[3] or 0 for row in balances) == sum(row[saldo] or 0 for row in rows)
        tags = {tag for row in rows for tag in row[usuarios.COLUMNS.index("tags")] or ()}
        assert {row[0] for row in reports["tags"].rows} <= tags
        assert {row[0] for row in reports["e-mail domains"].rows} >= {"exemplo.com.br", "empresa.com.br", None}
        assert sum(row[2] for row in reports["addresses"].rows) > 1000


def test_a_report_sees_the_snapshot_it_is_given(aws: Aws, catalog: Catalog) -> None:
    table = catalog.create_table("banco.dois", SCHEMA)
    before = table.metadata_location
    table.append(_table(list(usuarios.usuarios(Random(5), 10, NOW))))
    with open_lake(aws.environment()) as connection:
        assert [report.rows for report in run_reports(connection, before)] == [[]] * len(REPORTS)
        assert all(report.rows for report in run_reports(connection, table.metadata_location))


def test_masked_columns_count_as_unknown(aws: Aws, catalog: Catalog) -> None:
    masked = SCHEMA.set(5, pa.field("data_nascimento", pa.string()))
    table = catalog.create_table("banco.mascarada", masked)
    rows = _table(list(usuarios.usuarios(Random(5), 50, NOW)))
    token = pa.array(["3f9a"] * 50)
    table.append(rows.set_column(5, masked.field(5), token).set_column(6, masked.field(6), token))
    with open_lake(aws.environment()) as connection:
        reports = {report.name: report for report in run_reports(connection, table.metadata_location)}
    assert [row[0] for row in reports["ages"].rows] == [None]
    assert reports["addresses"].rows == []


def test_nothing_is_loaded_from_the_network_or_kept_at_home(
    aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with open_lake(aws.environment()) as connection:
        loaded = connection.execute("SELECT extension_name FROM duckdb_extensions() WHERE loaded").fetchall()
    assert {("httpfs",), ("avro",), ("iceberg",)} <= set(loaded)
    assert list(tmp_path.iterdir()) == []
