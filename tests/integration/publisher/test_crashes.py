"""The publisher as a process that is killed, or loses its slot or its connection: nothing is lost, and all stays in order."""

from __future__ import annotations

import base64
import json
import threading
import time
from datetime import UTC, datetime
from random import Random
from typing import Any, LiteralString

import psycopg
import pytest

from cdc.position import format_lsn
from cdc.raw import SNAPSHOT_PREFIX
from cdc_publisher.slot import MARK
from sandbox import usuarios
from sandbox.aws import Aws
from sandbox.postgres import Postgres
from sandbox.process import Command, Process, wait_until
from tests.publisher_support import (
    TIMEOUT_SECONDS,
    assert_each_key_in_order,
    changes,
    confirmed_past,
    finished,
    holds,
    is_active,
    lake_rows,
    log_lines,
    records,
    slots,
    source_rows,
    wait_for_log,
)

pytestmark = pytest.mark.slow
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def test_killed_in_the_middle_of_the_backfill(
    postgres: Postgres, connection: psycopg.Connection, aws: Aws, command: Command, name: str
) -> None:
    usuarios.create(connection, 30_000, Random(1), NOW)
    process = Process(command)
    wait_for_log(process, "backfill begins")
    process.wait_until(lambda: holds(aws, name, 200), TIMEOUT_SECONDS, "some rows are in the stream")
    process.kill()
    assert slots(connection) == [f"{name}_backfill"]
    assert 200 <= len(changes(records(aws, name))) < 30_000
    # Rows that were read already are changed, removed and added before the backfill is repeated.
    connection.execute('DELETE FROM "Usuários" WHERE id % 7 = 0')
    connection.execute("UPDATE \"Usuários\" SET nome = 'depois' WHERE id % 5 = 0")
    connection.execute("INSERT INTO \"Usuários\"(id, nome) SELECT g, 'novo' FROM generate_series(100000, 100100) g")
    process.restart()
    wait_for_log(process, "backfill complete")
    connection.execute("UPDATE \"Usuários\" SET nome = 'por fim' WHERE id = 100000")
    finished(process, postgres, name)

    found = changes(records(aws, name))
    assert lake_rows(found) == source_rows(connection)
    assert_each_key_in_order(found)
    assert slots(connection) == [name]
    begun = [line["kind"] for line in log_lines(command.log) if line["event"] == "backfill begins"]
    assert begun == ["fresh_backfill", "repeated_backfill"]


def test_killed_again_and_again_while_streaming(
    postgres: Postgres, connection: psycopg.Connection, aws: Aws, command: Command, name: str
) -> None:
    usuarios.create(connection, 300, Random(2), NOW)
    process = Process(command)
    wait_for_log(process, "streaming")
    stop = threading.Event()

    def work() -> None:
        random = Random(3)
        with psycopg.connect(postgres.dsn) as own:
            while not stop.is_set():
                for _ in range(random.randrange(1, 6)):
                    statement, parameters = random.choice(STATEMENTS)
                    id_ = random.randrange(1, 60)
                    own.execute(statement, {"id": id_, "n": random.getrandbits(20), "other": 1000 + id_, **parameters})
                own.commit()
                time.sleep(0.002)

    worker = threading.Thread(target=work)
    worker.start()

    def is_ahead() -> bool:
        """Whether the stream has a change that the slot is not confirmed past: it will come again."""
        streamed = [r.value["source"]["lsn"] for r in changes(records(aws, name)) if r.value and r.value["op"] != "r"]
        return bool(streamed) and not confirmed_past(postgres, format_lsn(max(streamed)), name)()

    hits = 0
    try:
        for life in range(2, 30):
            process.wait_until(is_ahead, TIMEOUT_SECONDS, "the stream has what is not confirmed yet")
            process.kill()
            wait_until(lambda: not is_active(connection, name), TIMEOUT_SECONDS, "the walsender has ended")
            hits += is_ahead()
            process.restart()
            wait_for_log(process, "streaming", life)
            if life >= 5 and hits:
                break
    finally:
        stop.set()
        worker.join()
    finished(process, postgres, name)

    assert hits
    found = changes(records(aws, name))
    assert lake_rows(found) == source_rows(connection)
    assert_each_key_in_order(found)
    # Some kills did hit: changes came twice.
    streamed = [(r.value["source"]["lsn"], r.partition_key, r.value["op"]) for r in found if r.value]
    assert len(set(streamed)) < len(streamed)


STATEMENTS: tuple[tuple[LiteralString, dict[str, Any]], ...] = (
    ('UPDATE "Usuários" SET nome = %(n)s::text WHERE id = %(id)s', {}),
    ('UPDATE "Usuários" SET saldo = %(n)s / 100.0 WHERE id = %(id)s', {}),
    ('UPDATE "Usuários" SET bio = repeat(md5(%(n)s::text), 150) WHERE id = %(id)s', {}),
    ('DELETE FROM "Usuários" WHERE id = %(id)s', {}),
    ("INSERT INTO \"Usuários\"(id, nome) VALUES (%(id)s, 'de novo') ON CONFLICT DO NOTHING", {}),
    ('INSERT INTO "Usuários"(id, nome) VALUES (%(id)s, %(n)s::text) ON CONFLICT (id) DO UPDATE SET nome = excluded.nome', {}),
)  # fmt: skip


def test_a_slot_lost_after_the_backfill_begins_a_new_epoch_of_which_every_shard_is_told(
    postgres: Postgres, connection: psycopg.Connection, command: Command, name: str, aws: Aws
) -> None:
    usuarios.create(connection, 10, Random(1), NOW)
    process = Process(command)
    wait_for_log(process, "streaming")
    assert process.stop() == 0
    connection.execute("SELECT pg_drop_replication_slot(%s)", [name])
    connection.execute('DELETE FROM "Usuários" WHERE id = 3')
    process.restart()
    wait_for_log(process, "streaming", 2)
    assert process.stop() == 0
    assert "the slot was lost, and changes with it: a new epoch begins" in [
        line["event"] for line in log_lines(command.log)
    ]
    comment = connection.execute("SELECT obj_description(oid, 'pg_publication') FROM pg_publication").fetchone()
    assert comment == (MARK,)
    found = records(aws, name)
    shards = sorted({record.shard for record in found})
    assert len(shards) == 2
    snapshots: list[list[tuple[Any, ...]]] = []
    for shard in shards:
        told: list[tuple[Any, ...]] = []
        for record in found:
            message = (record.value or {}).get("message") if record.shard == shard else None
            if message and message["prefix"] == SNAPSHOT_PREFIX:
                word = json.loads(base64.b64decode(message["content"]))
                assert word["shards"] == shards
                told.append((word["snapshot"], word.get("is_complete", False), word["tables"]))
            elif record.shard == shard and record.value and record.value["op"] == "r":
                assert told
                assert not told[-1][1], "no read comes before the mark, nor after the snapshot is complete"
        assert len({entry[0] for entry in told}) == 2
        snapshots.append(told)
    assert snapshots[0] == snapshots[1]
    assert [entry[1:] for entry in snapshots[0]] == [
        (False, [["public", "Usuários", 0]]), (True, [["public", "Usuários", 10]]),
        (False, [["public", "Usuários", 0]]), (True, [["public", "Usuários", 9]]),
    ]  # fmt: skip


def test_a_lost_connection_is_made_anew(
    postgres: Postgres, connection: psycopg.Connection, aws: Aws, command: Command, name: str
) -> None:
    usuarios.create(connection, 10, Random(1), NOW)
    process = Process(command)
    wait_for_log(process, "streaming")
    with psycopg.connect(postgres.dsn_admin, autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_replication WHERE application_name = 'cdc-publisher'"
        )
    connection.execute("UPDATE \"Usuários\" SET nome = 'depois'")
    wait_for_log(process, "lost the source")
    finished(process, postgres, name)
    assert lake_rows(changes(records(aws, name))) == source_rows(connection)
