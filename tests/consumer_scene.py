"""Consumers as the processes they are, with a bucket, leases and contracts of one test's own; the stream is a subclass's."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from sandbox.aws import Aws
from sandbox.process import Command, Process

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class ConsumerScene:
    """What was put to the stream `name` is remembered by shard and sequence number."""

    lease_seconds: ClassVar[str]
    patience_seconds: ClassVar[float]

    aws: Aws
    folder: Path
    name: str
    put: dict[tuple[str, int], bytes] = field(default_factory=dict)
    started: list[Process] = field(default_factory=list)

    @property
    def source(self) -> str:
        """The stream as `CDC_SOURCE` names it."""
        raise NotImplementedError

    def consumer(self, *arguments: str, **settings: str) -> Process:
        """Start the program."""
        environment = self.aws.environment() | {
            "PATH": os.defpath,
            "PYTHONPATH": f"{ROOT}:{ROOT / 'services'}",
            "CDC_SOURCE": self.source,
            "CDC_TABLES": str(self.folder),
            "CDC_RAW": f"s3://{self.name}/raw",
            "CDC_QUARANTINE": f"s3://{self.name}/quarantine",
            "CDC_LEASES": self.name,
            "CDC_LEASE_SECONDS": self.lease_seconds,
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
        assert process.finish(self.patience_seconds) == 0, process.command.log.read_text(encoding="utf-8")
        return process

    def log(self, process: Process) -> list[dict[str, Any]]:
        """What the program has said so far."""
        return [json.loads(line) for line in process.command.log.read_text(encoding="utf-8").splitlines()]

    def objects(self, prefix: str) -> dict[str, bytes]:
        client = self.aws.client("s3")
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
        return {key: client.get_object(Bucket=self.name, Key=key)["Body"].read() for key in keys}

    def kill_again_and_again(self, times: int, write: Callable[[range], None]) -> None:
        """Kill a consumer in the middle of its work, `times` in a row, while `write` is given numbers of new records."""
        write(range(200))
        number = 200
        for _ in range(times):
            batches = len(self.objects("raw/_batches/"))
            process = self.consumer(CDC_BATCH_BYTES="3000")
            while process.exit_status is None and len(self.objects("raw/_batches/")) < batches + 2:
                write(range(number, number + 20))
                number += 20
            assert process.exit_status is None, process.command.log.read_text(encoding="utf-8")
            process.kill()
