"""A lake, its raw zone and a compactor to try them with; what DuckDB and pyiceberg read of it must agree."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pyiceberg.catalog import Catalog

from cdc.contract import TableContract
from compactor.compactor import TableCompactor
from compactor.lake.pair import TablePair
from compactor.maintenance import Limits
from sandbox.reports import open_lake
from tests.raw_zone import PLACEHOLDER, MemoryObjects, ShardWriter, at, event

CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: urn:test
version: 1.0.0
status: active
schema:
  - name: {name}
    customProperties: [{{property: sourceTable, value: public.t}}]
    properties:
      - {{name: id, physicalType: bigint, primaryKey: true, classification: internal}}
      - {{name: nome, physicalType: text, classification: internal}}
      - {{name: bio, physicalType: text, classification: internal}}
slaProperties: [{{property: latency, value: 60, unit: s}}]
"""
NAMES = iter(f"t{number}" for number in range(1000))


@dataclass
class World:
    """A table in the lake, its raw zone and its quarantine, and a compactor that can be started anew."""

    catalog: Catalog
    contract: TableContract
    environment: dict[str, str]
    raw: MemoryObjects = field(default_factory=MemoryObjects)
    quarantine: MemoryObjects = field(default_factory=MemoryObjects)
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        self.compactor = self.restart()

    def restart(self) -> TableCompactor:
        pair = TablePair(self.catalog, "lake", self.contract, b"k" * 32)
        self.compactor = TableCompactor(self.contract, pair, self.raw, self.quarantine, b"k" * 32, self.limits)
        return self.compactor

    def shard(self, number: int = 0) -> ShardWriter:
        return ShardWriter(self.raw, f"shardId-{number:012}")

    def merge(self) -> None:
        while self.compactor.step().has_moved:
            pass

    def maintain(self, now: datetime | None = None) -> int:
        """Take every step of maintenance that is due; how many rounds that took."""
        rounds = 0
        while self.compactor.maintain(now or datetime.now(UTC)):
            rounds += 1
            assert rounds < 1000, "maintenance finds no end"
        return rounds

    def pair(self) -> TablePair:
        return TablePair(self.catalog, "lake", self.contract, b"k" * 32)

    def rows(self) -> dict[int, tuple[Any, ...]]:
        """The table as DuckDB and as pyiceberg read it, after both were found to agree."""
        table = self.pair().table.table
        if table.current_snapshot() is None:
            return {}
        with open_lake(self.environment) as duck:
            query = f"SELECT id, nome, bio, cdc_lsn FROM iceberg_scan('{table.metadata_location}')"
            by_duckdb = sorted(duck.execute(query).fetchall())
        columns = table.scan(selected_fields=("id", "nome", "bio", "cdc_lsn")).to_arrow().to_pylist()
        by_pyiceberg = sorted((row["id"], row["nome"], row["bio"], row["cdc_lsn"]) for row in columns)
        assert by_duckdb == by_pyiceberg
        assert len({row[0] for row in by_duckdb}) == len(by_duckdb)
        return {row[0]: row[1:] for row in by_duckdb}

    def history(self) -> list[tuple[Any, ...]]:
        rows = self.pair().history.table.scan().to_arrow().to_pylist()
        return sorted((row["cdc_lsn"], row["cdc_op"], row["id"] or 0, row["bio"]) for row in rows)


def change(op: str, lsn: int, key: int, nome: str = "", bio: str | None = PLACEHOLDER) -> bytes:
    row = {"id": key} if op == "d" else {"id": key, "nome": nome, "bio": bio}
    return event(op, lsn, None if op == "t" else row, table="t")


def put(
    shard: ShardWriter, contract: TableContract, *events: bytes, seconds: float | None = None, **options: Any
) -> None:
    shard.batch(events, table=contract.name, evidence=None if seconds is None else at(seconds), **options)


def proven(seconds: float) -> str:
    """valid-through after a heartbeat: a second less, for commits that took their time before it and their place after."""
    return at(seconds - 1).isoformat()


def crash(*_arguments: object) -> None:
    raise KeyboardInterrupt


def raising(error: BaseException) -> Any:
    def call(*_arguments: object) -> None:
        raise error

    return call
