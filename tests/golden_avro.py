"""What the tests of Debezium in Avro share: the recordings, a registry in memory, and the way of a value to its change."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from cdc import raw
from cdc.contract import TableContract
from cdc.raw import RawLine
from cdc_consumer.avro import AvroReader
from cdc_consumer.routing import LeftOut, ToTable, route
from compactor.change import Change, ChangeReader, Rejected
from tests.golden_debezium import GOLDEN
from tests.raw_zone import MemoryObjects

STREAM = "usuarios-20261121T000000Z"
ENVELOPE = {
    "type": "record", "name": "Envelope", "namespace": "cdc.public.t", "fields": [
        {"name": "after", "type": ["null", {"type": "record", "name": "Value", "fields": [{"name": "id", "type": "long"}]}]},
        {"name": "source", "type": {"type": "record", "name": "Source", "fields": [
            {"name": "schema", "type": "string"}, {"name": "table", "type": "string"},
            {"name": "lsn", "type": ["null", "long"]}, {"name": "ts_us", "type": ["null", "long"]},
        ]}},
        {"name": "op", "type": "string"},
    ],
}  # fmt: skip
"""The least of an envelope."""


@dataclass(frozen=True)
class Recorded:
    """A recorded value in Avro; `json` is the same record in JSON with its schema, where it was recorded too."""

    data: bytes
    schema_id: int
    schema: str
    json: bytes


def recorded_avro(name: str) -> list[Recorded]:
    """The values of a recording."""
    body = gzip.decompress((GOLDEN / "debezium_avro" / f"{name}.jsonl.gz").read_bytes())
    lines: Iterable[dict[str, Any]] = map(json.loads, body.splitlines())
    return [
        Recorded(base64.b64decode(line["avro"]), line["schema_id"], line["schema"], line.get("json", "").encode())
        for line in lines
    ]


def recordings() -> list[str]:
    """The names of all recordings."""
    return sorted(path.name.removesuffix(".jsonl.gz") for path in Path(GOLDEN / "debezium_avro").glob("*.jsonl.gz"))


@dataclass
class MemoryRegistry:
    """A registry in memory; `faults` are raised first, one a question."""

    schemas: Mapping[int, str]
    faults: list[Exception] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)

    def schema(self, schema_id: int) -> str | None:
        self.asked.append(schema_id)
        if self.faults:
            raise self.faults.pop(0)
        return self.schemas.get(schema_id)


def read_avro(values: Iterable[Recorded], contract: TableContract) -> tuple[list[Change], list[Rejected]]:
    """The changes of values in Avro, the whole way: the consumer's routing, its line in raw, the compactor's reader."""
    values = list(values)
    store = MemoryObjects()
    reader = AvroReader(MemoryRegistry({value.schema_id: value.schema for value in values}), store, lambda: 0.0)
    tables = {(contract.source_schema, contract.source_table): contract.name}
    lines = []
    for number, value in enumerate(values, 1):
        routed = route(value.data, tables, lambda data: reader.read(data, STREAM))
        if isinstance(routed, LeftOut):
            continue
        assert isinstance(routed, ToTable), routed
        line = RawLine("0", str(number), 0, "", msgspec.Raw(routed.line), routed.schema_id)
        lines.append(msgspec.json.decode(msgspec.json.encode(line), type=RawLine))
    compactor = ChangeReader(
        contract, b"k" * 32, lambda stream, number: store.get(raw.schema_path(stream, number)).decode()
    )
    return compactor.read(f"{STREAM}/0", "b", lines)
