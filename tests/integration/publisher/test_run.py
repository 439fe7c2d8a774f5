"""The publisher as a process against real servers: identities, heartbeats, schema changes, several tables."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import psycopg
import pytest

from cdc.raw import SNAPSHOT_PREFIX
from cdc_publisher.rendering import PLACEHOLDER
from sandbox import usuarios
from sandbox.aws import Aws
from sandbox.postgres import Postgres
from sandbox.process import Command, Process
from tests.publisher_support import (
    TIMEOUT_SECONDS,
    StreamRecord,
    changes,
    confirmed_past,
    contracts,
    current_lsn,
    finished,
    log_lines,
    publisher,
    records,
    run_until_confirmed,
    wait_for_log,
)

pytestmark = pytest.mark.slow
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def test_a_column_left_out_of_the_publication_is_left_out_everywhere(
    postgres: Postgres, connection: psycopg.Connection, aws: Aws, command: Command, name: str
) -> None:
    connection.execute('CREATE TABLE "Usuários"(id int PRIMARY KEY, onde line, nome text)')
    connection.execute("INSERT INTO \"Usuários\" VALUES (1, '{1,2,3}', 'a')")
    connection.execute(f'CREATE PUBLICATION {name} FOR TABLE "Usuários" (id, nome)'.encode())
    process = Process(command)
    wait_for_log(process, "streaming")
    connection.execute("INSERT INTO \"Usuários\" VALUES (2, '{1,2,3}', 'b')")
    finished(process, postgres, name)
    rows = [record.value["after"] for record in changes(records(aws, name)) if record.value]
    assert sorted(rows, key=lambda row: row["id"]) == [{"id": 1, "nome": "a"}, {"id": 2, "nome": "b"}]


def test_every_shard_gets_heartbeats_that_come_from_the_source(
    postgres: Postgres, connection: psycopg.Connection, aws: Aws, command: Command, name: str
) -> None:
    usuarios.create(connection, 10, Random(1), NOW)
    process = Process(command)

    def heartbeats() -> list[StreamRecord]:
        messages = [r for r in records(aws, name) if r.value is not None and r.value["op"] == "m"]
        return [r for r in messages if r.value and r.value["message"]["prefix"] != SNAPSHOT_PREFIX]

    process.wait_until(lambda: len(heartbeats()) >= 6, TIMEOUT_SECONDS, "there are heartbeats")
    row = connection.execute("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint").fetchone()
    assert row is not None
    assert process.stop() == 0
    beats = heartbeats()
    assert len({beat.shard for beat in beats}) == 2
    for beat in beats:
        assert beat.partition_key == "cdc.heartbeat"
        assert beat.value is not None
        assert beat.value["message"] == {"prefix": "cdc.heartbeat", "content": ""}
        assert 0 <= row[0] + 5_000_000 - beat.value["source"]["ts_us"] < 60_000_000


def test_truncate_full_identity_and_schema_changes_while_running(
    postgres: Postgres, connection: psycopg.Connection, aws: Aws, command: Command, name: str
) -> None:
    connection.execute("CREATE TYPE humor AS ENUM ('feliz')")
    connection.execute('CREATE TABLE "Usuários"(id int PRIMARY KEY, nome text, bio text)')
    connection.execute('ALTER TABLE "Usuários" ALTER bio SET STORAGE EXTERNAL')
    process = Process(command)
    wait_for_log(process, "streaming")
    for statement in (
        "INSERT INTO \"Usuários\" VALUES (1, 'a', repeat('b', 5000))",
        'ALTER TABLE "Usuários" ADD novo humor',
        "UPDATE \"Usuários\" SET novo = 'feliz'",
        'ALTER TABLE "Usuários" REPLICA IDENTITY FULL',
        "UPDATE \"Usuários\" SET nome = 'c'",
        'UPDATE "Usuários" SET id = 2',
        'ALTER TABLE "Usuários" DROP nome',
        'DELETE FROM "Usuários"',
        'TRUNCATE "Usuários"',
        "SELECT pg_logical_emit_message(true, 'app', 'not ours')",
    ):
        connection.execute(statement.encode())
    finished(process, postgres, name)
    found = changes(records(aws, name))
    events = sorted(
        ((e.value["source"]["lsn"], e.value["op"] != "d", e.value) for e in found if e.value), key=lambda e: e[:2]
    )
    long = "b" * 5000
    told = [(event["op"], event["before"], event["after"]) for _, _, event in events]
    assert told == [
        ("c", None, {"id": 1, "nome": "a", "bio": long}),
        ("u", None, {"id": 1, "nome": "a", "bio": PLACEHOLDER, "novo": "feliz"}),
        (
            "u",
            {"id": 1, "nome": "a", "bio": long, "novo": "feliz"},
            {"id": 1, "nome": "c", "bio": long, "novo": "feliz"},
        ),
        ("d", {"id": 1, "nome": "c", "bio": long, "novo": "feliz"}, None),
        ("c", None, {"id": 2, "nome": "c", "bio": long, "novo": "feliz"}),
        ("d", {"id": 2, "bio": long, "novo": "feliz"}, None),
        ("t", None, None),
    ]
    assert [r.partition_key for r in found if r.value and r.value["op"] == "t"] == ["default"]


def test_a_record_that_kinesis_cannot_take_stops_the_program_without_showing_it(
    postgres: Postgres, connection: psycopg.Connection, command: Command, name: str
) -> None:
    connection.execute('CREATE TABLE "Usuários"(id int PRIMARY KEY, nome text)')
    process = Process(command)
    wait_for_log(process, "streaming")
    before = current_lsn(postgres)
    connection.execute("INSERT INTO \"Usuários\" VALUES (1, repeat('segredo', 200000))")
    after = current_lsn(postgres)
    assert process.finish(TIMEOUT_SECONDS) == 1
    failed = list(log_lines(command.log))[-1]
    assert "too large for the stream" in failed["what"]
    assert "Usuários" in failed["where"]
    assert "segredo" not in command.log.read_text(encoding="utf-8")
    assert not confirmed_past(postgres, after, name)()
    assert before < after


def test_several_tables_and_one_large_transaction(
    postgres: Postgres, connection: psycopg.Connection, aws: Aws, name: str, tmp_path: Path
) -> None:
    aws.create_stream(name, 1)
    connection.execute("CREATE TABLE a(x text, id int, PRIMARY KEY (x, id)); CREATE TABLE b(id int PRIMARY KEY)")
    connection.execute("CREATE TABLE vazia(id int PRIMARY KEY); CREATE TABLE fora(id int PRIMARY KEY)")
    connection.execute("INSERT INTO a VALUES ('x', 1), ('y', 2); INSERT INTO b VALUES (1)")
    folder = contracts(tmp_path / "tables", a="a", b="b", vazia="vazia")
    process = Process(publisher(postgres, aws, name, folder, tmp_path / "publisher.log", CDC_SLOT=name))
    wait_for_log(process, "streaming")
    connection.execute("INSERT INTO b SELECT g FROM generate_series(2, 50000) g")
    finished(process, postgres, name)
    found = [record.value for record in changes(records(aws, name)) if record.value]
    read = [(e["source"]["table"], e["source"]["snapshot"], e["source"]["sequence"]) for e in found if e["op"] == "r"]
    lsn = found[0]["source"]["lsn"]
    # Keys overtake each other, since several calls are on their way at once.
    assert sorted(read) == [
        ("a", "first", json.dumps([None, str(lsn)], separators=(",", ":"))),
        ("a", "last_in_data_collection", json.dumps([None, str(lsn)], separators=(",", ":"))),
        ("b", "last", json.dumps([None, str(lsn)], separators=(",", ":"))),
    ]
    created = [e["after"]["id"] for e in found if e["op"] == "c"]
    assert sorted(created) == list(range(2, 50001))


def test_no_value_of_a_row_and_no_password_is_logged(
    postgres: Postgres, connection: psycopg.Connection, command: Command, name: str
) -> None:
    usuarios.create(connection, 200, Random(5), NOW)
    process = run_until_confirmed(
        replace(command, environment={**command.environment, "CDC_LOG_LEVEL": "debug"}),
        postgres,
        name,
    )
    assert process.stop() == 0
    log = command.log.read_text(encoding="utf-8")
    rows = connection.execute('SELECT email, cpf, telefone, uuid_externo::text FROM "Usuários"').fetchall()
    assert not [value for row in rows for value in row if value and len(value) > 5 and value in log]
    assert postgres.dsn.split(":")[2].split("@")[0] not in log
