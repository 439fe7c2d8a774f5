"""Avro: values in Confluent's framing become JSON, by schemas that a registry has and raw keeps.

The framing is a zero byte, the schema's id in four bytes, big endian, and the value in Avro's binary encoding
(Confluent docs: "Wire format"). No JSON begins with a zero byte.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from cdc.errors import RecordFault, TransientFault
from cdc.objects import ObjectStore
from cdc.raw import schema_path
from cdc_consumer.avro_json import AvroToJson

MAGIC = 0
_ID_ENDS = 5
SCHEMA_ID_MAX = 2**31 - 1
LAG_SECONDS = 5.0
"""How long a registry may take to know a schema that its leader has just been given, before it is called unknown."""
UNKNOWN_SECONDS = 60.0
"""For how long a schema that is unknown is not asked for again, nor any other one waited for."""
UNKNOWN_MAX = 1000


@dataclass(frozen=True, slots=True)
class JsonValue:
    """A value that came in Avro: the JSON that Debezium would have sent, and the id of its schema."""

    json: bytes
    schema_id: int


class SchemaRegistry(Protocol):
    """Where schemas are asked for."""

    def schema(self, schema_id: int) -> str | None:
        """The Avro schema of an id as the registry has it; None when the registry says that it knows none.

        Raises:
            TransientFault: when the registry does not answer for now.
            FatalFault: when it refuses to.
            RecordFault: `avro-schema`, when what it has is no Avro schema.
        """


def is_avro(data: bytes) -> bool:
    """Whether a value is in this framing."""
    return len(data) > _ID_ENDS and data[0] == MAGIC


def without_registry(data: bytes, stream: str = "") -> JsonValue:
    """What becomes of a value in Avro where no registry is set.

    Raises:
        RecordFault: always.
    """
    del data, stream
    raise RecordFault(
        "avro-no-registry", "the value is in Avro", hint="set CDC_SCHEMA_REGISTRY, then replay the quarantine"
    )


class AvroReader:
    """Reads values of all streams; threads of several shards may share it.

    A schema is in raw before any value that was written by it is handed out.
    """

    def __init__(self, registry: SchemaRegistry, raw: ObjectStore, monotonic: Callable[[], float]) -> None:
        self._registry = registry
        self._raw = raw
        self._monotonic = monotonic
        self._known: dict[int, tuple[str, AvroToJson] | RecordFault] = {}
        self._kept: set[tuple[str, int]] = set()
        self._unknown: dict[int, float] = {}
        self._asked_since: dict[int, float] = {}
        self._patient_from = 0.0

    def read(self, data: bytes, stream: str) -> JsonValue:
        """A value as JSON; `stream` is the identity of the stream that it came from.

        Raises:
            RecordFault: when it cannot be read: `avro-schema`, `avro-unknown-schema`, `not-avro`.
            TransientFault, FatalFault: when the registry or raw cannot be reached, or refuses.
        """
        schema_id = int.from_bytes(data[1:_ID_ENDS], "big")
        text, converter = self._schema(schema_id)
        line = converter.convert(data[_ID_ENDS:])
        if (stream, schema_id) not in self._kept:
            self._raw.put_new(schema_path(stream, schema_id), text.encode())
            self._kept.add((stream, schema_id))
        return JsonValue(line, schema_id)

    def _schema(self, schema_id: int) -> tuple[str, AvroToJson]:
        found = self._known.get(schema_id)
        if found is None:
            found = self._known[schema_id] = self._asked(schema_id)
        if isinstance(found, RecordFault):
            raise RecordFault(found.reason, found.what, hint=found.hint)
        return found

    def _asked(self, schema_id: int) -> tuple[str, AvroToJson] | RecordFault:
        """The schema as the registry has it, or the fault of every value that names it."""
        now = self._monotonic()
        if schema_id > SCHEMA_ID_MAX or now < self._unknown.get(schema_id, 0.0):
            raise _unknown(schema_id)
        try:
            text = self._registry.schema(schema_id)
            if text is not None:
                self._asked_since.pop(schema_id, None)
                return text, AvroToJson(text)
        except RecordFault as fault:
            return fault
        self._wait_for_followers(schema_id, now)
        if len(self._unknown) >= UNKNOWN_MAX:
            self._unknown.clear()
        self._unknown[schema_id] = self._patient_from = now + UNKNOWN_SECONDS
        raise _unknown(schema_id)

    def _wait_for_followers(self, schema_id: int, now: float) -> None:
        """Let a registry that lags behind its leader catch up, once a minute at most: ids may be nothing but noise."""
        if now < self._patient_from:
            return
        since = self._asked_since.setdefault(schema_id, now)
        if now - since < LAG_SECONDS:
            raise TransientFault(f"the schema registry does not know schema {schema_id} yet")
        self._asked_since.pop(schema_id, None)  # another shard may have been first


def _unknown(schema_id: int) -> RecordFault:
    return RecordFault(
        "avro-unknown-schema",
        f"the schema registry knows no schema {schema_id}",
        hint="is it the producer's registry, and the id of four bytes as Confluent has it?",
    )
