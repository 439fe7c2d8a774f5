"""Drills of the whole pipeline: faults of the source, the stream, the lease table and the lake, and the alarms they raise.

One sandbox for all. Thresholds of minutes are scaled down to seconds; the contract promises fifteen.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from random import Random

import psycopg
import pytest

from sandbox import usuarios
from sandbox.pipeline import PROGRAMS, ROOT, STREAM, Pace, Pipeline
from sandbox.process import free_port, wait_until
from tests.drill import PATIENCE_SECONDS, Monitor, settings
from tests.faulty_aws import FaultyAws, Request, faulty_aws

pytestmark = pytest.mark.slow
SCALE = 30
SERVICES = ("KINESIS", "S3", "DYNAMODB", "GLUE")


class Drill:
    """A running pipeline whose programs reach AWS through a proxy, each through its own."""

    def __init__(self, pipeline: Pipeline, proxies: dict[str, FaultyAws], monitor: Monitor) -> None:
        self.pipeline, self.proxies, self.sees = pipeline, proxies, monitor
        self.sees.check = pipeline.check

    def execute(self, *statements: str) -> None:
        with closing(psycopg.connect(self.pipeline.postgres.dsn_admin, autocommit=True)) as connection:
            for statement in statements:
                connection.execute(statement)


@pytest.fixture(scope="module")
def drill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drill]:
    folder, monitor = tmp_path_factory.mktemp("drill"), Monitor()
    tables = folder / "tables"
    tables.mkdir()
    contract = (ROOT / "tables" / "usuarios.odcs.yaml").read_text(encoding="utf-8")
    hurried = re.sub(r"(property: latency[^\n]*\n\s+value: )60", r"\g<1>15", contract)
    assert hurried != contract
    (tables / "usuarios.odcs.yaml").write_text(hurried, encoding="utf-8")
    with Pipeline(folder, Pace(shards=2, compact_interval_seconds=1)) as pipeline:
        port = pipeline.aws.port
        with faulty_aws(port) as for_publisher, faulty_aws(port) as for_consumer, faulty_aws(port) as for_compactor:
            proxies = dict(zip(PROGRAMS, (for_publisher, for_consumer, for_compactor), strict=True))
            for name, proxy in proxies.items():
                pipeline.told[name] = {
                    **{f"AWS_ENDPOINT_URL_{service}": proxy.url for service in SERVICES},
                    "PYICEBERG_CATALOG__LAKE__GLUE__ENDPOINT": proxy.url,
                    "PYICEBERG_CATALOG__LAKE__S3__ENDPOINT": proxy.url,
                    "CDC_TABLES": str(tables),
                    **settings(monitor, name, folder / f"{name}.log"),
                }
            with psycopg.connect(pipeline.postgres.dsn, autocommit=True) as connection:
                usuarios.create(connection, 50, Random(1), datetime.now(UTC))
            # Maintenance cannot list the lake at first, which shows later on.
            with for_compactor.refusing("list", lists_the_lake):
                pipeline.start()
                made = Drill(pipeline, proxies, monitor)
                monitor.wait("maintenance-behind", scale=360)
            pipeline.wait_until_complete(pipeline.source_clock(), PATIENCE_SECONDS)
            yield made


def lists_the_lake(request: Request) -> bool:
    """Whether a request lists a table's files, and does not only ask for one of them."""
    is_list = request.method == "GET" and "list-type=2" in request.path and "prefix=warehouse" in request.path
    return is_list and not re.search(r"prefix=[^&]*\.(json|avro|parquet)", request.path)


def without_a_shard(request: Request, content: bytes) -> bytes:
    """What the stream lists, its last shard left out."""
    if not request.target.endswith(".ListShards"):
        return content
    listed = json.loads(content)
    return json.dumps({**listed, "Shards": listed["Shards"][:-1]}).encode()


def operation(*names: str) -> re.Pattern[str]:
    return re.compile(rf"\.({'|'.join(names)})$")


def test_all_is_well_once_maintenance_may_look(drill: Drill) -> None:
    drill.sees.wait_until_over("maintenance-behind", scale=360)
    drill.sees.wait_until_over(
        "overdue", "no-evidence", "publisher-not-streaming", "nothing-published", "slot-at-risk", "slot-lost",
        "consumer-without-lease", "shards-unheld", "shard-lag", "records-unwritten", "stream-gap", "not-merging",
        "records-quarantined", "program-failed", "status-stale",
    )  # fmt: skip


def test_few_series_are_sent_while_all_is_well(drill: Drill) -> None:
    drill.sees.forget()
    wait_until(lambda: len(drill.sees.series()) >= 9, PATIENCE_SECONDS, "all programs have told CloudWatch")
    drill.pipeline.wait_until_complete(drill.pipeline.source_clock(), PATIENCE_SECONDS)
    # What is sent always, and that the table was never proven.
    assert len(drill.sees.series()) <= 10


def test_the_producer_dies(drill: Drill) -> None:
    # The stream lists its shards wrongly at the same time: that takes two looks to be believed.
    with drill.proxies["cdc-consumer"].changing("shards", without_a_shard):
        drill.pipeline.kill("cdc-publisher")
        drill.sees.wait("publisher-not-streaming", "overdue")
        drill.sees.wait("no-evidence", scale=SCALE)
        drill.sees.wait("hash-keys-uncovered")
    drill.pipeline.start("cdc-publisher")
    drill.sees.wait_until_over("publisher-not-streaming", "overdue")
    drill.sees.wait_until_over("no-evidence", scale=SCALE)


def test_the_consumer_dies(drill: Drill) -> None:
    drill.pipeline.kill("cdc-consumer")
    drill.sees.wait("consumer-without-lease")
    drill.pipeline.start("cdc-consumer")
    drill.sees.wait_until_over("consumer-without-lease")


def test_the_lease_table_takes_no_writes(drill: Drill) -> None:
    writes = operation("UpdateItem", "PutItem", "DeleteItem", "TransactWriteItems").search
    with drill.proxies["cdc-consumer"].refusing("leases", lambda request: bool(writes(request.target))):
        drill.sees.wait("shards-unheld")
        drill.sees.wait("records-unwritten", scale=SCALE)
    drill.sees.wait_until_over("shards-unheld")
    drill.sees.wait_until_over("records-unwritten", scale=SCALE)


def test_records_that_nobody_can_read(drill: Drill) -> None:
    kinesis = drill.pipeline.aws.client("kinesis")
    kinesis.put_record(StreamName=STREAM, Data=b"{", PartitionKey="x")
    drill.sees.wait("records-quarantined")
    drill.sees.wait_until_over("records-quarantined")


def test_reading_falls_behind(drill: Drill) -> None:
    def one_at_a_time(request: Request) -> Request:
        if not request.target.endswith(".GetRecords"):
            return request
        body = json.dumps({**json.loads(request.body), "Limit": 1}).encode()
        return Request(request.method, request.path, request.target, body)

    drill.proxies["cdc-consumer"].rules["slow"] = one_at_a_time
    drill.execute('UPDATE "Usuários" SET ativo = NOT ativo')
    drill.sees.wait("shard-lag", scale=SCALE)
    del drill.proxies["cdc-consumer"].rules["slow"]
    drill.sees.wait_until_over("shard-lag", scale=SCALE)


def test_the_catalog_does_not_answer(drill: Drill) -> None:
    with drill.proxies["compactor"].refusing("glue", lambda request: "AWSGlue" in request.target):
        drill.sees.wait("not-merging", scale=SCALE)
    drill.sees.wait_until_over("not-merging", scale=SCALE)


def reconcile(drill: Drill, **extra: str) -> int:
    """Run `cdc reconcile` as the nightly task does; its exit code."""
    told = {"CDC_TABLES": drill.pipeline.told["compactor"]["CDC_TABLES"], "CDC_METRICS": "emf", **extra}
    program = "import sys; from cdc_ops.cli import main; sys.exit(main(['reconcile', '--json']))"
    log = drill.pipeline.directory / "cdc-ops.log"
    drill.sees.port("cdc-ops", log)  # it answers on none: a run is over before anybody asks
    with log.open("ab") as out:
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**drill.pipeline.environment(), **told},
            stdout=out,
            check=False,
            timeout=PATIENCE_SECONDS,
        )
    return done.returncode


def test_the_lake_differs_from_its_source(drill: Drill) -> None:
    pipeline = drill.pipeline
    # What the lake cannot hold differs; the row is merged again once the source has a number.
    drill.execute('UPDATE "Usuários" SET saldo = \'NaN\' WHERE id = (SELECT min(id) FROM "Usuários")')
    pipeline.wait_until_complete(pipeline.source_clock(), PATIENCE_SECONDS)
    assert reconcile(drill) == 1
    drill.sees.wait("lake-differs")
    drill.execute('UPDATE "Usuários" SET saldo = 1 WHERE id = (SELECT min(id) FROM "Usuários")')
    pipeline.wait_until_complete(pipeline.source_clock(), PATIENCE_SECONDS)
    drill.sees.forget()
    assert reconcile(drill) == 0
    drill.sees.wait_until_over("lake-differs")


def test_the_source_cannot_be_compared_with(drill: Drill) -> None:
    assert reconcile(drill, CDC_DATABASE=f"postgresql://reader@127.0.0.1:{free_port()}/app") == 1
    drill.sees.wait("comparison-failed")
    drill.sees.forget()
    assert reconcile(drill) == 0
    drill.sees.wait_until_over("comparison-failed")


def test_the_stream_refuses_until_the_slot_is_lost(drill: Drill) -> None:
    puts = operation("PutRecords").search
    drill.sees.forget()
    with drill.proxies["cdc-publisher"].refusing("puts", lambda request: bool(puts(request.target))):
        drill.sees.wait("nothing-published", scale=SCALE)
        drill.execute("SELECT pg_switch_wal()", 'UPDATE "Usuários" SET ativo = NOT ativo', "SELECT pg_switch_wal()")
        drill.sees.wait("slot-growing", scale=1000)
        drill.execute("ALTER SYSTEM SET max_slot_wal_keep_size = '16MB'", "SELECT pg_reload_conf()")
        for _ in range(4):  # what the slot needs stays until the next checkpoint
            drill.execute('UPDATE "Usuários" SET ativo = NOT ativo', "SELECT pg_switch_wal()")
        drill.sees.wait("slot-at-risk")
        drill.execute("CHECKPOINT", "ALTER SYSTEM RESET max_slot_wal_keep_size", "SELECT pg_reload_conf()")
        drill.sees.wait("slot-lost")
    drill.sees.wait_until_over("slot-at-risk", "slot-lost")
    drill.sees.wait_until_over("nothing-published", scale=SCALE)
    drill.sees.wait_until_over("slot-growing", scale=1000)
    drill.sees.wait_until_over("hash-keys-uncovered")
    drill.pipeline.wait_until_complete(drill.pipeline.source_clock(), PATIENCE_SECONDS)


def test_the_stream_had_dropped_what_was_not_read(drill: Drill) -> None:
    def forgetful(request: Request, content: bytes) -> bytes:
        return re.sub(rb'("RetentionPeriodHours":\s*)24', rb"\g<1>0", content)

    with drill.proxies["cdc-consumer"].changing("retention", forgetful):
        drill.sees.wait("stream-gap")
    drill.sees.check = lambda: None  # the compactor stops at the gap, as it must
    drill.sees.wait_until_over("stream-gap")
