"""The ways that the row `merge` compares: `python -m tests.bench.merge_ways <way> <raw> <parquet>` runs one of them.

It writes the current state as Parquet, and says on its last line what that took.
"""

from __future__ import annotations

import gzip
import hmac
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog import load_catalog

from cdc.contract import parse_contract
from compactor.compactor import TableCompactor
from compactor.lake.pair import TablePair
from compactor.memory import keep_memory
from compactor.pii_key import PiiKey
from compactor.state import export
from tests.bench.measure import stay_on_one_core
from tests.bench.row_lake import CONTRACT, KEY
from tests.raw_zone import MemoryObjects


class Files(MemoryObjects):
    """An object store in a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        # Names only: the content is read when it is asked for.
        self.objects = {str(path.relative_to(folder)): b"" for path in folder.rglob("*") if path.is_file()}

    def get(self, path: str) -> bytes:
        return (self._folder / path).read_bytes()


def ours(raw: Path, out: Path) -> None:
    """What `cdc export` does."""
    contract = parse_contract(CONTRACT.read_text(encoding="utf-8"))
    keep_memory()
    export(contract, Files(raw), PiiKey(KEY, ""), out)


def compactor(raw: Path, out: Path) -> float:
    """The whole compactor: both tables, with deletes and commits; its peak of memory, before the table is read back."""
    keep_memory()
    contract = parse_contract(CONTRACT.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as name:
        catalog = load_catalog("lake", type="sql", uri=f"sqlite:///{name}/catalog.db", warehouse=f"file://{name}")
        pair = TablePair(catalog, "lake", contract, KEY)
        table = TableCompactor(contract, pair, Files(raw), MemoryObjects(), KEY)
        while table.step().has_moved:
            pass
        peak_mb = _peak_mb()
        pair.refresh()
        pq.write_table(pair.table.table.scan().to_arrow(), out)
        return peak_mb


def duckdb_sql(raw: Path, out: Path) -> None:
    """One statement of SQL; DuckDB has no HMAC, so that it is made of two hashes."""
    inner, outer = (bytes(octet ^ pad for octet in KEY.ljust(64, b"\0")) for pad in (0x36, 0x5C))
    token = f"sha256({_blob(outer)} || unhex(sha256({_blob(inner)} || encode({{0}}))))"
    shown = {
        "email": token.format("after.email"),
        "cpf": token.format("after.cpf"),
        "telefone": "repeat('*', length(after.telefone) - 4) || right(after.telefone, 4)",
        "data_nascimento": "DATE '1970-01-01' + after.data_nascimento",
        "saldo": "after.saldo::DECIMAL(12,2)",
        "criado_em": "after.criado_em::TIMESTAMP",
        "atualizado_em": "make_timestamp(after.atualizado_em)",
    }
    columns = ", ".join(
        f"{shown.get(name, f'after.{name}')} AS {name}" for name in (field.partition(" ")[0] for field in _AFTER)
    )
    with duckdb.connect() as duck:
        duck.execute("SET threads = 1; SET TimeZone = 'UTC'; SET preserve_insertion_order = false")
        duck.execute(
            f"""
            COPY (
              SELECT {columns}, 1::INTEGER AS cdc_epoch, lsn AS cdc_lsn, 0::BIGINT AS cdc_ordinal,
                     make_timestamp(ts_us) AS cdc_committed_at
              FROM (
                SELECT unnest(arg_max({{'op': event.op, 'after': event.after, 'lsn': event.source.lsn,
                                        'ts_us': event.source.ts_us}}, event.source.lsn))
                FROM read_json('{raw}/postgres/**/*.json.gz', format = 'newline_delimited', maximum_object_size = 1000000,
                  columns = {{'event': 'STRUCT(op VARCHAR, "before" STRUCT(id BIGINT), "after" STRUCT({", ".join(_AFTER)}),
                                        source STRUCT(lsn BIGINT, ts_us BIGINT))'}})
                GROUP BY coalesce(event.after.id, event.before.id)
              )
              WHERE op <> 'd' ORDER BY after.id
            ) TO '{out}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)
            """
        )


_AFTER = (
    "id BIGINT", "nome VARCHAR", "email VARCHAR", "cpf VARCHAR", "telefone VARCHAR", "data_nascimento INTEGER",
    "endereco VARCHAR", "saldo VARCHAR", "ativo BOOLEAN", "criado_em VARCHAR", "atualizado_em BIGINT", "tags VARCHAR[]",
    "uuid_externo VARCHAR", "bio VARCHAR",
)  # fmt: skip


def naive(raw: Path, out: Path) -> None:
    """Every line by json, the newest of each key in a dict, each value converted by Python."""
    newest: dict[int, tuple[int, dict[str, Any] | None, int]] = {}
    for path in sorted(raw.glob("postgres/**/*.json.gz")):
        for line in gzip.decompress(path.read_bytes()).splitlines():
            event = json.loads(line)["event"]
            lsn, row = event["source"]["lsn"], event["after"]
            key = (row or event["before"])["id"]
            if key not in newest or newest[key][0] < lsn:
                newest[key] = lsn, row, event["source"]["ts_us"]
    rows = [_converted(lsn, row, at_us) for _, (lsn, row, at_us) in sorted(newest.items()) if row is not None]
    pq.write_table(pa.Table.from_pylist(rows), out)


_EPOCH = datetime(1970, 1, 1)


def _converted(lsn: int, row: dict[str, Any], at_us: int) -> dict[str, Any]:
    return row | {
        "email": _token(row["email"]),
        "cpf": _token(row["cpf"]),
        "telefone": "*" * (len(row["telefone"]) - 4) + row["telefone"][-4:],
        "data_nascimento": date(1970, 1, 1) + timedelta(row["data_nascimento"]),
        "saldo": Decimal(row["saldo"]).quantize(Decimal("0.01")),
        "criado_em": datetime.fromisoformat(row["criado_em"]),
        "atualizado_em": _EPOCH + timedelta(microseconds=row["atualizado_em"]),
        "cdc_epoch": 1,
        "cdc_lsn": lsn,
        "cdc_ordinal": 0,
        "cdc_committed_at": (_EPOCH + timedelta(microseconds=at_us)).replace(tzinfo=UTC),
    }


def _token(value: str) -> str:
    return hmac.new(KEY, value.encode(), "sha256").hexdigest()


def _blob(octets: bytes) -> str:
    escaped = "".join(f"\\x{octet:02X}" for octet in octets)
    return f"'{escaped}'::BLOB"


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6  # Linux counts kibibytes


WAYS: dict[str, Callable[[Path, Path], float | None]] = {
    "ours": ours,
    "compactor": compactor,
    "duckdb": duckdb_sql,
    "naive": naive,
}

if __name__ == "__main__":
    stay_on_one_core()
    began = time.process_time()
    peak_mb = WAYS[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
    cpu_seconds = time.process_time() - began
    print(json.dumps({"cpu_seconds": cpu_seconds, "peak_mb": peak_mb or _peak_mb()}))
