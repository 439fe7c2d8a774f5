"""Debezium Server's stand-in: the real engine by the server's own configuration file, and a sink to Kinesis in Python.

Records go out one by one, as the sink of Debezium Server has it with batch.size=1: the key is the partition key, a
tombstone an empty record.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
from pydbzengine import BasePythonChangeHandler, DebeziumJsonEngine

CONFIGURATION = Path("/debezium/config/application.properties")
DEFAULTS = {"name": "debezium", "offset.storage": "org.apache.kafka.connect.storage.FileOffsetBackingStore"}


def read_properties(text: str) -> dict[str, str]:
    """The properties of a file without continued lines or escapes, such as ours."""
    lines = (line.strip() for line in text.splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name.strip(): value.strip() for name, _, value in pairs}


def engine_properties(stated: Mapping[str, str]) -> dict[str, str]:
    """What the server would give its engine."""
    engine = dict(DEFAULTS)
    for name, value in stated.items():
        if name.startswith("debezium.source."):
            engine[name.removeprefix("debezium.source.")] = value
        elif name.startswith("debezium.transforms"):
            engine[name.removeprefix("debezium.")] = value
        elif name == "debezium.format.schemas.enable":
            engine |= {f"{part}.converter.schemas.enable": value for part in ("key", "value")}
    return engine


class KinesisSink(BasePythonChangeHandler):
    """Puts each record to the stream that it is named after."""

    def __init__(self, stated: Mapping[str, str]) -> None:
        super().__init__()
        region, endpoint = (stated[f"debezium.sink.kinesis.{name}"] for name in ("region", "endpoint"))
        self._null_key = stated.get("debezium.sink.kinesis.null.key", "default")
        self._kinesis = boto3.client("kinesis", region_name=region, endpoint_url=endpoint)

    def handleJsonBatch(self, records: list[Any]) -> None:  # noqa: N802 - called so by the engine
        """Put the records of a batch in their order; the engine notes them as sent when this returns."""
        for record in records:
            key, value = record.key(), record.value()
            self._kinesis.put_record(
                StreamName=str(record.destination()),
                PartitionKey=self._null_key if key is None else str(key),
                Data=b"" if value is None else str(value).encode(),
            )


def main() -> int:
    """Run until it is ended; an engine that ends by itself is a failure."""
    stated = read_properties(CONFIGURATION.read_text(encoding="utf-8"))
    DebeziumJsonEngine(properties=engine_properties(stated), handler=KinesisSink(stated)).run()
    sys.stderr.write("the engine ended\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
