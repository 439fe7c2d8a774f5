"""Row `lake`: raw objects → both Iceberg tables, with masks, deletes and commits, on two cores; the compactor is the real one.

Seven tenths of the changes are updates, one tenth deletes, two tenths inserts. The rows that they change are in the table
already. The tables lie in local files, their catalog in SQLite, raw in memory: S3 is not what is measured. `toasted` tells
the same where three tenths of the updates leave a long text unchanged, so that it has to be found.

The peer does the same work with pyiceberg's own `append`, `delete` and `upsert`, in the order that these need, on a few
changes against a table as large. At the end the table is compared with what the events themselves say.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.expressions import In

from cdc.contract import TableContract, parse_contract
from compactor.compactor import TableCompactor
from compactor.lake.pair import TablePair
from compactor.memory import keep_memory
from tests.bench.measure import Cost, cost_of
from tests.bench.raw_zone import Users, Zone
from tests.bench.result import Result
from tests.raw_zone import PLACEHOLDER, MemoryObjects

USERS = 200_000
CHANGES = int(os.environ.get("CHANGES", "200000"))
REPETITIONS = 3
PEER_CHANGES = 5_000
OPS = "uuuuuuuccd"
TOASTED = 0.3
CHANGES_PER_SECOND_MIN = 100_000
CORES = 2
CONTRACT = Path(__file__).resolve().parents[2] / "tables" / "usuarios.odcs.yaml"
KEY = b"k" * 32


def measure() -> Result:
    """Merge the users, then some changes several times; compare the outcome; let the peer merge a few."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    keep_memory()
    with tempfile.TemporaryDirectory() as name:
        catalog = load_catalog("lake", type="sql", uri=f"sqlite:///{name}/catalog.db", warehouse=f"file://{name}")
        source = Source()
        lake = Lake(catalog, source.zone)
        lake.merge(source.write(source.users.snapshot(USERS)))
        plain = best(lake.merge(source.write(source.users.changes(CHANGES, OPS))) for _ in range(REPETITIONS))
        toasted = best(
            lake.merge(source.write(source.users.changes(CHANGES, OPS, TOASTED))) for _ in range(REPETITIONS)
        )
        lake.compare(source.rows, source.changes)
        peer = Peer(catalog, lake.contract, source.rows).merge(list(source.users.changes(PEER_CHANGES, OPS)))
    figure, peer_figure = CHANGES / plain.seconds, PEER_CHANGES / peer.seconds
    return Result(
        row="lake",
        figure=figure,
        unit="changes/s",
        peer="pyiceberg's append, delete and upsert",
        peer_figure=peer_figure,
        ratio=figure / peer_figure,
        target=f"≥ {CHANGES_PER_SECOND_MIN:,} changes/s on {CORES} cores",
        met=figure >= CHANGES_PER_SECOND_MIN,
        details={
            "changes_per_cpu_second": CHANGES / plain.cpu_seconds,
            "cores_had": f"{plain.cpu_seconds / plain.seconds:.2f}",
            "toasted_changes_per_second": CHANGES / toasted.seconds,
            "toasted_changes_per_cpu_second": CHANGES / toasted.cpu_seconds,
            "peer_changes_per_cpu_second": PEER_CHANGES / peer.cpu_seconds,
            "event_bytes_mean": source.events_bytes / source.events,
        },
    )


def best(costs: Iterable[Cost]) -> Cost:
    """The one that took the least time, since machines are shared."""
    return min(costs, key=lambda cost: cost.seconds)


@dataclass
class Source:
    """The users at the source, their changes in raw, and their rows as the events themselves tell them."""

    users: Users = field(default_factory=Users)
    zone: Zone = field(default_factory=Zone)
    rows: dict[int, dict[str, Any]] = field(default_factory=dict)
    changes: list[tuple[int, str, int]] = field(default_factory=list)
    events: int = 0
    events_bytes: int = 0

    def write(self, events: Iterable[bytes]) -> int:
        """Put some events into raw; how many they were."""
        before = self.events
        self.zone.write(map(self._seen, events))
        return self.events - before

    def _seen(self, event: bytes) -> bytes:
        self.events, self.events_bytes = self.events + 1, self.events_bytes + len(event)
        told = json.loads(event)
        row, lsn = told["before"] if told["op"] == "d" else told["after"], told["source"]["lsn"]
        self.changes.append((row["id"], told["op"], 0 if told["op"] == "r" else lsn))
        if told["op"] == "d":
            del self.rows[row["id"]]
        else:
            bio = self.rows[row["id"]]["bio"] if row["bio"] == PLACEHOLDER else row["bio"]
            self.rows[row["id"]] = row | {"bio": bio, "cdc_lsn": lsn if told["op"] != "r" else 0}
        return event


class Lake:
    """Both tables and their compactor."""

    def __init__(self, catalog: Catalog, zone: Zone) -> None:
        self.contract: TableContract = parse_contract(CONTRACT.read_text(encoding="utf-8"))
        self._pair = TablePair(catalog, "lake", self.contract, KEY)
        self._compactor = TableCompactor(self.contract, self._pair, zone.objects, MemoryObjects(), KEY)

    def merge(self, _events: int) -> Cost:
        """Merge all that is new."""
        return cost_of(self._merge)

    def _merge(self) -> None:
        while self._compactor.step().has_moved:
            pass

    def compare(self, rows: dict[int, dict[str, Any]], changes: list[tuple[int, str, int]]) -> None:
        """Compare what no mask changes, and that history has every change (key, op, LSN) once."""
        names = ("id", "bio", "endereco", "uuid_externo", "cdc_lsn")
        self._pair.refresh()
        there = self._pair.table.table.scan(selected_fields=names).to_arrow().select(names).sort_by("id").to_pylist()
        expected = [{name: row[name] for name in names} for _, row in sorted(rows.items())]
        if there != expected:
            raise SystemExit("lake: the table is not what the events say")
        told = self._pair.history.table.scan(selected_fields=("id", "cdc_op", "cdc_lsn")).to_arrow()
        history = zip(*(told[name].to_pylist() for name in ("id", "cdc_op", "cdc_lsn")), strict=True)
        if sorted(history) != sorted(changes):
            raise SystemExit("lake: the history is not what the events say")


class Peer:
    """The same with what pyiceberg itself offers."""

    def __init__(self, catalog: Catalog, contract: TableContract, rows: dict[int, dict[str, Any]]) -> None:
        names = [column.name for column in contract.columns]
        self._schema = pa.schema(
            [("id", pa.int64()), *((name, pa.string()) for name in names if name != "id"), ("cdc_lsn", pa.int64())]
        )
        self._table = catalog.create_table(("lake", "peer"), self._schema)
        self._history = catalog.create_table(("lake", "peer_history"), self._schema)
        self._table.append(self._rows(rows.values()))

    def merge(self, events: list[bytes]) -> Cost:
        """Merge some events."""
        return cost_of(lambda: self._merge(events))

    def _merge(self, events: list[bytes]) -> None:
        newest: dict[int, dict[str, Any] | None] = {}
        changes: list[dict[str, Any]] = []
        for event in map(json.loads, events):
            row = event["before"] if event["op"] == "d" else event["after"]
            changes.append(row | {"cdc_lsn": event["source"]["lsn"]})
            newest[row["id"]] = None if event["op"] == "d" else changes[-1]
        self._history.append(self._rows(changes))
        gone: Any = In  # pyiceberg makes predicates in __new__, where type checkers see pydantic's constructor
        self._table.delete(gone("id", {key for key, row in newest.items() if row is None}))
        self._table.upsert(self._rows(row for row in newest.values() if row is not None), join_cols=["id"])

    def _rows(self, rows: Iterable[dict[str, Any]]) -> pa.Table:
        texts = (
            {
                name: value if name in {"id", "cdc_lsn"} else None if value is None else str(value)
                for name, value in row.items()
            }
            for row in rows
        )
        return pa.Table.from_pylist(list(texts), self._schema)
