"""The programs are killed in the middle of the application's work and started again: still no difference."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import psycopg
import pytest

from sandbox import usuarios
from sandbox.compare import compare
from sandbox.lake import Lake
from sandbox.pipeline import PII_KEY, Pace, Pipeline
from sandbox.process import wait_until
from sandbox.workload import Tally, Workload

pytestmark = pytest.mark.slow

ROWS = 1_500


def test_consumer_compactor_and_publisher_killed_in_the_middle_lose_and_double_nothing(tmp_path: Path) -> None:
    dice = Random(7)
    with Pipeline(tmp_path, Pace(shards=3)) as pipeline:
        with psycopg.connect(pipeline.postgres.dsn, autocommit=True) as connection:
            usuarios.create(connection, ROWS, dice, datetime.now(UTC))
        pipeline.start()
        lake, stop = pipeline.lake(), threading.Event()
        tallies: list[Tally] = []
        workload = Workload(pipeline.postgres.dsn, Random(7), datetime.now(UTC), workers=2, changes_per_second=200)
        application = threading.Thread(target=lambda: tallies.append(workload.run(stop=stop)))
        application.start()
        try:
            for victims in [("cdc-consumer", "compactor"), ("cdc-publisher",), ("cdc-consumer",), ("compactor",)]:
                # Every round kills in the middle of the work: the lake has just moved on, and more is under way.
                _wait_for_a_commit(lake)
                pipeline.kill(*victims)
                pipeline.start(*victims)
        finally:
            stop.set()
            application.join()
        pipeline.wait_until_complete(pipeline.source_clock(), 180)
        outcome = compare(pipeline.postgres.dsn, lake, pipeline.contract, PII_KEY)
        history = (
            lake.table("usuarios_history").scan(selected_fields=("id", "cdc_lsn", "cdc_op")).to_arrow().to_pylist()
        )
        pipeline.stop()
    (tally,) = tallies
    assert min(tally.deleted, tally.key_changes, tally.toast_unchanged) > 0
    assert (outcome.differences, outcome.what) == (0, {"pyiceberg": {}, "DuckDB": {}})
    changes = [(row["id"], row["cdc_lsn"], row["cdc_op"]) for row in history]
    assert len(changes) == len(set(changes))  # history has every change once
    assert len(changes) >= tally.changes


def _wait_for_a_commit(lake: Lake) -> None:
    before = lake.state("usuarios")
    wait_until(lambda: lake.state("usuarios") not in {None, before}, 120, "the lake moves on", poll_seconds=0.2)
