"""The sandbox's workload does what it claims: its counts are those of the write-ahead log."""

from __future__ import annotations

import json
import signal
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import psycopg
import pytest

from sandbox import usuarios
from sandbox.postgres import Postgres
from sandbox.process import SandboxFault
from sandbox.workload import KINDS, WEIGHTS, Tally, Workload

pytestmark = pytest.mark.slow
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
UNCHANGED = object()
BIO = usuarios.COLUMNS.index("bio")


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with Postgres.start(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture
def database(postgres: Postgres) -> Iterator[psycopg.Connection]:
    """The founding table with 400 rows and a slot that has seen none of them."""
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        usuarios.create(connection, 400, Random(1), NOW)
        connection.execute('CREATE PUBLICATION p FOR TABLE "Usuários"')
        connection.execute("SELECT pg_create_logical_replication_slot('s', 'pgoutput')")
        yield connection
        connection.execute("SELECT pg_drop_replication_slot('s')")
        connection.execute('DROP PUBLICATION p; DROP TABLE "Usuários"')


def test_rows_come_back_from_the_database_as_they_were_made(database: psycopg.Connection) -> None:
    made = list(usuarios.usuarios(Random(1), 400, NOW))
    # In one zone: to Python two instants differ if the zones differ and one lies in an hour that was told twice.
    database.execute("SET timezone TO 'UTC'")
    stored = database.execute('SELECT * FROM "Usuários"').fetchall()
    for row, made_row in zip(stored, made, strict=True):
        columns = dict(zip(usuarios.COLUMNS, row, strict=True))
        made_columns = dict(zip(usuarios.COLUMNS, made_row, strict=True))
        assert columns.pop("endereco") == _json(made_columns.pop("endereco"))
        assert columns == made_columns


def test_the_rows_are_as_odd_as_they_should_be(database: psycopg.Connection) -> None:
    database.execute('DROP TABLE "Usuários"')
    usuarios.create(database, 5000, Random(2), NOW)
    oddities = {
        "NULL in every column but the key": " AND ".join(
            f'EXISTS (SELECT FROM "Usuários" WHERE {name} IS NULL)' for name in usuarios.COLUMNS[1:]
        ),
        "long bios out of line": "count(*) FILTER (WHERE pg_column_toast_chunk_id(bio) IS NOT NULL) > 1500",
        "short bios in line": "count(*) FILTER (WHERE pg_column_toast_chunk_id(bio) IS NULL) > 1500",
        "no bio between, which might be stored either way": "NOT bool_or(length(bio) BETWEEN 200 AND 4000)",
        "empty texts": "bool_or(nome = '') AND bool_or(email = '') AND bool_or(bio = '')",
        "empty arrays and NULL in arrays": "bool_or(tags = '{}') AND bool_or(array_position(tags, NULL) > 0)",
        "separators in arrays": "bool_or('a,b' = ANY(tags)) AND bool_or('{chaves}' = ANY(tags))",
        "before 1970, after 2038": "min(criado_em) < '1970-01-01' AND max(atualizado_em) > '2038-02-01'",
        "all that numeric(12,2) holds": "min(saldo) = -9999999999.99 AND max(saldo) = 9999999999.99",
        "negative keys, keys beyond doubles": "min(id) < 0 AND max(id) > 2^53",
        "documents that are no objects": "count(DISTINCT jsonb_typeof(endereco)) = 5",
    }
    for what, holds in oddities.items():
        assert database.execute(f'SELECT {holds} FROM "Usuários"').fetchone() == (True,), what


@pytest.mark.parametrize(("workers", "overlapping"), [(1, False), (2, False), (3, True)])
def test_the_counts_are_those_of_the_log(
    postgres: Postgres, database: psycopg.Connection, workers: int, *, overlapping: bool
) -> None:
    keys = {key for (key,) in database.execute('SELECT id FROM "Usuários"')}
    workload = Workload(postgres.dsn, Random(3), NOW, workers=workers, overlapping=overlapping)
    tally = workload.run(changes=4000)
    assert tally.changes >= 4000
    assert set(tally.kinds) == set(KINDS)
    assert all(tally.kinds.values()), tally.kinds
    assert tally.conflicts == 0 or overlapping

    logged, keys = _replay(database, keys)
    assert logged["I"] == tally.inserted
    assert logged["U"] == tally.updated
    assert logged["D"] == tally.deleted
    assert logged["key"] == tally.key_changes
    assert logged["toast"] == tally.toast_unchanged
    assert logged["C"] <= tally.transactions
    assert keys == {key for (key,) in database.execute('SELECT id FROM "Usuários"')}


def test_it_reaches_a_pace_that_fills_a_minute_with_twenty_thousand_changes(
    postgres: Postgres, database: psycopg.Connection
) -> None:
    tally = Workload(postgres.dsn, Random(4), NOW).run(seconds=2)
    assert tally.changes > 2000  # half of what it must reach on a quiet machine


def test_it_keeps_the_pace_it_is_given(postgres: Postgres, database: psycopg.Connection) -> None:
    started = time.monotonic()
    tally = Workload(postgres.dsn, Random(4), NOW, workers=2, changes_per_second=400).run(changes=1200)
    # Each worker may be a large transaction ahead. A machine that is slower than the pace is none the wiser.
    assert tally.changes <= 400 * (time.monotonic() - started) + 2 * 250


def test_the_same_seed_does_the_same(postgres: Postgres, database: psycopg.Connection) -> None:
    def run() -> tuple[Tally, object]:
        database.execute('TRUNCATE "Usuários"')
        tally = Workload(postgres.dsn, Random(5), NOW).run(changes=1500)
        digest = """SELECT md5(string_agg(u::text, ',' ORDER BY id)) FROM "Usuários" u"""
        return tally, database.execute(digest).fetchone()

    assert run() == run()


def test_it_stops_when_told_and_shows_its_progress(postgres: Postgres, database: psycopg.Connection) -> None:
    stop = threading.Event()
    seen: list[Tally] = []

    def progress(tally: Tally) -> None:
        seen.append(tally)
        if len(seen) == 3:
            stop.set()

    weights = {**WEIGHTS, "multi_row": 0}
    workload = Workload(postgres.dsn, Random(6), NOW, weights=weights, workers=2)
    tally = workload.run(stop=stop, progress=progress, progress_seconds=0.1)
    assert [one.changes for one in seen] == sorted(one.changes for one in seen)
    assert asdict(seen[-1]) == asdict(tally)
    assert tally.kinds["multi_row"] == 0


def test_an_end_must_be_given(postgres: Postgres) -> None:
    with pytest.raises(SandboxFault, match="would never end"):
        Workload(postgres.dsn, Random(6), NOW).run()


def test_the_loss_of_the_database_is_told(tmp_path: Path) -> None:
    with Postgres.start(tmp_path) as server:
        with psycopg.connect(server.dsn) as connection:
            usuarios.create(connection, 50, Random(1), NOW)

        def crash(_: Tally) -> None:
            server.process.signal(signal.SIGQUIT)

        with pytest.raises(SandboxFault, match="lost the database"):
            Workload(server.dsn, Random(6), NOW, workers=2).run(seconds=30, progress=crash, progress_seconds=0.3)


def _json(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def _replay(database: psycopg.Connection, keys: set[int]) -> tuple[Counter[str], set[int]]:
    """What the write-ahead log holds, message by message as pgoutput tells it, and the keys that live after it."""
    counts: Counter[str] = Counter()
    messages = database.execute(
        "SELECT data FROM pg_logical_slot_get_binary_changes('s', NULL, NULL, %s, '1', %s, 'p')",
        ("proto_version", "publication_names"),
    )
    for (message,) in messages:
        kind = chr(message[0])
        tuples = {}
        if kind in "IUD":
            place = 5
            while place < len(message):
                tuples[chr(message[place])], place = _tuple(message, place + 1)
        old = tuples.get("K", tuples.get("N"))
        if kind in "UD":
            assert old is not None
            keys.remove(int(old[0]))
        if kind in "IU":
            assert int(tuples["N"][0]) not in keys
            keys.add(int(tuples["N"][0]))
        counts["key" if kind == "U" and "K" in tuples else kind] += 1
        counts["toast"] += kind == "U" and tuples["N"][BIO] is UNCHANGED
    return counts, keys


def _tuple(message: bytes, place: int) -> tuple[list[Any], int]:
    (count,) = struct.unpack_from(">h", message, place)
    place += 2
    values: list[Any] = []
    for _ in range(count):
        kind = chr(message[place])
        place += 1
        if kind == "t":
            (size,) = struct.unpack_from(">i", message, place)
            values.append(message[place + 4 : place + 4 + size])
            place += 4 + size
        else:
            values.append(UNCHANGED if kind == "u" else None)
    return values, place
