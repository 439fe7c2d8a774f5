"""A publisher, a database and a stream of each test's own, on servers that the tests of one file share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from sandbox.aws import Aws
from sandbox.postgres import Postgres
from sandbox.process import Command, wait_until
from tests.publisher_support import (
    TIMEOUT_SECONDS,
    contracts,
    database,
    publisher,
)


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
