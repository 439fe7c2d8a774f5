"""The whole path with Kafka in the middle: Postgres, publisher, Kafka, consumer, compactor, lake; and compared."""

from __future__ import annotations

import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import psycopg
import pytest

from sandbox import usuarios
from sandbox.compare import compare
from sandbox.kafka import Kafka
from sandbox.pipeline import PII_KEY, STREAM, Pace, Pipeline
from sandbox.process import Command, Process, wait_until
from sandbox.workload import Tally, Workload
from tests.kafka_relay import relaying

pytestmark = pytest.mark.slow

PARTITIONS = 3


def start_consumer(pipeline: Pipeline, kafka: Kafka) -> None:
    settings = {
        "CDC_SOURCE": f"kafka://{kafka.server}/{STREAM}",
        "CDC_LEASES": "usuarios-cdc",
        "CDC_LEASE_SECONDS": "6",
    }
    pipeline.processes["cdc-consumer"] = Process(
        Command(
            name="cdc-consumer",
            arguments=(sys.executable, "-m", "cdc_consumer.cli", "run"),
            environment={**pipeline.environment(), **settings},
            directory=pipeline.directory,
            log=pipeline.directory / "cdc-consumer.log",
        )
    )


def test_the_lake_equals_the_source_though_the_consumer_is_killed(tmp_path: Path, kafka: Kafka) -> None:
    kafka.create_topic(STREAM, PARTITIONS)
    with Pipeline(tmp_path, Pace(shards=PARTITIONS)) as pipeline:
        with psycopg.connect(pipeline.postgres.dsn, autocommit=True) as connection:
            usuarios.create(connection, 300, Random(5), datetime.now(UTC))
        with relaying(pipeline.aws, STREAM, kafka.server, STREAM):
            pipeline.start("cdc-publisher", "compactor")
            start_consumer(pipeline, kafka)
            lake, stop = pipeline.lake(), threading.Event()
            tallies: list[Tally] = []
            workload = Workload(pipeline.postgres.dsn, Random(5), datetime.now(UTC), workers=1, changes_per_second=50)
            application = threading.Thread(target=lambda: tallies.append(workload.run(stop=stop)))
            application.start()
            try:
                pipeline.wait_until_complete(pipeline.source_clock(), 180)
                pipeline.kill("cdc-consumer")
                before = lake.state("usuarios")
                start_consumer(pipeline, kafka)
                wait_until(lambda: lake.state("usuarios") != before, 180, "the lake moves on", poll_seconds=0.5)
            finally:
                stop.set()
                application.join()
            pipeline.wait_until_complete(pipeline.source_clock(), 180)
            outcome = compare(pipeline.postgres.dsn, lake, pipeline.contract, PII_KEY)
            pipeline.stop()
    (tally,) = tallies
    assert tally.changes > 0
    assert (outcome.differences, outcome.what) == (0, {"pyiceberg": {}, "DuckDB": {}})
