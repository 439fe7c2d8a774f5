"""What the publisher refuses before it has made anything at the source."""

from __future__ import annotations

from typing import LiteralString

import psycopg
import pytest

from sandbox.process import Command, Process
from tests.publisher_support import (
    TIMEOUT_SECONDS,
    log_lines,
    slots,
)

pytestmark = pytest.mark.slow


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
