"""The consumer as a process on real services: every record in raw, whatever happens to the process."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cdc.errors import TransientFault
from cdc.objects import S3Objects
from cdc.settings import S3Location
from cdc_consumer.backoff import FaultReport
from cdc_consumer.batch import OpenBatch, Place, build
from cdc_consumer.clock import SYSTEM_CLOCK
from cdc_consumer.filing import file_record
from cdc_consumer.halt import Halt
from cdc_consumer.stream import Record
from cdc_consumer.writer import BatchWriter
from sandbox.aws import Aws
from sandbox.process import Command, Process, wait_until
from tests.raw_reader import Raw, read_raw

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 90  # a limit for what has gone wrong; nothing right takes as long
SHARDS = 3


def event(number: int, table: str = "Usuários") -> bytes:
    source = {"schema": "public", "table": table, "lsn": number, "ts_us": 1_700_000_000_000_000 + number}
    value = {"before": None, "after": {"id": number, "nome": "José"}, "source": source, "op": "c"}
    return json.dumps(value, ensure_ascii=False, indent=random.Random(number).choice([None, 2])).encode()


@dataclass
class Scene:
    """One test's own stream, bucket, lease table and folder of contracts."""

    aws: Aws
    folder: Path
    name: str
    put: dict[tuple[str, int], bytes] = field(default_factory=dict)
    started: list[Process] = field(default_factory=list)

    def write(self, *payloads: bytes) -> None:
        """Put records to the stream, spread over the shards, and remember where each came to lie."""
        client = self.aws.client("kinesis")
        for start in range(0, len(payloads), 500):
            part = payloads[start : start + 500]
            answer = client.put_records(
                StreamName=self.name, Records=[{"Data": data, "PartitionKey": uuid.uuid4().hex} for data in part]
            )
            assert answer["FailedRecordCount"] == 0
            for data, result in zip(part, answer["Records"], strict=True):
                self.put[result["ShardId"], int(result["SequenceNumber"])] = data

    def consumer(self, *arguments: str, **settings: str) -> Process:
        """Start the program."""
        environment = self.aws.environment() | {
            "PATH": os.defpath,
            "PYTHONPATH": f"{ROOT}:{ROOT / 'services'}",
            "CDC_SOURCE": f"kinesis://{self.name}",
            "CDC_TABLES": str(self.folder),
            "CDC_RAW": f"s3://{self.name}/raw",
            "CDC_QUARANTINE": f"s3://{self.name}/quarantine",
            "CDC_LEASES": self.name,
            "CDC_LEASE_SECONDS": "2",
            "CDC_BATCH_AGE_SECONDS": "0.3",
            "CDC_LOG_LEVEL": "debug",
            **settings,
        }
        process = Process(
            Command(
                name="cdc-consumer",
                arguments=(sys.executable, "-m", "cdc_consumer.cli", "run", *arguments),
                environment=environment,
                directory=self.folder,
                log=self.folder / f"consumer-{len(self.started)}.log",
            )
        )
        self.started.append(process)
        return process

    def log(self, process: Process) -> list[dict[str, Any]]:
        return [json.loads(line) for line in process.command.log.read_text(encoding="utf-8").splitlines()]

    def catch_up(self, **settings: str) -> Process:
        process = self.consumer("--until-caught-up", **settings)
        assert process.finish(PATIENCE_SECONDS) == 0, process.command.log.read_text(encoding="utf-8")
        return process

    def objects(self, prefix: str) -> dict[str, bytes]:
        client = self.aws.client("s3")
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
        return {key: client.get_object(Bucket=self.name, Key=key)["Body"].read() for key in keys}

    def is_read_to_its_tips(self) -> bool:
        """Each shard has a tip from the start; once it was read to the tip, that has a time."""
        tips = [json.loads(body) for body in self.objects("raw/_tips/").values()]
        return len(tips) == SHARDS and all(tip["read_to_tip_at"] for tip in tips)

    def leases(self) -> list[dict[str, Any]]:
        return self.aws.client("dynamodb").scan(TableName=self.name)["Items"]


@pytest.fixture
def scene(aws: Aws, tmp_path: Path) -> Iterator[Scene]:
    name = f"consumer-{uuid.uuid4().hex[:12]}"
    aws.create_stream(name, SHARDS)
    aws.create_bucket(name)
    founding = (ROOT / "tables" / "usuarios.odcs.yaml").read_text(encoding="utf-8")
    (tmp_path / "usuarios.odcs.yaml").write_text(founding, encoding="utf-8")
    second = founding.replace("usuarios", "pedidos").replace('public."Usuários"', "public.pedidos")
    (tmp_path / "pedidos.odcs.yaml").write_text(second, encoding="utf-8")
    scene_ = Scene(aws, tmp_path, name)
    yield scene_
    for process in scene_.started:
        process.kill()


def assert_complete(scene: Scene, raw: Raw) -> None:
    """Every event that was put is in raw as it was, and nothing else is."""
    expected = {key: json.loads(data) for key, data in scene.put.items() if data[:1] == b"{"}
    assert raw.events == expected


def test_tables_garbage_and_tombstones_of_three_shards(scene: Scene) -> None:
    events = [event(number, table) for number in range(150) for table in ("Usuários", "pedidos")]
    garbage = [b"\xff\xfe\x00garbage", b"[" * 5000, b"no json", b"\x00", b'[{"a":1}]'] * 6
    scene.write(*events, *garbage, *[b""] * 30)
    others = [event(number, "sessoes") for number in range(30)] + [b'{"ts_ms":1795252014174}'] * 30
    before = dict(scene.put)
    scene.write(*others)
    process = scene.catch_up()

    raw = read_raw(scene)
    assert len(raw.chains) == SHARDS
    expected = {key: json.loads(data) for key, data in before.items() if data in set(events)}
    assert raw.events == expected
    for key, found in raw.events.items():
        assert raw.tables[key] == {"Usuários": "usuarios", "pedidos": "pedidos"}[found["source"]["table"]]
    assert raw.quarantined == {key: data for key, data in before.items() if data in set(garbage)}
    assert (raw.left_out, raw.empty) == (60, 30)
    tips = [json.loads(body) for body in scene.objects("raw/_tips/").values()]
    assert len(tips) == SHARDS
    log = scene.log(process)
    assert sum(line["records"] for line in log if line["event"] == "quarantined") == len(garbage)
    assert "garbage" not in process.command.log.read_text(encoding="utf-8")
    assert "José" not in process.command.log.read_text(encoding="utf-8")

    scene.write(event(1000))
    scene.catch_up()
    assert len(read_raw(scene).events) == len(events) + 1


def test_killed_again_and_again_it_loses_nothing(scene: Scene) -> None:
    scene.write(*map(event, range(200)))
    number = 200
    for _ in range(4):
        batches = len(scene.objects("raw/_batches/"))
        process = scene.consumer(CDC_BATCH_BYTES="3000")
        while process.exit_status is None and len(scene.objects("raw/_batches/")) < batches + 2:
            scene.write(*map(event, range(number, number + 20)))
            number += 20
        assert process.exit_status is None, process.command.log.read_text(encoding="utf-8")
        process.kill()
    scene.catch_up()
    assert_complete(scene, read_raw(scene))


def test_after_a_kill_the_next_one_waits_until_the_lease_expires(scene: Scene) -> None:
    scene.write(*map(event, range(30)))
    process = scene.consumer()
    wait_until(scene.is_read_to_its_tips, PATIENCE_SECONDS, "all shards are read to their tips")
    process.kill()
    scene.write(*map(event, range(30, 60)))
    log = scene.log(scene.catch_up())
    told = [line["event"] for line in log if line["event"] in {"another worker holds the lease", "lease taken"}]
    assert told == ["another worker holds the lease"] * SHARDS + ["lease taken"] * SHARDS
    assert {line["because"] for line in log if line["event"] == "lease taken"} == {"expired"}
    assert_complete(scene, read_raw(scene))


def test_after_sigterm_the_next_one_takes_over_at_once(scene: Scene) -> None:
    """Neither batch nor lease would be done by themselves before this test's patience is."""
    long = {"CDC_LEASE_SECONDS": "3600", "CDC_BATCH_AGE_SECONDS": "3600"}
    scene.write(*map(event, range(30)))
    process = scene.consumer(CDC_HTTP_PORT="0", **long)

    def all_taken() -> bool:
        return [line["event"] for line in scene.log(process)].count("lease taken") == SHARDS

    wait_until(lambda: process.command.log.exists() and all_taken(), PATIENCE_SECONDS, "all leases are taken")
    assert process.stop(PATIENCE_SECONDS) == 0
    assert all("leaseOwner" not in lease for lease in scene.leases())
    log = scene.log(process)
    assert [line["because"] for line in log if line["event"] == "lease released"] == ["stopped"] * SHARDS
    scene.write(*map(event, range(30, 60)))
    scene.catch_up(**long)
    assert_complete(scene, read_raw(scene))


def test_two_workers_share_without_harm(scene: Scene) -> None:
    scene.write(*map(event, range(100)))
    workers = [scene.consumer("--until-caught-up"), scene.consumer("--until-caught-up")]
    assert [worker.finish(PATIENCE_SECONDS) for worker in workers] == [0, 0]
    assert_complete(scene, read_raw(scene))
    assert len(scene.leases()) == SHARDS


def test_a_lost_lease_table_is_made_anew_and_loses_nothing(scene: Scene) -> None:
    scene.write(*map(event, range(30)))
    scene.catch_up()
    batches = scene.objects("raw/_batches/")
    scene.aws.client("dynamodb").delete_table(TableName=scene.name)
    scene.write(*map(event, range(30, 60)))
    scene.catch_up()
    after = scene.objects("raw/_batches/")
    assert batches.items() <= after.items()
    assert_complete(scene, read_raw(scene))


@pytest.mark.parametrize(
    ("settings", "hint"),
    [
        ({"CDC_SOURCE": "kinesis://no-such-stream"}, "CDC_SOURCE"),
        ({"CDC_RAW": "s3://no-such-bucket-anywhere/raw"}, "bucket"),
    ],
)
def test_what_is_missing_ends_the_program_with_a_hint(scene: Scene, settings: dict[str, str], hint: str) -> None:
    scene.write(event(1))
    process = scene.consumer(**settings)
    assert process.finish(PATIENCE_SECONDS) == 1
    last = scene.log(process)[-1]
    assert last["event"] == "failed"
    assert hint in last["hint"]
    assert all("leaseOwner" not in lease for lease in scene.leases())


def test_wrong_settings_are_all_named_at_once(scene: Scene) -> None:
    process = scene.consumer(CDC_LEASE_SECONDS="0", CDC_BATCH_BYTES="99999999", CDC_LEASES="!", CDC_BATCH_AGE="1")
    assert process.finish(PATIENCE_SECONDS) == 2
    said = process.command.log.read_text(encoding="utf-8")
    assert all(name in said for name in ("CDC_LEASE_SECONDS", "CDC_BATCH_BYTES", "CDC_LEASES", "CDC_BATCH_AGE:"))


class LosingObjects(S3Objects):
    """S3 whose first answer to each put is lost on the way."""

    lost: set[str]

    def put_new(self, path: str, body: bytes) -> None:
        super().put_new(path, body)
        self.lost = getattr(self, "lost", set())
        if path not in self.lost:
            self.lost.add(path)
            raise TransientFault("the answer was lost")


def test_a_put_that_landed_without_an_answer_is_a_success(scene: Scene) -> None:
    client = scene.aws.client("s3")
    raw = LosingObjects(client, S3Location(scene.name, "raw"))
    quarantine = LosingObjects(client, S3Location(scene.name, "quarantine"))
    clock = SYSTEM_CLOCK
    record = [Record(str(n), clock.utc(), data) for n, data in enumerate([event(1), b"{", event(2)], start=1)]
    tables = {("public", "Usuários"): "usuarios"}
    open_batch = OpenBatch()
    for one in record:
        open_batch.add(file_record("0", one, tables))
    batch = build(Place("s-1", "0", "0"), open_batch, tables.values())
    report = FaultReport(clock.monotonic, "0")
    BatchWriter(raw, quarantine, Halt(clock), lambda: 0.0, report).write(batch)
    assert len(raw.lost) == 2
    assert len(quarantine.lost) == 1
    assert client.get_object(Bucket=scene.name, Key=f"raw/{batch.path}")["Body"].read() == batch.body


def test_sigint_is_as_sigterm(scene: Scene) -> None:
    process = scene.consumer()
    wait_until(lambda: "lease taken" in process.command.log.read_text(), PATIENCE_SECONDS, "a lease is taken")
    process.signal(signal.SIGINT)
    assert process.finish(PATIENCE_SECONDS) == 0
