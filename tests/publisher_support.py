"""What the publisher's integration tests share: real servers, the program as a process, and reading the stream back."""

from __future__ import annotations

import json
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from cdc_publisher.rendering import PLACEHOLDER
from sandbox.aws import Aws
from sandbox.postgres import Postgres
from sandbox.process import Command, Process

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT_SECONDS = 60
CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: urn:test:{lake_name}
version: 1.0.0
status: active
schema:
  - name: {lake_name}
    physicalName: {lake_name}
    customProperties: [{{ property: sourceTable, value: 'public."{table}"' }}]
    properties:
      - {{ name: id, physicalType: bigint, primaryKey: true, primaryKeyPosition: 1, classification: internal }}
slaProperties: [{{ property: latency, value: 60, unit: s }}]
"""


@dataclass(frozen=True, slots=True)
class StreamRecord:
    """A record as it lies in the stream; `value` is None for a tombstone."""

    shard: str
    partition_key: str
    value: dict[str, Any] | None


def contracts(folder: Path, **tables: str) -> Path:
    """A folder with a contract for each `lake_name="Source table"`; the publisher takes no more from it than that."""
    folder.mkdir(parents=True, exist_ok=True)
    for lake_name, table in tables.items():
        text = CONTRACT.format(lake_name=lake_name, table=table)
        (folder / f"{lake_name}.odcs.yaml").write_text(text, encoding="utf-8")
    return folder


def database(postgres: Postgres, name: str) -> Postgres:
    """A new database on the server, owned by the same user."""
    with psycopg.connect(postgres.dsn_admin, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER app").format(sql.Identifier(name)))
    return replace(
        postgres,
        dsn=postgres.dsn.removesuffix("/app") + f"/{name}",
        dsn_admin=postgres.dsn_admin.removesuffix("/app") + f"/{name}",
    )


def publisher(postgres: Postgres, aws: Aws, stream: str, folder: Path, log: Path, **settings: str) -> Command:
    """The command of the publisher."""
    return Command(
        name="cdc-publisher",
        arguments=(sys.executable, "-m", "cdc_publisher.cli", "run"),
        environment={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'services'}",
            **aws.environment(),
            "CDC_SOURCE": f"kinesis://{stream}",
            "CDC_DATABASE": postgres.dsn,
            "CDC_TABLES": str(folder),
            "CDC_HEARTBEAT_SECONDS": "0.5",
            **settings,
        },
        directory=log.parent,
        log=log,
    )


def records(aws: Aws, stream: str) -> list[StreamRecord]:
    """Everything the stream holds, shard by shard in order."""
    kinesis = aws.client("kinesis")
    found = []
    for shard in kinesis.list_shards(StreamName=stream)["Shards"]:
        name = shard["ShardId"]
        iterator = kinesis.get_shard_iterator(StreamName=stream, ShardId=name, ShardIteratorType="TRIM_HORIZON")
        following = iterator["ShardIterator"]
        while True:
            answer = kinesis.get_records(ShardIterator=following, Limit=10_000)
            for record in answer["Records"]:
                value = json.loads(record["Data"]) if record["Data"] else None
                found.append(StreamRecord(name, record["PartitionKey"], value))
            if not answer["Records"] and not answer["MillisBehindLatest"]:
                break
            following = answer["NextShardIterator"]
    return found


def holds(aws: Aws, stream: str, count: int) -> bool:
    """Whether the first shard holds so many records."""
    kinesis = aws.client("kinesis")
    shard = kinesis.list_shards(StreamName=stream)["Shards"][0]["ShardId"]
    iterator = kinesis.get_shard_iterator(StreamName=stream, ShardId=shard, ShardIteratorType="TRIM_HORIZON")
    return len(kinesis.get_records(ShardIterator=iterator["ShardIterator"], Limit=count)["Records"]) >= count


def changes(found: Sequence[StreamRecord]) -> list[StreamRecord]:
    """Without the heartbeats."""
    return [record for record in found if record.value is None or record.value["op"] != "m"]


def by_key(found: Sequence[StreamRecord]) -> dict[str, list[dict[str, Any] | None]]:
    """The events of each partition key in the stream's order."""
    lanes: dict[str, list[dict[str, Any] | None]] = defaultdict(list)
    for record in found:
        lanes[record.partition_key].append(record.value)
    return lanes


def without_times(event: dict[str, Any] | None) -> dict[str, Any] | None:
    """An event without what no two runs have alike."""
    if event is None:
        return None
    source = {
        name: value
        for name, value in event["source"].items()
        if name not in {"version", "ts_ms", "ts_us", "ts_ns", "db", "sequence", "txId", "lsn"}
    }
    return {name: value for name, value in event.items() if not name.startswith("ts_")} | {"source": source}


def confirmed_past(postgres: Postgres, lsn: str, slot: str = "usuarios_cdc") -> Callable[[], bool]:
    """Whether the slot is confirmed past a position."""

    def probe() -> bool:
        with psycopg.connect(postgres.dsn) as connection:
            row = connection.execute(
                "SELECT confirmed_flush_lsn >= %s::pg_lsn FROM pg_replication_slots WHERE slot_name = %s", [lsn, slot]
            ).fetchone()
            return bool(row and row[0])

    return probe


def current_lsn(postgres: Postgres) -> str:
    """The end of the log now."""
    with psycopg.connect(postgres.dsn) as connection:
        row = connection.execute("SELECT pg_current_wal_lsn()::text").fetchone()
        assert row is not None
        return str(row[0])


def run_until_confirmed(command: Command, postgres: Postgres, slot: str = "usuarios_cdc") -> Process:
    """Start the publisher; returns when all that the source holds now is in the stream and confirmed."""
    process = Process(command)
    process.wait_until(
        confirmed_past(postgres, current_lsn(postgres), slot), TIMEOUT_SECONDS, "the publisher has confirmed everything"
    )
    return process


def published(postgres: Postgres, command: Command, aws: Aws, stream: str, steps: Sequence[str]) -> list[StreamRecord]:
    """What the publisher puts to a stream for the rows that are there, and then for these statements."""
    process = run_until_confirmed(command, postgres)
    try:
        with psycopg.connect(postgres.dsn, autocommit=True) as connection:
            for statement in steps:
                connection.execute(statement.encode())
        process.wait_until(confirmed_past(postgres, current_lsn(postgres)), TIMEOUT_SECONDS, "all is confirmed")
    finally:
        assert process.stop() == 0
    return changes(records(aws, stream))


def log_lines(log: Path) -> Iterator[Mapping[str, Any]]:
    """What the program logged."""
    for line in log.read_text(encoding="utf-8").splitlines():
        if line.startswith("{"):
            yield json.loads(line)


def wait_for_log(process: Process, event: str, times: int = 1) -> None:
    """Wait until the program has logged this event so many times."""
    process.wait_until(
        lambda: sum(line["event"] == event for line in log_lines(process.command.log)) >= times,
        TIMEOUT_SECONDS,
        f"the publisher logs {event!r}",
    )


def fold(found: list[StreamRecord]) -> dict[int, dict[str, Any]]:
    """The table that the stream's events make, by position alone; unchanged TOASTed values stay what they were."""
    versions: dict[int, list[tuple[int, int, dict[str, Any]]]] = {}
    for arrival, record in enumerate(found):
        if record.value is not None:
            event = record.value
            row = event["after"] or event["before"]
            lsn = 0 if event["op"] == "r" else event["source"]["lsn"]
            versions.setdefault(row["id"], []).append((lsn, arrival, event))
    table = {}
    for id_, events in versions.items():
        current: dict[str, Any] | None = None
        for _, _, event in sorted(events, key=lambda version: version[:2]):
            before, current = current or {}, event["after"]
            if current is not None:
                current = {k: before[k] if v == PLACEHOLDER else v for k, v in current.items()}
        if current is not None:
            table[id_] = current
    return table


def slots(connection: psycopg.Connection) -> list[str]:
    """The replication slots of a database."""
    query = "SELECT slot_name FROM pg_replication_slots WHERE database = current_database() ORDER BY 1"
    return [row[0] for row in connection.execute(query).fetchall()]


def is_active(connection: psycopg.Connection, slot: str) -> bool:
    """Whether somebody reads a slot."""
    query = "SELECT 1 FROM pg_replication_slots WHERE slot_name = %s AND active"
    return connection.execute(query, [slot]).fetchone() is not None


def source_rows(connection: psycopg.Connection) -> dict[int, tuple[Any, ...]]:
    """Rows of the founding table by key: some columns of many types."""
    rows = connection.execute('SELECT id, nome, saldo::text, bio, email FROM "Usuários"').fetchall()
    return {row[0]: row for row in rows}


def lake_rows(found: list[StreamRecord]) -> dict[int, tuple[Any, ...]]:
    """The same columns as the stream's events make them."""
    return {id_: (id_, r["nome"], r["saldo"], r["bio"], r["email"]) for id_, r in fold(found).items()}


def assert_each_key_in_order(found: list[StreamRecord]) -> None:
    """After dedupe by position, the streamed changes of each key lie in the order of their positions."""
    for events in by_key(found).values():
        positions = [e["source"]["lsn"] for e in events if e is not None and e["op"] not in {"r", "m"}]
        firsts = list(dict.fromkeys(positions))
        assert firsts == sorted(firsts)


def finished(process: Process, postgres: Postgres, slot: str) -> None:
    """Let the publisher confirm everything, and stop it."""
    process.wait_until(
        confirmed_past(postgres, current_lsn(postgres), slot), TIMEOUT_SECONDS, "the publisher has confirmed everything"
    )
    assert process.stop() == 0
