"""Reports: heavy questions put to the lake with DuckDB, the local stand-in for Athena."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import duckdb

from sandbox.process import SandboxFault

_EXTENSIONS = ("httpfs", "avro", "iceberg")  # iceberg needs the two before it

# What the contract masks may come as text of another kind, or not at all: then it counts as unknown.
_VIEW = """
    CREATE OR REPLACE TEMP VIEW usuarios AS
    SELECT * REPLACE (CASE WHEN json_valid(endereco) THEN endereco END AS endereco,
                      TRY_CAST(data_nascimento AS DATE) AS data_nascimento,
                      TRY_CAST(tags AS VARCHAR[]) AS tags)
      FROM iceberg_scan({})"""

REPORTS: Final[Mapping[str, str]] = {
    "balance by state": """
        SELECT endereco ->> '$.uf' AS uf, ativo, count(*) AS clientes, sum(saldo) AS total, avg(saldo) AS media,
               median(saldo) AS mediana
          FROM usuarios GROUP BY ALL ORDER BY uf NULLS LAST, ativo NULLS LAST""",
    "ages": """
        SELECT date_diff('year', data_nascimento, cdc_committed_at::DATE) // 10 * 10 AS decada, count(*) AS clientes,
               count(*) FILTER (WHERE ativo) AS ativos, min(saldo) AS menor, max(saldo) AS maior
          FROM usuarios GROUP BY decada ORDER BY decada NULLS LAST""",
    "tags": """
        SELECT tag, count(*) AS usos, count(DISTINCT id) AS clientes, sum(saldo) AS total
          FROM (SELECT id, saldo, unnest(tags) AS tag FROM usuarios)
         GROUP BY tag ORDER BY usos DESC, tag NULLS LAST LIMIT 20""",
    "e-mail domains": """
        SELECT lower(regexp_extract(email, '@([^@]+)$', 1)) AS dominio, count(*) AS clientes,
               approx_quantile(length(bio), 0.9) AS bio_longa, max(criado_em)::DATE AS mais_novo
          FROM usuarios GROUP BY dominio ORDER BY clientes DESC, dominio NULLS LAST LIMIT 20""",
    "addresses": """
        SELECT endereco ->> '$.rua' AS rua, (endereco ->> '$.geo.lat')::DOUBLE < -15 AS sul, count(*) AS clientes,
               count(DISTINCT endereco ->> '$.cep') AS ceps, avg((endereco ->> '$.numero')::DOUBLE) AS numero
          FROM usuarios WHERE json_type(endereco) = 'OBJECT'
         GROUP BY ALL ORDER BY clientes DESC, rua NULLS LAST, sul NULLS LAST LIMIT 20""",
}
"""Each report by its name: a query on `usuarios`."""


class Report(NamedTuple):
    """What one report took and gave."""

    name: str
    seconds: float
    rows: list[tuple[Any, ...]]


def open_lake(environment: Mapping[str, str]) -> duckdb.DuckDBPyConnection:
    """A DuckDB that reads Iceberg tables from the S3 that the environment names; it loads nothing from the network."""
    connection = duckdb.connect(
        config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"},
    )
    for extension in _EXTENSIONS:
        connection.load_extension(str(_extension_file(extension)))
    endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment["AWS_ENDPOINT_URL"]
    address = urlsplit(endpoint)
    settings = {
        "KEY_ID": environment["AWS_ACCESS_KEY_ID"],
        "SECRET": environment["AWS_SECRET_ACCESS_KEY"],
        "REGION": environment["AWS_REGION"],
        "ENDPOINT": address.netloc,
        "URL_STYLE": "path",
        "USE_SSL": str(address.scheme == "https").lower(),
    }
    options = ", ".join(f"{name} {_quoted(value)}" for name, value in settings.items())
    connection.execute(f"CREATE SECRET lake (TYPE s3, {options})")
    return connection


def run_reports(
    connection: duckdb.DuckDBPyConnection, metadata_location: str, clock: Callable[[], float] = time.perf_counter
) -> list[Report]:
    """Every report on the table whose current metadata file is given."""
    # A fresh view each time: the location names one snapshot, which no commit after it changes.
    connection.execute(_VIEW.format(_quoted(metadata_location)))
    reports = []
    for name, query in REPORTS.items():
        started = clock()
        rows = connection.execute(query).fetchall()
        reports.append(Report(name, clock() - started, rows))
    return reports


def _extension_file(extension: str) -> Path:
    package = f"duckdb_extension_{extension}"
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise SandboxFault(f"DuckDB's extension {extension} is missing", hint="install the extra `sandbox`")
    file = Path(spec.origin).parent / "extensions" / f"v{duckdb.__version__}" / f"{extension}.duckdb_extension"
    if not file.is_file():
        raise SandboxFault(
            f"DuckDB's extension {extension} is not of DuckDB's version {duckdb.__version__}",
            where=str(file.parent.parent),
            hint="install duckdb and its extensions in the same version",
        )
    return file


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
