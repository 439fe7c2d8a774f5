"""The publisher as a process against real servers: kills, lost slots, refusals, identities, heartbeats, several tables."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, LiteralString

import psycopg
import pytest

from cdc.position import format_lsn
from cdc.raw import SNAPSHOT_PREFIX
from cdc_publisher.rendering import PLACEHOLDER
from cdc_publisher.slot import MARK
from sandbox import usuarios
from sandbox.aws import Aws
from sandbox.postgres import Postgres
from sandbox.process import Command, Process, wait_until
from tests.publisher_support import (
    TIMEOUT_SECONDS,
    StreamRecord,
    by_key,
    changes,
    confirmed_past,
    contracts,
    current_lsn,
    database,
    holds,
    log_lines,
    publisher,
    records,
    run_until_confirmed,
    wait_for_log,
)

pytestmark = pytest.mark.slow
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with Postgres.start(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    with Aws.start(tmp_path_factory.mktemp("aws")) as server:
        yield server


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return str(request.node.name).removeprefix("test_")[:40].replace("[", "_").replace("]", "")


@pytest.fixture
def postgres(server: Postgres, name: str) -> Iterator[Postgres]:
    """A database of the test's own, its slots removed at the end."""
    own = database(server, name)
    yield own
    with psycopg.connect(server.dsn_admin, autocommit=True) as connection:
        slots = connection.execute("SELECT slot_name FROM pg_replication_slots WHERE database = %s", [name]).fetchall()
        for (slot,) in slots:
            connection.execute(
                "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = %s", [slot]
            )
            _eventually(connection, slot)


def _eventually(connection: psycopg.Connection, slot: str) -> None:
    def dropped() -> bool:
        try:
            connection.execute("SELECT pg_drop_replication_slot(%s)", [slot])
        except psycopg.errors.ObjectInUse:
            return False
        return True

    wait_until(dropped, TIMEOUT_SECONDS, f"the slot {slot} is dropped")


@pytest.fixture
def connection(postgres: Postgres) -> Iterator[psycopg.Connection]:
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def command(postgres: Postgres, aws: Aws, name: str, tmp_path: Path) -> Command:
    """The publisher of the founding table to a stream of the test's own with two shards."""
    aws.create_stream(name, 2)
    return publisher(
        postgres,
        aws,
        name,
        contracts(tmp_path / "tables", usuarios="Usuários"),
        tmp_path / "publisher.log",
        CDC_SLOT=name,
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
    query = "SELECT slot_name FROM pg_replication_slots WHERE database = current_database() ORDER BY 1"
    return [row[0] for row in connection.execute(query).fetchall()]


def is_active(connection: psycopg.Connection, slot: str) -> bool:
    query = "SELECT 1 FROM pg_replication_slots WHERE slot_name = %s AND active"
    return connection.execute(query, [slot]).fetchone() is not None


def source_rows(connection: psycopg.Connection) -> dict[int, tuple[Any, ...]]:
    rows = connection.execute('SELECT id, nome, saldo::text, bio, email FROM "Usuários"').fetchall()
    return {row[0]: row for row in rows}


def lake_rows(found: list[StreamRecord]) -> dict[int, tuple[Any, ...]]:
    return {id_: (id_, r["nome"], r["saldo"], r["bio"], r["email"]) for id_, r in fold(found).items()}


def assert_each_key_in_order(found: list[StreamRecord]) -> None:
    """After dedupe by position, the streamed changes of each key lie in the order of their positions."""
    for events in by_key(found).values():
        positions = [e["source"]["lsn"] for e in events if e is not None and e["op"] not in {"r", "m"}]
        firsts = list(dict.fromkeys(positions))
        assert firsts == sorted(firsts)


def finished(process: Process, postgres: Postgres, slot: str) -> None:
    process.wait_until(
        confirmed_past(postgres, current_lsn(postgres), slot), TIMEOUT_SECONDS, "the publisher has confirmed everything"
    )
    assert process.stop() == 0


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


@pytest.mark.parametrize(
    ("definition", "reason"),
    [
        ('CREATE TABLE "Usuários"(id int)', "has no primary key"),
        ('CREATE TABLE "Usuários"(id int PRIMARY KEY, onde line)', "column onde: the type line has no exact form"),
        ('CREATE TABLE "Usuários"(id int PRIMARY KEY); ALTER TABLE "Usuários" REPLICA IDENTITY NOTHING', "DEFAULT"),
        (
            (
                'CREATE TABLE "Usuários"(id int PRIMARY KEY, u int NOT NULL UNIQUE); '
                'ALTER TABLE "Usuários" REPLICA IDENTITY USING INDEX "Usuários_u_key"'
            ),
            "does not name the primary key",
        ),
        (
            (
                'CREATE TABLE "Usuários"(id int PRIMARY KEY, g int GENERATED ALWAYS AS (id + 1) STORED); '
                'ALTER TABLE "Usuários" REPLICA IDENTITY FULL'
            ),
            "needs columns that are not published",
        ),
        ("SELECT 1", "no such table"),
    ],
    ids=["no_key", "type", "nothing", "index", "generated", "missing"],
)
def test_refused(connection: psycopg.Connection, command: Command, definition: LiteralString, reason: str) -> None:
    connection.execute(definition)
    process = Process(command)
    assert process.finish(TIMEOUT_SECONDS) == 1
    failed = list(log_lines(command.log))[-1]
    assert reason in failed["what"]
    # Nothing was made at the source: a publication alone could break the application's updates.
    assert connection.execute("SELECT count(*) FROM pg_publication").fetchone() == (0,)
    assert slots(connection) == []


def test_a_publication_that_lacks_something_is_refused(
    connection: psycopg.Connection, command: Command, name: str
) -> None:
    connection.execute('CREATE TABLE "Usuários"(id int PRIMARY KEY); CREATE TABLE outra(id int PRIMARY KEY)')
    connection.execute(f"CREATE PUBLICATION {name} FOR TABLE outra WITH (publish = 'insert,update,delete')".encode())
    process = Process(command)
    assert process.finish(TIMEOUT_SECONDS) == 1
    failed = list(log_lines(command.log))[-1]
    assert "does not publish truncate" in failed["what"]
    assert 'public."Usuários": is not in the publication' in failed["what"]


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
