"""One test's own topic, bucket, group and folder of contracts, and consumers as the processes they are."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaError, Message, Producer

from sandbox.aws import Aws
from sandbox.kafka import Kafka
from sandbox.process import Command, Process

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_SECONDS = 120  # a limit for what has gone wrong; nothing right takes as long
PARTITIONS = 3


def event(number: int, table: str = "Usuários") -> bytes:
    source = {"schema": "public", "table": table, "lsn": number, "ts_us": 1_700_000_000_000_000 + number}
    value = {"before": None, "after": {"id": number, "nome": "José"}, "source": source, "op": "c"}
    return json.dumps(value, ensure_ascii=False).encode()


@dataclass
class KafkaScene:
    """What was put is remembered by partition and sequence number, which is the offset plus one."""

    aws: Aws
    kafka: Kafka
    folder: Path
    name: str
    put: dict[tuple[str, int], bytes] = field(default_factory=dict)
    started: list[Process] = field(default_factory=list)

    def write(self, *payloads: bytes | None, partition: int | None = None, producer: Producer | None = None) -> None:
        """Put records, in turn over the partitions unless one is named; None is a tombstone."""

        def on_delivery(error: KafkaError | None, message: Message) -> None:
            assert error is None, error
            offset = message.offset()
            assert offset is not None
            self.put[str(message.partition()), offset + 1] = message.value() or b""

        client = producer or self.producer()
        for number, payload in enumerate(payloads):
            where = number % PARTITIONS if partition is None else partition
            client.produce(self.name, value=payload, key=b"key", partition=where, on_delivery=on_delivery)
            client.poll(0)
        assert client.flush(PATIENCE_SECONDS) == 0

    def producer(self, **settings: str) -> Producer:
        more = {key.replace("_", "."): value for key, value in settings.items()}
        return Producer({"bootstrap.servers": self.kafka.server, "log_level": 0, **more})

    def consumer(self, *arguments: str, **settings: str) -> Process:
        """Start the program."""
        environment = self.aws.environment() | {
            "PATH": os.defpath,
            "PYTHONPATH": f"{ROOT}:{ROOT / 'services'}",
            "CDC_SOURCE": f"kafka://{self.kafka.server}/{self.name}",
            "CDC_TABLES": str(self.folder),
            "CDC_RAW": f"s3://{self.name}/raw",
            "CDC_QUARANTINE": f"s3://{self.name}/quarantine",
            "CDC_LEASES": self.name,
            "CDC_LEASE_SECONDS": "6",
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

    def catch_up(self, **settings: str) -> Process:
        process = self.consumer("--until-caught-up", **settings)
        assert process.finish(PATIENCE_SECONDS) == 0, process.command.log.read_text(encoding="utf-8")
        return process

    def log(self, process: Process) -> list[dict[str, Any]]:
        """What the program has said so far."""
        if not process.command.log.exists():
            return []
        lines = process.command.log.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def assigned(self, process: Process) -> set[str]:
        """The partitions that a worker says are its own."""
        ours: set[str] = set()
        for line in self.log(process):
            if line["event"] == "partitions assigned":
                ours |= set(line["partitions"])
            elif line["event"] == "partitions go":
                ours -= set(line["partitions"])
        return ours

    def objects(self, prefix: str) -> dict[str, bytes]:
        client = self.aws.client("s3")
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
        return {key: client.get_object(Bucket=self.name, Key=key)["Body"].read() for key in keys}

    def events(self) -> dict[tuple[str, int], Any]:
        """What raw must hold: every event that was put, where it was put."""
        return {key: json.loads(data) for key, data in self.put.items() if data[:1] == b"{"}
